"""The plugin for pytest without a guest: other suites beside it, its markers, its console."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Final, NoReturn

import pytest

from gdbstub.errors import GdbError, InputError, LabError
from gdbstub.lab.host import VARIABLE
from gdbstub.pytest_plugin import console as console_module
from gdbstub.pytest_plugin.console import Console
from gdbstub.pytest_plugin.gdb import Gdb, attach
from gdbstub.pytest_plugin.guest import Guest, _private_directory
from gdbstub.pytest_plugin.host import Host, open_host
from gdbstub.pytest_plugin.settings import GuestSettings

pytest_plugins = ["pytester"]

#: Modules that the entry point must not import, since every run of pytest pays for it.
LATER: Final = ("gdbstub.errors", "gdbstub.cli", "gdbstub.lab", "pygdbmi", "gdbstub.pytest_plugin.")

#: Arguments of a run: without what has warnings of its own.
QUIET: Final = ("-p", "no:cacheprovider", "-p", "no:asyncio")

#: A conftest.py whose guests are a program that prints one line and ends.
NO_STUB: Final = """\
import os
import pytest
from gdbstub.pytest_plugin.host import Host

@pytest.fixture(scope="session")
def gdbstub_host():
    return Host(("sh", "-c", "echo {line} >&2; exit {status}"), os.environ)
