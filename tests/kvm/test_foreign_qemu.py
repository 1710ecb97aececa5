"""Debian's QEMU, started without a stub: attached to, launched, and its guest none the worse."""

import re
from pathlib import Path

import pytest

from tests.conftest import shared_lab
from tests.kvm.debugging import gdb
from tests.kvm.foreign_qemu import Attached, Host, Qemu, listed

STEPS = Path(__file__).parent / "check_steps.py"

#: Of a chain's digest, to its file; those to a pipe have no position.
WRITES = "break vfs_write if $x2 == 65 && $x3 != 0"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vcpus" in metafunc.fixturenames:
        metafunc.parametrize("vcpus", (1, 4) if metafunc.config.getoption("--long") else (2,))


@pytest.fixture(scope="module")
def host(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, initrd: Path
) -> Host:
    return Host(shared_lab(pytestconfig), tmp_path_factory.mktemp("qemu"), initrd)


def check_a_write(said: str) -> None:
    """Look at a stop at ``WRITES``, and at the change of the file's position that followed."""
    assert re.search(r"hit Breakpoint \d+, 0x\w+ in vfs_write \(\)", said), said
    assert "size 65" in said
    assert re.search(r"hit Hardware watchpoint \d+: .*\n\nOld value = 0\nNew value = 65\n", said)


A_WRITE = (
    WRITES, "continue", 'printf "size %d\\n", $x2', "watch -location *(long long *)$x3",
    "continue", "bt 1", "delete",
)  # fmt: skip


def test_attach(host: Host, tmp_path: Path, vmlinux: Path, vcpus: int, figure: list[str]) -> None:
    with Qemu(host, tmp_path, vcpus) as qemu:
        ((pid, row),) = listed(host).items()
        assert row == ["qemu-system-aarch64", str(vcpus), "192 MiB", "yes"]
        with Attached(host, qemu.name) as stub:
            said = gdb(
                stub, vmlinux, "info threads", "monitor info", *A_WRITE,
                f"@{STEPS}", "next",
                "set scheduler-locking on", f"thread {vcpus}", f"@{STEPS}",
                "set scheduler-locking off", "stepi", "tbreak schedule", "continue", "detach",
            )  # fmt: skip
            assert said.count("(halted)") >= vcpus
            assert f"qemu-system-aarch64, process {pid}" in said
            assert "lead to the code at PC" in said
            check_a_write(said)
            assert said.count("20 steps were right") == 2, said
            assert re.search(r"hit Temporary breakpoint \d+, 0x\w+ in schedule \(\)", said), said
            # A second client, while the guest runs on.
            assert re.search(r"hit Breakpoint 1", gdb(stub, vmlinux, WRITES, "continue", "kill"))
            assert stub.stop() == 0
        figure.append(f"{qemu.finish()} links, {vcpus} vCPUs")
