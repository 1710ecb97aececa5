"""What follows a command's name: a template's words, and what is made of what was typed.

It names no command; ``ADDR [LENGTH]`` stands beside the function that takes the values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gdbstub.errors import InputError

_TOP: Final = 1 << 64


class Registers(Protocol):
    """Who knows what a register's name stands for."""

    def register(self, name: str) -> int:
        """The register's value now.

        Raises:
            InputError: none has that name.
        """
        ...


def address(text: str, registers: Registers) -> int:
    """Read an address: ``0x`` and hex digits, decimal digits, or ``$`` and a register's name.

    Raises:
        InputError: it is none of these, or no 64 bits hold it.
    """
    if text.startswith("$"):
        return registers.register(text[1:]) % _TOP
    value = _number(text)
    if value is None:
        raise InputError(
            f"{text!r} is no address: expected 0x and hex digits, decimal digits, "
            "or a register such as $pc"
        )
    return value


def length(text: str, registers: Registers) -> int:
    """Read a number of bytes.

    Raises:
        InputError: it is none, or 0.
    """
    if not (value := _number(text)):
        raise InputError(f"{text!r} is no length: expected a number of bytes, 1 or more")
    return value


def _number(text: str) -> int | None:
    try:
        value = int(text, 0)
    except ValueError:
        return None
    return value if 0 <= value < _TOP else None


def _word(text: str, registers: Registers) -> str:
    return text


#: Every word in capitals that a template may use, and what becomes of what stands there.
_FIELDS: Final[dict[str, Callable[[str, Registers], object]]] = {
    "ADDR": address,
    "PHYSICAL": address,
    "LENGTH": length,
    "NAME": _word,
    "COMMAND": _word,
}


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One word of a template; ``choices`` where it must be one of them."""

    text: str
    optional: bool
    many: bool
    choices: tuple[str, ...]

    def read(self, text: str, registers: Registers) -> object:
        if not self.choices:
            return _FIELDS[self.text](text, registers)
        found = [choice for choice in self.choices if choice.startswith(text)]
        if text in self.choices:
            return text
        if len(found) != 1:
            raise InputError(f"{text!r} is not {' or '.join(self.choices)}")
        return found[0]


def _parameter(word: str) -> _Parameter:
    optional = word.startswith("[")
    word = word.strip("[]")
    many = word.endswith("...")
    word = word.removesuffix("...")
    choices = () if word in _FIELDS else tuple(word.split("|"))
    if word.isupper() and choices:
        raise KeyError(word)
    return _Parameter(word, optional, many, choices)


class ArgumentTemplate:
    """A template: words in capitals, ``a|b`` for a choice, ``[…]`` for what may be absent.

    ``NAME...`` at its end takes all that follows, as a tuple.
    """

    def __init__(self, text: str) -> None:
        """Understand *text*.

        Raises:
            KeyError: a word in capitals is no field.
        """
        self.text = text
        self._parameters = tuple(_parameter(word) for word in text.split())

    def parse(self, typed: Sequence[str], registers: Registers, usage: str) -> list[object]:
        """The values of what was *typed*, ``None`` where one is absent.

        Raises:
            InputError: it does not fit; the message has the *usage*.
        """
        values: list[object] = []
        left = list(typed)
        for parameter in self._parameters:
            if parameter.many:
                values.append(tuple(parameter.read(word, registers) for word in left))
                left = []
            elif left:
                values.append(parameter.read(left.pop(0), registers))
            elif parameter.optional:
                values.append(None)
            else:
                raise InputError(f"{parameter.text} is missing: monitor {usage}")
        if left:
            raise InputError(f"{left[0]!r} is one word too many: monitor {usage}")
        return values
