"""Compiler from bytecode to a program that is checked once, and its bounded evaluation.

``operations`` has the function of each opcode. The compiler checks opcodes, operands, targets of
jumps, and the depth of the stack at each instruction. So an operation is a Python function that
checks nothing, and a block of them, from one jump to the next, is a plain loop over a tuple.
Source: GDB manual, F.1 "General Bytecode Design".
"""

from typing import Final, NamedTuple

from gdbstub.agent.operations import (
    END,
    GOTO,
    IF_GOTO,
    PICK,
    PRINTF,
    REFUSED,
    ROWS,
    Evaluation,
    Operation,
)
from gdbstub.agent.printf import Format
from gdbstub.errors import AgentError, StubError

_DEEPEST: Final = 512  # values on the stack; a printf alone may take 257
_LONGEST: Final = 0x4000  # bytes of code; what GDB sends has some hundreds
_LONGEST_FORMAT: Final = 0x800
_MOST_STEPS: Final = 20_000
_BLOCK: Final = 128  # steps, after which the clock is looked at


class Block(NamedTuple):
    """Operations in a row, and the blocks that follow, as indices of ``AgentProgram.blocks``."""

    operations: tuple[Operation, ...]
    #: The next block; None at an ``end``.
    then: int | None = None
    #: The next block if the value that is popped then is not zero; None: none is popped.
    taken: int | None = None


class AgentProgram(NamedTuple):
    """Compiled bytecode, which any thread may evaluate any number of times."""

    blocks: tuple[Block, ...]
    #: The bytecode that it was compiled from; empty if it was not compiled.
    code: bytes = b""

    @classmethod
    def compile(cls, code: bytes) -> "AgentProgram":
        """Check *code* and make a program of it; code that no jump reaches is not checked.

        Raises:
            AgentError: the code is wrong, whatever the guest holds.
        """
        if len(code) > _LONGEST:
            raise AgentError(f"an expression of {len(code)} bytes is too long; {_LONGEST} at most")
        return cls(_Compiler(code).blocks(), code)

    @classmethod
    def printing(cls, text: bytes) -> "AgentProgram":
        """Make a program that prints *text*."""
        return cls((Block((_printf(Format((text,))),)),))

    def value(self, evaluation: Evaluation) -> int:
        """Evaluate; return the value that is then on top of the stack, 64 bits and unsigned.

        Raises:
            AgentError: it has no value: a fault, a division by zero, the budget is spent.
        """
        if stack := self.execute(evaluation):
            return stack[-1]
        raise AgentError("the expression leaves no value")

    def execute(self, evaluation: Evaluation) -> list[int]:
        """Evaluate; return the stack that is left. ``evaluation.output`` gets the printed text.

        Raises:
            AgentError: as for ``value``.
        """
        blocks = self.blocks
        block = blocks[0]
        stack: list[int] = []
        steps = 0
        try:
            while True:
                for operation in block.operations:
                    operation(stack, evaluation)
                then = block.then
                if then is None:
                    return stack
                steps += 1 + len(block.operations)
                if steps > _BLOCK:
                    evaluation.check()
                    if steps > _MOST_STEPS:
                        raise AgentError(f"the expression takes more than {_MOST_STEPS} steps")
                taken = block.taken
                block = blocks[taken if taken is not None and stack.pop() else then]
        except AgentError:
            raise
        except StubError as error:
            raise AgentError(str(error)) from error
        except ZeroDivisionError:
            raise AgentError("division by zero") from None


def _printf(format_: Format) -> Operation:
    """Make a printf: on the stack are the arguments, the first uppermost, channel and function."""
    count = format_.arguments

    def operation(stack: list[int], evaluation: Evaluation) -> None:
        del stack[-2:]
        values = [stack.pop() for _ in range(count)]
        evaluation.output += format_.render(values, evaluation.context.memory)
        evaluation.check()

    return operation


class _Instruction(NamedTuple):
    """One decoded instruction; ``operation`` is None for one that only jumps or ends."""

    pops: int
    pushes: int
    operation: Operation | None
    #: Offsets of the next instructions: none at an end, and at a branch first the one not taken.
    next: tuple[int, ...]


