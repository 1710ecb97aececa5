"""Results as JUnit's XML, which CI systems show: a test case for each run."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gdbstub.errors import printable
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.rows import Row

FILE: Final = "junit.xml"
_ELEMENTS: Final = {Status.FAILED: "failure", Status.TIMEOUT: "failure", Status.ERROR: "error"}


def write(path: Path, name: str, rows: Iterable[Row]) -> None:
    """Write *rows* to *path* as the test suite *name*; a run without an outcome is skipped."""
    name = printable(name)
    suite = ET.Element("testsuite", name=name)
    counts = dict.fromkeys(("tests", "failure", "error", "skipped"), 0)
    seconds, began = 0.0, 0.0
    for run, outcome in rows:
        label = printable(f"run {run.number} {run.label}".strip())
        case = ET.SubElement(suite, "testcase", classname=name, name=label)
        counts["tests"] += 1
        if outcome is None:
            counts["skipped"] += 1
            ET.SubElement(case, "skipped")
            continue
        case.set("time", f"{outcome.seconds:.3f}")
        seconds += outcome.seconds
        began = min(began or outcome.began, outcome.began)
        if outcome.status in _ELEMENTS:
            counts[_ELEMENTS[outcome.status]] += 1
            _explain(case, outcome)
    suite.set("tests", str(counts["tests"]))
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    suite.set("time", f"{seconds:.3f}")
    suite.set("timestamp", datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"))
    tree = ET.ElementTree(suite)
    ET.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _explain(case: ET.Element, outcome: RunOutcome) -> None:
    message = printable(outcome.message or outcome.signature)
    kind = _ELEMENTS[outcome.status]
    ET.SubElement(case, kind, type=outcome.status.value, message=message).text = outcome.files
    # XML has no way to write control characters but these.
    ET.SubElement(case, "system-out").text = printable(outcome.output, "\n\t")
    ET.SubElement(case, "system-err").text = printable(outcome.console, "\n\t")
