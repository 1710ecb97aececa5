"""Returns to breakpoints where nothing can execute, met at the guest's exception vector.

A client that calls a function of the guest (``print f()``) has it return to a breakpoint at the
program's entry. A kernel maps that as data, or not at all: the return takes an Instruction Abort
and no breakpoint is hit. So a comparator at the vector of that abort serves the request, and the
entry of the exception is undone.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from gdbstub.aarch64.comparators import canonical
from gdbstub.aarch64.exceptions import vector
from gdbstub.aarch64.registers import CPSR, VBAR_EL1, X
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.debug.guest_exception import SavedState, undo_fetch_abort
from gdbstub.debug.locations import BreakpointRequest, Locator
from gdbstub.errors import MemoryFault
from gdbstub.machine import Machine

_LINK: Final = X[30]


class ReturnVectors:
    """Requests whose return is met at a vector, by the canonical address of that."""

    def __init__(self, machine: Machine, locator: Locator) -> None:
        self._machine = machine
        self._locator = locator
        self._requests: dict[int, list[BreakpointRequest]] = {}
        # By the addresses of requests: the exception level and the vector of a return that was
        # expected. A client takes the breakpoint back at stops on the way, and asks again.
        self._expected: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        """Expect no return: the guest starts over, or its client leaves."""
        self._expected.clear()

    def find(self, request: BreakpointRequest, vcpu: int) -> int | None:
        """Find the vector that a return to *request* leads to; None if none is expected.

        A return is expected where x30 holds the address, and the exception level that the vCPU is
        at cannot execute there; and from then on. Another level may: then ``executable`` is set.

        Raises:
            MemoryFault: nothing can execute at the vector, either.
        """
        own = self._machine.vcpus[vcpu]
        pstate = PSTATE(own.get(CPSR))
        known, request.returns = self._expected.pop(request.gva, None), False
        returns = not pstate.nRW and own.get(_LINK) == request.gva
        if known is None and not returns:
            return None
        level, at = known or (pstate.EL, 0)
        if returns:
            level, at = pstate.EL, own.get(VBAR_EL1) + vector(pstate)
        may = self._locator.permissions(request, vcpu)
        if may.el1_executes if level else may.el0_executes:
            return None
        request.executable = may.executes
        if not returns or self._locator.permissions(BreakpointRequest(at, vcpu), vcpu).el1_executes:
            # At a system call x30 may hold the address of a breakpoint of the process.
            request.returns = known is not None or not (request.executable and request.spaces)
            if request.returns:
                self._expected[request.gva] = level, at
            return at
        if request.executable:
            return None
        raise MemoryFault(
            f"no breakpoint at {request.gva:#x}: nothing can execute there, and the guest has no "
            f"exception vector at {at:#x} where its return could be met"
        )

    def use(self, pairs: Iterable[tuple[int, int]], by: Mapping[int, BreakpointRequest]) -> None:
        """Replace the requests by *pairs* of a vector and the address of a request in *by*."""
        self._requests = {}
        for at, gva in pairs:
            self._requests.setdefault(canonical(at), []).append(by[gva])

    def __contains__(self, pc: int) -> bool:
        """Return True if a return may lead to the vector *pc*."""
        return canonical(pc) in self._requests

    def resuming(self) -> None:
        """Note the registers that the aborts will overwrite; every vCPU is parked."""
        for requests in self._requests.values():
            for request in requests:
                request.before = SavedState.of(self._machine.vcpus[request.vcpu])

    def undo(self, vcpu: int, pc: int) -> bool:
        """Undo the abort that a vCPU has taken to the vector *pc* by returning to a breakpoint.

        Returns False if it has taken another exception, or none.
        """
        for request in self._requests.get(canonical(pc), ()):
            # A kernel may have gone on with the call on another vCPU, of which nothing was noted.
            before = request.before if vcpu == request.vcpu else None
            if undo_fetch_abort(self._machine.vcpus[vcpu], request.gva, before):
                return True
        return False
