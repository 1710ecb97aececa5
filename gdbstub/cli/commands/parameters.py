"""Types of click's parameters for numbers: click's own take what Python's ``int`` takes."""

from collections.abc import Callable
from typing import Any

import click

from gdbstub.numbers import parse_float, parse_integer


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
