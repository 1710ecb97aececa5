"""Arguments of monitor commands: templates such as ``ADDR [LENGTH]``, and parsing by them.

A template stands beside the function that takes the values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gdbstub.errors import InputError
from gdbstub.numbers import parse_number

_TOP: Final = 1 << 64


class Registers(Protocol):
    """Source of registers' values by name."""

    def register(self, name: str) -> int:
        """Return a register's value now.

        Raises:
            InputError: no register has that name.
        """
        ...


def address(text: str, registers: Registers) -> int:
    """Read an address: ``0x`` and hex digits, decimal digits, or ``$`` and a register's name.

    Raises:
        InputError: it is none of these, or wider than 64 bits.
    """
    if text.startswith("$"):
        return registers.register(text[1:]) % _TOP
    value = parse_number(text)
    if value is None:
        raise InputError(
            f"{text!r} is no address: expected 0x and hex digits, decimal digits, "
            "or a register such as $pc"
        )
    return value


def length(text: str, registers: Registers) -> int:
    """Read a number of bytes.

    Raises:
        InputError: it is no number, or 0.
    """
    if not (value := parse_number(text)):
        raise InputError(f"{text!r} is no length: expected a number of bytes, 1 or more")
    return value


def pid(text: str, registers: Registers) -> int:
    """Read the number of a process.

    Raises:
        InputError: it is none.
    """
    if (value := parse_number(text)) is None:
        raise InputError(f"{text!r} is no PID: expected a number, as monitor ps shows it")
    return value


def _word(text: str, registers: Registers) -> str:
    return text


#: Words in capitals that a template may use, and the functions that parse what was typed there.
_FIELDS: Final[dict[str, Callable[[str, Registers], object]]] = {
    "ADDR": address,
    "PHYSICAL": address,
    "LENGTH": length,
    "PID": pid,
    "NAME": _word,
    "COMMAND": _word,
    "/FMT": _word,
}


@dataclass(frozen=True, slots=True)
class _Parameter:
    """One word of a template. What was typed must be one of the ``choices``, if there are any."""

    text: str
    optional: bool
    many: bool
    choices: tuple[str, ...]

    def fits(self, text: str) -> bool:
        """Return False if *text* is meant for a later parameter: a format begins with a slash."""
        return not self.text.startswith("/") or text.startswith("/")

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
    """Template of words in capitals, ``/FMT``, ``a|b`` for a choice, and ``[…]`` if optional.

    ``NAME...`` at its end takes all words that follow, as a tuple.
    """

    def __init__(self, text: str) -> None:
        """Parse the template *text*.

        Raises:
            KeyError: a word in capitals is no field.
        """
        self.text = text
        self._parameters = tuple(_parameter(word) for word in text.split())

    def parse(self, typed: Sequence[str], registers: Registers, usage: str) -> list[object]:
        """Return the values of the words *typed*, ``None`` where one is absent.

        Raises:
            InputError: they do not fit the template. The message has the *usage*.
        """
        values: list[object] = []
        left = list(typed)
        for parameter in self._parameters:
            if parameter.many:
                values.append(tuple(parameter.read(word, registers) for word in left))
                left = []
            elif left and parameter.fits(left[0]):
                values.append(parameter.read(left.pop(0), registers))
            elif parameter.optional:
                values.append(None)
            else:
                raise InputError(f"{parameter.text} is missing: monitor {usage}")
        if left:
            raise InputError(f"{left[0]!r} is one word too many: monitor {usage}")
        return values
