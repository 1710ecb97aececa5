"""Bisection of the images of a plan: runs of one image after the other until the first bad one.

``bayes.py`` chooses the images.
"""

from collections.abc import Callable
from typing import NamedTuple

from gdbstub.errors import InputError, StubError
from gdbstub.sweep.bayes import Bisection
from gdbstub.sweep.outcome import FAILURES, RunOutcome, Status
from gdbstub.sweep.plan import GUEST, make_run
from gdbstub.sweep.rows import Row
from gdbstub.sweep.scheduler import Scheduler
from gdbstub.sweep.store import Store


class FirstBad(NamedTuple):
    """Result of a bisection."""

    image: str
    before: str
    probability: float
    runs: int


class _Images:
    """The images of a bisection, and the evidence of its runs so far about each."""

    def __init__(self, store: Store) -> None:
        self._plan = store.plan
        self.images = self._plan.images
        self.beliefs = Bisection(len(self.images), self._plan.confidence)
        self.tried: set[int] = set()
        for row in store.rows("status is not null"):
            if row.outcome is not None and row.outcome.status is not Status.ERROR:
                self.note(self.index(row), row.outcome)

    def index(self, row: Row) -> int:
        """Return the index of the image of a run.

        Raises:
            InputError: it has none.
        """
        image = row.run.parameters.get(GUEST)
        if image not in self.images:
            raise InputError(
                f"run {row.run.number} has guest={image}, which is no image of the bisection"
            )
        return self.images.index(image)

    def note(self, image: int, outcome: RunOutcome) -> None:
        """Take account of an outcome.

        Raises:
            StubError: the run has no verdict, or contradicts what is known.
        """
        name = self.images[image]
        if outcome.status is Status.ERROR:
            raise StubError(f"{name} cannot be judged: {outcome.message}")
        self.tried.add(image)
        failed = outcome.status in FAILURES
        try:
            self.beliefs.note(image, failed=failed)
        except ValueError:
            kind = "is good" if image == 0 else "is bad" if image + 1 == len(self.images) else ""
            expected = f"which {kind}" if kind else "against the runs before"
            raise StubError(
                f"run {outcome.number}: {name}, {expected}, {'failed' if failed else 'passed'}: "
                "look at the script, or give --confidence if bad images pass at times"
            ) from None

    def next_image(self) -> int:
        """Return the image to run next: first the two that are said to be good and bad."""
        for image in (len(self.images) - 1, 0):
            if image not in self.tried:
                return image
        return self.beliefs.next_image()


def bisect(
    store: Store,
    scheduler: Scheduler,
    width: int,
    grow: Callable[[int], None],
) -> FirstBad:
    """Find the first bad image of the plan in *store*; continue with the outcomes it has.

    A flaky judge is asked *width* times at once. *grow* is told how many runs are added.

    Raises:
        StubError: it cannot be found, with the reason.
    """
    plan = store.plan
    known = _Images(store)
    for outcome in scheduler.run(store.unfinished()):
        known.note(known.index(store.row(outcome.number)), outcome)
    while (found := known.beliefs.found()) is None or not known.tried >= {0, len(plan.images) - 1}:
        done = store.total()
        if done >= plan.limit:
            raise StubError(
                f"the first bad image is not known after {done} runs: {_state(known)}; gdbstub "
                f"sweep resume {store.directory} --limit {2 * done} allows more"
            )
        image = known.next_image()
        row = {**plan.fixed, GUEST: plan.images[image]}
        times = 1 if plan.confidence is None or image == 0 else min(width, plan.limit - done)
        runs = [make_run(done + each + 1, row, plan.seed) for each in range(times)]
        store.add(runs)
        grow(len(runs))
        for outcome in scheduler.run(runs):
            known.note(image, outcome)
    first, probability = found
    return FirstBad(plan.images[first], plan.images[first - 1], probability, store.total())


def _state(known: _Images) -> str:
    beliefs = known.beliefs.beliefs()
    best = max(range(len(beliefs)), key=beliefs.__getitem__)
    return f"the best guess is {known.images[best]}, by {beliefs[best]:.2f}"
