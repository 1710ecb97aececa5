"""Targets for a hostile guest: its tables, registers, code and exits under the whole debugger."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from gdbstub.aarch64 import exclusives
from gdbstub.aarch64 import instructions as code
from gdbstub.aarch64.accesses import accessed
from gdbstub.aarch64.mmu import PA_BITS, Regime, pieces, translate, walk
from gdbstub.aarch64.permissions import permissions
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import ESR, PSTATE, SCTLR, TCR
from gdbstub.aarch64.walk import render
from gdbstub.capabilities import Command, Timing
from gdbstub.debug.debugger import Debugger
from gdbstub.debug.placement import Preference
from gdbstub.errors import MemoryFault, StubError
from gdbstub.linux.kaslr import GuestProgram, LinkedKernel
from gdbstub.machine import DebugExit, Exit, RunFailure, SystemEvent, SystemEventKind
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from gdbstub.target import Action, BreakpointKind, Exited, Resume
from tests.fuzz.scripted_guest import act
from tests.fuzz.source import Source
from tests.fuzz.still_machine import BANNER, BANNER_AT, BASE, SIZE, TABLES, TEXT, StillMachine
from tests.fuzz.target import fuzz_target, no_logged_failure, only
from tests.fuzz.wire import Script, check_replies, packets, standing_clocks

_TOP: Final = 1 << 64
KERNEL: Final = LinkedKernel(
    start=TEXT,
    vectors=(TEXT + 0x800,),
    banner_at=BANNER_AT,
    banner=BANNER,
    start_kernel=BASE + 0x1000,
)


@fuzz_target("page-tables", 512)
def page_tables(data: bytes) -> None:
    """No fault but MemoryFault; bounded reads; walk, translate and pieces agree on each byte."""
    source = Source(data)
    regime = Regime(
        SCTLR(source.number(4)),
        TCR(source.number(8)),
        source.number(8),
        source.number(8),
        source.choice(PA_BITS),
    )
    gva, length = source.number(8), 1 + source.number(4)
    base, ram = source.number(6), source.rest()
    reads: list[int] = []

    def read(ipa: int, size: int) -> bytes:
        reads.append(size)
        assert 0 <= ipa < 1 << 56
        # The tables repeat, and lie where the registers lead to.
        at = ipa - base
        if not ram or at < 0 or at >= 1 << 40:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        at %= len(ram)
        return (ram[at:] + ram * (1 + size // len(ram)))[:size]

    found = walk(regime, gva, read)
    assert sum(reads) <= 6 * 8, reads
    assert bool(found.fault) != bool(found.mapping)
    assert "\n" not in found.fault
    render(found)
    permissions(found)
    place = None
    with suppress(MemoryFault):
        place = translate(regime, gva, read)
    assert place == found.mapping
    if place is None:
        return
    assert place.size > 0
    at, taken = gva, 0
    with suppress(MemoryFault):
        for piece in pieces(regime, gva, length, read):
            assert piece.size > 0
            for inside in (0, min(piece.size, gva + length - at) - 1):
                assert translate(regime, at + inside, read).ipa == piece.ipa + inside
            at += piece.size
            taken += 1
            if taken == 8:
                break


#: Questions about a single instruction.
_QUESTIONS: Final[tuple[Callable[[int], object], ...]] = (
    *(code.daif_access, code.takes_exception, code.returns_from_exception, code.calls_hypervisor),
    *(code.waits, code.waits_until, code.plain, code.keeps_code, code.is_repeatable),
    *(exclusives.only_computes, exclusives.only_loads),
)


@fuzz_target("instructions", 256)
def instructions(data: bytes) -> None:
    """Any words are decoded without an exception; what is found is within its bounds."""
    source = Source(data)
    pc, pstate = source.number(8) & -4, PSTATE(source.number(4))
    values = [source.number(8) for _ in range(4)]
    words = source.rest()

    def x(number: int) -> int:
        assert 0 <= number <= 31
        return values[number % 4]

    def word_at(at: int) -> int:
        assert at % 4 == 0
        place = (at - pc) % _TOP % max(len(words) & -4, 4)
        return int.from_bytes(words[place : place + 4], "little")

    word = word_at(pc)
    found = accessed(word, pc, x)
    assert found is None or len(found) <= 256
    done = effect(word, pc, pstate, x)
    assert done is None or (0 <= done.pc < _TOP and 0 <= done.value < _TOP)
    for ask in _QUESTIONS:
        ask(word)
    code.wait_is_nop(word, pstate)
    code.does_nothing(word, pstate)
    code.leads_to(word, pc, values[0], x)
    end = code.step_end(word, pc)
    assert end is None or end % 4 == 0
    if (sequence := code.exclusive_sequence(pc, word_at)) is not None:
        exclusives.way_back(sequence, word_at)
        exclusives.entered_within(sequence, word_at)
        exclusives.goes_round(sequence, word_at)
    store = code.plain_store([word_at(at) for at in range(pc, pc + len(words) & -4, 4)] or [0])
    assert store is None or not code.stores_exclusive(store)
    within = range(pc, min(pc + 4 * len(words), _TOP - 4))
    run = code.region(pc, within, word_at, 5)
    assert run.inside <= {*within}
    assert len(run.exits) <= 6


def _commands() -> Iterator[bytes]:
    """Yield the names of commands and of registers."""
    from gdbstub.monitor import commands

    yield from (f"\n{row.name} ".encode() for row in commands.COMMANDS.rows)
    yield from (f" {row.name}".encode() for row in StillMachine().system_registers)


@fuzz_target("monitor", 512, _commands)
def monitor(data: bytes) -> None:
    """Any line gives text or an error of one kind; none but ``reset`` changes the guest's RAM.

    A line that begins with ``!`` has vCPUs run, and do a thing for each byte.
    """
    machine = StillMachine()
    debugger = monitored_debugger(machine, GuestProgram("/boot/vmlinux", KERNEL))
    debugger.breakpoints.preference = Preference.SOFTWARE
    before = bytes(machine.ram)
    for number, kind in enumerate(BreakpointKind):
        debugger.insert(1, kind, TEXT + 4 * number, 4)
    for number, line in enumerate(data.split(b"\n")[:8]):
        if line[:1] == b"!":
            _run(debugger, machine, line[1:])
            continue
        text = line.decode("utf-8", "surrogateescape")
        with suppress(StubError):
            shown = debugger.monitor(Command(1 + number % 2, text, frozenset(), {}, Timing()))
            assert isinstance(shown, str)
            assert len(shown) <= 1 << 20
        if isinstance(debugger.report(), Exited):  # quit
            return
    debugger.release()
    assert machine.ram == before


def _run(debugger: Debugger, machine: StillMachine, acts: bytes) -> None:
    with suppress(StubError):
        debugger.resume(Resume({1: Action.CONTINUE, 2: Action.CONTINUE}))
    for what in acts:
        act(machine, what)
    if machine.modes:
        debugger.interrupt()
        machine.exit(SystemEvent(-1, SystemEventKind.CRASH))
    debugger.take_report()


_EXITS: Final = (SystemEventKind.SHUTDOWN, SystemEventKind.RESET, SystemEventKind.CRASH)


def _exit(line: bytes) -> Exit:
    source = Source(line[1:])
    vcpu = source.below(2)
    if line[:1] == b".":
        return DebugExit(vcpu, ESR(source.number(4)), source.number(8))
    kind = source.below(4)
    return RunFailure(vcpu, "no reason") if kind == 3 else SystemEvent(vcpu, _EXITS[kind])


def stop(machine: StillMachine, line: bytes) -> None:
    if line[:1] == b"!":
        for what in line[1:]:
            act(machine, what)
    elif line[:1] == b"=":
        source = Source(line[1:])
        if (index := source.below(2)) in machine.modes:
            row = source.choice(machine.system_registers)
            machine.vcpus[index].values[row.id] = source.number(8)
    else:
        machine.exit(_exit(line))


#: Lines after which RAM may differ: packets that write, raw bytes that may have such, a new begin,
#: and commands of breakpoints that stay when their client has gone.
_WRITES: Final = re.compile(rb"\$[MX]|~.*[MX]|.*(reset|72657365|cmds:)", re.DOTALL)


def let_go(debugger: Debugger, machine: StillMachine) -> None:
    """Have the vCPUs park, and go on, for a session that has left a guest that runs."""
    for _ in range(4):
        if debugger.state.name != "ALONE":
            if machine.modes:  # else what was resumed has come to a stop without executing
                machine.exit(SystemEvent(-1, SystemEventKind.CRASH))
            debugger.take_report()


def _play(script: Script) -> None:
    machine = StillMachine()
    debugger = monitored_debugger(machine, GuestProgram("/boot/vmlinux", KERNEL))
    if script.lines[0][:1] != b"#":  # else comparators serve all breakpoints, while they last
        debugger.breakpoints.preference = Preference.SOFTWARE
    before = bytes(machine.ram)
    session = Session(debugger)
    sent = script.play(session, partial(stop, machine), lambda wire: [wire])
    assert session.over
    check_replies(sent)
    let_go(debugger, machine)
    if not any(_WRITES.match(line) for line in script.lines):
        assert machine.ram == before, "the guest's memory is not as it was"


@fuzz_target("stub", 1024, packets)
def stub(data: bytes) -> None:
    """The whole stub, any packets and exits: no exception, and no BRK is left behind."""
    script = Script(data)
    with standing_clocks(), no_logged_failure():
        _play(script)


_FIELDS: Final = (SCTLR, TCR)


@fuzz_target("guest-memory", 512)
def guest_memory(data: bytes) -> None:
    """Reads, breakpoints and the locator with any tables; unless written, RAM is as it was."""
    source = Source(data)
    machine = StillMachine()
    debugger = monitored_debugger(machine, GuestProgram("/boot/vmlinux", KERNEL))
    rows = machine.system_registers
    for _ in range(source.below(6)):
        vcpu = machine.vcpus[source.below(2)]
        vcpu.values[source.choice(rows).id] = source.number(8)
    for _ in range(source.below(16)):
        at = source.number(2) % (SIZE - 8)
        machine.ram[at : at + 8] = source.number(8).to_bytes(8, "little")
    if len(data) % 2:
        debugger.breakpoints.preference = Preference.SOFTWARE
    before, written = bytes(machine.ram), False
    while source:
        written |= _touch(debugger, machine, source)
    debugger.release()
    assert written or machine.ram == before


def _touch(debugger: Debugger, machine: StillMachine, source: Source) -> bool:
    """Do something; return True if it may write to RAM."""
    kind, thread = source.below(8), 1 + source.below(2)
    gva = source.choice((TEXT, TABLES, BASE, 0x40_0000, 0)) + source.number(2)
    length = 1 + source.number(2) % 0x2400
    with only(StubError):
        if kind == 0:
            assert 0 < len(debugger.read_memory(thread, gva, length)) <= length
        elif kind == 1:
            debugger.write_memory(thread, gva, source.take(16) or b"\0")
        elif kind == 2:
            place = debugger.relocation()
            assert place is None or 0 <= place.start < _TOP
        elif kind == 3:
            render(debugger.memory.walk(thread - 1, gva))
        elif kind == 4:
            _run(debugger, machine, source.take(source.below(16)))
        elif kind == 5:
            debugger.remove(thread, source.choice(tuple(BreakpointKind)), gva, 1 << length % 4)
        else:
            debugger.insert(thread, source.choice(tuple(BreakpointKind)), gva, 1 << length % 4)
    return kind == 1
