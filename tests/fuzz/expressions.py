"""Targets for agent bytecode, its printf, and the clauses of breakpoints."""

import re
from typing import Final
from unittest import mock

from gdbstub.agent import AgentProgram, Clauses, Evaluation, Format, operations
from gdbstub.agent.operations import EvaluationContext
from gdbstub.errors import AgentError, MemoryFault, NoSuchRegister, PacketError
from gdbstub.protocol.packets.clauses import clauses
from tests.fuzz.source import Source
from tests.fuzz.target import check_message, fuzz_target, only
from tests.pure.agent import PLAIN, WITH_OPERAND
from tests.pure.test_agent_properties import MODEL, WRAP

_NAMES: Final = {code: (name, 0) for name, code in PLAIN.items()} | {
    code: (name, size) for name, (code, size) in WITH_OPERAND.items()
}
_MOST: Final = 1000
_SIZES: Final = {"ref8": 1, "ref16": 2, "ref32": 4, "ref64": 8}


class _Guest:
    """Registers and memory by a rule: a third of all addresses cannot be read."""

    def register(self, number: int) -> int:
        if number > 40:
            raise NoSuchRegister(f"no register {number}")
        return number * 0x1234_5678_9ABC_DEF1 % WRAP

    def memory(self, gva: int, length: int) -> bytes:
        assert length <= 1024
        data = bytes((at * 7 >> 3) & 0xFF for at in range(gva, gva + length) if at >> 8 & 3)
        if gva >> 8 & 3 == 0:
            raise MemoryFault(f"nothing at {gva:#x}")
        return data


class _Wrong(Exception):
    """The expression has no value, by the reference interpreter."""


def interpret(code: bytes, guest: EvaluationContext) -> list[int] | None:
    """Evaluate as the manual says (GDB manual, F.2), without printf; None: it takes too long."""
    stack: list[int] = []
    variables: dict[int, int] = {}
    at = 0
    for _ in range(_MOST):
        name, size = _NAMES[code[at]]
        operand = int.from_bytes(code[at + 1 : at + 1 + size], "big")
        at += 1 + size
        if name == "end":
            return stack
        if name in MODEL:
            b, a = stack.pop(), stack.pop()
            if not b and name[:3] in ("div", "rem"):
                raise _Wrong
            stack.append(int(MODEL[name](a, b)) % WRAP)
        elif name.startswith("const"):
            stack.append(operand)
        elif name == "goto" or (name == "if_goto" and stack.pop()):
            at = operand
        elif name not in ("if_goto", "goto"):
            _apply(name, operand, stack, variables, guest)
    return None


def _apply(
    name: str, operand: int, stack: list[int], variables: dict[int, int], guest: EvaluationContext
) -> None:
    match name:
        case "log_not":
            stack.append(int(not stack.pop()))
        case "bit_not":
            stack.append(WRAP - 1 - stack.pop())
        case "dup":
            stack.append(stack[-1])
        case "pop":
            stack.pop()
        case "swap":
            stack += [stack.pop(), stack.pop()]
        case "rot":
            c, b, a = stack.pop(), stack.pop(), stack.pop()
            stack += [c, a, b]
        case "pick":
            stack.append(stack[-1 - operand])
        case "ext":
            low = stack.pop() % (1 << min(operand, 64))
            stack.append((low - (1 << operand) if low >> (operand - 1) else low) % WRAP
                         if operand < 64 else low)  # fmt: skip
        case "zero_ext":
            stack.append(stack.pop() % (1 << min(operand, 64)))
        case "getv":
            if operand not in variables:
                raise _Wrong
            stack.append(variables[operand])
        case "setv":
            variables[operand] = stack[-1]
        case "reg":
            try:
                stack.append(guest.register(operand))
            except NoSuchRegister:
                raise _Wrong from None
        case _:
            try:
                data = guest.memory(stack.pop(), _SIZES[name])
            except MemoryFault:
                raise _Wrong from None
            if len(data) != _SIZES[name]:
                raise _Wrong
            stack.append(int.from_bytes(data, "little"))


@fuzz_target("agent", 256)
def agent(data: bytes) -> None:
    """Bytecode gives AgentError or what an interpreter of the manual's text gives, in bounds."""
    try:
        program = AgentProgram.compile(data)
    except AgentError as error:
        check_message(str(error))
        return
    guest = _Guest()
    run = Evaluation(guest)
    with mock.patch.object(operations, "_SECONDS", 60.0):
        try:
            stack: list[int] | None = program.execute(run)
        except AgentError as error:
            check_message(str(error))
            stack = None
    assert len(run.output) <= (1 << 16) + 257 * 1100
    if 0x34 in data:  # perhaps a printf, which the interpreter does not know
        return
    try:
        right = interpret(data, guest)
    except _Wrong:
        assert stack is None
    else:
        assert right is None or stack == right, (stack, right)


@fuzz_target("printf", 256)
def printf(data: bytes) -> None:
    """A format is refused, or printed with bounded text; the widths are kept."""
    source = Source(data)
    values = [source.number(8) for _ in range(3)]
    try:
        format_ = Format.parse(source.rest())
    except AgentError as error:
        check_message(str(error))
        return
    count = format_.arguments
    text = format_.render((values * (1 + count // 3))[:count], _Guest().memory)
    assert len(text) <= len(data) + count * 1100
    for piece in format_.pieces:
        if not isinstance(piece, bytes):
            shown = piece.render(values[0], _Guest().memory)
            assert len(shown) >= piece.width or shown.startswith(b"<%"), piece


_CLAUSE: Final = re.compile(rb"X([0-9a-fA-F]+),")


@fuzz_target("clauses", 512)
def clauses_(data: bytes) -> None:
    """The end of a ``Z`` packet is refused, or makes clauses that can be evaluated."""
    with only(PacketError):
        found = clauses(data)
        assert isinstance(found, Clauses)
        assert len(found.conditions) + len(found.commands) <= len(_CLAUSE.findall(data))
        guest = _Guest()
        with mock.patch.object(operations, "_SECONDS", 60.0):
            found.hold(guest)
            assert len(found.output(guest)) <= (1 << 16) * (1 + len(found.commands)) + 300_000
