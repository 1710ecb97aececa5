"""One Unicorn instance that executes from shared RAM and says what stopped it.

It delivers no exception: Unicorn on its own does not either, and hands every one to a hook.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from unicorn import unicorn_const as uc_const
from unicorn.arm64_const import UC_ARM64_INS_MRS
from unicorn.unicorn_py3.arch.arm64 import CpReg, UcAArch64
from unicorn.unicorn_py3.unicorn import Uc, UcError

from gdbstub.aarch64.mmu import Regime, translate
from gdbstub.aarch64.registers import SCTLR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1
from gdbstub.aarch64.sysreg import SCTLR, TCR
from gdbstub.errors import MemoryFault
from tests.fakes import registers
from tests.fakes.clock import Clock
from tests.fakes.debug import Access
from tests.fakes.device import Device, Nothing
from tests.fakes.ram import BASE, Ram
from tests.fakes.registers import RegisterFile

_PHYSICAL_END: Final = 1 << 40
_NEVER: Final = (1 << 64) - 1

_EXCP_UDEF: Final = 1
_EXCP_SWI: Final = 2
_EXCP_PREFETCH_ABORT: Final = 3
_EXCP_BKPT: Final = 7
_HVC: Final = 0xD400_0002
_IMMEDIATE: Final = 0x1F_FFE0


class Cause(Enum):
    """Event at an instruction other than its completion."""

    SVC = auto()  # PC is past it, as the exception's return address is
    BRK = auto()
    HVC = auto()
    UNDEFINED = auto()
    FETCH = auto()
    READ = auto()
    WRITE = auto()


@dataclass(frozen=True, slots=True)
class Trap:
    """``value`` is an instruction's immediate, or the address of a failed access."""

    cause: Cause
    value: int = 0


_INVALID: Final = {
    uc_const.UC_ERR_FETCH_UNMAPPED: Cause.FETCH,
    uc_const.UC_ERR_FETCH_PROT: Cause.FETCH,
    uc_const.UC_ERR_READ_UNMAPPED: Cause.READ,
    uc_const.UC_ERR_WRITE_UNMAPPED: Cause.WRITE,
}


class EngineError(Exception):
    """Unicorn did something that this fake has no silicon for."""


