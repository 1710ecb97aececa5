"""Debian's QEMU, started without a stub: attached to, launched, and its guest none the worse."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from elftools.elf.elffile import ELFFile

from gdbstub.cli.settings.modules import read_modules
from gdbstub.cli.settings.program import read_kernel_symbols
from tests.bounds import HANGS
from tests.conftest import shared_lab
from tests.kvm import virtio_guest
from tests.kvm.client import Client
from tests.kvm.debugging import Remote
from tests.kvm.debugging import gdb as plain_gdb
from tests.kvm.foreign_qemu import MEMORY, QMP_OPTIONS, Attached, Host, Launched, Qemu, listed

pytestmark = pytest.mark.lengthy

STEPS = Path(__file__).parent / "check_steps.py"

#: Of a chain's digest, to its file; those to a pipe have no position.
WRITES = "break vfs_write if $x2 == 65 && $x3 != 0"

#: RAM that is a file, which a vhost-user process may have, too.
SHARED = (
    *("-object", f"memory-backend-memfd,id=ram,size={MEMORY}M,share=on"),
    *("-machine", "memory-backend=ram"),
)

#: More of QEMU's options by the number of vCPUs, most in long runs: a QMP socket, which tells where
#: RAM is, a seccomp filter, which is suspended meanwhile, and a kernel with KASLR.
MORE = {
    1: QMP_OPTIONS,
    2: ("-append", "console=ttyAMA0 quiet rdinit=/virtio", *SHARED),
    4: ("-sandbox", "on", *QMP_OPTIONS),
}

#: A guest with KASLR and no init: its kernel panics, and resets at once.
PANICS = "console=ttyAMA0 quiet rdinit=/none root=/dev/none panic=-1"

Session = Callable[[Host, Path, Path, int], str]


def gdb(stub: Remote, vmlinux: Path, *commands: str) -> str:
    """Run GDB with the stub's modules, which it reads on this machine."""
    expected = ["warning: remote target does not support file transfer"]
    return plain_gdb(stub, vmlinux, *commands, expected=expected)


def debug(stub: Remote, vmlinux: Path, vcpus: int) -> str:
    """Do what a kernel engineer does to a guest that runs; all that GDB said."""
    said = gdb(
        stub, vmlinux, "info threads", "monitor info",
        WRITES, "continue", 'printf "size %d\\n", $x2',
        # Only this one's: the chain of another vCPU may come there meanwhile.
        "disable 1", "watch -location *(long long *)$x3",
        "set scheduler-locking step", f"@{STEPS}", "set scheduler-locking off",
        "continue", "delete", f"thread {vcpus}", "stepi", "detach",
    )  # fmt: skip
    assert said.count("(halted)") >= vcpus
    assert re.search(r"Breakpoint \d+, 0x\w+ in vfs_write \(\)", said), said
    assert "size 65" in said
    assert "20 steps were right" in said, said
    assert re.search(r"Hardware watchpoint \d+: .*\n\nOld value = 0\nNew value = 65\n", said), said
    return said


def debug_more(stub: Remote, vmlinux: Path, vcpus: int, end: str) -> None:
    """Step over functions, and one vCPU alone; *end* a session that has a breakpoint.

    The one that has come to vfs_write is stepped: GDB continues another from an LDXR, which may
    wait for a lock of a halted one.
    """
    said = gdb(
        stub, vmlinux, "tbreak vfs_write", "continue",
        *(["next"] if vcpus == 1 else []),  # with four it takes longer than GDB is waited for
        "set scheduler-locking on", "stepi 20", 'printf "stepped\\n"',
        "set scheduler-locking off", "stepi", "tbreak schedule", "continue", "detach",
    )  # fmt: skip
    assert re.search(r"Temporary breakpoint \d+, 0x\w+ in vfs_write \(\)", said), said
    assert ("exit from function vfs_write" in said) is (vcpus == 1)
    assert "\nstepped\n" in said
    assert re.search(r"Temporary breakpoint \d+, 0x\w+ in schedule \(\)", said), said
    assert "Breakpoint 1, 0x" in gdb(stub, vmlinux, WRITES, "continue", end)


