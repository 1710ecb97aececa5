"""Step of one instruction in which no interrupt of the guest shows.

A plan calls ``begin`` before a step, and ``must_repeat`` or ``abandon`` after each exit. The step
is optimistic: only if an interrupt came first, its entry is undone and the step repeated with it
masked. An exception is known by what its entry writes, not by PC: code may lie at a vector's
address.
Source: Arm ARM D2.12 "Software Step exceptions", D1.3.5 "Exception entry".
"""

from collections.abc import Callable, Container
from typing import Final

from gdbstub.aarch64.instructions import (
    Daif,
    WordAt,
    calls_hypervisor,
    daif_access,
    leads_to,
    returns_from_exception,
)
from gdbstub.aarch64.registers import CPSR, ELR_EL1, MDSCR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import MDSCR, PSTATE
from gdbstub.machine import Vcpu

_VECTOR_SIZE: Final = 0x80
TABLE_SIZE: Final = 0x800
_KINDS: Final = TABLE_SIZE // 4  # synchronous, IRQ, FIQ and SError, for each of four origins
SYNCHRONOUS, _IRQ, _FIQ, SERROR = 0x000, 0x080, 0x100, 0x180
_ALL_MASKED: Final = 0b1111
#: PSTATE's fields that say where an exception came from.
_ORIGIN: Final = PSTATE.of(nRW=1, EL=0b11, SP=1)


class SingleStep:
    """Step of one vCPU that is under way: the values that an exception's entry would overwrite."""

    __slots__ = ("elr", "pc", "spsr", "undisturbed", "unmasked", "vbar", "word")

    def __init__(self, pc: int, elr: int, spsr: int, vbar: int | None = None) -> None:
        """Step the instruction at *pc*.

        *elr*, *spsr* and *vbar* are ELR_EL1, SPSR_EL1 and VBAR_EL1 before it, the latter if known.
        """
        self.pc = pc
        self.elr = elr
        self.spsr = spsr
        self.vbar = vbar
        #: True after a step that no exception ended, and that was not repeated.
        self.undisturbed = False
        #: The guest's PSTATE while the step is repeated with interrupts masked.
        self.unmasked: PSTATE | None = None
        self.word = 0


def begin(vcpu: Vcpu, pc: int, last: SingleStep | None = None) -> SingleStep:
    """Return a step of the vCPU, which is at *pc* and not yet resumed.

    *last* is its last step, if the registers that are remembered of it are as they were.
    """
    if last is not None:
        return SingleStep(pc, last.elr, last.spsr, last.vbar)
    return SingleStep(pc, vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1))