class Engine:
    """Executes; between two calls its registers may be read and written."""

    def __init__(self, ram: Ram, mpidr: int, clock: Clock, device: Device | None = None) -> None:
        self._ram = ram
        self._clock = clock
        self._mpidr = mpidr
        self._trap: Trap | EngineError | None = None
        self._invalid = 0
        self._only: int | None = None  # the address of the only instruction to execute
        self._hook: int | None = None
        self._overwritten: list[tuple[int, bytes]] = []
        #: Accesses of the last ``execute``, while ``watch`` is on.
        self.accesses: list[Access] = []
        self._uc = uc = UcAArch64(uc_const.UC_ARCH_ARM64, uc_const.UC_MODE_ARM)
        uc.mem_map_ptr(BASE, ram.size, uc_const.UC_PROT_ALL, ram.hva)
        answers = device or Nothing()

        def read(_uc: Uc, offset: int, size: int, start: int) -> int:
            return answers.read(start + offset, size)

        def write(_uc: Uc, offset: int, size: int, value: int, start: int) -> None:
            answers.write(start + offset, size, value)

        for start, end in (0, BASE), (ram.end, _PHYSICAL_END):
            uc.mmio_map(start, end - start, read, start, write, start)
        uc.hook_add(uc_const.UC_HOOK_INTR, self._on_exception)
        uc.hook_add(uc_const.UC_HOOK_MEM_UNMAPPED, self._on_invalid)
        uc.hook_add(uc_const.UC_HOOK_INSN, self._on_mrs, aux1=UC_ARM64_INS_MRS)
        self.registers = RegisterFile(uc, mpidr)
        self._before = uc.context_save()

    def execute(self, count: int) -> Trap | None:
        """Execute up to *count* instructions; None when nothing special ended it.

        Raises:
            EngineError: a thing that the fake does not model.
        """
        self._trap = None
        self._only = self.registers.pc if count == 1 else None
        self.accesses.clear()
        self._overwritten.clear()
        try:
            self._uc.emu_start(self.registers.pc, _NEVER, count=count)
        except UcError as error:
            cause = _INVALID.get(error.errno)
            if cause is None:
                raise EngineError(str(error)) from error
            far = self.registers.pc if cause is Cause.FETCH else self._invalid
            return Trap(cause, far)
        if isinstance(self._trap, EngineError):
            raise self._trap
        return self._trap

    def word(self) -> int:
        """The instruction at PC; 0, which is undefined, where there is no RAM."""
        return self._word_at(self.registers.pc)

    @property
    def fetches(self) -> bool:
        """True if there is RAM at PC."""
        return self._fetched(self.registers.pc) is not None

    def _word_at(self, gva: int) -> int:
        return self._fetched(gva) or 0

    def _fetched(self, gva: int) -> int | None:
        get = self.registers.get
        regime = Regime(SCTLR(get(SCTLR_EL1)), TCR(get(TCR_EL1)), get(TTBR0_EL1), get(TTBR1_EL1))
        try:
            word = self._ram.read(translate(regime, gva, self._ram.read).ipa, 4)
        except MemoryFault:
            return None
        return int.from_bytes(word, "little")

    # Undo: an access that a watchpoint catches must not have been done.

    def watch(self, on: bool) -> None:
        """Note every access from now on, and be able to undo."""
        if on and self._hook is None:
            kinds = uc_const.UC_HOOK_MEM_READ | uc_const.UC_HOOK_MEM_WRITE
            self._hook = self._uc.hook_add(kinds, self._on_access)
        elif not on and self._hook is not None:
            self._uc.hook_del(self._hook)
            self._hook = None
        else:
            return
        # Code that is translated already calls no hook that came later.
        self._uc.ctl_flush_tb()

    def remember(self) -> None:
        """Keep the registers for ``undo``."""
        self._uc.context_update(self._before)

    def undo(self) -> None:
        """Make the last instruction not have been executed."""
        self._uc.context_restore(self._before)
        for ipa, data in reversed(self._overwritten):
            self._ram.write(ipa, data)

    def forget_code(self, ipa: int, length: int) -> None:
        """RAM has changed from outside: translate that code anew."""
        if not length:
            return
        if SCTLR(self.registers.get(SCTLR_EL1)).M:
            self._uc.ctl_flush_tb()  # the other would take the address for a virtual one
        else:
            self._uc.ctl_remove_cache(ipa & -4, (ipa + length + 3) & -4)

    # Hooks, called by Unicorn while it executes.

    def _on_exception(self, uc: Uc, number: int, _data: object) -> None:
        word = self.word()
        immediate = (word & _IMMEDIATE) >> 5
        if number == _EXCP_BKPT:
            self._trap = Trap(Cause.BRK, immediate)
        elif number == _EXCP_SWI:
            svc = self._word_at(self.registers.pc - 4)
            self._trap = Trap(Cause.SVC, (svc & _IMMEDIATE) >> 5)
        elif number == _EXCP_PREFETCH_ABORT:  # the MMU's; its syndrome is not known
            pc = self.registers.pc
            # Some instructions are followed by the next one's fetch, which is not executed now.
            self._trap = None if self._only == pc - 4 else Trap(Cause.FETCH, pc)
        elif number == _EXCP_UDEF:
            # Without an EL2 of its own, HVC is undefined to Unicorn.
            is_hvc = word & ~_IMMEDIATE == _HVC
            self._trap = Trap(Cause.HVC if is_hvc else Cause.UNDEFINED, immediate)
        else:
            self._trap = EngineError(f"exception {number} at {self.registers.pc:#x}")
        uc.emu_stop()

    def _on_invalid(
        self, _uc: Uc, _kind: int, address: int, _size: int, _value: int, _data: object
    ) -> bool:
        self._invalid = address
        return False

    def _on_access(
        self, _uc: Uc, kind: int, address: int, size: int, _value: int, _data: object
    ) -> None:
        write = kind == uc_const.UC_MEM_WRITE
        self.accesses.append(Access(address, size, write))
        if write and address in self._ram:
            self._overwritten.append((address, self._ram.read(address, size)))

    def _on_mrs(self, uc: Uc, register: int, key: CpReg, _data: object) -> int:
        """Every Unicorn instance believes to be CPU 0, and has a clock of its own: not so here."""
        match key.op0, key.op1, key.crn, key.crm, key.op2:
            case registers.MPIDR_KEY:
                value = self._mpidr
            case registers.CNTVCT_KEY:
                value = self._clock.read()
            case _:
                return 0
        uc.reg_write(register, value)
        return 1
