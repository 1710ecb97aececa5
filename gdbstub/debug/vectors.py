"""Exception vectors that are not there: comparators for them, and the stop where one is hit.

A fault whose vector cannot be fetched is followed by the fault of that fetch, at the same vector,
for ever, and each overwrites what the first one has saved. Bare metal has no vectors at first,
and VBAR_EL1 is 0; a kernel that boots has none for its first instructions.

A comparator that is set on such a vector stops the vCPU there. A CPU need not compare before it
fetches (Arm ARM D1.3.5.5 puts the Instruction Abort first): what comes round is then found by the
time that it takes, by its last fault. A single step that may be an exception has VBAR_EL1 set to
where there is code, for as long as it takes.
"""

from collections.abc import Callable
from typing import Final

from gdbstub.aarch64.exceptions import CLASSES, CLASSES_WITH_FAR, vector
from gdbstub.aarch64.permissions import permissions
from gdbstub.aarch64.registers import (
    CPSR,
    ELR_EL1,
    ESR_EL1,
    FAR_EL1,
    PC,
    SCTLR_EL1,
    SP_EL1,
    SPSR_EL1,
    TCR_EL1,
    TTBR0_EL1,
    TTBR1_EL1,
    VBAR_EL1,
    X,
)
from gdbstub.aarch64.sysreg import ESR, PSTATE, SCTLR
from gdbstub.debug.address_spaces import TABLE, is_upper
from gdbstub.debug.breakpoints import Breakpoints
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.ram_comparison import unchanged
from gdbstub.debug.stepping import is_entered
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine
from gdbstub.target import Stopped

_WORD: Final = 4
_TABLE: Final = 0x800  # size and alignment of all vectors
_SIZE: Final = 0x80  # of one
_DESCRIPTOR: Final = 8  # its size
_ADDRESSES: Final = 16
_EL1H: Final = 0x200
#: Offsets of the synchronous vectors for EL1h and for 64-bit EL0.
_SYNCHRONOUS: Final = (_EL1H, 0x400)
_IRQ, _SERROR = 0x080, 0x180
#: The other offsets: of EL1t, of an IRQ at EL0, of AArch32 at EL0, of other IRQs, and the rest.
_FROM_ELSEWHERE: Final = (0x000, 0x480, 0x600, 0x280, 0x080, 0x680, *range(0x100, 0x800, 0x80))
#: Names of an origin's other kinds, by their distance from its synchronous one.
_OTHERS: Final = {_IRQ: "an IRQ", _SERROR: "an SError", 0x100: "an FIQ"}
_KINDS: Final = 0x200
#: The most values of VBAR_EL1 that are known to be good. Linux has a few.
_GOOD: Final = 8
#: Bits of SCTLR_EL1 that a translation depends on, and its permissions.
_TRANSLATION: Final = int(SCTLR.of(M=1, WXN=1, EE=1))


