"""The report of a sweep, and what is exported of it."""

import html.parser
import os
import shutil
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pyarrow import parquet

from gdbstub.errors import InputError
from gdbstub.sweep import junit, report
from gdbstub.sweep.outcome import RunOutcome, Status
from gdbstub.sweep.parquet import export
from gdbstub.sweep.plan import SweepPlan, SweepRun
from gdbstub.sweep.store import Store
from gdbstub.vmm import files
from tests.bounds import HANGS
from tests.sweep.conftest import Sweeps
from tests.sweep.in_process import sweep

SCRIPT = """
test $GDBSTUB_RUN = 2 || exit 0
echo '#0  0xffff800008010000 in <script>document.title="taken over"</script> (fmt=0x1)'
echo "#1  0xffff800008010000 in schedule ()"
exit 1
"""
SIGNATURE = 'status 1 · watch · <script>document.title="taken over"</script> < schedule'


@pytest.fixture
def swept(sweeps: Sweeps) -> Sweeps:
    """A sweep of four runs, of which the second has failed."""
    words = ("--vary=guest=guest,other", "--vary=kaslr-seed=random", "--runs=2")
    sweeps.call(*words, "--script", SCRIPT, status=1)
    return sweeps


class _Page(html.parser.HTMLParser):
    """Links and identifiers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        self.handlers += [name for name in found if name.startswith("on")]
        if tag == "a":
            self.links.append(found["href"])
        elif tag in ("script", "img", "link", "iframe", "object", "embed", "base"):
            self.loaded.append(str(found))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_each_link_leads_to_a_file_or_a_row(swept: Sweeps) -> None:
    for output in (swept.out / "report.html", swept.directory / "elsewhere.html"):
        text, _ = swept.call("report", f"--output={output}")
        assert text == f"{output}\n"
        page = _Page(output.read_text())
        files = [link for link in page.links if not link.startswith("#")]
        assert len(files) == 5 * 3  # those of each run, and once more of the one that failed
        for link in files:
            assert (output.parent / link).is_file()
        assert [link for link in page.links if link.startswith("#")] == ["#run-2"]
        assert page.ids >= {"run-1", "run-2", "run-3", "run-4"}


def test_a_browser_shows_it_without_scripts_and_network(swept: Sweeps) -> None:
    """Chromium shows the page as a person would see it; the guest's text is not executed."""
    swept.call("report")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={swept.directory / 'browser'}", f"file://{swept.out}/report.html"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS, check=True,
    )  # fmt: skip
    page = _Page(done.stdout)
    assert page.loaded == []
    assert "taken over" not in done.stdout.partition("</title>")[0]
    assert "4 of 4 runs: 3 passed, 1 failed" in done.stdout.partition("</title>")[0]
    assert f"<strong>{html.escape(SIGNATURE, quote=False)}</strong>" in done.stdout
    for shown in ("Outcomes", "Seconds a run", "guest=other"):  # in the plots
        assert f">{shown}</text>" in done.stdout


#: Texts that would end an element, an attribute, a comment or a section of a page, or begin one.
HOSTILE = (
    "<script>alert(1)</script>",
    "</pre></details></table></body></html><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "<!-- ]]> <![CDATA[ {{ 7 * 7 }} {% raw %} &lt;b&gt; &#60;i&#62;",
    "javascript:alert(1)//\x00\x1b[31m\u202e\udcff",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.usefixtures("pygal_here")
def test_what_a_guest_or_a_user_writes_is_text(text: str, tmp_path: Path) -> None:
    """Hostile text in each place of the report and of junit.xml."""
    stored = text.encode(errors="replace").decode()  # as files and SQLite have it
    name = stored.replace("/", "-").replace("\x00", "")
    word = text.replace("\x00", "")  # as a command line has it
    run = SweepRun(1, {"append": word, "guest": f"/{word}"}, 1)
    outcome = RunOutcome(
        1, Status.FAILED, 1, stored, stored, 1.0, 1.7e9, stored, "runs/000001-abcdefgh", stored,
        stored, stored,
    )  # fmt: skip
    plan = SweepPlan((), word, 60, 60, (), "/", ("append", "guest"), False, 1, {})
    out = tmp_path / name
    with Store.create(out, plan, [run]) as store:
        store.record(outcome)
        (out / outcome.files).mkdir()
        (out / outcome.files / name).touch()
        (out / outcome.files / "record.txt").write_text(stored)
        report.write(store, tmp_path / "report.html")
        junit.write(tmp_path / "junit.xml", out.name, store.rows())
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.loaded == []
    assert page.handlers == []
    relative = [link for link in page.links if not link.startswith("#")]
    assert len(relative) == 4
    for link in relative:
        assert (tmp_path / urllib.parse.unquote(link)).is_file()
    shown = "".join(page.text)
    assert ("{{ 7 * 7 }}" in shown) == ("{{ 7 * 7 }}" in text)
    assert shown.count(stored) >= 5
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert [child.tag for child in suite[0]] == ["failure", "system-out", "system-err"]


def test_parquet(swept: Sweeps) -> None:
    swept.call("export", "rows.parquet")
    rows = parquet.read_table(swept.directory / "rows.parquet").to_pylist()
    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    assert [row["status"] for row in rows] == ["passed", "failed", "passed", "passed"]
    assert [Path(row["guest"]).name for row in rows] == ["guest", "other"] * 2
    assert rows[1]["signature"] == SIGNATURE
    assert (rows[0]["exit_status"], rows[1]["exit_status"]) == (0, 1)
    assert all(row["seed"] >> 63 in (0, 1) for row in rows)


def test_parquet_has_the_host_of_the_run_and_the_parameter_of_that_name(sweeps: Sweeps) -> None:
    outcomes = sweep(sweeps, {"host": "lab"}, "true", times=1)
    sweeps.call("export", "rows.parquet")
    (row,) = parquet.read_table(sweeps.directory / "rows.parquet").to_pylist()
    assert (row["host"], row["parameter_host"]) == (outcomes[0].host, "lab")


def test_a_run_whose_directory_cannot_be_read(swept: Sweeps) -> None:
    (failed,) = [outcome for outcome in swept.outcomes() if outcome.exit_status]
    directory = swept.out / failed.files
    shutil.rmtree(directory)
    directory.touch()
    swept.call("report")
    page = _Page((swept.out / "report.html").read_text(encoding="utf-8"))
    assert not [link for link in page.links if failed.files in link]
    assert "run-2" in page.ids


def test_a_name_that_a_browser_would_not_find(sweeps: Sweeps) -> None:
    sweep(sweeps, {}, "true", times=1)
    (outcome,) = sweeps.outcomes()
    (sweeps.out / outcome.files / "a#b?c%20").touch()
    sweeps.call("report")
    links = _Page((sweeps.out / "report.html").read_text(encoding="utf-8")).links
    assert f"{outcome.files}/a%23b%3Fc%2520" in links


def test_junit_of_parameters_that_xml_cannot_write(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--append=a\x1bb", "--script=true")
    suite = ET.parse(sweeps.out / "junit.xml").getroot()
    assert r"append=a\x1bb" in str(suite[0].get("name"))
    sweeps.call("report")


@pytest.mark.timeout(60)
def test_a_fifo_that_nobody_reads_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_FIFO_SECONDS", 0.0)
    os.mkfifo(tmp_path / "fifo")
    plan = SweepPlan((), "", 60, 60, (), "/", (), False, 1, {})
    with Store.create(tmp_path / "out", plan, []) as store:
        for write in (report.write, export):
            with pytest.raises(InputError, match="is a FIFO that nobody has opened to read"):
                write(store, tmp_path / "fifo")