def must_repeat(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> bool:
    """Return True if the vCPU must be stepped once more, after a step exit.

    Otherwise the step is done, and the guest does not see how it was done.
    """
    kind = _entered(vcpu, step, word_at)
    if kind in (_IRQ, _FIQ):
        if step.unmasked is None:
            return _undo_interrupt(vcpu, step, word_at)
        # The instruction has let it in, and the CPU has taken it before the step's exception: the
        # architecture does not say which of them comes first.
        _leave(vcpu, step)
        kind = None
    if kind is not None:
        _repair_saved_state(vcpu, step, synchronous=kind == SYNCHRONOUS)
    elif step.unmasked is None:
        step.undisturbed = True
    elif not (returns_from_exception(step.word) or _is_started_anew(vcpu, step)):
        _unmask(vcpu, step.unmasked, step.word)
    return False


def let_interrupt_in(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> bool:
    """Return True if a step whose entries are not undone has ended at an interrupt's vector.

    The vCPU is then as it would be without a debugger.
    """
    kind = _entered(vcpu, step, word_at)
    if kind is not None:
        _repair_saved_state(vcpu, step, synchronous=kind == SYNCHRONOUS)
    return kind in (_IRQ, _FIQ)


def abandon(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> None:
    """Undo what the step did to the vCPU, which is parked for another reason."""
    if step.unmasked is None:
        if vcpu.get(PC) == step.pc and _saved(vcpu) == (step.elr, step.spsr):
            return  # not executed; at a vector this would look like an entry
        if not must_repeat(vcpu, step, word_at):
            return
    if step.unmasked is not None:
        if vcpu.get(PC) == step.pc:  # not executed
            vcpu.set(CPSR, step.unmasked)
        else:
            must_repeat(vcpu, step, word_at)


def entered_from(
    vcpu: Vcpu, places: Container[int], running: PSTATE, *, masks_stay: bool = True
) -> int | None:
    """Return the kind of the exception that ended a run of *places* in PSTATE *running*.

    None if PC is at no vector, or is there without an exception. An entry masks everything, and
    saves where it came from and what PSTATE said there of the exception level and of the masks,
    which are those of *running* if *masks_stay*.
    """
    kind = _kind(vcpu.get(PC), lambda: vcpu.get(VBAR_EL1))
    if kind is None or not is_entered(PSTATE(vcpu.get(CPSR))):
        return None
    elr, spsr = _saved(vcpu)
    same = _ORIGIN | PSTATE.of(I=1, F=1) if masks_stay else _ORIGIN
    return kind if elr in places and not (spsr ^ running) & same else None


def _kind(pc: int, vbar: Callable[[], int]) -> int | None:
    """Return the kind of exception that *pc* is the vector of; None if it is no vector."""
    if pc % _VECTOR_SIZE:
        return None
    offset = pc - vbar()
    return offset % _KINDS if 0 <= offset < TABLE_SIZE else None


def is_entered(pstate: PSTATE) -> bool:
    """Return True if *pstate* may be that of an exception taken to AArch64 at EL1."""
    return pstate & _ORIGIN == PSTATE.of(EL=1, SP=1) and pstate.DAIF == _ALL_MASKED


def _entered(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> int | None:
    """Return the kind of exception that a step ended with; None if there was none.

    It saves the address of the instruction, or of the one behind it: SVC, or an interrupt that
    came after it. An instruction may write ELR_EL1 and SPSR_EL1 itself, and one that leads to a
    vector's address leaves them alone. So may an exception, if they hold already what it saves:
    the same one from the same place before, for example.
    """

    def vbar() -> int:
        if step.vbar is None:
            step.vbar = vcpu.get(VBAR_EL1)
        return step.vbar

    kind = _kind(pc := vcpu.get(PC), vbar)
    if kind is None or not is_entered(PSTATE(vcpu.get(CPSR))):
        return None
    elr, spsr = _saved(vcpu)
    if PSTATE(spsr).nRW:
        return kind  # nothing of AArch32 writes what is saved, or leads here
    word = word_at(step.pc)
    if elr != step.pc and not _leads_to(vcpu, step, word, elr):
        return None
    # An ERET to where interrupts are unmasked does not lead to a vector's PSTATE.
    leads = not returns_from_exception(word) or is_entered(PSTATE(spsr))
    if (elr, spsr) == (step.elr, step.spsr) and leads and _leads_to(vcpu, step, word, pc):
        return None
    return kind


def _leads_to(vcpu: Vcpu, step: SingleStep, word: int, gva: int) -> bool:
    """Return True if the stepped instruction *word* may go on at *gva* without an exception."""
    return leads_to(word, step.pc, gva, lambda n: vcpu.get(X[n]))


def _saved(vcpu: Vcpu) -> tuple[int, int]:
    """Return what the last exception's entry has saved."""
    return vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)


def _undo_interrupt(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> bool:
    """Undo the entry of an interrupt, which nothing has acknowledged yet.

    It saved PC and PSTATE. PSTATE.SS is set if the instruction was not executed; then return True.
    """
    spsr, pc = PSTATE(vcpu.get(SPSR_EL1)), vcpu.get(ELR_EL1)
    pstate = _leave(vcpu, step)
    if not spsr.SS:
        return False
    # Words of AArch32 are other instructions.
    step.unmasked, step.pc, step.word = pstate, pc, 0 if pstate.nRW else word_at(pc)
    vcpu.set(CPSR, pstate.replace(I=1, F=1))
    return True


def _leave(vcpu: Vcpu, step: SingleStep) -> PSTATE:
    """Go back from an interrupt's vector to where it has come, and return PSTATE there."""
    pstate = PSTATE(vcpu.get(SPSR_EL1)).replace(SS=0)
    # In this order: KVM cuts PC to 32 bits while PSTATE is that of AArch32.
    vcpu.set(PC, vcpu.get(ELR_EL1))
    vcpu.set(ELR_EL1, step.elr)
    vcpu.set(SPSR_EL1, step.spsr)
    vcpu.set(CPSR, pstate)
    return pstate


def _is_started_anew(vcpu: Vcpu, step: SingleStep) -> bool:
    """Return True if a vCPU has powered itself off in the step, and another one has it on again."""
    return calls_hypervisor(step.word) and vcpu.get(PC) != step.pc + 4


def _repair_saved_state(vcpu: Vcpu, step: SingleStep, *, synchronous: bool) -> None:
    """Correct SPSR_EL1, after an exception that ended the step, to its value without a debugger.

    The instruction was executed if that was an SError which came after it: SPSR_EL1.SS is 0.
    """
    spsr = PSTATE(vcpu.get(SPSR_EL1))
    right = spsr if MDSCR(vcpu.get(MDSCR_EL1)).SS else spsr.replace(SS=0)
    if step.unmasked is not None:
        if synchronous or spsr.SS:
            right = right.replace(I=step.unmasked.I, F=step.unmasked.F)
        elif not returns_from_exception(step.word):
            right = right.replace(DAIF=_daif(spsr, step.unmasked, step.word))
    if right != spsr:
        vcpu.set(SPSR_EL1, right)


def _unmask(vcpu: Vcpu, unmasked: PSTATE, word: int) -> None:
    """Correct DAIF, and a register that *word* read it into, to their values without the mask."""
    now = PSTATE(vcpu.get(CPSR))
    match daif_access(word):
        case Daif.READ, number if number < len(X):
            value = PSTATE(vcpu.get(X[number])).replace(I=unmasked.I, F=unmasked.F)
            vcpu.set(X[number], value)
    vcpu.set(CPSR, now.replace(DAIF=_daif(now, unmasked, word)))


def _daif(now: PSTATE, unmasked: PSTATE, word: int) -> int:
    """Return DAIF after *word*, which was executed with I and F masked, as *unmasked* has it."""
    match daif_access(word):
        case Daif.WRITE, _:
            return now.DAIF
        case Daif.SET, immediate:
            return unmasked.DAIF | immediate
        case Daif.CLEAR, immediate:
            return unmasked.DAIF & ~immediate
    return now.DAIF & 0b1100 | unmasked.DAIF & 0b0011
