"""Evidence of a run: the stop in its record, and the backtrace in a debugger's output."""

from pathlib import Path

import pytest

from gdbstub.sweep.evidence import backtrace, stop_reason, tail
from gdbstub.sweep.outcome import RunOutcome, Status

HALTED = "<- $?\n-> $T05thread:1;00:00;\n"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", ""),
        ("<- $qSupported:swbreak+\n-> $PacketSize=1ffff;swbreak+\n", ""),
        (HALTED, "halted"),
        (f"{HALTED}<- $vCont;c\n", "running"),
        (f"{HALTED}<- $c\n-> $T05thread:2;swbreak:;00:0a;\n<- $g\n-> $00\n", "swbreak"),
        (f"{HALTED}<- $vCont;c\n-> $T05thread:1;hwbreak:;\n<- $k\n", "hwbreak"),
        (f"{HALTED}<- $vCont;c:1\n-> $T05thread:1;rwatch:ffff800009813df0;\n", "rwatch"),
        (f"{HALTED}<- $vCont;s:1\n-> $T05thread:1;20:00;\n", "SIGTRAP"),
        (f"{HALTED}<- $vCont;c\n^C\n-> $T02thread:1;\n", "SIGINT"),
        (f"{HALTED}<- $vCont;c\n-> $T06thread:1;\n", "SIGABRT"),
        (f"{HALTED}<- $vCont;c\n-> $W00\n", "exited 0"),
        (f"{HALTED}<- $vCont;c\n-> $X0b;process:1\n", "killed by SIGSEGV"),
        (f"{HALTED}<- $c\n-> $S91\n", "signal 145"),
        (f"{HALTED}<- $vCont?\n-> $vCont;c;C;s;S;r\n", "halted"),
        (f"{HALTED}<- $c\n-> $T05watch:1;\n<- $vCont;c\n", "running"),
    ],
)
def test_stop_reason(record: str, reason: str) -> None:
    assert stop_reason(record) == reason


GDB = """\
Thread 2 hit Breakpoint 1, 0xffff800008a1b2c4 in panic ()
#0  panic (fmt=fmt@entry=0xffff8000091 "oops") at kernel/panic.c:280
#1  0xffff800008a1b2c4 in die (str=0x1, err=2) at arch/arm64/kernel/traps.c:200
#2  <signal handler called>
#3  0x0000000000000000 in ?? ()
Backtrace stopped: previous frame identical to this frame (corrupt stack?)
"""
DEEP = "".join(f"#{number}  0x1 in f{number} ()\n" for number in range(20))
LLDB = """\
* thread #1, stop reason = breakpoint 1.1
  * frame #0: 0xffff800008a1b2c4 vmlinux`panic(fmt="oops") at panic.c:280:2
    frame #1: 0xffff800008a1b2c0 vmlinux`die + 24
    frame #2: 0xffff800008a1b2c8
"""


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("", ""),
        ("nothing of a debugger", ""),
        (GDB.replace("#2  <signal handler called>\n#3", "#2"), "panic < die < ??"),
        (LLDB, "panic < die"),
        (f"{LLDB}{LLDB.replace('panic', 'oops')}", "oops < die"),
        ("Thread 2 hit Breakpoint 1, 0xffff800008a1b2c4 in panic ()\n", "panic"),
        ("Breakpoint 1, first () at race.c:69\n", "first"),
        ("Thread 1 received signal SIGABRT, Aborted.\n0xffff800008a1 in die ()\n", "die"),
        (DEEP, "f0 < f1 < f2 < f3 < f4 < f5 < f6 < f7"),
    ],
)  # fmt: skip
def test_backtrace(output: str, found: str) -> None:
    assert backtrace(output) == found


def test_tail(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789\xff")
    assert tail(tmp_path / "file", 4) == "789�"
    assert tail(tmp_path / "file") == "0123456789�"
    assert tail(tmp_path / "absent") == ""


@pytest.mark.parametrize(
    ("outcome", "signature"),
    [
        (RunOutcome(1, Status.PASSED, 0), ""),
        (RunOutcome(1, Status.ERROR, message="its worker was lost"), "error"),
        (RunOutcome(1, Status.FAILED, 3), "status 3"),
        (RunOutcome(1, Status.FAILED, 3, "watch", "f < g"), "status 3 · watch · f < g"),
        (RunOutcome(1, Status.TIMEOUT, None, "running"), "timeout · running"),
    ],
)
def test_signature(outcome: RunOutcome, signature: str) -> None:
    assert outcome.signature == signature


@pytest.mark.parametrize("form", ["#{}  0x0 in x ()", "    frame #{}: 0x0 vmlinux`x + 4"])
def test_a_frame_of_more_digits_than_python_reads_is_none(form: str) -> None:
    lines = [form.format(number) for number in ("0", "9" * 5000, "1")]
    assert backtrace("\n".join(lines)) == "x < x"
