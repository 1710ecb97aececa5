"""The kernel's own GDB scripts on our stub, compared with what the guest and our commands say.

They are those of ``--kernel-scripts``, without which this file is not collected.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab import debug_symbols
from tests.kvm.conftest import LinuxFiles
from tests.kvm.debugging import gdb, marked, parts
from tests.kvm.stub import Stub

#: The scripts move no symbols, and lx-symbols loads them to where they were linked.
COMMAND_LINE: Final = "console=ttyAMA0 quiet nokaslr rdinit=/modules"
_TASK: Final = re.compile(r"^0x([0-9a-f]+) +(\d+) +(\S+)$", re.M)
_STAMPED: Final = re.compile(r"^\[ +\d+\.\d{6}\] (.*)$", re.M)


@pytest.fixture
def vmlinux(linux: LinuxFiles) -> Path:
    """The guest's kernel with types."""
    return debug_symbols.prepare(linux.image.read_bytes())


@pytest.mark.timeout(600)
def test_commands_and_functions(linux: LinuxFiles, vmlinux: Path, tmp_path: Path,
                                kernel_scripts: Path, figure: list[str]) -> None:  # fmt: skip
    modules = tmp_path / "modules"
    modules.mkdir()
    for path in linux.modules.glob("*failover.ko"):
        (modules / path.name.split("-", 1)[1]).write_bytes(path.read_bytes())
    with Stub(
        linux.image, "--initrd", linux.initrd, "--append", COMMAND_LINE, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2", "--free-run",
    ) as stub:  # fmt: skip
        stub.console.wait_for("modules: end")
        said = gdb(
            stub, vmlinux,
            f"python import sys; sys.path.insert(0, {str(kernel_scripts)!r})",
            f"source {kernel_scripts / 'vmlinux-gdb.py'}",
            *marked("lx-version", "lx-cmdline", "lx-lsmod", "lx-ps", "monitor ps"),
            *marked("lx-dmesg", "monitor dmesg"),
            *marked("print $lx_current().comm", "print $lx_current().pid", "info os cpus"),
            *marked('print $lx_per_cpu("runqueues", 1).cpu', "print $lx_task_by_pid(1).comm"),
            *marked(f"lx-symbols {modules}", "info address failover_register", "detach"),
            expected=["warning: remote target does not support file transfer"],
        )  # fmt: skip
        console = stub.console.text
    shown = parts(said)
    assert shown["lx-version"].startswith("Linux version ")
    assert shown["lx-cmdline"].startswith(COMMAND_LINE)
    loaded = re.findall(r"modules: loaded (\w+) \d+ \d+ \S+ Live 0x([0-9a-f]+)", console)
    listed = dict(re.findall(r"^0x([0-9a-f]+) +(\w+)", shown["lx-lsmod"], re.M))
    assert {name for name, _ in loaded} == set(listed.values())
    theirs = {(pid, name) for _, pid, name in _TASK.findall(shown["lx-ps"])}
    ours = {
        (row.split()[0], row.split()[-1].strip("[]"))
        for row in shown["monitor ps"].splitlines() if row[:1].isdigit()
    }  # fmt: skip
    assert theirs == ours
    assert len(theirs) > 20
    # lx-dmesg rounds its stamps, and the kernel cuts them.
    assert _STAMPED.findall(shown["lx-dmesg"]) == _STAMPED.findall(shown["monitor dmesg"])
    assert len(_STAMPED.findall(shown["lx-dmesg"])) > 100
    current = re.search(r"= (\d+)$", shown["print $lx_current().pid"], re.M)
    assert current
    assert re.search(rf"^0 +on +EL\d +0x\w+ +{current[1]} ", shown["info os cpus"], re.M)
    assert shown['print $lx_per_cpu("runqueues", 1).cpu'].endswith("= 1\n")
    assert '"modules\\000' in shown["print $lx_task_by_pid(1).comm"]
    text = re.search(r"modules: section failover \.text:0x([0-9a-f]+)", console)
    place = re.search(r"0x([0-9a-f]+)", shown["info address failover_register"])
    assert text
    assert place
    assert 0 <= int(place[1], 16) - int(text[1], 16) < 1 << 12
