"""Modules and CPUs of a Linux guest with KASLR, compared with what the guest says itself."""

import re
from pathlib import Path
from typing import Final

from gdbstub.lab import demo
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

#: With KASLR.
COMMAND_LINE: Final = "console=ttyAMA0 quiet rdinit=/modules"


def test_modules_and_cpus(vmlinux: Path, initrd: Path) -> None:
    with Stub(
        demo.prepare().image, "--initrd", initrd, "--append", COMMAND_LINE, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2",
    ) as stub:  # fmt: skip
        early = gdb(stub, vmlinux, "monitor modules", "detach")
        assert "no vCPU has its MMU on: the kernel has not started yet" in early
        stub.console.wait_for("modules: end")
        said = gdb(
            stub, vmlinux, "monitor modules", "info os modules", "monitor modules failover",
            "monitor modules nothing", "info os cpus", "kill",
        )  # fmt: skip
        console = stub.console.rest()
    loaded = re.findall(r"modules: loaded (\w+) (\d+) (\d+) \S+ Live 0x([0-9a-f]+)", console)
    assert [row[0] for row in loaded] == ["net_failover", "failover"]
    ours = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) *$", said, re.M)
    tabled = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) 0x[0-9a-f]+ *$", said, re.M)
    assert ours == tabled
    # It was removed and loaded again since the guest said where it was.
    assert [row[:3] for row in ours] == [row[:3] for row in loaded]
    assert ours[1] == loaded[1]
    sections = dict(re.findall(r"modules: section failover ([\w.-]+):0x([0-9a-f]+)", console))
    assert len(sections) > 20
    shown = dict(re.findall(r"^([\w.-]+) +0x([0-9a-f]+)$", said, re.M))
    assert sections.items() <= shown.items()
    assert "no module nothing is loaded: monitor modules lists those that are" in said
    cpus = re.findall(
        r"^([01]) +on +EL1 +0x[0-9a-f]+ +0 +0x[0-9a-f]+ swapper/([01]) *$", said, re.M
    )
    assert cpus == [("0", "0"), ("1", "1")]
