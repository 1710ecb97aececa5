"""Agent expressions that gdb compiles, evaluated here and compared with gdb's own results.

``maint agent-eval`` shows the bytecode that a condition would be sent as, and ``maint
agent-printf`` that of a dprintf; ``print`` and ``printf`` are the judges.
"""

import re

import pytest

from gdbstub.aarch64.registers import CPSR, X, stack_pointer
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.agent import AgentProgram, Evaluation
from gdbstub.errors import MemoryFault, NoSuchRegister
from tests.fakes.machine import FakeMachine
from tests.gdb.conftest import Client
from tests.pure.agent import assemble, printed, printf


class Halted:
    """A ``EvaluationContext``: the first vCPU of a machine whose MMU is off."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        vcpu = machine.vcpus[0]
        self._rows = {row.number: row for row in X}
        self._rows[31] = stack_pointer(PSTATE(vcpu.get(CPSR)))

    def register(self, number: int) -> int:
        if row := self._rows.get(number):
            return self._machine.vcpus[0].get(row)
        raise NoSuchRegister(f"no register {number}")

    def memory(self, gva: int, length: int) -> bytes:
        data = self._machine.read_memory(gva, length)
        if not data:
            raise MemoryFault(f"nothing at {gva:#x}")
        return data


def compiled(listing: str) -> AgentProgram:
    """The program that a ``maint agent`` command lists."""
    code = b""
    for line in re.findall(r"^ +\d+  (.*)$", listing, re.M):
        if text := re.fullmatch(r'printf "(.*)", (\d+) args', line):
            code += printf(int(text[2]), text[1].encode())
        else:
            code += assemble(line)
    return AgentProgram.compile(code)


def ask(gdb: Client, *commands: str) -> list[str]:
    """Return GDB's answer to each of *commands*, with the guest halted in ``add``."""
    marked = [word for command in commands for word in ("echo @@\\n", command)]
    said = gdb("break add", "continue", *marked, "echo @@\\n", "disconnect")
    _, *answers, _ = said.split("@@\n")
    assert len(answers) == len(commands), said
    return answers


EXPRESSIONS = [
    "$x0 == 3 && where.x > 2",
    "$x0 == 4 || (int)$x1 < -3",
    "where.x * 3 - where.y / 2 % 5",
    "-where.y / 3 * 1000",
    "-where.y % 3",
    "(unsigned char)where.x << 7 | where.y >> 1 ^ ~where.x",
    "!where.x",
    "(unsigned)where.x / (unsigned)where.y",
    "(long)where.x * 0x100000000",
    "watched >= 0x1111 ? numbers[1] : numbers[2]",
    "watched > 0x1111 ? numbers[1] : numbers[2]",
    "(unsigned char)where.name[2]",
    "*(long *)&numbers[1]",
    "*(short *)((char *)&watched + 1)",
    "&numbers[3] - &numbers[1]",
    "&where == (struct point *)0x40000000",
    "(long)$sp & 0xfff",
    "$x1 - 5",
    "-where.x < where.y",
    "(unsigned long)-where.x < watched",
    "(signed char)(numbers[3] * 5)",
    "sizeof(struct point) + (watched >> 4)",
]


def test_expressions_come_to_what_gdb_prints(gdb: Client) -> None:
    answers = ask(
        gdb,
        *(f"maint agent-eval {expression}" for expression in EXPRESSIONS),
        *(f"output/d (long)({expression})" for expression in EXPRESSIONS),
    )
    context, middle = Halted(gdb.stub.machine), len(EXPRESSIONS)
    values = [compiled(listing).value(Evaluation(context)) for listing in answers[:middle]]
    wanted = [int(text) % (1 << 64) for text in answers[middle:]]
    assert dict(zip(EXPRESSIONS, values, strict=True)) == dict(
        zip(EXPRESSIONS, wanted, strict=True)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        r'"%d %i %u %x\n", where.x, -where.y, -where.y, -where.y',
        r'"%s|%.2s|%8s|%-8s|\n", where.name, where.name, where.name, where.name',
        r'"%ld %lx %llu %lo\t\"quoted\" \\ %%\n", watched, watched, watched, watched',
        r'"%c%c|%5c|%-5c|\n", where.x + 62, 321, 66, 67',
        r'"%08x|%+d|% d|%-8ld|%#lx|%.5d|%5hd|%zu\n", 1, 2, 3, 4, 5, -6, 65541, 8',
        r'"%p %p %12p|\n", where.name, 0, &where',
        r'"no argument\a\n"',
    ],
)
def test_dprintf_prints_what_gdbs_printf_prints(gdb: Client, arguments: str) -> None:
    # Not every GDB is built with ``long long``, which is ``long`` on AArch64.
    judged = arguments.replace("%ll", "%l")
    listing, wanted = ask(gdb, f"maint agent-printf {arguments}", f"printf {judged}")
    assert printed(compiled(listing), Halted(gdb.stub.machine)).decode() == wanted


def test_dprintf_of_the_agents_prints_and_the_guest_goes_on(gdb: Client) -> None:
    said = gdb(
        "set dprintf-style agent", 'dprintf add,"a is %d, b is %d\\n",$x0,$x1', "break spin",
        "continue", "info breakpoints",
    )  # fmt: skip
    assert re.search(r"^a is 3, b is 4\n(.*\n)*Breakpoint 2, spin \(\) at", said, re.M), said
    # It was no stop of GDB's.
    assert "breakpoint already hit" not in said.partition("agent-printf")[0]
