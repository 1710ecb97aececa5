"""Random debugging of a Linux guest that computes; what it has computed is checked at the end.

The client sets breakpoints in functions that are always busy, steps, steps ranges, interrupts,
detaches and breaks off its connection, as a seed says.
"""

import hashlib
import re
from collections import Counter
from pathlib import Path
from random import Random
from time import monotonic
from typing import Final, NamedTuple

from gdbstub.lab import demo
from tests.bounds import HANGS
from tests.kvm import user_space
from tests.kvm.client import Client
from tests.kvm.conftest import Built
from tests.kvm.stub import Stub

#: Functions of the kernel that are called all the time, and each process's.
_BUSY: Final = (
    "handle_mm_fault", "do_sys_openat2", "vfs_read", "vfs_write", "do_exit", "kernel_clone",
    "do_mmap", "pick_next_task_fair", "wake_up_process", "__arm64_sys_execve", "schedule",
)  # fmt: skip
_NEVER: Final = ";X3,220027"  # the condition 0
_LONGEST: Final = 12  # steps in a row


class Result(NamedTuple):
    """Numbers of what was done, by kind, and the text that the guest has printed."""

    done: Counter[str]
    digests: dict[str, str]


def expected(name: str, count: int) -> str:
    """Compute the digest at the end of a chain, as ``guests/linux/compute.sh`` does."""
    digest = name
    for number in range(1, count + 1):
        digest = hashlib.sha256(f"{digest} {number}\n".encode()).hexdigest()
    return digest


class _Debugging:
    def __init__(self, stub: Stub, kernel: Built, random: Random) -> None:
        self.stub = stub
        self.random = random
        symbols = kernel.symbols
        self.places = [symbols[name] for name in _BUSY if name in symbols]
        assert len(self.places) > 5
        self.done: Counter[str] = Counter()
        self.client = Client(stub)
        self.requested: dict[tuple[int, int], str] = {}
        self.ended = False

    def turn(self) -> None:
        """Do one thing, with breakpoints that were set for it."""
        for _ in range(self.random.randrange(4)):
            self._insert()
        kind = self.random.choices(
            (
                self._continue,
                self._interrupt,
                self._step,
                self._range,
                self._detach,
                self._break_off,
            ),
            (8, 3, 4, 3, 1, 1),
        )[0]
        kind()
        if self.random.random() < 0.7 and not self.ended:
            self._remove()

    def _insert(self) -> None:
        kind = self.random.choice((0, 0, 0, 1))
        if kind and sum(each for each, _ in self.requested) == 2:
            return
        gva = self.random.choice(self.places)
        clauses = self.random.choice(("", "", _NEVER))
        assert self.client.ask(f"Z{kind},{gva:x},4{clauses}") == "OK"
        self.requested[kind, gva] = clauses
        self.done["breakpoints"] += 1

    def _remove(self) -> None:
        for kind, gva in self.requested:
            assert self.client.ask(f"z{kind},{gva:x},4") == "OK"
        self.requested.clear()

    def _resume(self, packet: str, interrupt: bool = False) -> None:
        self.client.send(packet)
        if interrupt:
            self.client.interrupt()
        reply = self.client.reply()
        self.ended = reply.startswith("W")
        assert self.ended or reply.startswith("T"), reply

    def _continue(self) -> None:
        stops = any(not clauses for clauses in self.requested.values())
        self._resume("vCont;c", interrupt=not stops)
        self.done["continues"] += 1

    def _interrupt(self) -> None:
        self._resume("vCont;c", interrupt=True)
        self.done["interrupts"] += 1

    def _step(self) -> None:
        thread = self.random.choice((1, 2))
        others = self.random.choice(("", ";c"))
        for _ in range(self.random.randrange(1, _LONGEST)):
            if not self.ended:
                self._resume(f"vCont;s:{thread}{others}", interrupt=bool(others))
                self.done["steps"] += 1

    def _range(self) -> None:
        pc = self.client.register(32)
        self._resume(f"vCont;r{pc:x},{pc + 64:x}:1;c", interrupt=True)
        self.done["ranges"] += 1

    def _detach(self) -> None:
        assert self.client.ask("D") == "OK"
        self._again()
        self.done["detaches"] += 1

    def _break_off(self) -> None:
        if self.random.random() < 0.5:
            self.client.send("vCont;c")
        self._again()
        self.done["connections broken off"] += 1

    def _again(self) -> None:
        """Connect again, which the stub may refuse until it knows that the last client is gone."""
        self.client.__exit__()
        self.requested.clear()
        until = monotonic() + HANGS
        while True:
            try:
                self.client = Client(self.stub)
                break
            except (AssertionError, OSError):
                if self.stub.process.poll() is not None:
                    self.ended = True  # the guest has powered off while nobody was connected
                    return
                assert monotonic() < until, "the stub serves nobody, and does not end"
                self.done["connections refused"] += 1
        reply = self.client.ask("?")
        self.ended = reply.startswith("W")  # it has powered off right now
        assert self.ended or reply[:1] in ("T", "S"), reply


def debug(initrd: Path, kernel: Built, seed: int, turns: int, count: int) -> Result:
    """Debug a guest for *turns*, let it end, and compare its digests after *count* rounds.

    Raises:
        AssertionError: a digest is wrong, or the stub has not answered as it should.
    """
    append = f"{demo.COMMAND_LINE} rdinit=/compute compute={count}"
    image = user_space.arguments(initrd, "compute")[0]
    arguments = [image, "--initrd", initrd, "--append", append, "--smp", "2"]
    with Stub(*arguments) as stub:
        debugging = _Debugging(stub, kernel, Random(seed))
        client = debugging.client
        # Until the kernel has its tables, and a first process.
        place = kernel["__arm64_sys_execve"]
        assert client.ask(f"Z1,{place:x},4") == "OK"
        assert client.ask("vCont;c").startswith("T")
        assert client.ask(f"z1,{place:x},4") == "OK"
        for _ in range(turns):
            if not debugging.ended:
                debugging.turn()
        if not debugging.ended:
            debugging._remove()
            assert debugging.client.ask("vCont;c").startswith("W")
        debugging.client.__exit__()
        assert stub.wait() == 0
        said = stub.console.rest()
    digests = dict(re.findall(r"digest (\w+): ([0-9a-f]{64})", user_space.printed(said)))
    right = {name: expected(name, count) for name in ("one", "two")}
    assert digests == right, f"seed {seed}: {digests} instead of {right}\n{said}"
    return Result(debugging.done, digests)