class VectorGuard:
    """The exception vectors of one vCPU, as far as they are not there."""

    def __init__(
        self,
        machine: Machine,
        index: int,
        breakpoints: Breakpoints,
        caches: Caches,
        aarch32_el1: bool,
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._index = index
        self._vcpu = machine.vcpus[index]
        self._memory = breakpoints.memory.live
        self._aarch32_el1 = aarch32_el1
        # Values of VBAR_EL1 with vectors, and of what translates them; each with a function that is
        # True while the tables lead there. A guest keeps them.
        self._good: dict[tuple[int, ...], Callable[[], bool]] = {}
        #: Address of the last instruction that was stepped and takes no exception.
        self.near = 0
        # Under its only key; none if there are vectors.
        self._missing: Cache[None, tuple[int, ...]] = caches.add(
            "missing vectors", Content.CODE, Cache(1), vcpu=index
        )
        # Addresses where EL1 can fetch.
        self._executable: Cache[int, bool] = caches.add(
            "executable addresses", Content.CODE, Cache(_ADDRESSES), vcpu=index
        )

    def places(self) -> tuple[int, ...]:
        """Return the vectors that cannot be fetched, the likeliest first; none if all can."""
        places = self._missing.entries.get(None)
        if places is None:
            places = self._find()
            self._missing.put(None, places)
        return places

    def _find(self) -> tuple[int, ...]:
        layout = self._machine.capabilities.layout
        # Where a guest has more memory than is known, nothing can be said to be absent.
        if self._aarch32_el1 or (layout is not None and not layout.complete):
            return ()
        vbar = self._vcpu.get(VBAR_EL1)
        known = self._translated_by(vbar)
        if (is_good := self._good.get(known)) is not None and is_good():
            return ()
        if self._executes(vbar + _EL1H):
            if len(self._good) >= _GOOD:
                self._good.clear()
            self._good[known] = self._tables(vbar + _EL1H)
            return ()
        here = vector(PSTATE(self._vcpu.get(CPSR)))
        offsets = (here, *_SYNCHRONOUS, here + _IRQ, here + _SERROR, *_FROM_ELSEWHERE)
        return tuple(dict.fromkeys(vbar + offset for offset in offsets))

    def _translated_by(self, vbar: int) -> tuple[int, ...]:
        """Return *vbar* and the registers that say where it leads to and who may execute there."""
        get = self._vcpu.get
        sctlr = SCTLR(get(SCTLR_EL1) & _TRANSLATION)
        if not sctlr.M:
            return (vbar,)
        table = get(TTBR1_EL1 if is_upper(vbar) else TTBR0_EL1) & TABLE
        return vbar, sctlr, get(TCR_EL1), table

    def _tables(self, gva: int) -> Callable[[], bool]:
        """Return a function that is True while the tables have the descriptors of *gva*."""
        read, steps = self._machine.read_memory, self._memory.walk(self._index, gva).steps
        if not steps:  # the MMU is off
            return lambda: True
        places = [step.table + _DESCRIPTOR * step.entry for step in steps]
        try:
            return unchanged(self._machine, [(place, read(place, _DESCRIPTOR)) for place in places])
        except MemoryFault:  # a memory error of the host, just now
            return lambda: False

    def table(self, pc: int) -> int | None:
        """Return a value for VBAR_EL1 during a step at *pc*; None if none is found.

        There is code at it, which is not to be executed, and not that which is stepped.
        """
        get, layout = self._vcpu.get, self._machine.capabilities.layout
        ram = list(layout.ram_ranges) if layout else []
        starts = [each.start for each in ram]
        for near in (pc, self.near, get(X[30]), get(SP_EL1), get(ELR_EL1), *starts):
            table = near & -_TABLE
            if table == pc & -_TABLE:
                table ^= _TABLE
            if self._executes(table + _EL1H):
                self.near = near
                return table
        return None

    def _executes(self, gva: int) -> bool:
        """Return True if EL1 can fetch an instruction at *gva*."""
        if gva in self._executable:
            return True
        found = self._has_memory(gva)
        if found:
            self._executable.put(gva, True)
        return found

    def _has_memory(self, gva: int) -> bool:
        walk = self._memory.walk(self._index, gva)
        if walk.mapping is None or not permissions(walk).el1_executes:
            return False
        try:
            return len(self._machine.read_memory(walk.mapping.ipa, _WORD)) == _WORD
        except MemoryFault:
            return False

    def stop(self) -> Stopped | None:
        """Return the stop of a vCPU that is at a vector that is not there; None if it is at none.

        Nothing is executed there, so what the exception has saved is still there to be read.
        """
        pc, get = self._vcpu.get(PC), self._vcpu.get
        if pc % _SIZE or pc not in self.places() or not is_entered(PSTATE(get(CPSR))):
            return None
        origin, offset = divmod(pc - get(VBAR_EL1), _KINDS)
        # A vCPU that was never turned on, or is just being, has PC 0 and no exception behind it.
        if origin * _KINDS != vector(PSTATE(get(SPSR_EL1))):
            return None
        text = f"vCPU {self._index} took an exception that has no vector: "
        if offset in _OTHERS:
            text += _OTHERS[offset]
        else:
            esr = ESR(get(ESR_EL1))
            text += f"{CLASSES.get(esr.EC, f'class {esr.EC:#x}')}, ESR_EL1 {esr:#x}"
            if esr.EC in CLASSES_WITH_FAR:
                text += f", FAR_EL1 {get(FAR_EL1):#x}"
        text += f", ELR_EL1 {get(ELR_EL1):#x}. Nothing can be executed at {pc:#x}: "
        return Stopped(self._index + 1, text=text + "set VBAR_EL1, or map what it names")
