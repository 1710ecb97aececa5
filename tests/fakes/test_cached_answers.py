"""A debugger with caches and one without give the same answers, whatever a client and a guest do.

In each lap the guest rewrites an instruction and a translation table, and calls a page that is
mapped to one and the other of two places. Behind the lap is a loop in which nothing synchronises;
the second vCPU rewrites it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.aarch64.registers import (
    CPSR,
    GENERAL,
    PC,
    SCTLR_EL1,
    SYSTEM_REGISTERS,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.agent import Clauses
from gdbstub.debug.caches import Caches
from gdbstub.errors import StubError
from gdbstub.machine import Power
from gdbstub.target import Action, BreakpointKind, Range
from tests.contract.client import Client
from tests.contract.programs import BASE
from tests.contract.test_conditions import NEVER
from tests.fakes.assembler import assemble
from tests.fakes.machine import FakeMachine
from tests.tables import Tables

CODE: Final = 0xFFFF_8000_0001_0000
WINDOW: Final = 0xFFFF_8000_0002_0000
DATA: Final = 0xFFFF_8000_0003_0000
LEVEL_3: Final = 0xFFFF_8000_0004_0000
#: Physical addresses of these pages. The window is at one or the other.
CODE_IPA: Final = BASE + 0x1_0000
WINDOW_IPAS: Final = BASE + 0x2_0000, BASE + 0x3_0000
DATA_IPA: Final = BASE + 0x4_0000
TABLES_IPA: Final = BASE + 0x10_0000
EL1H: Final = 0x3C5

#: The store of the exclusive sequence, or a MOV in its place: a step must know which it is.
PATCHED: Final = 16
LAST: Final = 23
LOOP: Final = 24
LOOP_PATCHED: Final = LOOP + 2
LOOP_LAST: Final = LOOP + 4
LAP: Final = assemble("""
    add x0, x0, #1
    str w1, [x2]
    dc cvau, x2
    dsb ish
    ic ivau, x2
    dsb ish
    isb
    str x4, [x5]
    dsb ish
    tlbi vmalle1
    dsb ish
    isb
    ldr x6, [x7]
    blr x13
    ldxr w8, [x9]
    add w8, w8, #1
    stxr w10, w8, [x9]
    cbnz w10, . - 12
    subs x16, x15, #3
    subs x16, x16, #1
    b.gt . - 4
    eor w1, w1, w11
    eor x4, x4, x12
    b . - 92
    ldxr w8, [x9]
    add w8, w8, #1
    stxr w10, w8, [x9]
    cbnz w10, . - 12
    b . - 16
