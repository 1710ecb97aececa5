"""``--symbols debug``: a kernel's vmlinux from a debuginfod server, or from an apt archive."""

import hashlib
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import LabError
from gdbstub.lab import debug_symbols
from gdbstub.lab.debug_symbols import KernelBuild, identify
from tests.pure.elves import Elf, Load

PT_NOTE: Final = 4
OWN, VDSO = "38" * 20, "18" * 20
RELEASE, VERSION = "6.1.0-57-cloud-arm64", "6.1.192-3"
BANNER: Final = (
    f"Linux version {RELEASE} (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) "
    f"12.2.0) #1 SMP Debian {VERSION} (2026-11-26)\n"
).encode()


def note(build_id: str) -> bytes:
    return struct.pack("<III4s", 4, 20, 3, b"GNU") + bytes.fromhex(build_id)


def vmlinux(build_id: str) -> bytes:
    return Elf([Load(data=note(build_id), type=PT_NOTE), Load()]).build()


IMAGE: Final = bytes(64) + note(VDSO) + bytes(100) + BANNER + bytes(99) + note(OWN) + bytes(9)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)


def test_what_an_image_says_of_its_build() -> None:
    assert identify(IMAGE) == KernelBuild((OWN, VDSO), RELEASE, VERSION)
    assert identify(note(OWN) + b"Linux version 7.0 (me) #1 SMP\n") == KernelBuild((OWN,))
    with pytest.raises(LabError, match="the kernel's Image has no build ID; give its vmlinux"):
        identify(BANNER)


# A debuginfod server.


class Server(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        data = self.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    class Ours(Server):
        files: ClassVar[dict[str, bytes]] = {}
        asked: ClassVar[list[str]] = []

    with HTTPServer(("127.0.0.1", 0), Ours) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("DEBUGINFOD_URLS", f"http://127.0.0.1:{http.server_port}/")
        yield Ours
        http.shutdown()
        thread.join()


def test_a_server_has_it_and_it_is_kept(server: type[Server]) -> None:
    server.files[f"/buildid/{OWN}/debuginfo"] = vmlinux(OWN)
    made = debug_symbols.prepare(IMAGE)
    assert made.read_bytes() == vmlinux(OWN)
    assert debug_symbols.prepare(IMAGE) == made
    assert server.asked == [f"/buildid/{OWN}/debuginfo"]


def test_what_a_server_gives_is_looked_at(server: type[Server]) -> None:
    server.files[f"/buildid/{OWN}/debuginfo"] = vmlinux("77" * 20)
    with pytest.raises(LabError, match="no server in DEBUGINFOD_URLS has this kernel"):
        debug_symbols.prepare(note(OWN))


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_MAXSIZE", "500")


def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug_symbols, "_ANSWER_SECONDS", 0.05)


LATER = "HTTP/1.0 200 OK\r\n\r\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("begin", "again", "said", "prepare"),
    [
        ("", "", "Remote end closed connection without response", None),
        ("SSH-2.0-OpenSSH_9.2\r\n", "", "SSH-2.0-OpenSSH_9.2", None),
        (f"{LATER[:-2]}A: {'x' * 70_000}\r\n\r\n", "", "got more than 65536 bytes", None),
        (LATER[:-2] + "a: b\r\n" * 200, "", "got more than 100 headers", None),
        (f"{LATER[:-2]}Content-Length: {'9' * 9000}\r\n\r\n", "", "Exceeds the limit", None),
        (f"{LATER[:-2]}Content-Length: 501\r\n\r\n", "", "sends more than 0 MiB; DEBU", small),
        (LATER, "x" * 100, "sends more than 0 MiB; DEBUGINFOD_MAXSIZE (bytes) allows m", small),
        (LATER, "x", "has sent less than 100000 bytes in 0.05 s", slow),
        (LATER, None, "timed out", slow),
        ("HTTP/1.0 500 " + "x" * 9000, "", "HTTP Error 500: xxx", None),
    ],
)  # fmt: skip
def test_a_server_that_answers_without_end_or_sense_is_one_line(
    begin: str,
    again: str | None,
    said: str,
    prepare: Callable[[pytest.MonkeyPatch], None] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if prepare:
        prepare(monkeypatch)

    def serve(listening: socket.socket) -> None:
        with listening.accept()[0] as client, suppress(ConnectionError):
            client.recv(1000)
            client.sendall(begin.encode())
            while again:
                client.sendall(again.encode())
            if again is None:
                client.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("DEBUGINFOD_URLS", server)
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        with pytest.raises(LabError, match="no server in DEBUGINFOD_URLS has this kernel"):
            debug_symbols.prepare(note(OWN))
        thread.join()
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gdbstub: {server}: ")
    assert said in line
    assert len(line) < 300


def test_a_size_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "http://127.0.0.1:1")
    monkeypatch.setenv("DEBUGINFOD_MAXSIZE", "4G")
    with pytest.raises(LabError, match="DEBUGINFOD_MAXSIZE=4G: expected a number of bytes"):
        debug_symbols.prepare(note(OWN))


