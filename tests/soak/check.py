"""One case in every way: undebugged, continued, stepped and mixed; all must end alike."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gdbstub.aarch64.registers import SYSTEM_REGISTERS
from gdbstub.machine import Machine
from tests.contract.backends import Backend
from tests.soak.case import PRINTED, Case, Request
from tests.soak.drive import Driver, Finding, TooOften, Trace, run_undebugged
from tests.soak.known import KNOWN, without
from tests.soak.state import State, load

#: Seconds in which a stop must come; a case takes far less.
_BOUND: Final = {"fake": 10.0}
_BOUND_ON_KVM: Final = 20.0


#: Runs on KVM until no stop is told too often: an interrupt of the host between load-exclusive and
#: store makes the store fail, as without a debugger (2 of 300 in the lab), and its loop goes round
#: once more. A stop that is lost is a finding at once.
_TRIES: Final = 3


def fitting(case: Case, backend: Backend) -> Case:
    """The case less what is known to fail, and what the CPU does not have."""
    kinds = [*KNOWN]
    with _machine(backend, case) as machine:
        if not _has_lse(machine):
            kinds.append("atomics")
    return without(case, kinds)


def _has_lse(machine: Machine) -> bool:
    """Return True if the vCPUs have FEAT_LSE: ID_AA64ISAR0_EL1.Atomic."""
    isar0 = machine.vcpus[0].get(SYSTEM_REGISTERS["ID_AA64ISAR0_EL1"])
    return isar0 >> 20 & 15 >= 2


@contextmanager
def _machine(backend: Backend, case: Case) -> Iterator[Machine]:
    machine = load(backend, case.program)
    try:
        yield machine
    finally:
        machine.close()


def check(case: Case, backend: Backend) -> None:
    """Run the case in every way.

    Raises:
        Finding: the debugger did something wrong.
    """
    with _machine(backend, case) as machine:
        run_undebugged(machine)
        right = State.of(machine)
    trace = Trace()
    for way, go in _WAYS:
        for tries_left in reversed(range(1 if backend.name == "fake" else _TRIES)):
            with _machine(backend, case) as machine:
                bound = _BOUND.get(backend.name, _BOUND_ON_KVM)
                driver = Driver(case, machine, bound, exact=backend.name == "fake")
                try:
                    driver.to_the_bodies()
                    go(driver, trace)
                    driver.target.release()
                    end = State.of(machine)
                    if wrong := end.own_brks() + end.differences(right):
                        raise Finding("; ".join(wrong[:6]))
                    if way == "steps" or _told_right(driver, case, trace, tries_left):
                        break
                except Finding as finding:
                    raise Finding(f"{way}: {finding}") from None


def _told_right(driver: Driver, case: Case, trace: Trace, tries_left: int) -> bool:
    """Return True if the stops are right, False if the run is worth another try.

    Raises:
        Finding: one was lost; or one was told too often, and it was the last try.
    """
    try:
        check_hits(driver, case, trace)
    except TooOften:
        if not tries_left:
            raise
        return False
    return True


_WAYS: Final[tuple[tuple[str, Callable[[Driver, Trace], None]], ...]] = (
    ("steps", Driver.step),
    ("continue", lambda driver, _: driver.continue_()),
    ("mix", lambda driver, _: driver.mix()),
)


def check_hits(driver: Driver, case: Case, trace: Trace) -> None:
    """Compare the stops that were told with what was executed.

    Raises:
        Finding: one was lost, or told too often.
    """
    addresses = case.program.addresses
    least = most = 0  # lines printed
    by_place: dict[int, list[Request]] = {}
    for request in case.requests:
        if request.place:
            by_place.setdefault(addresses[request.place], []).append(request)
    for gva, requests in by_place.items():
        count = trace.places[gva]
        text = case.program.lines[gva].line.text
        lines = count * sum(r.prints for r in requests)
        most += lines
        # Where another one stops at the same place, either may be asked first.
        least += 0 if any(r.stops for r in requests) else lines
        told = sum(driver.hits[r.kind, gva] for r in requests)
        right = count if any(r.stops for r in requests) else 0
        if told != right:
            kind = TooOften if told > right else Finding
            raise kind(f"{told} stops at {gva:#x} {text!r}, which was executed {right} times")
    printed = driver.printed.count(PRINTED)
    if driver.printed != PRINTED * printed or not least <= printed <= most:
        kind = TooOften if printed > most else Finding
        raise kind(f"{printed} lines printed instead of {least} to {most}")
    watches = [request for request in case.requests if not request.place]
    if driver.watched != (right := trace.hits(watches)):
        kind = TooOften if driver.watched > right else Finding
        raise kind(f"{driver.watched} watch stops instead of {right}")
