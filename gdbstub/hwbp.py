"""Hardware breakpoints and watchpoints: from what a client asks for to comparator values.

It arms nothing: ``registers`` says what the machine should hold. Source: Arm ARM D2.8
"Breakpoint exceptions" and D2.9 "Watchpoint exceptions".
"""

from gdbstub.aarch64.comparators import breakpoint_at, canonical
from gdbstub.errors import NoSlot
from gdbstub.machine import DebugRegisters
from gdbstub.target import BreakpointKind
from gdbstub.watchpoints import LSC, Elsewhere, Plan, Watchpoint, allot, hit


class HardwareBreakpoints:
    """The comparators of all vCPUs as one pool: what one has, all have."""

    def __init__(self, breakpoint_slots: int, watchpoint_slots: int) -> None:
        self._breakpoint_slots = breakpoint_slots
        self._watchpoint_slots = watchpoint_slots
        self._breakpoints: dict[
            int, set[BreakpointKind]
        ] = {}  # by canonical address: who asked for it
        self._watchpoints: Plan = {}
        self._made: DebugRegisters | None = None  # what ``registers`` said, until a change

    def insert(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Plan one more; twice is once.

        Raises:
            NoSlot: they do not suffice; nothing has changed.
        """
        if kind in LSC:
            self._insert_watchpoint(Watchpoint(kind, gva, length))
        else:
            self._insert_breakpoint(kind, gva)

    def _insert_breakpoint(self, kind: BreakpointKind, gva: int) -> None:
        """One comparator serves both kinds: Z0 gets one where nothing is mapped yet."""
        key = canonical(gva) & -4
        if key not in self._breakpoints and len(self._breakpoints) >= self._breakpoint_slots:
            raise NoSlot(
                f"all {self._breakpoint_slots} hardware breakpoints are in use; delete one first"
            )
        self._breakpoints.setdefault(key, set()).add(kind)
        self._made = None

    def _insert_watchpoint(self, watchpoint: Watchpoint) -> None:
        if watchpoint in self._watchpoints:
            return
        plan = allot((*self._watchpoints, watchpoint), self._watchpoint_slots)
        if plan is None:
            raise NoSlot(
                f"watching {watchpoint.length} bytes at {watchpoint.gva:#x} takes more than is "
                f"free of {self._watchpoint_slots} hardware watchpoints; delete one first"
            )
        self._watchpoints, self._made = plan, None

    def remove(self, kind: BreakpointKind, gva: int, length: int) -> None:
        """Take back what the same arguments inserted; absent is no error."""
        self._made = None
        if kind in LSC:
            gone = Watchpoint(kind, gva, length)
            rest = tuple(w for w in self._watchpoints if w != gone)
            self._watchpoints = allot(rest, self._watchpoint_slots) or {}
            return
        key = canonical(gva) & -4
        kinds = self._breakpoints.get(key, set())
        kinds.discard(kind)
        if not kinds:
            self._breakpoints.pop(key, None)

    def clear(self) -> None:
        """Take everything back."""
        self._breakpoints.clear()
        self._watchpoints = {}
        self._made = None

    def registers(self, *, enabled: bool) -> DebugRegisters:
        """What every vCPU's comparators should hold; the same object while nothing changes."""
        if self._made is None or self._made.enabled != enabled:
            watchpoints = tuple(
                slot.registers(watchpoint.kind)
                for watchpoint, slots in self._watchpoints.items()
                for slot in slots
            )
            breakpoints = tuple(breakpoint_at(gva) for gva in self._breakpoints)
            self._made = DebugRegisters(breakpoints, watchpoints, enabled)
        return self._made

    def kinds_at(self, pc: int) -> tuple[BreakpointKind, ...]:
        """What a client asked for at *pc*, where a breakpoint exception is ours.

        SOFTWARE first: a client drops a hardware stop where it knows of none.
        """
        return tuple(sorted(self._breakpoints.get(canonical(pc), ())))

    def hit(self, far: int, accessed: range | None, *, write: bool) -> Watchpoint | Elsewhere:
        """The watchpoint that an exception belongs to: see ``watchpoints.hit``."""
        return hit(self._watchpoints, far, accessed, write=write)