def debug_linux(stub: Remote, vmlinux: Path, modules: Path) -> None:
    """Ask for what the stub knows of a Linux guest, and break in a module by its symbols."""
    said = gdb(
        stub, vmlinux, "monitor modules", "monitor ps", "monitor dmesg 1", "info os tasks",
        "tbreak start_xmit", "continue", "monitor bt", "set print thread-events off",
        "monitor tasks on", "info threads", "detach",
    )  # fmt: skip
    loaded = re.findall(r"^(\w+) +\d+ +\d+ +live +0x", said, re.M)
    assert set(loaded) == {path.stem for path in modules.iterdir()}
    assert re.search(r"^1 +0 +\w +\S+ +0x\w+ +virtio *$", said, re.M), said
    assert re.search(r"^2 +0 +\w +\S+ +0x\w+ +\[kthreadd\] *$", said, re.M), said
    assert re.search(r"^\[ +\d+\.\d{6}\] ", said, re.M), said
    assert re.search(r"^2 +0 +\w +\d* +0x\w+ +kthreadd *$", said, re.M), said
    place = r"Temporary breakpoint 1, 0x\w+ in start_xmit \(\) from \S+/virtio_net\.ko"
    assert re.search(place, said), said
    frames = re.findall(r"^#\d+ +0x\w+ (\S+)\+0x\w+(.*)$", said, re.M)
    assert frames[:2] == [("start_xmit", " [virtio_net]"), ("dev_hard_start_xmit", "")], said
    assert re.search(r"^Threads are the vCPUs, and \d\d tasks that no vCPU executes\.$", said, re.M)
    assert re.search(r'Thread 1\d{7} "kthreadd" \(PID 2, state [SI]\)', said), said


def pause(qemu: Qemu, vmlinux: Path) -> None:
    """Have QEMU pause its guest, and run it on, while that is halted; step it then."""
    with Attached(qemu.host, qemu.name, "--halt") as stub:
        said = qemu.ask("stop", "query-status", "cont", "query-status")
        assert re.findall(r"'status': '(\w+)'", said) == ["paused", "running"]
        said = gdb(stub, vmlinux, "stepi", 'printf "stepped\\n"', "detach")
        assert "\nstepped\n" in said
        assert stub.stop() == 128 + signal.SIGTERM


def pause_one_that_runs(qemu: Qemu) -> None:
    """Have QEMU pause its guest, and run it on, while one vCPU runs and the others are halted."""
    with Attached(qemu.host, qemu.name, "--halt") as stub:
        with Client(stub) as client:
            client.send("vCont;c:1")
            said = qemu.ask("stop", "query-status", "cont", "query-status")
            assert re.findall(r"'status': '(\w+)'", said) == ["paused", "running"]
            client.interrupt()
            assert client.reply().startswith("T02")
        assert stub.stop() == 128 + signal.SIGTERM


def attach(host: Host, directory: Path, vmlinux: Path, vcpus: int) -> str:
    """Attach to a guest that runs; return how many links its chains have."""
    modules = virtio_guest.modules(directory)
    index = directory / "index"  # what the lab has of the modules
    index.write_text(
        read_modules(modules, read_kernel_symbols(vmlinux, needed=True).kernel).to_text()
    )
    with Qemu(host, directory, vcpus, *MORE[vcpus]) as qemu:
        rows = listed(host)  # other tests' VMMs may be there, too
        (pid,) = (number for number, (name, *_) in rows.items() if name == "qemu-system-aarch64")
        assert rows[pid] == ["qemu-system-aarch64", str(vcpus), "192 MiB", "yes"]
        options: dict[int, tuple[str | Path, ...]] = {
            1: ("--symbols", vmlinux, "--stop-on", "oops"),
            2: ("--inner", "--symbols", vmlinux, "--modules", index),
        }
        with Attached(host, qemu.name, *options.get(vcpus, ())) as stub:
            if vcpus == 1:
                kernel = gdb(stub, vmlinux, "monitor kaslr", "detach")
                assert "The kernel is where it was linked, at 0x" in kernel
            said = debug(stub, vmlinux, vcpus)
            assert f"qemu-system-aarch64, process {pid}" in said, said
            tables = f"; the tables of {vcpus} vCPU{'s' * (vcpus > 1)} lead to the guest's code)"
            found = r"\(as given" if "-qmp" in MORE[vcpus] else r"\(found at 0x\w+"
            assert re.search(found + re.escape(tables), " ".join(said.split())), said
            if vcpus == 2:
                debug_linux(stub, vmlinux, modules)
                assert stub.stop() == 128 + signal.SIGTERM
            else:
                debug_more(stub, vmlinux, vcpus, "kill")
                assert stub.wait() == 0
        if vcpus == 1:
            pause(qemu, vmlinux)
        if vcpus == 4:
            pause_one_that_runs(qemu)
        return f"{qemu.finish()} links"