class _Compiler:
    """Decoder of all paths through *code*, which it cuts into blocks."""

    def __init__(self, code: bytes) -> None:
        self.code = code
        self._instructions: dict[int, _Instruction] = {}
        #: The depth of the stack before each instruction, by offset.
        self._depths: dict[int, int] = {}
        #: Offsets where paths meet: a block must begin there.
        self._joins: set[int] = set()

    def blocks(self) -> tuple[Block, ...]:
        """Return the blocks, the one at offset 0 first.

        Raises:
            AgentError: the code is wrong somewhere.
        """
        self._follow()
        blocks: list[Block] = []
        heads, places = [0], {0: 0}
        for head in heads:  # which grow meanwhile
            operations, following = self._walk(head)
            for offset in following:
                if offset not in places:
                    places[offset] = len(heads)
                    heads.append(offset)
            then, taken = (*(places[offset] for offset in following), None, None)[:2]
            blocks.append(Block(operations, then, taken))
        return tuple(blocks)

    def _follow(self) -> None:
        """Decode every reachable instruction once, and check the depth of the stack."""
        paths = [(0, 0)]
        while paths:
            offset, depth = paths.pop()
            if offset in self._depths:
                if self._depths[offset] != depth:
                    raise AgentError(
                        f"offset {offset} is reached with {depth} values on the stack and "
                        f"with {self._depths[offset]}"
                    )
                self._joins.add(offset)
                continue
            self._depths[offset] = depth
            instruction = self._instructions[offset] = self._decode(offset)
            if depth < instruction.pops:
                raise AgentError(
                    f"the opcode at offset {offset} takes {instruction.pops} values "
                    f"from a stack of {depth}"
                )
            depth += instruction.pushes - instruction.pops
            if depth > _DEEPEST:
                raise AgentError(f"the expression needs a stack of more than {_DEEPEST} values")
            paths += ((following, depth) for following in instruction.next)

    def _walk(self, offset: int) -> tuple[tuple[Operation, ...], tuple[int, ...]]:
        """Return the operations of the block at *offset*, and the offsets of the next blocks."""
        operations: list[Operation] = []
        while True:
            instruction = self._instructions[offset]
            if instruction.operation:
                operations.append(instruction.operation)
            following = instruction.next
            if len(following) != 1 or following[0] in self._joins or len(operations) == _BLOCK:
                return tuple(operations), following
            (offset,) = following

    def _decode(self, offset: int) -> _Instruction:
        opcode = self._number(offset, 1)
        if row := ROWS.get(opcode):
            operand = self._number(offset + 1, row.operand)
            more = operand if opcode == PICK else 0
            following = (offset + 1 + row.operand,)
            return _Instruction(row.pops + more, row.pushes + more, row.make(operand), following)
        if opcode == END:
            return _Instruction(0, 0, None, ())
        if opcode == GOTO:
            return _Instruction(0, 0, None, (self._number(offset + 1, 2),))
        if opcode == IF_GOTO:
            return _Instruction(1, 0, None, (offset + 3, self._number(offset + 1, 2)))
        if opcode == PRINTF:
            return self._decode_printf(offset)
        if name := REFUSED.get(opcode):
            raise AgentError(f"the opcode {name} at offset {offset} is not supported")
        raise AgentError(f"{opcode:#04x} at offset {offset} is no opcode")

    def _decode_printf(self, offset: int) -> _Instruction:
        count, length = self._number(offset + 1, 1), self._number(offset + 2, 2)
        if length > _LONGEST_FORMAT:
            raise AgentError(f"a format of {length} bytes is too long; {_LONGEST_FORMAT} at most")
        text = self.code[offset + 4 : offset + 4 + length]
        if len(text) != length or not text.endswith(b"\0"):
            raise AgentError(f"the format at offset {offset + 4} does not end")
        format_ = Format.parse(text[:-1])
        if format_.arguments != count:
            raise AgentError(f"the format takes {format_.arguments} arguments, given {count}")
        return _Instruction(2 + count, 0, _printf(format_), (offset + 4 + length,))

    def _number(self, offset: int, size: int) -> int:
        """Read an opcode or an operand of *size* bytes; of no bytes it is 0."""
        data = self.code[offset : offset + size]
        if len(data) < size:
            raise AgentError(f"no end: offset {offset} is outside of {len(self.code)} bytes")
        return int.from_bytes(data, "big")
