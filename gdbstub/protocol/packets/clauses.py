"""Parser of the conditions and commands at the end of a ``Z`` packet, as agent expressions.

It neither checks nor evaluates the expressions.
"""

import re
from binascii import unhexlify
from typing import Final

from gdbstub.agent import Clauses
from gdbstub.errors import PacketError

#: Number of conditions, or commands, that a breakpoint may have.
_MOST: Final = 128

#: Bytes of code of all conditions and commands of a breakpoint; compiling them takes 40 ms.
_MOST_CODE: Final = 0x2000

_HEX: Final = rb"[0-9a-fA-F]"
_EXPRESSIONS: Final = rb"(?:X%b+,(?:%b%b)*)" % (_HEX, _HEX, _HEX)
# Both are compiled when first used: few breakpoints have any, and every start would pay for them.
_CLAUSES: Final = rb"(?:;(%b+))?(?:;cmds:(%b+),(%b+))?" % (_EXPRESSIONS, _HEX, _EXPRESSIONS)
_EXPRESSION: Final = rb"X(%b+),(%b*)" % (_HEX, _HEX)


def clauses(text: bytes) -> Clauses:
    """Read ``[;cond_list…][;cmds:persist,cmd_list…]`` (GDB manual, E.2, ``Z0``).

    A list is one or more ``X len,expr``.

    Raises:
        PacketError: *text* is not of that form.
    """
    if (count := text.count(b"X")) > 2 * _MOST:
        raise _too_many(count)
    if not (match := re.fullmatch(_CLAUSES, text)):
        raise PacketError("malformed conditions or commands of a breakpoint")
    conditions, persist, commands = match.groups(default=b"")
    tests, prints = _expressions(conditions), _expressions(commands)
    if (size := sum(map(len, (*tests, *prints)))) > _MOST_CODE:
        raise PacketError(
            f"conditions and commands of {size} bytes, where a breakpoint may have {_MOST_CODE}"
        )
    return Clauses.compile(tests, prints, persist=bool(int(persist or b"0", 16)))


def _expressions(text: bytes) -> list[bytes]:
    expressions: list[bytes] = []
    for match in re.finditer(_EXPRESSION, text):
        code = unhexlify(match[2])
        if len(code) != int(match[1], 16):
            raise PacketError(f"an expression of {len(code)} bytes, where {match[1]!r} are said")
        expressions.append(code)
    if len(expressions) > _MOST:
        raise _too_many(len(expressions))
    return expressions


def _too_many(count: int) -> PacketError:
    return PacketError(
        f"a breakpoint with {count} conditions or commands, where at most {_MOST} of each are taken"
    )
