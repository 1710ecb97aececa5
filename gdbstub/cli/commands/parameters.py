"""Types of click's parameters for numbers: click's own take what Python's ``int`` takes."""

from typing import Any

import click

from gdbstub.numbers import parse_float, parse_integer


class Integer(click.IntRange):
    """Type of a decimal integer, perhaps within bounds."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - a text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the integer that *value* is; fail with a line for the user."""
        if isinstance(value, str):
            try:
                value = parse_integer(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


class Float(click.FloatRange):
    """Type of a decimal number."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - a text, or a default
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return the number that *value* is; fail with a line for the user."""
        if isinstance(value, str):
            try:
                value = parse_float(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        number: float = super().convert(value, param, ctx)
        return number
