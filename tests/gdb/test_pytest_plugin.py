"""The plugin for pytest with a real GDB, and with the fake machine in place of ``gdbstub run``."""

import os
import re
import select
import shutil
from pathlib import Path
from typing import Final

import pytest

pytest_plugins = ["pytester"]

ROOT: Final = Path(__file__).parents[2]
SAMPLE: Final = ROOT / "examples" / "pytest"
QUIET: Final = ("-p", "no:cacheprovider", "-p", "no:asyncio")

#: Additional text of a conftest.py.
STAND_IN: Final = f"""

import os, sys
from gdbstub.pytest_plugin.host import Host

@pytest.fixture(scope="session")
def gdbstub_host():
    environment = {{**os.environ, "PYTHONPATH": {str(ROOT)!r}}}
    return Host((sys.executable, "-m", "tests.gdb.stand_in"), environment)
"""


@pytest.fixture
def sample(pytester: pytest.Pytester) -> pytest.Pytester:
    """A copy of the sample project, whose guests run on the fake machine."""
    for path in SAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, pytester.path)
    with (pytester.path / "conftest.py").open("a") as conftest:
        conftest.write(STAND_IN)
    return pytester


def section(said: str, title: str) -> str:
    """The text of the first section with *title* in a report."""
    found = re.search(rf"^-+ {title}.*? -+\n(.*?)(?=^[-=_]{{3}})", said, re.M | re.S)
    assert found, said
    return found[1]


def test_the_sample_project_passes(sample: pytest.Pytester) -> None:
    sample.runpytest(*QUIET).assert_outcomes(passed=4)


def test_a_bug_in_the_guest_is_shown_by_the_report(sample: pytest.Pytester) -> None:
    source = sample.path / "guest.c"
    source.write_text(source.read_text().replace("0xedb88320", "0xedb88321"))
    result = sample.runpytest(*QUIET, "-k", "self_test or check_string")
    result.assert_outcomes(failed=2)
    first, _, second = result.stdout.str().partition("_ test_crc32_of_the_check_string _")
    assert "assert 'failed' == 'passed'" in first
    assert section(first, "guest console").splitlines() == [
        "crc32: 0xcfbdc920",
        "self-test: failed",
    ]
    # The test has no GDB: one is attached for this.
    frames = section(first, "guest backtrace")
    assert re.search(r'#0 .*stop \(why=.* "failed"\) at .*guest\.c:\d+', frames)
    assert re.search(r"#1 .*in main \(\) at .*guest\.c:\d+", frames)
    # The other's own GDB has returned from crc32.
    assert re.search(r"#0 .*main \(\) at .*guest\.c:\d+", section(second, "guest backtrace"))
    packets = section(second, "guest packets").splitlines()
    assert {line[:4] for line in packets} == {"<- $", "-> $"}
    assert len(packets) == 20


@pytest.fixture
def tests(sample: pytest.Pytester) -> pytest.Pytester:
    """The sample project without its tests."""
    (sample.path / "test_guest.py").unlink()
    return sample


def test_guests_are_shared_in_their_scope_and_replaced_when_they_end(
    tests: pytest.Pytester,
) -> None:
    tests.makepyfile(
        test_one="""
        import pytest

        seen = []

        @pytest.mark.parametrize("_", range(2))
        def test_own(guest, _):
            seen.append(guest)
            assert len(set(seen)) == len(seen)

        @pytest.mark.kernel(scope="module")
        @pytest.mark.parametrize("_", range(2))
        def test_of_the_module(guest, gdb, _):
            seen.append(guest)
            assert len(set(seen)) == 3, "no other test's, and one for both"
            gdb.execute("tbreak main")
            if _ == 0:
                gdb.execute("continue")

        @pytest.mark.smp(2)
        @pytest.mark.kernel(scope="module")
        def test_described_otherwise(guest, gdb):
            assert guest not in seen

        @pytest.mark.kernel(scope="module")
        def test_halted_still(guest, gdb):
            assert "main" in gdb.execute("info symbol $pc")
            gdb.execute("continue")
            assert guest.wait() == 0
            seen.append(guest)

        @pytest.mark.kernel(scope="module")
        def test_a_new_one(guest):
            assert guest not in seen
            seen.append(guest)

        @pytest.mark.kernel(scope="session")
        def test_of_the_session(request, guest, gdb):
            request.config.shared = guest

        def test_its_own_is_over():
            assert all(guest.status is not None for guest in seen[:2])
        """,
        test_two="""
        import pytest

        def test_the_modules_is_over():
            from test_one import seen
            assert all(guest.status is not None for guest in seen)

        @pytest.mark.kernel(scope="session")
        def test_the_sessions_is_not(request, guest, gdb):
            assert guest is request.config.shared
            assert guest.status is None
        """,
    )
    tests.runpytest(*QUIET).assert_outcomes(passed=11)