def launch(host: Host, directory: Path, vmlinux: Path, vcpus: int) -> str:
    """Start a guest halted; return how many links its chains have."""
    modules = virtio_guest.modules(directory)
    options = ["--symbols", str(vmlinux), "--modules", str(modules)]
    in_module = ["set breakpoint pending on", "tbreak virtblk_probe", "continue"]
    with Launched(host, directory, vcpus, options=options) as qemu:
        said = gdb(
            qemu, vmlinux, "x/i $pc", "monitor kaslr", "stepi", "hbreak start_kernel", "continue",
            "bt 1", "delete", *in_module, "break vfs_write", "continue", "delete", "detach",
        )  # fmt: skip
        assert re.search(r"=> 0x40000000:", said), said
        assert "The kernel will be where it was linked, at 0xffff8" in said
        assert re.search(r"Breakpoint 1, 0x\w+ in start_kernel \(\)", said), said
        assert re.search(r"Breakpoint \d, 0x\w+ in vfs_write \(\)", said), said
        place = r"Temporary breakpoint 2, 0x\w+ in virtblk_probe \(\) from \S+/virtio_blk\.ko"
        assert re.search(place, said), said
        qemu.console.wait_for(f"chain {vcpus}: begun")
        assert "as the VMM has told KVM" in debug(qemu, vmlinux, vcpus)
        if vcpus == 1:
            debug_linux(qemu, vmlinux, modules)
        debug_more(qemu, vmlinux, vcpus, "disconnect")
        return f"{qemu.finish()} links"


def panic(host: Host, directory: Path, vmlinux: Path, vcpus: int) -> str:
    """Start a guest that panics with nobody there; return the size of its core file."""
    core = directory / "core"
    options = ("--symbols", str(vmlinux), "--free-run", "--vmcore-on", "panic", str(core))
    with Launched(host, directory, vcpus, "-append", PANICS, options=options) as qemu:
        qemu.messages.wait_for(r"the guest panics: VFS: .* root fs on unknown-block\(0,0\) ")
        qemu.messages.wait_for(f"gdbstub: the core file is in {core}\n")
        assert qemu.process.wait(HANGS) == 100
    return _check_core(core)


def panic_later(host: Host, directory: Path, vmlinux: Path, vcpus: int) -> str:
    """Attach to a guest that then panics with nobody there; return the size of its core file."""
    place, packed, core = f"/root/{directory.name}.zst", directory / "packed", directory / "core"
    with Qemu(host, directory, vcpus) as qemu:
        options = ("--symbols", vmlinux, "--stop-on", "reset", "--vmcore-on", "panic", place)
        with Attached(host, qemu.name, *options) as stub:
            qemu.type("panic")
            assert stub.wait() == 100
        qemu.console.wait_for("Kernel panic - not syncing: Attempted to kill init!")
    packed.write_bytes(host.lab.run(["cat", place]).stdout)
    with packed.open("rb") as file, core.open("wb") as whole:
        zstandard.ZstdDecompressor().copy_stream(file, whole)
    return _check_core(core)


def _check_core(core: Path) -> str:
    with core.open("rb") as file:
        loads = list(ELFFile(file).iter_segments("PT_LOAD"))
    assert loads[-1]["p_filesz"] == MEMORY << 20
    return f"{core.stat().st_size >> 20} MiB of core"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "session" in metafunc.fixturenames:
        rows: list[tuple[Session, int]] = [(attach, 2)]
        if metafunc.config.getoption("--long"):
            rows = [(attach, vcpus) for vcpus in (1, 2, 4)]
            rows += [(launch, vcpus) for vcpus in (1, 4)]
            rows += [(panic, 2), (panic_later, 2)]
        names = [f"{session.__name__}-{vcpus}" for session, vcpus in rows]
        metafunc.parametrize(("session", "vcpus"), rows, ids=names)


@pytest.fixture(scope="module")
def host(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, initrd: Path
) -> Host:
    return Host(shared_lab(pytestconfig), tmp_path_factory.mktemp("qemu"), initrd)


def test_a_guest_of_qemu(
    host: Host, tmp_path: Path, vmlinux: Path, session: Session, vcpus: int, figure: list[str]
) -> None:
    figure.append(f"{session(host, tmp_path, vmlinux, vcpus)}, {vcpus} vCPUs")
