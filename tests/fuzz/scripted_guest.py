"""The code that a still machine "executes", by a script: exits come where hardware has them.

The instructions that matter to a debugger are done as far as it can tell; all others are NOPs.
"""

from typing import Final

from gdbstub.aarch64.comparators import canonical
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.instructions import (
    Daif,
    calls_hypervisor,
    daif_access,
    returns_from_exception,
    stores_exclusive,
)
from gdbstub.aarch64.registers import CPSR, ELR_EL1, PC, SPSR_EL1, VBAR_EL1, X, stack_pointer
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import EC, ESR, PSTATE
from gdbstub.machine import TIMED_OUT, DebugExit, DebugRegisters
from tests.fuzz.still_machine import StillMachine, StillVcpu

_IRQ: Final = 0x80
_BRK: Final = 0xD420_0000, 0xFFE0_001F
_SVC: Final = 0xD400_0001, 0xFFE0_001F
_STEPPED: Final = ESR.of(EC=EC.STEP_LOWER, IL=1)
_HIT: Final = ESR.of(EC=EC.BREAKPOINT_LOWER, IL=1)
_LOOP: Final = 8


def act(machine: StillMachine, what: int) -> None:
    """Have a vCPU, if it runs, do *what*: bit 0 is its number, 3..1 the kind, 7..4 how much."""
    index, kind, much = what & 1, what >> 1 & 7, what >> 4
    if (mode := machine.modes.get(index)) is None:
        return
    vcpu, debug = machine.vcpus[index], mode.comparators(machine.armed)
    exit: ESR | None = _STEPPED if mode.step else None
    far = 0
    if kind == 7:
        exit = TIMED_OUT if mode.limit is not None else None
    elif kind == 6 and debug.watchpoints:
        exit, far = ESR.of(EC=EC.WATCHPOINT_LOWER, IL=1), debug.watchpoints[-1][1] + (much & 7)
    elif kind == 5:
        _enter(vcpu, vcpu.get(PC), _IRQ, pending=mode.step and bool(much & 1))
    elif mode.step:
        exit = _execute(machine, vcpu, debug, much) or _STEPPED
    else:
        for _ in range(1 + _LOOP * much):
            if exit := _execute(machine, vcpu, debug, kind):
                break
    if exit is not None:
        machine.exit(DebugExit(index, exit, far))
    machine.halt()


def _enter(vcpu: StillVcpu, back: int, more: int = 0, *, pending: bool = False) -> None:
    """Take an exception to EL1, by the vector *more* behind that of a synchronous one.

    With *pending*, a step has not executed its instruction yet.
    """
    pstate = PSTATE(vcpu.get(CPSR))
    vcpu.set(ELR_EL1, back)
    vcpu.set(SPSR_EL1, pstate.replace(SS=int(pending)))
    vcpu.set(PC, (vcpu.get(VBAR_EL1) + vector(pstate) + more) % (1 << 64))
    vcpu.set(CPSR, 0x3C5)


def _execute(
    machine: StillMachine, vcpu: StillVcpu, debug: DebugRegisters, much: int
) -> ESR | None:
    """Execute an instruction; return the syndrome of the exit that comes in place of it."""
    pc, pstate = vcpu.get(PC), PSTATE(vcpu.get(CPSR))
    if any(value == canonical(pc) & -4 for _, value in debug.breakpoints):
        return _HIT
    word = machine.fetch(pc)
    if word is None:
        _enter(vcpu, pc)
    elif word & _BRK[1] == _BRK[0]:
        if debug.enabled or debug.breakpoints:
            return ESR.of(EC=EC.BRK64, IL=1, ISS=word >> 5 & 0xFFFF)
        _enter(vcpu, pc)
    elif word & _SVC[1] == _SVC[0]:
        _enter(vcpu, pc + 4)
    elif returns_from_exception(word):
        vcpu.set(PC, vcpu.get(ELR_EL1))
        vcpu.values[CPSR.id] = vcpu.get(SPSR_EL1)
    elif calls_hypervisor(word) and much & 1:
        pass  # it has not come back
    else:
        _do(vcpu, word, pc, pstate, much)
    return None


def _do(vcpu: StillVcpu, word: int, pc: int, pstate: PSTATE, much: int) -> None:
    done = effect(word, pc, pstate, lambda number: vcpu.get(X[number]) if number < 31 else 0)
    vcpu.set(PC, done.pc if done else (pc + 4) % (1 << 64))
    if done and done.register is not None:
        row = X[done.register] if done.register < 31 else stack_pointer(pstate)
        vcpu.set(row, done.value)
    elif stores_exclusive(word) and word >> 16 & 31 != 31:
        vcpu.set(X[word >> 16 & 31], much & 1)
    match daif_access(word):
        case Daif.SET, bits:
            vcpu.values[CPSR.id] = pstate.replace(DAIF=pstate.DAIF | bits)
        case Daif.CLEAR, bits:
            vcpu.values[CPSR.id] = pstate.replace(DAIF=pstate.DAIF & ~bits)
        case Daif.READ, number if number < 31:
            vcpu.set(X[number], pstate & 0x3C0)
