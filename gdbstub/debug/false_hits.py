"""Descriptions of false hits, for a machine that passes over them without the debug core.

A hit is described where the plan of its vCPU has just classified one like it, so everything that
the plan looks at is known: what is described is what the plan would do again. A hit that is not
plain is never described. Nothing is kept from one resume to the next.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

from gdbstub.aarch64.instructions import (
    exclusive_sequence,
    is_repeatable,
    step_end,
    takes_exception,
)
from gdbstub.aarch64.mmu import SMALLEST_PAGE
from gdbstub.aarch64.simulation import is_simulated
from gdbstub.debug.stop_reasons import StopClassifier
from gdbstub.debug.vcpu_steps import VcpuSteps
from gdbstub.errors import MemoryFault
from gdbstub.false_hits import FalseHit
from gdbstub.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdbstub.target import BreakpointKind

#: Exception vectors are aligned to this: a step that ends at such an address may be an exception.
_VECTOR: Final = 0x80
#: Descriptions of one place in one run. If the machine does not believe these, more are in vain.
_MOST: Final = 8


class FalseHits:
    """Descriptions of the false hits of one vCPU; its own thread calls ``describe``."""

    def __init__(
        self, machine: Machine, index: int, classifier: StopClassifier, steps: VcpuSteps
    ) -> None:
        """Serve the vCPU with this *index* until the machine is reset."""
        self._machine = machine
        self._index = index
        self._classifier = classifier
        self._breakpoints = classifier.breakpoints
        self._steps = steps
        self._described: Counter[int] = Counter()
        self._kinds: dict[FalseHit, Sequence[BreakpointKind]] = {}

    def begin(self) -> None:
        """Begin a run: the machine knows of none."""
        self._described.clear()

    def describe(
        self, pc: int, word: int, patch: int | None, others: tuple[tuple[int, int], ...]
    ) -> None:
        """Tell the machine of the hit at *pc* that was just classified, if it is plain.

        *patch* is where our BRK is, if it was hit, and *others* are the comparators to step with.
        """
        kinds = self._classifier.take_false_hit(self._index, pc)
        passes = self._machine.capabilities.passes
        if not kinds or passes is None or self._described[pc] >= _MOST:
            return
        if not self._is_plain():
            return
        ipa = patch
        if patch is None and not self._breakpoints.hit_is_certain(pc, None):
            ipa = self._ipa(pc)
            if not self._breakpoints.hit_is_certain(pc, ipa):
                return
        following = step_end(word, pc)
        if following is not None and (not following % _VECTOR or self._may_go_round(word)):
            following = None
        if following is None and not is_simulated(word):
            return
        if (code := self._code(pc)) is None:
            return
        conditions = self._breakpoints.conditions
        programs = tuple(code for kind in kinds for code in conditions.conditions(kind, pc))
        hit = FalseHit(pc, patch is not None, ipa, word, following, others, *code, programs)
        self._kinds[hit] = kinds
        self._described[pc] += 1
        passes.pass_over(self._index, hit)

    def _is_plain(self) -> bool:
        """Return True if the place of a hit alone decides how it is classified."""
        return not (self._breakpoints.armed.watchpoints or self._steps.aarch32_el1)

    def _may_go_round(self, word: int) -> bool:
        """Return True if *word* may take an exception that has no vector.

        Computations do not count: one that the CPU does not have is rare, and Ctrl-C ends it.
        """
        may = takes_exception(word) and not is_repeatable(word)
        return may and bool(self._steps.guard.places())

    def _ipa(self, gva: int) -> int | None:
        try:
            return self._breakpoints.memory.live.translate(self._index, gva).ipa
        except MemoryFault:
            return None

    def _code(self, pc: int) -> tuple[int, bytes] | None:
        """Return the code that says that *pc* is in no exclusive sequence, and its address.

        It is as RAM has it, with BRKs of ours. None if *pc* is in one.
        """
        looked: list[int] = []
        around = self._steps.words_around(pc)

        def word_at(gva: int) -> int:
            looked.append(gva)
            return around(gva)

        if exclusive_sequence(pc, word_at) is not None:
            return None
        start, end = min(looked), max(looked) + 4
        data = b""
        while (gva := start + len(data)) < end:
            size = min(end, (gva | SMALLEST_PAGE - 1) + 1) - gva
            if (ipa := self._ipa(gva)) is None:
                return None
            try:
                data += self._machine.read_memory(ipa, size)
            except MemoryFault:
                return None
        return start, data

    def collect(self) -> None:
        """Count the hits that the machine has passed over; all vCPUs are parked."""
        if not self._kinds:
            return
        if (passes := self._machine.capabilities.passes) is not None:
            counts = self._breakpoints.conditions.false_hits
            for hit, number in passes.take_passed(self._index):
                for kind in self._kinds[hit]:
                    counts[kind, hit.gva] += number
        self._kinds.clear()
