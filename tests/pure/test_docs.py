"""Checks of the documents by a program: links, names, options, generated parts."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from gdbstub.cli.commands.attach import attach
from gdbstub.cli.commands.doctor import doctor
from gdbstub.cli.commands.lab import lab
from gdbstub.cli.commands.launch import launch
from gdbstub.cli.commands.run import run
from gdbstub.cli.commands.sweep import sweep
from tests import layer_page

ROOT = Path(__file__).parents[2]

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))

#: Directories to which a path in a document may be relative.
PLACES = (ROOT, ROOT / "gdbstub", ROOT / "docs", ROOT / "tests")
TOP = {path.name for place in PLACES[:2] for path in place.iterdir()} - {"build"}  # is made

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def prose(document: Path) -> str:
    """The text without its blocks of code, where other people's files are named."""
    text = re.sub(r"^ *```.*?^ *```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub spells them."""
    return set(map(anchor, re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)))


def anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@documents
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.name} links to {target}"


@documents
def test_a_list_of_contents_has_every_section(document: Path) -> None:
    listed = re.findall(r"^- \[.*\]\(#(.*)\)$", document.read_text(), re.MULTILINE)
    titles = re.findall(r"^## (.*)$", document.read_text(), re.MULTILINE)
    assert not listed or listed == [anchor(title) for title in titles]


@documents
def test_each_table_has_a_head(document: Path) -> None:
    """Rows behind an empty line are no table: they are shown as they are written."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(document), re.MULTILINE):
        rows = [*str(table).splitlines(), ""]
        assert re.fullmatch(r"\|(?: *:?-+:? *\|)+", rows[1]), f"{document.name}: {rows[0]}"


@documents
def test_files_that_are_named_exist(document: Path) -> None:
    for named in re.findall(r"`([\w./-]+)`", prose(document)):
        if named.split("/")[0] in TOP and ("/" in named or "." in named.lstrip(".")):
            assert any((place / named).exists() for place in PLACES), f"{document.name}: {named}"


def test_the_components_of_the_architecture_are_up_to_date() -> None:
    assert layer_page.PAGE.read_text() == layer_page.page()
    assert layer_page.PICTURE.read_text() == layer_page.picture()


def options(command: click.Command, *, hidden: bool = False) -> set[str]:
    return {
        name
        for option in command.params
        if isinstance(option, click.Option) and (hidden or not option.hidden)
        for name in option.opts
    }


@documents
def test_options_of_ours_that_are_named_exist(document: Path, pytestconfig: pytest.Config) -> None:
    more = (*lab.commands.values(), *sweep.commands.values())
    commands = (run, doctor, attach, launch, *more)
    ours = set().union(*map(options, commands)) | {"--help", "--version"}
    for named in re.findall(r"`(--[a-z][a-z-]*)", prose(document)):
        of_the_tests = pytestconfig.getoption(named, None) is not None
        assert named in ours or of_the_tests, f"{document.name} names {named}"


@documents
def test_verbs_of_make_that_are_named_exist(document: Path) -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for named in re.findall(r"`make ([a-z]+)", document.read_text()):
        assert named in verbs, f"{document.name} names make {named}"


def test_the_python_that_the_readme_wants_is_the_one_that_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["requires-python"].removeprefix(">=")
    assert f"Python {wanted}" in (ROOT / "README.md").read_text()


@documents
def test_no_document_names_the_machine_that_it_was_written_on(document: Path) -> None:
    text = document.read_text()
    assert str(ROOT) not in text
    assert not re.search(r"/home/\w", text)


def test_the_library_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "library.md").read_text()
    shown = page.partition("```python\n")[2].partition("```")[0]
    assert shown == (ROOT / "examples" / "unicorn_aarch64.py").read_text()