def test_the_handle_of_gdb(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
        import pytest
        from gdbstub.errors import GdbError

        def test_run_control(gdb, guest):
            assert not gdb.running
            assert "Breakpoint 1 at" in gdb.execute("break crc32")
            gdb.resume()
            stop = gdb.wait_for_stop()
            assert (stop["reason"], stop["bkptno"]) == ("breakpoint-hit", "1")
            assert gdb.mi("-stack-info-depth") == {"depth": "2"}
            assert gdb.evaluate('$_streq(data, "123456789")') == "1"
            gdb.execute("delete")
            # Where the first instruction jumps to itself, it runs for ever.
            gdb.execute("set var *(unsigned *) $pc = 0x14000000")
            gdb.resume()
            assert gdb.running
            with pytest.raises(GdbError, match="^gdb: a stop of the guest: nothing within 0.1 s$"):
                gdb.wait_for_stop(0.1)
            with pytest.raises(GdbError, match="^gdb: continue: Cannot execute this command while"):
                gdb.execute("continue")
            assert gdb.interrupt()["reason"] == "signal-received"
            assert not gdb.running
            gdb.reset()
            assert "_start" in gdb.execute("info symbol $pc")

        def test_errors(gdb):
            with pytest.raises(GdbError, match="No symbol .nothing. in current context"):
                gdb.evaluate("nothing")
            with pytest.raises(GdbError, match='^gdb: -no-such: Undefined MI command: no-such$'):
                gdb.mi("-no-such")
            with pytest.raises(GdbError, match="Undefined command"):
                gdb.execute('nonsense "quoted"')
            gdb.controller.gdb_process.kill()
            with pytest.raises(GdbError, match="gdb has ended"):
                gdb.execute("continue")

        def test_the_end_of_the_guest(gdb, guest, console):
            assert "exited normally" in gdb.execute("continue")
            assert guest.wait() == 0
            assert console.text.endswith("self-test: passed\\n")
        """
    )
    tests.runpytest(*QUIET).assert_outcomes(passed=3)


def test_what_a_report_says_where_there_is_no_backtrace(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
        def test_powered_off(guest):
            guest.wait()
            assert not "over"

        def test_without_gdb(guest, console, monkeypatch):
            monkeypatch.setenv("PATH", "")
            console.expect("never", timeout=0)
        """
    )
    result = tests.runpytest(*QUIET)
    result.assert_outcomes(failed=2)
    first, _, second = result.stdout.str().partition("_ test_without_gdb _")
    assert section(first, "guest backtrace").strip() == "(the guest has ended, status 0)"
    assert "the console has no match for 'never' within 0 s; its last lines:" in second
    assert section(second, "guest backtrace").strip() == (
        "(none: none of gdb-multiarch, aarch64-linux-gnu-gdb, gdb is on the path: "
        "apt-get install gdb-multiarch)"
    )


def test_a_gdb_that_is_not_there_is_one_line(tests: pytest.Pytester) -> None:
    tests.makepyfile("def test_it(gdb): pass")
    result = tests.runpytest(*QUIET, "-o", "gdbstub_gdb=no-gdb")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["gdbstub_gdb = no-gdb: no such program; expected a GDB for AArch64"]
    )


def test_without_pygdbmi_the_remedy_is_one_line(tests: pytest.Pytester) -> None:
    with (tests.path / "conftest.py").open("a") as conftest:
        conftest.write("\nsys.modules['pygdbmi.gdbcontroller'] = None\n")
    tests.makepyfile("def test_it(gdb): pass")
    result = tests.runpytest_subprocess(*QUIET)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["pygdbmi is not installed: pip install 'kvm-gdbstub[[]pytest[]]'"])


def test_a_pytest_that_is_killed_leaves_no_guest(tests: pytest.Pytester) -> None:
    tests.makepyfile(
        """
        import os, pathlib, signal

        def test_it(guest, gdb):
            pathlib.Path("pid").write_text(str(guest.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    tests.runpytest_subprocess(*QUIET)
    try:
        pidfd = os.pidfd_open(int((tests.path / "pid").read_text()))
    except ProcessLookupError:
        return  # it has ended already
    with os.fdopen(pidfd, "rb") as guest:
        assert select.select([guest], [], [], 30)[0], "the guest goes on"