@given(st.data())
def test_a_damaged_file_of_a_server_has_its_build_id_or_none(data: st.DataObject) -> None:
    damaged = bytearray(vmlinux(OWN))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + 8] = data.draw(
            st.sampled_from((bytes(8), b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\1" + bytes(7)))
        )
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged)
        file.flush()
        assert debug_symbols._build_id(Path(file.name)) in ("", OWN) or OWN not in damaged.hex()


def test_servers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUGINFOD_URLS", "file:///etc")
    with pytest.raises(LabError, match="file:///etc: expected http:// or https://"):
        debug_symbols.prepare(IMAGE)


# An archive of Debian packages.


def archive(directory: Path, build_id: str) -> Path:
    """The configuration of an apt whose only archive has the -dbg package of our kernel."""
    tree = directory / "tree"
    place = tree / "usr/lib/debug/boot"
    place.mkdir(parents=True)
    (place / f"vmlinux-{RELEASE}").write_bytes(vmlinux(build_id))
    (tree / "usr/lib/debug" / f"vmlinux-{RELEASE}").symlink_to(f"boot/vmlinux-{RELEASE}")
    (tree / "usr/lib/debug/other").write_bytes(bytes(99))
    control = tree / "DEBIAN/control"
    control.parent.mkdir()
    fields = (
        f"Package: linux-image-{RELEASE}-dbg\nVersion: {VERSION}\nArchitecture: arm64\n"
        "Maintainer: me\nDescription: symbols\n"
    )
    control.write_text(fields)
    deb = directory / "symbols.deb"
    subprocess.run(["dpkg-deb", "-b", tree, deb], check=True, capture_output=True)
    data = deb.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    (directory / "Packages").write_text(
        f"{fields}Filename: ./symbols.deb\nSize: {len(data)}\nSHA256: {digest}\n"
    )
    (directory / "sources.list").write_text(f"deb [trusted=yes] file://{directory} ./\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{directory}/sources.list";\nDir::Etc::sourceparts "-";\n'
    )
    return configuration


def test_the_package_of_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APT_CONFIG", str(archive(tmp_path, OWN)))
    made = debug_symbols.prepare(IMAGE)
    assert made.read_bytes() == vmlinux(OWN)
    assert [each.name for each in made.parent.iterdir() if each != made] == ["checksums.json"]
    assert not [*(tmp_path / "cache").rglob("*.deb*")]
    said = capsys.readouterr().err
    assert f"downloading linux-image-{RELEASE}-dbg {VERSION} (0 MB)\n" in said
    (tmp_path / "symbols.deb").unlink()
    assert debug_symbols.prepare(IMAGE) == made


def test_a_package_of_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APT_CONFIG", str(archive(tmp_path, "77" * 20)))
    with pytest.raises(LabError, match=f"has the build ID {'77' * 20}, and the kernel {OWN}"):
        debug_symbols.prepare(IMAGE)
    assert not [*(tmp_path / "cache").rglob("vmlinux")]


def test_a_version_that_the_archive_has_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APT_CONFIG", str(archive(tmp_path, OWN)))
    image = IMAGE.replace(VERSION.encode(), b"6.1.192-2")
    wanted = (
        f"the apt sources have linux-image-{RELEASE}-dbg {VERSION}, and the kernel is 6.1.192-2"
    )
    with pytest.raises(LabError, match=wanted):
        debug_symbols.prepare(image)