""")
#: Address of the vectors: a client may have sent a vCPU anywhere, so exceptions do come.
VECTORS: Final = CODE + 0x800
RECOVERS: Final = assemble("br x17")
CALLED: Final = (
    assemble("add x14, x14, #1 \n wfi \n ret"),
    assemble("ret \n nop \n ret"),
)
STORE, MOVE = (
    int.from_bytes(assemble(text), "little") for text in ("stxr w10, w8, [x9]", "mov w10, #0")
)


def load(machine: FakeMachine) -> None:
    """The guest: two vCPUs at the beginning of a lap, at EL1 with the MMU on."""
    tables = Tables(base=TABLES_IPA)
    for gva, ipa in (CODE, CODE_IPA), (WINDOW, WINDOW_IPAS[0]), (DATA, DATA_IPA):
        tables.map(gva, ipa)
    place = tables.place(WINDOW, 3)
    tables.map(LEVEL_3, place & -4096)
    for ipa, data in tables.content().items():
        machine.write_memory(ipa, data)
    machine.write_memory(CODE_IPA, LAP)
    machine.write_memory(CODE_IPA + 0x800 + 0x200, RECOVERS)
    for ipa, data in zip(WINDOW_IPAS, CALLED, strict=True):
        machine.write_memory(ipa, data)
    window = tables.words[place]
    for index, vcpu in enumerate(machine.vcpus):
        vcpu.power = Power.ON
        vcpu.set(SYSTEM_REGISTERS["MAIR_EL1"], 0xFF)
        vcpu.set(TCR_EL1, TCR.of(**tables.tcr()))
        vcpu.set(TTBR0_EL1, tables.ttbr)
        vcpu.set(TTBR1_EL1, tables.ttbr)
        vcpu.set(SCTLR_EL1, SCTLR(vcpu.get(SCTLR_EL1)).replace(M=1, C=1, I=1))
        vcpu.set(VBAR_EL1, VECTORS)
        vcpu.set(CPSR, EL1H)
        vcpu.set(PC, CODE)
        values = {
            **{1: MOVE, 2: CODE + 4 * (PATCHED, LOOP_PATCHED)[index], 11: STORE ^ MOVE},
            **{4: window, 5: LEVEL_3 + place % 4096, 12: WINDOW_IPAS[0] ^ WINDOW_IPAS[1]},
            **{7: WINDOW, 9: DATA + 64 * index, 13: WINDOW, 15: 9, 17: CODE, 30: CODE},
        }
        for number, value in values.items():
            vcpu.set(X[number], value)


Answer = object
Act = Callable[[Client], Answer]


def step(client: Client, thread: int, times: int) -> Answer:
    return [
        (client.resume({thread: Action.STEP}), state(client), text(client, thread, WINDOW, 8))
        for _ in range(times)
    ]


def advance(client: Client, thread: int, times: int) -> Answer:
    """Step by ranges of nothing: an instruction each, but an exclusive sequence is one, too."""
    return [
        (client.resume({thread: Range(0, 0)}), state(client), text(client, thread, WINDOW, 8))
        for _ in range(times)
    ]


def step_range(client: Client, thread: int, first: int, length: int) -> Answer:
    end = min(first + length, LOOP_LAST)  # all of the loop would be a range without an end
    return client.resume({thread: Range(CODE + 4 * first, CODE + 4 * end)})


def go(client: Client, *, actions: Iterable[int] = (1, 2)) -> Answer:
    """Run threads to a breakpoint that there is, or to the end of a lap, or of the loop."""
    ends = CODE + 4 * LAST, CODE + 4 * LOOP_LAST
    kind = BreakpointKind.HARDWARE
    answers = [insert(client, kind, end, never=False) for end in ends]
    try:
        if not any(answers):
            answers.append(client.resume(dict.fromkeys(actions, Action.CONTINUE)))
    finally:
        for end in ends:
            client.target.remove(1, kind, end, 4)
    return answers


def state(client: Client) -> Answer:
    return [client.target.read_registers(thread, GENERAL) for thread in client.threads]


def text(client: Client, thread: int, gva: int, length: int) -> Answer:
    try:
        return client.target.read_memory(thread, gva, length)
    except StubError as error:
        return str(error)


def insert(client: Client, kind: BreakpointKind, gva: int, never: bool) -> Answer:
    try:
        client.target.insert(1, kind, gva, 4)
    except StubError as error:
        return str(error)
    if kind is not BreakpointKind.WRITE:
        client.target.attach(kind, gva, NEVER if never else Clauses())
    return None


def reset(client: Client) -> Answer:
    client.target.reset()
    return None


def write_word(client: Client, gva: int, word: int) -> Answer:
    client.target.write_memory(1, gva, word.to_bytes(4, "little"))
    return None


def write_register(client: Client, thread: int, number: int, value: int) -> Answer:
    row = PC if number < 0 else X[number]
    client.target.write_register(thread, row, value.to_bytes(8, "little"))
    return None


threads = st.sampled_from((1, 2))
places = st.sampled_from(
    [*(CODE + 4 * n for n in range(LOOP_LAST) if n != LAST), WINDOW, WINDOW + 4]
)
kinds = st.sampled_from((BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE))
acts = st.one_of(
    st.builds(lambda t, n: lambda c: step(c, t, n), threads, st.integers(1, 30)),
    st.builds(
        lambda t, f, n: lambda c: step_range(c, t, f, n),
        threads,
        st.integers(0, LOOP_LAST),
        st.integers(0, LAST),
    ),
    st.just(go),
    st.just(state),
    st.builds(
        lambda t, g, n: lambda c: text(c, t, g, n),
        threads,
        st.sampled_from((CODE, WINDOW, WINDOW + 4, DATA, LEVEL_3, 0)),
        st.integers(1, 80),
    ),
    st.builds(lambda k, g, n: lambda c: insert(c, k, g, n), kinds, places, st.booleans()),
    st.builds(lambda g: lambda c: insert(c, BreakpointKind.WRITE, g, False), st.just(DATA)),
    st.builds(lambda k, g: lambda c: c.target.remove(1, k, g, 4), kinds, places),
    st.just(lambda c: c.target.remove(1, BreakpointKind.WRITE, DATA, 4)),
    st.builds(
        lambda g, w: lambda c: write_word(c, g, w),
        st.sampled_from((CODE + 4 * PATCHED, CODE + 4 * LOOP_PATCHED)),
        st.sampled_from((STORE, MOVE)),
    ),
    st.builds(lambda t, g: lambda c: write_register(c, t, -1, g), threads, places),
    st.builds(lambda t, n: lambda c: write_register(c, t, 15, n), threads, st.integers(4, 90)),
    st.just(reset),
)


@contextmanager
def clients() -> Iterator[tuple[Client, Client]]:
    """One with caches, one without, each with a guest of its own."""
    machines = FakeMachine(load, vcpus=2), FakeMachine(load, vcpus=2)
    try:
        yield Client(machines[0]), Client(machines[1], caches=Caches(enabled=False))
    finally:
        for machine in machines:
            machine.close()


def patch(word: int) -> Act:
    return lambda client: write_word(client, CODE + 4 * LOOP_PATCHED, word)


def steps(times: int, thread: int = 1) -> Act:
    return lambda client: step(client, thread, times)


def loops(client: Client) -> Answer:
    write_register(client, 1, -1, CODE + 4 * LOOP)
    return step(client, 1, 2)


def runs_another(client: Client) -> Answer:
    return go(client, actions=[2])


def breaks(client: Client) -> Answer:
    return insert(client, BreakpointKind.SOFTWARE, CODE + 4 * LOOP_PATCHED, never=False)


def breaks_no_more(client: Client) -> None:
    client.target.remove(1, BreakpointKind.SOFTWARE, CODE + 4 * LOOP_PATCHED, 4)


def reads(client: Client) -> Answer:
    return text(client, 1, WINDOW, 4)


def unmaps(client: Client) -> None:
    client.target.write_memory(1, LEVEL_3 + 8 * (WINDOW >> 12 & 0x1FF), bytes(8))


#: Instructions or mappings are cached, and then something makes them old.
OLD: Final[dict[str, list[Act]]] = {
    "vCPUs ran": [patch(MOVE), loops, steps(10), runs_another, steps(10), runs_another, steps(10)],
    "another vCPU was stepped": [patch(MOVE), loops, steps(10), *(steps(60, 2), steps(10)) * 4],
    "tables were changed": [lambda client: advance(client, 1, 80)],
    "code was written": [patch(MOVE), loops, steps(10), patch(STORE), steps(10)],
    "a breakpoint was removed": [breaks, loops, breaks_no_more, steps(10)],
    "tables were written": [reads, unmaps, reads],
}


@pytest.mark.parametrize("why", OLD)
def test_nothing_old_is_used_after(why: str) -> None:
    check(OLD[why])


@settings(max_examples=60, deadline=None)
@given(st.lists(acts, max_size=25))
def test_caches_change_no_answer(todo: list[Act]) -> None:
    check(todo)


def check(todo: list[Act]) -> None:
    with clients() as (cached, uncached):
        for act in todo:
            assert act(cached) == act(uncached)
            assert state(cached) == state(uncached)
            assert text(cached, 1, WINDOW, 8) == text(uncached, 1, WINDOW, 8)
        assert not any(counts.hits for counts in uncached.target.caches.counts.values())


def test_there_are_hits_where_there_are_caches() -> None:
    with clients() as (cached, uncached):
        for client in cached, uncached:
            step(client, 1, 100)
            text(client, 1, CODE, 8)
            text(client, 1, CODE + 8, 8)
            go(client)
            state(client)
            state(client)
        hits = {name for name, counts in cached.target.caches.counts.items() if counts.hits}
        assert {"instructions", "registers", "last mapping", "table walks"} <= hits
        assert not any(counts.hits for counts in uncached.target.caches.counts.values())


@pytest.mark.parametrize("thread", [1, 2])
def test_a_lap_changes_its_code_and_its_tables(thread: int) -> None:
    """The programs of the property test do change their code and their tables."""
    with clients() as (cached, _):
        windows = set()
        patched = set()
        for _ in range(4):
            advance(cached, thread, 40)
            windows.add(text(cached, thread, WINDOW, 4))
            patched.add(text(cached, thread, CODE + 4 * (PATCHED, LOOP_PATCHED)[thread - 1], 4))
        assert len(windows) == len(patched) == 2
        assert cached.x(thread, 14)
        assert int.from_bytes(cached.machine.read_memory(DATA_IPA + 64 * (thread - 1), 4), "little")
