"""The lab's command lines and the lines that it reads."""

import io
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from gdbstub.errors import LabError
from gdbstub.lab import (
    boot,
    cpio,
    directories,
    host,
    monitor,
    overlay,
    private,
    processes,
    qemu,
    remote_run,
    ssh,
)

USERNET = """\
Hub -1 (net):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   22       127.0.0.1 40123       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  19       127.0.0.1 33491       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  23               *  1234       10.0.2.15  5678     0     0
  UDP[236 sec]       17       10.0.2.15 38211        10.0.2.3    53     0     0
"""


def options_of(argv: list[str]) -> dict[str, str]:
    assert argv[:4] == ["qemu-system-aarch64", "-nodefaults", "-nographic", "-no-reboot"]
    return dict(zip(argv[4::2], argv[5::2], strict=True))


def booting(options: qemu.Options) -> list[str]:
    start = qemu.boot_arguments(options, Path("/k"), Path("/i"))
    return qemu.command_line(options, qemu.Wiring(Path("/d"), 7, 8), start, None)


def test_the_command_line_of_a_lab_with_its_memory_in_a_file() -> None:
    def command_line(ram: qemu.Ram) -> dict[str, str]:
        wiring = qemu.Wiring(Path("/d"), 7, 8)
        return options_of(qemu.command_line(qemu.Options(), wiring, [*qemu.INCOMING], ram))

    saved = command_line(qemu.Ram(Path("/a,b"), shared=True))
    backend = "memory-backend-file,id=ram,size=2048M,mem-path=/a,,b,share="
    assert saved["-object"] == backend + "on"
    assert saved["-M"].endswith(",memory-backend=ram")
    restored = command_line(qemu.Ram(Path("/a,b"), shared=False))
    assert restored == {**saved, "-object": backend + "off"}
    assert restored["-incoming"] == "defer"


def test_the_command_line_of_the_default_lab() -> None:
    options = options_of(booting(qemu.Options()))
    assert options["-M"] == "virt,virtualization=on,gic-version=3"
    assert options["-cpu"] == "max,pauth-impdef=on"
    assert options["-smp"] == "1"
    assert options["-netdev"].startswith("user,id=net,restrict=on,")
    assert "hostfwd=tcp:127.0.0.1:0-:22" in options["-netdev"]
    assert options["-chardev"] == "socket,id=monitor,fd=8,server=on,wait=off"
    assert (options["-kernel"], options["-initrd"]) == ("/k", "/i")
    assert "panic=-1" in options["-append"]
    assert "kvm-arm.mode=nvhe" in options["-append"]
    assert "kvm-arm.mode" not in options_of(booting(qemu.Options(vhe=True)))["-append"]


def test_the_command_line_of_a_chosen_lab() -> None:
    chosen = qemu.Options(cpu="cortex-a57", cpus=2, gic=2, memory_mib=1024)
    options = options_of(booting(chosen))
    assert options["-M"] == "virt,virtualization=on,gic-version=2"
    assert (options["-cpu"], options["-smp"], options["-m"]) == ("cortex-a57", "2", "1024")
    assert (options["-accel"], "-icount" in options) == ("tcg,thread=multi", False)
    assert qemu.Options(cpu="max").full_cpu == "max,pauth-impdef=on"


def test_the_command_line_of_a_lab_whose_clock_counts_instructions() -> None:
    options = options_of(booting(qemu.Options(icount=True)))
    assert (options["-accel"], options["-icount"]) == ("tcg,thread=single", "shift=0")


def test_forwards_are_read_out_of_qemus_table() -> None:
    assert monitor.forwards(USERNET) == [
        monitor.Forward("127.0.0.1", 33491, 22),
        monitor.Forward("*", 1234, 5678),
    ]


@pytest.mark.parametrize(
    ("line", "port"),
    [
        (b"gdbstub: listening on 10.0.2.15:40123\n", b"40123"),
        (b"gdbstub: listening on localhost:1\n", b"1"),
        (b"gdbstub: listening on unix:/x\n", None),
        (b"warning: gdbstub: listening on 10.0.2.15:1\n", None),
        (b"gdbstub: listening on 10.0.2.15:1 and more\n", None),
    ],
)
def test_the_listening_line(line: bytes, port: bytes | None) -> None:
    match = remote_run.LISTENING.fullmatch(line)
    assert (match[2] if match else None) == port