"""


def test_the_entry_point_imports_nothing_else() -> None:
    program = "import pytest, sys; import gdbstub.pytest_plugin.plugin; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith(LATER)}
    assert ours == {"gdbstub.pytest_plugin.plugin"}


def test_a_suite_with_names_of_its_own_is_as_it_was(pytester: pytest.Pytester) -> None:
    """The suite's names are the plugin's; a warning or an unknown marker is an error."""
    pytester.makeini(
        """
        [pytest]
        addopts = --strict-markers --strict-config
        filterwarnings = error
        markers =
            cpu: runs on a processor
            slow: takes long
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def guest():
            return "somebody who visits"

        @pytest.fixture(scope="module")
        def gdb():
            return "a database"

        @pytest.mark.cpu
        @pytest.mark.kernel(size=3)
        @pytest.mark.smp("many", 1)
        def test_passes(guest, gdb):
            assert (guest, gdb) == ("somebody who visits", "a database")

        @pytest.mark.slow
        def test_fails(guest):
            assert guest == "nobody"
        """
    )
    result = pytester.runpytest(*QUIET)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*guest console*")
    pytester.runpytest(*QUIET, "-m", "slow").assert_outcomes(failed=1, deselected=1)


@pytest.mark.parametrize(
    ("marker", "line"),
    [
        ("smp('two')", "@pytest.mark.smp('two'): expected a number of vCPUs, 1 or more"),
        ("smp(0)", "@pytest.mark.smp(0): expected a number of vCPUs, 1 or more"),
        ("smp(True)", "@pytest.mark.smp(True): expected a number of vCPUs, 1 or more"),
        ("smp()", "@pytest.mark.smp: missing a required argument: 'n'; expected smp(n)"),
        ("smp(1, 2)", "@pytest.mark.smp: too many positional arguments; expected smp(n)"),
        ("cpu(3)", "@pytest.mark.cpu(3): expected features as of --cpu, such as 'sve=off'"),
        (
            "kernel(scope='class')",
            "@pytest.mark.kernel(scope='class'): expected one of function, module, session",
        ),
        (
            "kernel(scope=['module'])",
            "@pytest.mark.kernel(scope=['module']): expected one of function, module, session",
        ),
        (
            r"kernel(append='a\0b')",
            r"@pytest.mark.kernel(append='a\x00b'): has a NUL; expected text without one",
        ),
        (
            r"kernel(memory='\0')",
            r"@pytest.mark.kernel(memory='\x00'): has a NUL; expected text without one",
        ),
        (r"cpu('\0')", r"@pytest.mark.cpu('\x00'): has a NUL; expected text without one"),
        (
            r"kernel('a\0')",
            r"@pytest.mark.kernel('a\x00'): has a NUL; expected text without one",
        ),
        ("kernel(memory=512)", "@pytest.mark.kernel(memory=512): expected a str"),
        (
            "kernel(initrdd='x')",
            "@pytest.mark.kernel: got an unexpected keyword argument 'initrdd'; "
            "expected kernel(path, symbols, initrd, append, memory, scope)",
        ),
        ("kernel(7)", "@pytest.mark.kernel(7): expected a path relative to the test's file"),
        (
            "kernel('no.elf')",
            "@pytest.mark.kernel('no.elf'): no such file: {folder}/no.elf; "
            "expected a path relative to the test's file",
        ),
        (
            "kernel(symbols='vmlinux')",
            "@pytest.mark.kernel(symbols='vmlinux'): no such file: {folder}/vmlinux; "
            "expected a path relative to the test's file",
        ),
    ],
)
def test_wrong_arguments_of_a_marker_are_one_line(
    pytester: pytest.Pytester, marker: str, line: str
) -> None:
    pytester.makeconftest(NO_STUB.format(line="started", status=0))
    pytester.makepyfile(f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(guest): pass")
    assert one_error(pytester) == [line.format(folder=pytester.path)]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("0", "gdbstub_timeout = 0: expected a number of seconds above 0"),
        ("soon", "gdbstub_timeout = soon: expected a number of seconds above 0"),
        ("inf", "gdbstub_timeout = inf: expected a number of seconds above 0"),
    ],
)
def test_a_wrong_time_limit_is_one_line(pytester: pytest.Pytester, setting: str, line: str) -> None:
    pytester.makeini(f"[pytest]\ngdbstub_timeout = {setting}")
    pytester.makepyfile("def test_it(guest): pass")
    assert one_error(pytester) == [line]


def test_a_guest_that_does_not_start_is_one_line(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(NO_STUB.format(line="gdbstub: --cpu x: no such feature", status=2))
    pytester.makepyfile("def test_it(guest): pass")
    assert one_error(pytester) == ["the guest does not start: gdbstub: --cpu x: no such feature"]


def test_a_guest_whose_program_is_missing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(InputError) as refused:
        Guest(GuestSettings(), Host(("true",), {"PATH": str(tmp_path)}), tmp_path, halted=True)
    assert str(refused.value) == (
        "the guest does not start: setsid is not on the path: apt-get install util-linux"
    )
    assert os.listdir("/proc/self/fd") == before
    assert not list(tmp_path.iterdir())


def test_a_line_feed_in_a_command_of_gdb_is_refused_at_once() -> None:
    class Unwritten:
        def write(self, *_: object, **__: object) -> NoReturn:
            pytest.fail("it was given to GDB")

    gdb = Gdb(Unwritten(), 0.1)  # type: ignore[arg-type]
    for give in (gdb.execute, gdb.evaluate, gdb.mi):
        for text in ("a\nb", "a\n", "a\rb", "a\0"):
            with pytest.raises(GdbError) as refused:
                give(text)
            assert str(refused.value) == (
                f"gdb: {text!r}: expected one line without a NUL; give each line by itself"
            )


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("a b", '"a b"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a\nb", r'"a\nb"'),
    ],
)
def test_the_path_of_the_symbols_is_a_string_of_mi(
    path: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    gdb = SimpleNamespace(mi=lambda command, _=None: given.append(command))
    monkeypatch.setattr("gdbstub.pytest_plugin.gdb.start", lambda *_: nullcontext(gdb))
    guest = SimpleNamespace(settings=GuestSettings(), symbols=Path(path), remote="socket")
    with attach(guest, ""):  # type: ignore[arg-type]
        assert given == [f"-file-exec-and-symbols {quoted}", "-target-select remote socket"]


def one_error(pytester: pytest.Pytester) -> list[str]:
    """The text of the report of the only test, which has an error at its setup."""
    result = pytester.runpytest(*QUIET)
    result.assert_outcomes(errors=1)
    said = result.stdout.str()
    found = re.search(r"^_+ ERROR at setup of test_it _+\n(.*?)^=", said, re.M | re.S)
    assert found, said
    return found[1].splitlines()


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as source, open(writer, "wb", 0) as sink:
        yield source, sink


def test_the_consoles_text_and_what_is_expected_of_it(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    console = Console(source, "console", 30.0)
    sink.write(b"one\r\ntwo \xc3")
    assert console.expect("one\n")[0] == "one\n"
    sink.write(b"\xa9\r\none\r\n")
    assert console.expect(r"two (\w)\n")[1] == "é"
    assert console.expect("one").start() == len("one\ntwo é\n"), "after the last match"
    sink.write(b"cut \xc3")
    sink.close()
    console.close()
    assert console.text == "one\ntwo é\none\ncut \N{REPLACEMENT CHARACTER}"
    assert console.end(2) == "one\ncut \N{REPLACEMENT CHARACTER}"


def test_what_is_not_seen_is_told_with_the_end_of_the_text(
    pipe: tuple[IO[bytes], IO[bytes]],
) -> None:
    source, sink = pipe
    console = Console(source, "console", 30.0)
    with pytest.raises(AssertionError) as none:
        console.expect("two", timeout=0)
    assert str(none.value) == (
        "the console has no match for 'two' within 0 s; its last lines:\n(it is empty)"
    )
    sink.write(b"".join(b"line %d\n" % n for n in range(30)))
    console.expect("line 29\n")
    sink.close()
    with pytest.raises(AssertionError) as gone:
        console.expect("two")
    lines = "\n".join(f"line {n}" for n in range(10, 30))
    assert str(gone.value) == (
        f"the console has no match for 'two' before its end; its last lines:\n{lines}"
    )
    console.close()


def test_a_guest_that_prints_for_ever_is_kept_in_bounds(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "MOST", 1000)
    source, sink = pipe
    console = Console(source, "console", 30.0)
    sink.write(b"early\n")
    console.expect("early\n")
    for number in range(500):
        sink.write(b"line %04d\n" % number)
        assert len(console.text) <= 1000
    console.expect("line 0499\n")
    sink.write(b"early\n")
    console.expect("early\n")
    assert console.end(2) == "line 0499\nearly"
    sink.close()
    console.close()


def test_typed_text_goes_to_the_keyboard(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    keys, keyboard = os.pipe()
    console = Console(source, "console", 30.0, keyboard)
    console.send("lö\n")
    assert os.read(keys, 100) == "lö\n".encode()
    os.close(keys)
    os.close(keyboard)
    sink.close()
    console.close()


def test_the_markers_are_described(pytester: pytest.Pytester) -> None:
    said = pytester.runpytest(*QUIET, "--markers").stdout.str()
    for marker in ("kernel(path=None,", "cpu(features)", "smp(n)"):
        assert f"@pytest.mark.{marker}" in said


def test_a_failure_without_a_guest_has_no_section_of_another_tests(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(NO_STUB.format(line="gdbstub: listening on unix:x", status=3))
    pytester.makepyfile(
        """
        def test_a_guest_that_ends(guest):
            assert guest.wait() == 0

        def test_none():
            assert False
        """
    )
    result = pytester.runpytest(*QUIET)
    result.assert_outcomes(failed=2)
    first, _, second = result.stdout.str().partition("_ test_none _")
    assert "(the guest has ended, status 3)" in first
    assert "guest console" not in second


def test_the_host_is_this_machines_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdbstub.cli.settings.run.choose_host", lambda where: "kvm")
    host = open_host()
    assert host.command == (sys.executable, "-m", "gdbstub")
    assert host.environment == os.environ
    host.close()


def test_the_host_is_one_lab_for_all_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened:
        directory = Path("/run/lab-of-the-session")
        closed = False

        def close(self) -> None:
            self.closed = True

    opened = Opened()
    monkeypatch.setattr("gdbstub.cli.settings.run.choose_host", lambda where: "lab")
    monkeypatch.setattr("gdbstub.lab.opening.open_lab", lambda: opened)
    host = open_host()
    assert host.environment == {**os.environ, VARIABLE: str(opened.directory)}
    host.close()
    assert opened.closed


def test_a_lab_that_cannot_be_started_is_one_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise LabError("no lab: the disk is full")

    monkeypatch.setattr("gdbstub.cli.settings.run.choose_host", lambda where: "lab")
    monkeypatch.setattr("gdbstub.lab.opening.open_lab", fail)
    pytester.makepyfile("def test_it(guest): pass")
    assert one_error(pytester) == ["no lab: the disk is full"]


def test_a_guest_has_no_socket_where_others_can_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdbstub.lab.private.temporary_places", lambda **_: [tmp_path])
    tmp_path.chmod(0o777)
    with pytest.raises(InputError, match=r"^the guest does not start: other users could replace"):
        _private_directory()
    tmp_path.chmod(0o1777)
    assert _private_directory().parent == tmp_path
