"""The tables and texts of the bench; its measurements need the lab."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import guard, plot
from bench.growth import Panel
from bench.report import BARE, Results, page, table
from bench.rows import ROWS, Row
from bench.stubs import OURS, QEMU
from gdbstub.lab import debian

FACTS = dict.fromkeys(
    [
        "date",
        "qemu",
        "passes",
        "gdb",
        "machine",
        "load",
        "outer",
        "kernel",
        "python",
        "gdbserver",
        "commit",
    ],
    "1",
)


def row(text: str) -> Row:
    (found,) = (each for each in ROWS if text in each.name)
    return found


STEP, CTRL_C, IOCTLS = row("`vCont;s` round"), row("1 vCPU"), row("ioctls")


def cells(results: Results, of: Row) -> list[str]:
    return [cell.strip() for cell in table(results, [of])[-1].split("|")[1:-1]]


def judged(results: Results, of: Row) -> str:
    return cells(results, of)[5]


@pytest.mark.parametrize(
    ("of", "qemu", "ours", "met"),
    [
        (STEP, 100, 300, "yes"),
        (STEP, 100, 299, "**no**"),
        (CTRL_C, 5, 5, "yes"),
        (CTRL_C, 5, 6, "**no**"),
        (IOCTLS, 700, 8, "yes"),
        (IOCTLS, 700, 9, "**no**"),
    ],
)
def test_a_goal_is_met_or_not(of: Row, qemu: float, ours: float, met: str) -> None:
    results = Results()
    for stub, figure in ((QEMU, qemu), (OURS, ours)):
        results.add(of.name, stub.name, figure)
    assert judged(results, of) == met


@pytest.mark.parametrize(
    ("of", "qemu", "ours", "met"),
    [
        (STEP, 1, 220e3, "yes"),
        (STEP, 1, 221e3, "**no**"),
        (CTRL_C, 160e3, 160e3, "yes"),
        (CTRL_C, 160e3, 161e3, "**no**"),
    ],
)
def test_a_goal_in_instructions_is_met_or_not(of: Row, qemu: float, ours: float, met: str) -> None:
    results = Results()
    results.counts = {(of.name, QEMU.name): qemu, (of.name, OURS.name): ours}
    assert cells(results, of)[-1] == met


@pytest.mark.parametrize(("of", "figure"), [(STEP, 1000.0), (CTRL_C, 1.0)])
def test_a_clock_of_instructions_counts_them(of: Row, figure: float) -> None:
    assert of.instructions_of(figure) == 1e6


def test_the_guard_complains_of_what_has_grown_or_is_not_there() -> None:
    before = {"as before": 1000, "grown": 1000, "gone": 1000}
    found = guard.complaints(before, {"as before": 1050, "grown": 1051, "new": 1})
    assert [line.partition(":")[0] for line in found] == ["grown", "gone", "new"]


@pytest.mark.parametrize("path", sorted(Path(guard.__file__).parent.glob("instructions*.json")))
def test_the_guard_has_a_figure_for_each_row_that_it_counts(path: Path) -> None:
    assert list(json.loads(path.read_text())) == [row.name for row in guard.ROWS]


def test_each_release_has_figures_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for codename in ("bookworm", "trixie", "absent"):
        monkeypatch.setattr(debian, "release", lambda name=codename: f"debian {name}")
        names.append(guard.file().name)
    assert names == [f"instructions{end}.json" for end in ("", "-trixie", "-absent")]
    assert guard.committed() == {}


def test_a_row_that_failed_is_said_to_be_missing() -> None:
    results = Results()
    results.add(STEP.name, OURS.name, 1000)
    assert judged(results, STEP) == "not measured"


def test_a_figure_is_the_median_with_the_spread() -> None:
    results = Results()
    for figure in (3.0, 1.0, 200.0):
        results.add(CTRL_C.name, OURS.name, figure)
    assert results.cell(CTRL_C, OURS.name) == "3 ms (1–200)"


def test_what_only_we_can_do_is_compared_with_its_floor() -> None:
    stepping = row("range stepping")
    results = Results()
    results.add(stepping.name, BARE, 1000)
    results.add(stepping.name, OURS.name, 600)
    assert judged(results, stepping) == "yes"


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(0, "no worse than linear"), (1, "no worse than linear"), (2, "**worse than linear**")],
)
def test_how_a_line_grows(power: int, verdict: str) -> None:
    panel = Panel("steps", "vCPUs", {"gdbstub": {n: 3.0 * n**power for n in (1, 10, 100)}})
    assert panel.verdicts()[0].endswith(verdict)


def test_the_drawing_has_each_line() -> None:
    lines = {"QEMU, step": {1: 2.0, 8: 9.0}, "gdbstub, step": {1: 0.5, 8: 0.5}}
    drawing = ElementTree.fromstring(plot.svg([Panel("steps", "vCPUs", lines)] * 4))
    drawn = drawing.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(drawn) == 8
    for line in drawn:
        xs = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
        assert xs == sorted(xs)


def test_what_people_wrote_is_kept() -> None:
    assert page(Results(), FACTS, ["## Notes", "kept"]).endswith("## Notes\nkept")