@pytest.mark.parametrize("argument", ["", "a b", "it's", 'a"b', "$HOME", "a\nb", "*", "ødd"])
def test_arguments_survive_the_remote_shell(argument: str, tmp_path: Path) -> None:
    text = ssh.script(["printf", "%s|%s", argument, "x"], {"NAME": argument}, str(tmp_path))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"{argument}|x"
    text = ssh.script(["sh", "-c", 'printf %s "$NAME"; pwd'], {"NAME": argument}, str(tmp_path))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"{argument}{tmp_path}\n"


def test_a_command_killed_by_a_signal_is_128_and_its_number_without_comment() -> None:
    text = ssh.script(["sh", "-c", "echo err >&2; kill $$"])
    done = subprocess.run(["sh", "-c", text], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (128 + 15, b"err\n")


def test_a_command_or_directory_that_is_missing_says_so() -> None:
    for text, name in (
        (ssh.script(["no-such-command"]), b"no-such-command"),
        (ssh.script(["true"], cwd="/no/such/directory"), b"/no/such/directory"),
    ):
        done = subprocess.run(["sh", "-c", text], capture_output=True, check=False)
        assert done.returncode != 0
        assert name in done.stderr


def test_the_file_server_serves_its_outbox_only(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "wanted").write_text("here")
    (tmp_path / "secret").write_text("hidden")
    (tmp_path / "serve").write_text(processes.SERVE.format(outbox=outbox))

    def ask(name: str) -> str:
        argv = ["sh", str(tmp_path / "serve")]
        done = subprocess.run(argv, input=f"{name}\n", capture_output=True, text=True, check=False)
        return done.stdout

    assert ask("wanted") == "here"
    for name in ("../secret", "..", "", str(tmp_path / "secret"), "*", "$(cat ../secret)"):
        assert ask(name) == ""


def names_in(archive: Path) -> set[str]:
    with archive.open("rb") as file:
        argv = ["cpio", "-it", "--quiet"]
        done = subprocess.run(argv, stdin=file, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def test_the_overlay_holds_the_key(tmp_path: Path) -> None:
    overlay.write(tmp_path / "archive", tmp_path, "ssh-ed25519 AAAA\n")
    assert "root/.ssh/authorized_keys" in names_in(tmp_path / "archive")


def test_the_source_is_compiled_and_named_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "gdbstub"
    (project / "__pycache__").mkdir(parents=True)
    (project / "__pycache__/old.pyc").touch()
    (project / "one.py").write_text("x = 1\n")
    monkeypatch.setattr(overlay, "PROJECT", project)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = overlay.source()
    names = names_in(first.archive)
    place = f"lab/source/{first.digest}/gdbstub"
    assert {f"{place}/one.py", "usr/lib/python3/dist-packages/gdbstub"} <= names
    assert any(name.startswith(f"{place}/__pycache__/one.") for name in names)
    assert not any("old" in name for name in names)
    assert overlay.source() == first
    (project / "one.py").write_text("x = 2\n")
    second = overlay.digest()
    (project / "one.py").rename(project / "two.py")
    assert len({first.digest, second, overlay.digest()}) == 3


def test_a_silent_lab_says_what_it_said_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "qemu.log").write_text("qemu: a warning\n")
    error = boot.failure("stopped while booting", tmp_path, b"Kernel panic\r\n\r\n")
    assert isinstance(error, LabError)
    assert str(error) == "the lab stopped while booting: Kernel panic"
    assert "lab console: qemu: a warning\n" in capsys.readouterr().err


def test_remove_stale_removes_only_what_nobody_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (directories, private):
        monkeypatch.setattr(module, "temporary_places", lambda **_: [tmp_path])
    monkeypatch.setattr(directories, "UNCLAIMED_SECONDS", -1.0)
    others = tmp_path / f"{directories.PREFIX}others"
    for directory, mode in ((tmp_path / f"{directories.PREFIX}abandoned", 0o700), (others, 0o777)):
        directory.mkdir()
        directory.chmod(mode)
        (directory / "lock").touch()
    mine, lock = directories.claim()
    with open(lock, "rb"):
        directories.remove_stale()
        assert {mine, others} == set(tmp_path.iterdir())
    directories.remove_stale()
    assert [others] == list(tmp_path.iterdir())


@pytest.mark.timeout(60)
def test_a_lab_that_hangs_keeps_nobody_who_gives_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulator that is stopped: ssh neither answers nor ends."""
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(host, "_KILL_SECONDS", 0.1, raising=False)
    with pytest.raises(subprocess.TimeoutExpired):
        host.Lab(tmp_path).run(["true"], timeout=0.1)


@pytest.mark.parametrize(
    ("error", "killed", "said"),
    [
        (LabError("x"), True, ""),
        (
            subprocess.TimeoutExpired("ssh", 1),
            True,
            "gdbstub: the lab does not answer in 10 s: what runs there is given up\n",
        ),
        (subprocess.CalledProcessError(remote_run.NOT_BEGUN, "ssh"), True, ""),
        (subprocess.CalledProcessError(1, "ssh"), False, ""),  # it has ended by itself
    ],
)
def test_a_run_that_cannot_be_told_to_end_is_ended(
    error: Exception, killed: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hung:
        killed = False

        def run(self, *_: object, **__: object) -> None:
            raise error

        def poll(self) -> None:
            return None

        def kill(self) -> None:
            self.killed = True

    hung = Hung()
    run = object.__new__(remote_run.RemoteRun)
    run._name = "x"
    run._lab = cast("host.Lab", hung)
    run._process = cast("subprocess.Popen[bytes]", hung)
    run.stop()
    assert hung.killed == killed
    assert capsys.readouterr().err == said
    assert "ConnectTimeout" in ssh.CONFIG


def test_lines_from_the_lab_are_bounded_and_control_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A guest may have taken the lab over."""
    said = b"one\n\ttwo \xc3\xa9\r\n\x1b]0;x\x07\x9b\xff\n"
    said += b"gdbstub: listening on x:" + b"9" * 5000 + b"\n" + b"x" * 200_000
    pieces: list[int] = []

    class Stream(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            pieces.append(len(line))
            return line

    run = object.__new__(remote_run.RemoteRun)
    run._process = cast("subprocess.Popen[bytes]", SimpleNamespace(stderr=Stream(said)))
    run._pass_messages()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["one", "        two é", r"\x1b]0;x\x07\x9b\xff"]
    assert lines[3].startswith("gdbstub: listening on x:999")
    assert "".join(lines[4:]) == "x" * 200_000
    assert max(pieces) < 100_000


def test_a_command_that_the_lab_would_not_take_is_refused() -> None:
    with pytest.raises(LabError, match="a command in the lab has at most"):
        ssh.script(["echo", "x" * ssh.LONGEST])
    assert "\udcff" in ssh.script(["echo", "\udcff"])  # a word that is not UTF-8


def test_every_user_of_the_lab_reads_the_files(tmp_path: Path) -> None:
    """Whatever the umask of the user is that made them."""
    tree = tmp_path / "tree"
    (tree / "package").mkdir(parents=True)
    for name, mode in (("module.py", 0o600), ("script", 0o700)):
        (tree / "package" / name).touch()
        (tree / "package" / name).chmod(mode)
    (tree / "package").chmod(0o700)
    (tree / "link").symlink_to("nowhere")
    cpio.pack(tree, tmp_path / "archive")
    argv = ["cpio", "-itv", "--quiet", "-F", str(tmp_path / "archive")]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    modes = {line.split()[8]: line.split()[0] for line in listed.splitlines()}
    assert modes["package"] == "drwxr-xr-x"
    assert modes["package/module.py"] == "-rw-r--r--"
    assert modes["package/script"] == "-rwxr-xr-x"


@pytest.mark.timeout(20)
def test_a_lab_that_accepts_no_connection_is_not_waited_for(tmp_path: Path) -> None:
    """The lab's QEMU may be stopped: connections wait there, until there is no room for more."""
    (tmp_path / "ssh_config").touch()
    lab = host.Lab.attach(tmp_path)
    assert not lab.running
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "qmp"))
        listener.listen(1)
        assert [lab.running for _ in range(5)] == [True] * 5
    assert not lab.running


@pytest.mark.parametrize(
    ("command", "most", "expected"),
    [("cat /dev/zero", 70_000, bytes(70_000)), ("printf abc", 70_000, b"abc")],
)
def test_a_lab_that_sends_anything_is_read_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, most: int, expected: bytes
) -> None:
    killed: list[str] = []
    lab = host.Lab(tmp_path)
    monkeypatch.setattr(lab, "_shared", lambda: ["sh", "-c", command])
    monkeypatch.setattr(lab, "_kill", killed.append)
    assert lab.read(["true"], most, 60.0) == expected
    assert len(killed) == (len(expected) == most)


def test_a_lab_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    lab = host.Lab(tmp_path)
    monkeypatch.setattr(lab, "_shared", lambda: ["sh", "-c", "exec sleep 600"])
    monkeypatch.setattr(lab, "_kill", killed.append)
    with pytest.raises(TimeoutError):
        lab.read(["true"], 1, 0.05)
    assert len(killed) == 1
