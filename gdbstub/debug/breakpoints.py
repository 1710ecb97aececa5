"""Breakpoints and watchpoints of a client, whatever serves them.

Requests are records; ``arm`` makes them true before the vCPUs run. ``placement.py`` decides what
serves a software breakpoint at each resume, by where ``locations.py`` finds its address.
"""

import logging
from collections.abc import Iterable
from typing import Final

from gdbstub.aarch64.comparators import canonical
from gdbstub.aarch64.instructions import WordAt
from gdbstub.aarch64.registers import CPSR, MDSCR_EL1
from gdbstub.aarch64.sysreg import MDSCR, PSTATE
from gdbstub.agent import Clauses, ConditionTable
from gdbstub.debug.address_spaces import is_upper, space_of, unreachable
from gdbstub.debug.caches import Caches, Content
from gdbstub.debug.locations import BreakpointRequest, Location, Locator
from gdbstub.debug.memory import VirtualMemory
from gdbstub.debug.placement import (
    EMPTY,
    NOT_SERVED,
    Placement,
    Preference,
    Served,
    Service,
    needs_comparator,
    place,
)
from gdbstub.debug.requested import check_room, no_slot
from gdbstub.debug.return_vectors import ReturnVectors
from gdbstub.errors import MemoryFault, PacketError
from gdbstub.hwbp import HardwareBreakpoints, NoWatchpoint, Watchpoint
from gdbstub.machine import DebugRegisters, Machine, Power
from gdbstub.swbp import SoftwareBreakpoints
from gdbstub.target import BreakpointKind

_log = logging.getLogger(__name__)

_TOP: Final = 1 << 64
SOFTWARE, HARDWARE = BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE

#: A request that no resume has come for yet.
NOT_PLACED: Final = Served(Service.NONE, "from the next resume on")


