"""The native evaluator of agent expressions beside Python's, over random programs.

Each program is one that ``AgentProgram`` has compiled. ``--long`` runs 100,000.
"""

from random import Random
from typing import TYPE_CHECKING, Final

from gdbstub.agent import AgentProgram, Evaluation
from gdbstub.errors import AgentError
from tests.pure import native
from tests.pure.agent import StaticContext, assemble, printf

if TYPE_CHECKING:
    from collections.abc import Callable

BINARY: Final = (
    "add", "sub", "mul", "div_signed", "div_unsigned", "rem_signed", "rem_unsigned", "lsh",
    "rsh_signed", "rsh_unsigned", "bit_and", "bit_or", "bit_xor", "equal", "less_signed",
    "less_unsigned",
)  # fmt: skip
EDGES: Final = (0, 1, 2, 5, 63, 64, 65, 1 << 31, 1 << 32, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)
SPACE: Final = range(0x1000, 0x1800)


def constant(chance: Random) -> bytes:
    value = chance.choice((*EDGES, chance.getrandbits(64), chance.getrandbits(8)))
    least = next(size for size in (8, 16, 32, 64) if not value >> size)
    return assemble(f"const{chance.choice([n for n in (8, 16, 32, 64) if n >= least])} {value}")


class Generator:
    """Makes an expression that leaves one value, and knows the offset that its code begins at."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.left_to_python = False

    def value(self, at: int, depth: int) -> bytes:
        chance = self.chance
        if not depth or chance.random() < 0.2:
            return self.leaf()
        makers: tuple[Callable[[int, int], bytes], ...] = (
            self.unary, self.binary, self.binary, self.read, self.shuffle, self.choice, self.loop
        )  # fmt: skip
        return chance.choice(makers)(at, depth - 1)

    def leaf(self) -> bytes:
        kind = self.chance.random()
        if kind < 0.6:
            return constant(self.chance)
        if kind < 0.97:
            return assemble(f"reg {self.chance.randrange(34)}")
        if kind < 0.98:
            return assemble(f"reg {self.chance.choice((34, 255, 65535))}")
        self.left_to_python = True
        if kind < 0.985:
            return assemble("getv 1")
        if kind < 0.99:
            return constant(self.chance) + assemble("setv 1")
        return assemble("const8 0; const8 0") + printf(0, b"") + constant(self.chance)

    def unary(self, at: int, depth: int) -> bytes:
        bits = self.chance.choice((1, 7, 8, 16, 31, 32, 63, 64, 65, 255))
        name = self.chance.choice(("log_not", "bit_not", f"ext {bits}", f"zero_ext {bits}"))
        return self.value(at, depth) + assemble(name)

    def binary(self, at: int, depth: int) -> bytes:
        a = self.value(at, depth)
        b = self.value(at + len(a), depth)
        return a + b + assemble(self.chance.choice(BINARY))

    def read(self, at: int, depth: int) -> bytes:
        name = self.chance.choice(("ref8", "ref16", "ref32", "ref64"))
        if self.chance.random() < 0.1:
            return self.value(at, depth) + assemble(name)
        gva = self.chance.randrange(SPACE.start - 1, SPACE.stop + 1)
        return assemble(f"const16 {gva}; {name}")

    def shuffle(self, at: int, depth: int) -> bytes:
        a = self.value(at, depth)
        b = self.value(at + len(a), depth)
        c = self.value(at + len(a) + len(b), depth)
        moves = [self.chance.choice(("swap", "rot", "dup; pop")) for _ in range(3)]
        ends = ("pop; pop", "add; bit_xor", f"pick {self.chance.randrange(3)}; sub; add; add")
        return a + b + c + assemble("; ".join((*moves, self.chance.choice(ends))))

    def choice(self, at: int, depth: int) -> bytes:
        test = self.value(at, depth)
        here = at + len(test) + 3
        otherwise = self.value(here, depth)
        there = here + len(otherwise) + 3
        then = self.value(there, depth)
        jump, leave = assemble(f"if_goto {there}"), assemble(f"goto {there + len(then)}")
        return test + jump + otherwise + leave + then

    def loop(self, at: int, depth: int) -> bytes:
        rounds = self.chance.choice((0, 1, 2, 9, 60))
        count = assemble(f"const16 {rounds + 1}")
        again = at + len(count)
        body = self.value(again, min(depth, 1))
        return count + body + assemble(f"pop; const8 1; sub; dup; if_goto {again}")


def random_program(chance: Random) -> tuple[bytes, bool]:
    """Code, and True if it may have an opcode that is left to Python."""
    generator = Generator(chance)
    code = generator.value(0, chance.randrange(6)) + assemble("end")
    if chance.random() < 0.1:  # any bytes, most of which do not compile
        at = chance.randrange(len(code))
        return code[:at] + chance.randbytes(1) + code[at + 1 :], True
    return code, generator.left_to_python


def test_what_it_knows_is_what_python_says(long: bool) -> None:
    chance = Random(11)
    runs = known = 0
    memory = {SPACE.start: chance.randbytes(len(SPACE))}
    while runs < (100_000 if long else 2_000):
        code, left = random_program(chance)
        try:
            program = AgentProgram.compile(code)
        except AgentError:
            continue
        runs += 1
        registers = {n: chance.choice((*EDGES, chance.getrandbits(64))) for n in range(34)}
        context = StaticContext(registers, memory)
        try:
            expected = program.value(Evaluation(context, {}))
        except AgentError:
            expected = None
        found = native.evaluate(code, context)
        if found is None:
            # What it leaves to Python has no value, or an effect besides.
            assert expected is None or left, code.hex()
        else:
            assert found == expected, code.hex()
            known += 1
    assert known > runs // 2


def test_a_program_that_takes_long_is_left_to_python() -> None:
    code = assemble("const32 3000; const8 1; sub; dup; if_goto 5; end")
    context = StaticContext()
    assert AgentProgram.compile(code).value(Evaluation(context)) == 0
    assert native.evaluate(code, context) is None
    code = assemble("const32 2000; const8 1; sub; dup; if_goto 5; end")
    assert native.evaluate(code, context) == 0
