"""Numbers as people write them: decimal digits, or 0x and hex digits, all of ASCII.

Python's own ``int`` and ``float`` take more: signs, blanks, underscores, and digits of any script.
It knows no unit, and no bound but that of 64 bits.
"""

from typing import Final

#: Number of characters that are looked at; Python reads no decimal number of more than 4,300.
_LONGEST: Final = 1000


def parse_number(text: str) -> int | None:
    """Return the number of 64 bits that *text* is, or None."""
    hexadecimal = text[:2] in ("0x", "0X")
    digits = text[2:] if hexadecimal else text
    # A zero in front of decimal digits would mean octal to some.
    if not _is_word(digits) or (not hexadecimal and digits[0] == "0" and digits.strip("0")):
        return None
    try:
        value = int(digits, 16 if hexadecimal else 10)
    except ValueError:
        return None
    return value if value < 1 << 64 else None


def parse_integer(text: str) -> int:
    """Return the decimal integer that *text* is.

    Raises:
        ValueError: it is none.
    """
    if not (_is_word(digits := text.removeprefix("-")) and digits.isdigit()):
        raise ValueError(f"{text[:_LONGEST]!r} is not a valid integer.")
    return int(text)


def parse_float(text: str) -> float:
    """Return the decimal number that *text* is, which may have a point and an exponent.

    Raises:
        ValueError: it is none.
    """
    try:
        if text.isascii() and not set(text) & set("_ \t\r\n\v\f") and text[:1] != "+":
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text[:_LONGEST]!r} is not a valid float.")


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalnum() and len(text) <= _LONGEST
