"""Types of click's parameters for numbers: click's own take what Python's ``int`` takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gdbstub.errors import InputError
from gdbstub.numbers import parse_float, parse_integer


class File(click.Path):
    """Type of a path, unchecked: where the file is read, the error is ours. Shells complete it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - a text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return *value* as a path; an empty one would be this directory.

        Raises:
            InputError: it is empty.
        """
        if value == "" and param is not None:
            option = param.opts[0] if isinstance(param, click.Option) else param.metavar
            kind = "directory" if param.metavar == "DIR" else "file"
            raise InputError(f"{option}: a {kind}'s name is missing")
        return Path(value)


class Integer(click.types.IntParamType):
    """Type of a decimal integer."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - a text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the integer that *value* is; fail with a line for the user."""
        value = _parsed(self, parse_integer, value, param, ctx)
        return int(super().convert(value, param, ctx))


class IntegerRange(Integer, click.IntRange):
    """Type of a decimal integer within bounds."""


class Float(click.types.FloatParamType):
    """Type of a decimal number."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - a text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number that *value* is; fail with a line for the user."""
        value = _parsed(self, parse_float, value, param, ctx)
        return float(super().convert(value, param, ctx))


def _parsed(
    kind: Integer | Float,
    parse: Callable[[str], float],
    value: object,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> object:
    """Return the number that *value* is, if it is a text; fail with a line for the user."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except ValueError as error:
        kind.fail(str(error), param, ctx)