class Breakpoints:
    """Software and hardware breakpoints of one machine, and memory with the former hidden."""

    def __init__(self, machine: Machine, caches: Caches) -> None:
        """Begin without requests."""
        self._machine = machine
        self._caches = caches
        self._software = SoftwareBreakpoints(machine)
        self._hardware = HardwareBreakpoints(machine.breakpoint_slots, machine.watchpoint_slots)
        #: Conditions and commands of breakpoints.
        self.conditions: ConditionTable[BreakpointKind] = ConditionTable()
        #: The comparators that the machine was armed with last.
        self.armed = DebugRegisters()
        self.memory = VirtualMemory(machine, self._software, caches)
        self.locator = Locator(machine, self.memory, caches)
        self._returns = ReturnVectors(machine, self.locator)
        self._requests: dict[int, BreakpointRequest] = {}  # software breakpoints, by address
        self._removed: set[int] = set()  # addresses of those taken back since the last resume
        self._locations: dict[int, list[Location]] = {}  # those that are known, by address
        self._placement = EMPTY
        # By canonical address: those that a comparator serves.
        self._compared: dict[int, BreakpointRequest] = {}
        self._preference = Preference.AUTO
        self._changed = True  # the requests, since they were placed
        self._warned: set[int] = set()

    # Requests.

    def insert(self, vcpu: int, kind: BreakpointKind, gva: int, length: int) -> None:
        """Ask for a breakpoint or watchpoint, as ``Target.insert``.

        Raises:
            MemoryFault: nothing can ever execute at *gva*.
            NoSlot: it takes a comparator, and none is free; or there are too many.
        """
        if kind is SOFTWARE:
            self._insert_software(vcpu, gva)
        else:
            stood = kind is HARDWARE and HARDWARE in self._hardware.kinds_at(gva)
            self._hardware.insert(kind, gva, length)
            self._changed = True
            if kind is HARDWARE and not stood and self._too_many():
                self._hardware.remove(kind, gva, length)
                raise no_slot(self._machine.breakpoint_slots)

    def _insert_software(self, vcpu: int, gva: int) -> None:
        if gva & 3:
            raise PacketError(f"{gva:#x} is no place for an instruction")
        gva %= _TOP
        if gva not in self._requests:
            check_room(self._requests)
        asked = self._requests.get(gva) or BreakpointRequest(gva, vcpu)
        request = asked.copy()  # one that is refused changes nothing
        why = unreachable(self.memory.regime(vcpu), gva)
        if why and not self.locator.permissions(request, vcpu).executes:
            raise MemoryFault(f"no breakpoint at {gva:#x}: {why}")
        self._refresh()
        returned_to = self._returns.find(request, vcpu)
        # A client that takes it back and asks again, all at one stop, means the same request.
        if not request.removed:
            self.locator.bind(request, vcpu)
            self._locations.pop(gva, None)
        if not request.removed or request.vector != returned_to:
            self._changed = True
        request.vector = returned_to
        self._admit(request)
        request.removed = False
        self._removed.discard(gva)
        for ipa in self.served(gva).ipas:
            self._software.insert(gva, ipa)  # the guest may have written over it meanwhile
        vars(asked).update(vars(request))
        self._requests[gva] = asked

    def _admit(self, request: BreakpointRequest) -> None:
        """Make sure that *request*, if a BRK cannot serve it, gets a comparator.

        Raises:
            NoSlot: none is free.
        """
        request.needs_comparator = needs_comparator(request, self._find(request))
        if request.needs_comparator and self._too_many(request):
            self._locations.pop(request.gva, None)
            raise no_slot(self._machine.breakpoint_slots)

    def _find(self, request: BreakpointRequest) -> list[Location]:
        """Return the locations of *request*, found once until something may have changed them."""
        if (found := self._locations.get(request.gva)) is None:
            found = self._locations[request.gva] = self.locator.find(request)
        return found

    def _too_many(self, *more: BreakpointRequest) -> bool:
        """Return True if more comparators are needed than there are.

        Requests that have none now, since others took all, do not count again.
        """
        standing = [
            each
            for each in self._requests.values()
            if not each.removed and not self.served(each.gva).why.endswith(NOT_SERVED)
        ]
        needed = {each.comparator for each in (*standing, *more) if each.needs_comparator}
        return len(self._hardware.addresses | needed) > self._machine.breakpoint_slots

    def attach(self, kind: BreakpointKind, gva: int, clauses: Clauses) -> None:
        """Give a breakpoint that was asked for these conditions and commands, and no others."""
        self.conditions.attach(kind, gva, clauses)

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Take back what the same arguments asked for."""
        self.conditions.remove(kind, gva)
        if kind is not SOFTWARE:
            self._hardware.remove(kind, gva, length)
            self._changed = True
        elif request := self._requests.get(gva % _TOP):
            request.removed = True
            self._removed.add(request.gva)

    @property
    def preference(self) -> Preference:
        """The choice for software breakpoints that both a BRK and a comparator could serve."""
        return self._preference

    @preference.setter
    def preference(self, preference: Preference) -> None:
        self._preference, self._changed = preference, True

    # The guest.

    def arm(self) -> None:
        """Make RAM and comparators hold what is asked for, nothing else; all vCPUs are parked."""
        self._changed |= bool(self._removed)
        while self._removed:
            del self._requests[gva := self._removed.pop()]
            self._locations.pop(gva, None)
        if self._requests:
            self._refresh()
        if self._changed:
            self._place()
        self._returns.resuming()
        if self._software.apply():
            self._caches.invalidate(Content.BREAKPOINTS)
        self._arm(
            self._hardware.registers(enabled=bool(self._software), more=self._placement.comparators)
        )

    def _refresh(self) -> None:
        """Forget the locations if something that they were found by has changed."""
        preferred = self._placement.preferred
        if preferred and self._preference is Preference.AUTO and self._guest_uses_comparators():
            self._changed = True
        if self._locations and not self.locator.is_current():
            self.locator.forget()
            self._locations.clear()
            self._changed = True

    def _place(self) -> None:
        """Decide anew what serves each software breakpoint."""
        requests = list(self._requests.values())
        locations = {request.gva: self._find(request) for request in requests}
        for request in requests:
            request.needs_comparator = needs_comparator(request, locations[request.gva])
        # While the guest uses comparators of its own, ours would take their place.
        preference = self._preference
        if preference is Preference.AUTO and requests and self._guest_uses_comparators():
            preference = Preference.SOFTWARE
        before = self._placement.served
        taken = self._hardware.addresses
        self._use(
            place(requests, locations, self._machine.breakpoint_slots, preference, taken), before
        )
        self._changed = False

    def _use(self, placement: Placement, before: dict[int, Served]) -> None:
        """Note what *placement* changes of *before*; ``apply`` changes RAM."""
        for gva in before.keys() - placement.served.keys():
            self._software.remove(gva)
        for gva, served in placement.served.items():
            if gva not in before or before[gva].ipas != served.ipas:
                self._software.remove(gva)
                for ipa in served.ipas:
                    self._software.insert(gva, ipa)
            self._warn(gva, served)
        self._placement = placement
        self._compared = {
            canonical(gva): self._requests[gva]
            for gva, served in placement.served.items()
            if served.service is Service.COMPARATOR
        }
        self._returns.use(placement.vectors, self._requests)

    def _warn(self, gva: int, served: Served) -> None:
        if served.service is not Service.NONE:
            self._warned.discard(gva)
        elif gva not in self._warned:
            self._warned.add(gva)
            _log.warning("the breakpoint at %#x does not stop now: %s", gva, served.why)

    def _guest_uses_comparators(self) -> bool:
        vcpus = [vcpu for vcpu in self._machine.vcpus if MDSCR(vcpu.get(MDSCR_EL1)).MDE]
        return any(vcpu.power is Power.ON for vcpu in vcpus)

    def _arm(self, debug: DebugRegisters) -> None:
        self._machine.arm(debug)
        self.armed = debug

    def remove_all(self) -> None:
        """Remove every BRK and comparator, and the requests; commands that persist keep theirs."""
        kept = self.conditions.keep_persistent()
        stay = {gva for kind, gva in kept if kind is SOFTWARE}
        self._requests = {gva: each for gva, each in self._requests.items() if gva in stay}
        self._removed &= stay
        self._hardware.clear()
        self._returns.forget()
        for kind, gva in kept:
            if kind is HARDWARE:
                self._hardware.insert(kind, gva, 4)
        self.withdraw()

    def withdraw(self) -> None:
        """Remove every BRK and comparator of ours until the next resume; requests stay."""
        self._arm(DebugRegisters())  # first: RAM may fail
        self._changed = True
        self._locations.clear()
        self._use(EMPTY, self._placement.served)
        self._software.withdraw()
        self._caches.invalidate(Content.BREAKPOINTS)

    def forget(self) -> None:
        """Note that RAM is new, and nothing of ours in it; a request is only an address now."""
        self._software.forget()
        self._returns.forget()
        self.memory.forget_kernels()
        self.locator.reset()
        self._locations.clear()
        for request in self._requests.values():
            request.forget()
        self._changed = True

    def served(self, gva: int) -> Served:
        """Say what serves the software breakpoint at *gva* since the last resume."""
        return self._placement.served.get(gva % _TOP, NOT_PLACED)

    def places(self, gva: int) -> frozenset[int]:
        """Return the physical addresses of the BRKs that serve *gva*."""
        request = self._requests.get(gva % _TOP)
        return self.served(gva).ipas if request and not request.removed else frozenset()

    def patched(self, ipa: int) -> bool:
        """Return True if a BRK of ours is in RAM at *ipa*."""
        return self._software.owns(ipa)

    def comparator_at(self, pc: int) -> bool:
        """Return True if a breakpoint comparator of ours is armed at *pc*, or at *pc* - 2 (T32)."""
        at = canonical(pc) & -4
        return bool(self._hardware.kinds_at(at)) or at in self._compared or at in self._returns

    def kinds_at(self, vcpu: int, pc: int) -> tuple[BreakpointKind, ...]:
        """Return the kinds of breakpoint that a vCPU at *pc* is at, whatever serves them.

        SOFTWARE comes first: a client drops a hardware stop where it knows of none.
        """
        kinds = set(self._hardware.kinds_at(pc))
        if self._is_one_of(self.places(pc), vcpu, pc) or self._is_at(vcpu, pc):
            kinds.add(SOFTWARE)
        return tuple(sorted(kinds))

    def _is_one_of(self, ipas: frozenset[int], vcpu: int, pc: int) -> bool:
        """Return True if *pc* of a vCPU leads to one of the physical addresses *ipas*."""
        try:
            return bool(ipas) and self.memory.live.translate(vcpu, pc).ipa in ipas
        except MemoryFault:
            return False

    def _is_at(self, vcpu: int, pc: int) -> bool:
        """Return True if a comparator at *pc* serves a request of the space that a vCPU is in.

        A request of one process or kernel is met in another that has the same page there.
        """
        request = self._compared.get(canonical(pc))
        if request is None or request.removed:
            return False
        spaces, found = self.locator.spaces(request), self._locations.get(request.gva)
        if not spaces or (is_upper(pc) and not found):  # mapped nowhere yet
            return True
        if space_of(self.memory.live.regime(vcpu), pc) in spaces:
            return True
        return self._is_one_of(request.ipas, vcpu, pc)

    def hit_is_certain(self, pc: int, ipa: int | None) -> bool:
        """Return True if any hit at *pc*, with *ipa* there (None: any), is of one request."""
        request = self._compared.get(canonical(pc))
        if request and not is_upper(pc) and self.locator.spaces(request):
            return ipa in request.ipas and pc not in self._returns
        return pc not in self._returns

    def undo_return_abort(self, vcpu: int, pc: int) -> bool:
        """Undo the abort that a return to a breakpoint has taken: see ``ReturnVectors.undo``."""
        return self._returns.undo(vcpu, pc)

    def comparator_kinds_at(self, gva: int) -> tuple[BreakpointKind, ...]:
        """Return the kinds of breakpoint at *gva* that a comparator serves."""
        kinds = set(self._hardware.kinds_at(gva))
        if (request := self._compared.get(canonical(gva))) and not request.removed:
            kinds.add(SOFTWARE)
        return tuple(sorted(kinds))

    def requests(self) -> Iterable[BreakpointRequest]:
        """Return the software breakpoints that are asked for."""
        return [request for request in self._requests.values() if not request.removed]

    def hit(self, far: int, accessed: range | None, *, write: bool) -> Watchpoint | NoWatchpoint:
        """Find the watchpoint that an exception belongs to: see ``hwbp.find_hit``."""
        return self._hardware.hit(far, accessed, write=write)

    def also_hit(self, hit: Watchpoint, at: range | None, *, write: bool) -> Iterable[Watchpoint]:
        """Return the other watchpoints that an access to *at* hits (``hwbp.also_hit``)."""
        return self._hardware.also_hit(hit, at, write=write)

    def excess(self, accessed: range) -> frozenset[tuple[int, int]]:
        """Return the comparators that an access triggers without a hit (``hwbp.excess_slots``)."""
        return self._hardware.excess(accessed)

    def original_word(self, ipa: int) -> int:
        """Return the instruction that our BRK at *ipa* replaces."""
        return int.from_bytes(self._software.original_word(ipa), "little")

    def remove_temporarily(self, ipa: int) -> None:
        """Write the original word over our BRK at *ipa*; no other vCPU may execute meanwhile."""
        self._software.remove_temporarily(ipa)

    def reinsert(self, ipa: int) -> None:
        """Put back the BRK at *ipa* that ``remove_temporarily`` removed."""
        self._software.reinsert(ipa)

    def words(self, index: int) -> WordAt:
        """Return a function from an address to the A64 instruction there, by vCPU *index* now.

        Our BRKs are hidden. It returns 0 where there is no memory, and in AArch32 state. The
        thread that owns the vCPU calls it.
        """
        vcpu, memory = self._machine.vcpus[index], self.memory.live

        def word_at(gva: int) -> int:
            try:
                if PSTATE(vcpu.get(CPSR)).nRW:
                    return 0
                return int.from_bytes(memory.read(index, gva, 4), "little")
            except MemoryFault:
                return 0

        return word_at
