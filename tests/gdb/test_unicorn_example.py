"""The examples of docs/library.md under a real GDB, from the first instruction to the last."""

import asyncio
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import gdbstub
from tests.bounds import HANGS
from tests.gdb.conftest import without_process

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "unicorn_aarch64.py"
X86_EXAMPLE = EXAMPLES / "unicorn_x86_64.py"
GDB = ("gdb-multiarch", "-nx", "-nh", "-batch", "-ex", "set confirm off", "-ex", "set width 0")


def compiled(directory: Path, compiler: str) -> Path:
    """The program, made by the command with *compiler* that its first lines show."""
    source, elf = EXAMPLES / "program.c", directory / "program.elf"
    said = re.search(f"{compiler} .*(?= -o)", source.read_text())
    assert said
    subprocess.run([*said[0].split(), "-o", elf, source], check=True)
    return elf


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("example"), "aarch64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def x86_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("x86-example"), "x86_64-linux-gnu-gcc")


async def begin(remote: str, program: Path, *commands: str) -> asyncio.subprocess.Process:
    """A gdb that attaches and does *commands*."""
    words = [word for line in (f"target remote {remote}", *commands) for word in ("-ex", line)]
    return await asyncio.create_subprocess_exec(
        *(*GDB, *words, str(program)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C", "HOME": str(program.parent)},
    )


async def finish(gdb: asyncio.subprocess.Process) -> str:
    """All that it said, when it has ended; nothing may have displeased it."""
    try:
        said = (await asyncio.wait_for(gdb.communicate(), 60))[0].decode("ascii", "replace")
    finally:
        if gdb.returncode is None:
            gdb.kill()
            await gdb.wait()
    for complaint in ("warning:", "Remote failure", "packet error", "internal-error"):
        assert complaint not in said, said
    return said


class Example:
    """An example as a process of its own."""

    def __init__(self, program: Path, example: Path = EXAMPLE) -> None:
        self._program = program
        self.process = subprocess.Popen(
            [sys.executable, example, program, "localhost:0"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self._remote = self.process.stdout.readline().strip()

    async def gdb(self, *commands: str) -> str:
        said = await finish(await begin(self._remote, self._program, *commands))
        return without_process(said)


@pytest.fixture
def example(program: Path) -> Iterator[Example]:
    example = Example(program)
    with example.process as process:
        yield example
        process.kill()


@pytest.fixture
def x86_example(x86_program: Path) -> Iterator[Example]:
    example = Example(x86_program, X86_EXAMPLE)
    with example.process as process:
        yield example
        process.kill()


async def test_from_the_first_instruction_to_the_last(example: Example) -> None:
    said = await example.gdb(
        *("break square", "continue", "info registers x0 pc cpsr", "print n", "backtrace"),
        *("next", "print result", "finish", "delete", "stepi", "print (long) $pc == (long) add"),
        *("watch total", "continue", "continue", "delete"),
        *("print &total", "set var total = 100", "print total", "x/i $pc", "set var $x9 = 7"),
        *("print $x9", "info threads", "continue"),
    )
    assert "Breakpoint 1, square (n=1)" in said
    assert re.search(r"^x0 +0x1 +1$", said, re.MULTILINE)
    assert re.search(r"^#1 +0x[0-9a-f]+ in _start \(\)", said, re.MULTILINE)
    assert "$2 = 1" in said  # result
    assert "Value returned is $3 = 1" in said
    assert "$4 = 1" in said
    assert re.search(r"Old value = 0\s+New value = 1\b", said)
    assert re.search(r"Old value = 1\s+New value = 5\b", said)
    assert "$6 = 100" in said
    assert "$7 = 7" in said
    assert re.search(r'\* 1 +Thread 1 "main" \(halted\)', said)
    # 1 and 4 were added before it was 100, 9 and 16 behind.
    assert "exited with code 0175]" in said  # 125
    assert example.process.wait(HANGS) == 0


async def test_ctrl_c_and_a_second_client(program: Path) -> None:
    with program.open("rb") as file:
        target = runpy.run_path(str(EXAMPLE))["UnicornTarget"](ELFFile(file))
    async with gdbstub.Server(target, "localhost:0") as server:
        words = ("set var ready = 0", "continue", "print ready", "stepi", "detach")
        gdb = await begin(server.remote, program, *words)
        async with asyncio.timeout(60):
            while not target.running:  # noqa: ASYNC110 - a target has no events for others
                await asyncio.sleep(0.01)
        gdb.send_signal(signal.SIGINT)
        said = await finish(gdb)
        assert "received signal SIGINT" in said
        assert "$1 = 0" in said
        assert target.running
        gdb = await begin(server.remote, program, "set var ready = 1", "continue")
        assert "exited with code 036]" in await finish(gdb)  # 1 + 4 + 9 + 16
        await asyncio.wait_for(server.wait_ended(), 10)


async def test_kill_ends_the_example(example: Example) -> None:
    assert "killed]" in await example.gdb("stepi", "kill")
    assert example.process.wait(HANGS) == 0


@pytest.mark.parametrize("example", [EXAMPLE, X86_EXAMPLE], ids=lambda path: path.stem)
def test_it_is_as_short_as_it_is_said_to_be(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 100


async def test_conditions_and_dprintf_are_evaluated_in_the_example(example: Example) -> None:
    said = await example.gdb(
        "break square if total == 5", "set dprintf-style agent",
        'dprintf add,"adds to %d\\n",total',
        "set debug remote 1", "continue", "set debug remote 0", "print n", "delete 1", "continue",
    )  # fmt: skip
    assert "$1 = 3" in said
    # The third call of ``square`` is the first stop, and no call of ``add`` is any.
    assert len(re.findall(r"Packet received: T05", said)) == 1
    assert re.findall(r"^adds to (\d+)$", said, re.M) == ["0", "1", "5", "14"]


async def test_x86_64_from_the_first_instruction_to_the_last(x86_example: Example) -> None:
    said = await x86_example.gdb(
        *("show architecture", "break square", "continue", "info registers rdi rip eflags"),
        *("print n", "backtrace", "next", "print result", "finish", "delete"),
        *("print $before = $pc", "stepi", "print (long) $pc - (long) $before", "x/i $pc"),
        *("watch total", "continue", "info symbol $pc", "continue", "delete", "print $st0"),
        *("print &total", "set var total = 100", "print total", "set var $r9 = 7", "print $r9"),
        *("x/4xb &total", "info threads", "continue"),
    )
    assert "i386:x86-64" in said
    assert "Breakpoint 1, square (n=1)" in said
    assert re.search(r"^rdi +0x1 +1$", said, re.MULTILINE)
    assert re.search(r"^rip +0x[0-9a-f]+ +0x[0-9a-f]+ <square\+\d+>$", said, re.MULTILINE)
    assert re.search(r"^eflags +0x[0-9a-f]+ ", said, re.MULTILINE)
    assert re.search(r"^#1 +0x[0-9a-f]+ in _start \(\)", said, re.MULTILINE)
    assert "$2 = 1" in said  # result
    assert "Value returned is $3 = 1" in said
    assert "$5 = 2" in said  # mov %eax,%edi: an instruction may have any length
    assert re.search(r"^=> 0x[0-9a-f]+ <_start\+\d+>:\s+call ", said, re.MULTILINE)
    assert re.search(r"Old value = 0\s+New value = 1\b", said)
    assert re.search(r"^add \+ \d+ in section", said, re.MULTILINE)
    assert re.search(r"Old value = 1\s+New value = 5\b", said)
    assert "$6 = <unavailable>" in said
    assert "$8 = 100" in said
    assert "$9 = 7" in said
    assert re.search(r":\s+0x64\s+0x00\s+0x00\s+0x00$", said, re.MULTILINE)
    assert re.search(r'\* 1 +Thread 1 "main" \(halted\)', said)
    # 1 and 4 were added before it was 100, 9 and 16 behind.
    assert "exited with code 0175]" in said  # 125
    assert x86_example.process.wait(HANGS) == 0


async def test_x86_64_conditions_and_kill(x86_example: Example) -> None:
    said = await x86_example.gdb(
        "break square if total == 5", "continue", "print n", "info registers rsp", "kill"
    )
    assert "$1 = 3" in said
    assert "killed]" in said
    assert x86_example.process.wait(HANGS) == 0
