"""Endpoints: the default, a script's own, and the users that reach one."""

import os
from pathlib import Path

import pytest

from gdbstub.cli.main import call
from gdbstub.cli.serving.serve import announce
from gdbstub.cli.settings.endpoints import endpoint_text, who_reaches
from gdbstub.errors import InputError
from gdbstub.protocol.endpoint import Unix, parse_endpoint


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    places = [tmp_path / "runtime", tmp_path]
    monkeypatch.setattr("gdbstub.lab.private.temporary_places", lambda **_: places)
    return tmp_path


def test_the_default_is_a_port_for_a_person() -> None:
    with endpoint_text(None, None) as text:
        assert text == "localhost:1234"


@pytest.mark.parametrize("script", [None, "true"])
def test_what_was_asked_for_is_used(script: str | None) -> None:
    with endpoint_text("localhost:7", script) as text:
        assert text == "localhost:7"


@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_a_script_has_a_socket_of_its_own(temporary: Path, mode: int) -> None:
    runtime = temporary / "runtime"
    runtime.mkdir()
    runtime.chmod(mode)
    with endpoint_text(None, "true") as text:
        endpoint = parse_endpoint(text)
        assert isinstance(endpoint, Unix)
        directory = Path(endpoint.path).parent
        assert directory.parent == (runtime if mode == 0o700 else temporary)
        assert directory.stat().st_mode & 0o777 == 0o700
        endpoint.bind().close()
    assert not directory.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_script_has_no_socket_where_others_can_replace_it(temporary: Path, mode: int) -> None:
    temporary.chmod(mode)
    with (
        pytest.raises(InputError, match=r"--script needs .* other users could .* or TMPDIR"),
        endpoint_text(None, "true"),
    ):
        pass
    temporary.chmod(mode | 0o1000)
    with endpoint_text(None, "true") as text:
        assert str(temporary) in text


def test_no_room_for_it_is_one_line(temporary: Path) -> None:
    os.rmdir(temporary)
    with pytest.raises(InputError, match="or TMPDIR"), endpoint_text(None, "true"):
        pass


def test_it_is_said_who_reaches_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    for text in ("localhost:1", "127.0.0.1:1", "[::1]:1"):
        said = who_reaches(parse_endpoint(text))
        assert said.startswith("every user of this machine reaches this port")
        assert said.endswith("--gdb unix:/run/user/7/gdb")
    assert who_reaches(parse_endpoint("unix:x")) == who_reaches(parse_endpoint("stdio")) == ""
    assert who_reaches(parse_endpoint("0.0.0.0:1")) == ""  # the server warns
    assert who_reaches(parse_endpoint("10.0.2.15:0")._replace(guarded=True)) == ""  # type: ignore[union-attr,call-arg]


def test_help_says_both_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    call(["run", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "[default: localhost:1234; with --script: a socket that only this user reaches]" in said


def test_what_is_said_of_an_endpoint_is_lines_whatever_its_name_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "a\nb\x1b[2J"
    monkeypatch.setenv("XDG_RUNTIME_DIR", odd)
    note = who_reaches(parse_endpoint("localhost:1"))
    announce(f"unix:{odd}", odd, odd, hint=True, note=note)
    said = capsys.readouterr().err
    assert said.count("\n") == 3
    assert "\x1b" not in said
    assert said.startswith("gdbstub: listening on unix:a\\nb\\x1b[2J\n")
