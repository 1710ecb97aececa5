import os
import socket
from pathlib import Path

import pytest

from gdbstub.errors import InputError
from gdbstub.protocol.endpoint import Endpoint, Stdio, Tcp, Unix, parse_endpoint


@pytest.mark.parametrize(
    ("text", "meant", "spelled"),
    [
        ("localhost:1234", Tcp("localhost", 1234), "localhost:1234"),
        (":1234", Tcp("localhost", 1234), "localhost:1234"),
        ("0.0.0.0:0", Tcp("0.0.0.0", 0), "0.0.0.0:0"),
        ("[::1]:65535", Tcp("::1", 65535), "[::1]:65535"),
        ("unix:/run/a b:c", Unix("/run/a b:c"), "unix:/run/a b:c"),
        ("stdio", Stdio(), "stdio"),
    ],
)
def test_forms(text: str, meant: Endpoint, spelled: str) -> None:
    assert parse_endpoint(text) == meant
    assert str(meant) == spelled


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("", "a port"),
        ("1234", "a port"),
        ("localhost", "a port"),
        ("localhost:", "a port from 0 to 65535"),
        ("localhost:65536", "a port from 0 to 65535"),
        ("localhost:-1", "a port from 0 to 65535"),
        ("localhost:12 ", "a port from 0 to 65535"),
        ("localhost:٣", "a port from 0 to 65535"),
        ("localhost:" + "9" * 5000, "a port from 0 to 65535"),
        ("::1:1234", "brackets round an IPv6 address"),
        ("[localhost]:1234", "an IPv6 address in the brackets"),
        ("fe80::1%eth0:1234", "brackets round an IPv6 address"),
        ("a b:1", "a host"),
        ("[::1:1", "brackets round an IPv6 address"),
        ("/tmp/socket:1", "a host"),
        ("unix:", "a path"),
    ],
)
def test_nonsense(text: str, lacks: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_endpoint(text)
    message = str(caught.value)
    assert "\n" not in message
    assert f"lacks {lacks}; expected HOST:PORT, unix:PATH or stdio" in message


@pytest.mark.parametrize("text", ["tcp::1234", "tcp:localhost:1234", "http://localhost:1234"])
def test_notations_of_others(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_endpoint(text)
    line = f"--gdb {text!r} has a colon in its host; expected HOST:PORT, unix:PATH or stdio"
    assert str(caught.value) == line


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.7", "::1"])
def test_what_is_local(host: str) -> None:
    assert Tcp(host, 1).local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "192.168.0.1", "127.example.org"])
def test_what_is_not(host: str) -> None:
    assert not Tcp(host, 1).local


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_localhost_is_every_loopback_address_with_one_port() -> None:
    bound, sockets = Tcp("localhost", 0).bind()
    names = [each.getsockname()[:2] for each in sockets]
    assert names[0] == ("127.0.0.1", bound.port)
    assert names[1:] in ([], [("::1", bound.port)])
    assert bound.port
    with pytest.raises(InputError, match=f"^localhost:{bound.port} is in use: .*; choose another"):
        bound.bind()
    close(sockets)
    # At once again: nothing lingers.
    _, sockets = bound.bind()
    close(sockets)


def test_an_address_that_cannot_be_had() -> None:
    with pytest.raises(InputError, match=r"^192\.0\.2\.1:1 cannot be listened on: Cannot assign"):
        Tcp("192.0.2.1", 1).bind()
    with pytest.raises(InputError, match=r"^no host is called"):
        Tcp("no.such.host.invalid", 1).bind()


def test_a_refused_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(InputError, match=r"^localhost:80 cannot be listened on: Permission denied"):
        Tcp("localhost", 80).bind()


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_unix_socket_is_never_anybody_else_s(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mode that is set afterwards may be set for a link to a file, put there meanwhile."""
    (tmp_path / "file").touch(0o644)
    bind = socket.socket.bind

    def swap(made: socket.socket, path: str) -> None:
        bind(made, path)
        os.rename(path, tmp_path / "made")
        os.symlink(tmp_path / "file", path)

    monkeypatch.setattr(socket.socket, "bind", swap)
    before = os.umask(umask)
    try:
        Unix(str(tmp_path / "gdb")).bind().close()
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "gdb"
    with Unix(str(path)).bind():
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(InputError, match="is in use"):
            Unix(str(path)).bind()
    # Nobody listens any more, and the file is still there: a crash would leave it so.
    assert path.is_socket()
    with Unix(str(path)).bind(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_paths_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="exists and is no socket"):
        Unix(str(tmp_path / "file")).bind()
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(InputError, match="cannot be listened on: No such file"):
        Unix(str(tmp_path / "none" / "gdb")).bind()
    with pytest.raises(InputError, match="too long"):
        Unix(str(tmp_path / ("a" * 200))).bind()
    os.symlink("nowhere", tmp_path / "link")
    with pytest.raises(InputError, match="exists and is no socket"):
        Unix(str(tmp_path / "link")).bind()
