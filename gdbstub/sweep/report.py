"""The report of a sweep: one HTML file that needs no network.

It has the plots, the groups of failures, and a row for each run with links to its files.
"""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from gdbstub.errors import InputError
from gdbstub.sweep import summary
from gdbstub.sweep.evidence import tail
from gdbstub.sweep.execute import CONSOLE, OUTPUT, RECORD
from gdbstub.sweep.outcome import RunOutcome
from gdbstub.sweep.store import Store
from gdbstub.vmm.files import open_written

_TEMPLATE: Final = Path(__file__).with_name("report.html")
#: Bytes of a record that are in the report itself.
_RECORD: Final = 6000


class _Link(NamedTuple):
    name: str
    address: str


def write(store: Store, path: Path) -> None:
    """Write the report of the sweep in *store* to *path*.

    Raises:
        InputError: the packages that it needs are absent, or it cannot be written.
    """
    try:
        import jinja2
        from markupsafe import Markup

        from gdbstub.sweep import plots

        rows, plan = list(store.rows()), store.plan
        charts = [plots.outcomes(rows, plan.varied), plots.durations(rows)]
    except ImportError:
        raise InputError(
            "a report needs pygal and jinja2: pip install 'kvm-gdbstub[sweep]'"
        ) from None
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    labels = summary.Labels(rows)
    links = _Links(store.directory, path)
    began = [row.outcome.began for row in rows if row.outcome is not None]
    text = template.render(
        name=store.directory.absolute().name,
        counted=summary.counted(store.counts(), len(rows)),
        began=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(min(began))) if began else "",
        plan=plan,
        charts=[Markup(chart) for chart in charts],
        colours=plots.COLOURS,
        groups=summary.groups(rows),
        rows=rows,
        links=links.of,
        shown=lambda row: labels.of(row.run),
        record=lambda row: _record(store.directory / row.outcome.files / RECORD),
    )
    try:
        with open(
            open_written(str(path), ""), "w", encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _record(path: Path) -> str:
    try:
        return tail(path, _RECORD)
    except OSError:
        return ""


class _Links:
    """Links from the report to the files of runs."""

    def __init__(self, directory: Path, report: Path) -> None:
        self._directory = directory.absolute()
        self._from = report.absolute().parent

    def of(self, outcome: RunOutcome) -> list[_Link]:
        """Return a link to each file of a run: console, record and output first."""
        if not outcome.files:
            return []
        place = self._directory / outcome.files
        try:
            names = {path.name for path in place.iterdir()}
        except OSError:
            return []
        first = [name for name in (CONSOLE, RECORD, OUTPUT) if name in names]
        relative = os.path.relpath(place, self._from)
        return [
            _Link(name, quote(os.fsencode(f"{relative}/{name}")))
            for name in [*first, *sorted(names - set(first))]
        ]
