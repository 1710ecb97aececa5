"""A sweep in this process, with times that tests can wait for."""

from collections.abc import Mapping, Sequence
from contextlib import closing

from gdbstub.sweep.engines import LocalEngine
from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.plan import SweepPlan, SweepRun, combinations, plan_runs
from gdbstub.sweep.scheduler import Scheduler
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.sweep.conftest import STAND_IN, Sweeps


class Silent:
    """A listener to whom nothing matters."""

    def finished(self, run: SweepRun, outcome: RunOutcome) -> None:
        pass

    def repeated(self, run: SweepRun, why: str) -> None:
        pass

    def tick(self, width: int) -> None:
        pass


def plan(sweeps: Sweeps, script: str, *, start_timeout: float = 60) -> SweepPlan:
    return SweepPlan(
        command=STAND_IN,
        script=script,
        timeout=HANGS,
        start_timeout=start_timeout,
        flags=(),
        directory=str(sweeps.directory),
        varied=(),
        until_failure=False,
        seed=1,
        fixed={},
    )


def sweep(
    sweeps: Sweeps,
    parameters: Mapping[str, str],
    script: str,
    *,
    start_timeout: float = 60,
    times: int = 2,
) -> Sequence[RunOutcome]:
    """Execute some runs; return their outcomes."""
    runs = list(plan_runs(combinations(parameters, {}), times, 1))
    with (
        Store.create(sweeps.out, plan(sweeps, script, start_timeout=start_timeout), runs) as store,
        closing(LocalEngine(2)) as engine,
    ):
        return list(Scheduler(store, engine, Silent()).run(store.unfinished()))
