"""The site: what ``make docs`` builds, and what it does not build."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doc_sessions import FOLDER, names
from tests.session_page import BEGIN, PAGES, page

ROOT = Path(__file__).parents[2]
INDEX = "# Pages\n\n{link}\n\n```{{toctree}}\nother\n```\n"


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Sphinx as the Makefile runs it."""
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "-m sphinx" in line]
    words = line.partition("-m sphinx")[2].split()
    words = [{".": str(source), "build/site": str(site)}.get(word, word) for word in words]
    argv = [sys.executable, "-m", "sphinx", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_site_is_built_and_can_be_searched_without_a_network(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    guide = (tmp_path / "docs" / "guide.html").read_text()
    assert 'href="../search.html"' in guide or 'action="../search.html"' in guide
    assert "watchpoint" in (tmp_path / "searchindex.js").read_text()
    loaded = [word for word in guide.split() if word.startswith(('src="http', 'href="http'))]
    assert not [word for word in loaded if ".js" in word or ".css" in word]


def test_every_page_is_in_the_contents_once() -> None:
    contents = (ROOT / "docs" / "index.md").read_text()
    blocks = re.findall(r"```{toctree}\n(?::.*\n)*\n([^`]*)```", contents)
    listed = [re.sub(r"^.*<(.*)>$", r"\1", line) for block in blocks for line in block.split("\n")]
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    expected = [path.with_suffix("").as_posix() for path in pages if path.stem != "index"]
    expected += [f"/{path.stem}" for path in ROOT.glob("*.md")] + ["/changelog.d/README"]
    assert sorted(filter(None, listed)) == sorted(expected)


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    docs = tmp_path / "source" / "docs"
    docs.mkdir(parents=True)
    (docs / "other.md").write_text("# Other\n")
    (docs / "index.md").write_text(INDEX.format(link="[x](other.md#other)"))
    done = build(docs.parent, tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    broken = ["[x](nowhere.md)", "[x](other.md#nothing)", "[x](#nothing)", "![x](none.svg)"]
    (docs / "index.md").write_text(INDEX.format(link="\n\n".join(broken)))
    done = build(docs.parent, tmp_path / "site")
    assert done.returncode == 1
    for line in (3, 5, 7, 9):
        assert f"docs/index.md:{line}: WARNING:" in done.stderr


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_a_page_has_its_sessions_as_they_were_recorded(path: Path) -> None:
    assert path.read_text() == page(path), f"docs/tasks/{path.name} is old: make docs"


def test_every_session_is_on_one_page() -> None:
    pages = "".join(path.read_text() for path in PAGES.glob("*.md"))
    for name in names():
        assert pages.count(BEGIN.format(name=name)) == 1, name
        assert (FOLDER / f"{name}.txt").stat().st_size, name


def test_a_page_whose_session_has_no_end_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "who-writes.md"
    shutil.copy(PAGES / "who-writes.md", path)
    path.write_text(path.read_text().replace("<!-- end of the session -->", ""))
    with pytest.raises(AssertionError, match="has no end"):
        page(path)
