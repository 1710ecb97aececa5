"""Reasons against attaching to a VMM, in a lab of its own: Yama's scope only grows."""

import subprocess
from collections.abc import Iterator

import pytest

from gdbstub.lab.host import Lab
from gdbstub.lab.opening import start_lab
from gdbstub.lab.qemu import Options

YAMA = "/proc/sys/kernel/yama/ptrace_scope"
#: A process with a VM and a vCPU, which never runs: KVM_CREATE_VM, KVM_CREATE_VCPU.
VMM = """\
import fcntl, os, time
vm = fcntl.ioctl(os.open("/dev/kvm", os.O_RDWR), 0xAE01, 0)
vcpu = fcntl.ioctl(vm, 0xAE41, 0)
print(os.getpid(), flush=True)
time.sleep(10000)
"""
#: Executes its arguments as another user than root.
AS_USER = """\
import os, sys
os.setgid(65534)
os.setuid(65534)
os.execvp(sys.argv[1], sys.argv[1:])
"""
USER = ["python3", "-c", AS_USER]
#: Not by the lab's prepared process, which takes its clients' streams as only a tracer may.
PROGRAM = "/lab/gdbstub"
REFUSED = {
    "1": "Yama's ptrace_scope is 1: only descendants may be traced; use root, or gdbstub launch, "
    "or as root: sysctl kernel.yama.ptrace_scope=0",
    "2": "Yama's ptrace_scope is 2: tracing needs CAP_SYS_PTRACE; use root",
    "3": "Yama's ptrace_scope is 3: this host traces no process until it boots again",
}


@pytest.fixture(scope="module")
def own_lab() -> Iterator[Lab]:
    with start_lab(Options()) as lab:
        lab.run(["chmod", "666", "/dev/kvm"])
        yield lab


@pytest.fixture(scope="module")
def pid(own_lab: Lab) -> Iterator[str]:
    argv = [*USER, "python3", "-c", VMM]
    with own_lab.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.kill()


def verdict(lab: Lab, pid: str, user: list[str]) -> str:
    """The last column of ``gdbstub vms``."""
    said = lab.run([*user, PROGRAM, "vms"]).stdout.decode()
    (row,) = (line for line in said.splitlines() if line.startswith(pid))
    return row.split(maxsplit=5)[5].strip() if "MiB" in row else row.split(maxsplit=4)[4].strip()


def test_each_scope_of_yama(own_lab: Lab, pid: str) -> None:
    assert verdict(own_lab, pid, USER) == "yes"
    for scope, why in REFUSED.items():
        own_lab.run(["sh", "-c", f"echo {scope} > {YAMA}"])
        assert verdict(own_lab, pid, USER) == f"no: {why}"
        if scope == "2":
            assert verdict(own_lab, pid, []) == "yes"
    done = own_lab.run([PROGRAM, "attach", pid], check=False)
    assert (done.returncode, done.stderr.decode()) == (2, f"gdbstub: {REFUSED['3']}\n")
    assert "TracerPid:\t0" in own_lab.run(["cat", f"/proc/{pid}/status"]).stdout.decode()
