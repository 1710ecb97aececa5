"""Results of a sweep for people: ``gdbstub sweep show``, ``replay``, ``report`` and ``export``."""

import os
from pathlib import Path

from gdbstub.cli.sweep.arguments import read_files
from gdbstub.errors import InputError, printable
from gdbstub.streams import note
from gdbstub.sweep import junit, summary
from gdbstub.sweep.execute import RUNS, environment, run_words
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.rows import Row
from gdbstub.sweep.store import FILES, Store
from gdbstub.vmm.files import check_apart


def show(directory: Path, number: int | None) -> int:
    """Print the results so far, or those of run *number*."""
    with Store.read(directory) as store:
        if number is not None:
            _show_run(directory, store.row(number))
            return 0
        rows, varied = list(store.rows()), store.plan.varied
        print(summary.counted(store.counts(), len(rows)))
    for key, counts in summary.tally(rows, varied).items():
        each = ", ".join(f"{counts[status]} {status}" for status in Status if status in counts)
        waiting = f"{counts[None]} to do" if None in counts else ""
        print(f"  {printable(key)}: {', '.join(part for part in (each, waiting) if part)}")
    for group in summary.groups(rows):
        numbers = " ".join(str(row.run.number) for row in group.rows[:10])
        more = " …" if len(group.rows) > 10 else ""
        print(f"{len(group.rows)} × {printable(group.signature)}")
        print(f"  runs {numbers}{more}")
    return 0


def _show_run(directory: Path, row: Row) -> None:
    run, outcome = row
    print(f"run {run.number}, seed {run.seed}: {printable(run.label)}")
    if outcome is None:
        print("no outcome yet")
        return
    print(printable(summary.line(run, outcome)))
    where = f"on {outcome.host}, " if outcome.host else ""  # not known of a worker that was lost
    files = f", files in {directory / outcome.files}" if outcome.files else ""
    print(printable(f"{where}attempt {outcome.attempt}{files}"))
    for name, text in (("console", outcome.console), ("output", outcome.output)):
        if text:
            print(f"end of the {name}:")
            print("\n".join(f"  {printable(line.expandtabs())}" for line in text.splitlines()))


def replay(directory: Path, number: int, *, attach: bool) -> int:
    """Execute run *number* in place of this process, with its script or without."""
    import shlex

    with Store.read(directory) as store:
        plan, run = store.plan, store.row(number).run
    argv = run_words(plan, run)
    if not attach:
        argv += [f"--script={plan.script}", f"--timeout={plan.timeout:g}"]
    note(shlex.join(argv))
    try:
        os.chdir(plan.directory)
        os.execvpe(argv[0], argv, environment(run))
    except OSError as error:
        raise InputError(f"run {number} cannot be executed: {error}") from None


def report(directory: Path, output: Path | None) -> int:
    """Write the report to *output*."""
    from gdbstub.sweep.report import write

    path = output or directory / "report.html"
    with Store.read(directory) as store:
        _check_apart(store, path, "--output")
        write(store, path)
    print(printable(str(path)))
    return 0


def export(directory: Path, file: Path) -> int:
    """Write the results to *file* as Parquet."""
    from gdbstub.sweep.parquet import export as write

    with Store.read(directory) as store:
        _check_apart(store, file, "FILE")
        number = write(store, file)
    print(printable(f"{number} rows in {file}"))
    return 0


def _check_apart(store: Store, path: Path, option: str) -> None:
    """Check that *path* is no file of the sweep, and none that its runs read.

    Raises:
        InputError: it is one, and would be lost.
    """
    own = [store.directory / name for name in (*FILES, junit.FILE)]
    read = read_files(store.plan, (row.run.parameters for row in store.rows()))
    check_apart([*(("this sweep", name) for name in own), *read], {option: str(path)})
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(store.directory / RUNS)):
        raise InputError(f"{option} {path}: is among the files of the runs; expected another")
