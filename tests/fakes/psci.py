"""PSCI as KVM offers it to a guest over HVC (Arm DEN 0022, chapter 5).

It knows of an instruction set and of debugging nothing: calls, arguments and power.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from gdbstub.aarch64.registers import PC, X
from gdbstub.architecture import Register
from gdbstub.machine import Power, SystemEventKind

VERSION: Final = 0x8400_0000
CPU_OFF: Final = 0x8400_0002
CPU_ON: Final = (0x8400_0003, 0xC400_0003)
AFFINITY_INFO: Final = (0x8400_0004, 0xC400_0004)
SYSTEM_OFF: Final = 0x8400_0008
SYSTEM_RESET: Final = 0x8400_0009

_SYSTEM: Final = {SYSTEM_OFF: SystemEventKind.SHUTDOWN, SYSTEM_RESET: SystemEventKind.RESET}

_V1_1: Final = 0x1_0001
_SUCCESS: Final = 0
_NOT_SUPPORTED: Final = (1 << 64) - 1
_INVALID_PARAMETERS: Final = (1 << 64) - 2
_ALREADY_ON: Final = (1 << 64) - 4
_INTERNAL_FAILURE: Final = (1 << 64) - 6
_AFFINITY: Final = 0xFF_00FF_FFFF


class Core(Protocol):
    """Interface of a vCPU for PSCI calls."""

    power: Power

    def get(self, register: Register) -> int: ...
    def set(self, register: Register, value: int) -> None: ...
    def reset(self) -> None: ...


def call(cores: Sequence[Core], caller: Core) -> SystemEventKind | None:
    """Serve the call that *caller*'s registers make; what became of the system, if anything."""
    function, mpidr, entry, context = (caller.get(x) & (1 << 64) - 1 for x in X[:4])
    if function == CPU_OFF:
        caller.power = Power.OFF
        return None
    if function in _SYSTEM:
        _answer(caller, _INTERNAL_FAILURE)
        return _SYSTEM[function]
    result = _NOT_SUPPORTED
    number = mpidr & _AFFINITY
    if function == VERSION:
        result = _V1_1
    elif function in CPU_ON or function in AFFINITY_INFO:
        if number >= len(cores):
            result = _INVALID_PARAMETERS
        elif function in AFFINITY_INFO:
            result = int(cores[number].power is Power.OFF)
        elif cores[number].power is Power.ON:
            result = _ALREADY_ON
        else:
            _turn_on(cores[number], entry, context)
            result = _SUCCESS
    _answer(caller, result)
    return None


def _answer(caller: Core, result: int) -> None:
    """SMCCC 1.0: x0 to x3 are results."""
    for register, value in zip(X[:4], (result, 0, 0, 0), strict=True):
        caller.set(register, value)


def _turn_on(core: Core, entry: int, context: int) -> None:
    core.reset()
    core.set(PC, entry)
    core.set(X[0], context)
    core.power = Power.ON
