"""What debugs and traces inside a Linux guest works while that is debugged from outside."""

import re
import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from gdbstub.lab import cpio, demo
from tests.kvm.conftest import GUESTS
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

BRK_OF_WARN = 0xD421_0000  # brk #0x800
BL = 0b100101  # bits 31 to 26
BKPT32 = 0xE120_0070
SIGTRAP = 128 + 5


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo guest's user space, and ours over it."""
    directory = tmp_path_factory.mktemp("initrd")
    tree = directory / "tree"
    tree.mkdir()
    for source, name in (("single_step.c", "single_step"), ("brk.S", "brk")):
        flags = ["-O1", "-Wall", "-Werror", "-ffreestanding", "-nostdlib", "-static"]
        output = ["-fno-stack-protector", "-o", str(tree / name), str(GUESTS / source)]
        argv = ["aarch64-linux-gnu-gcc", *flags, *output]
        subprocess.run(argv, check=True)
    (tree / "bkpt").write_bytes(program32(BKPT32))
    (tree / "check").write_bytes((GUESTS / "check.sh").read_bytes())
    for path in tree.iterdir():
        path.chmod(0o755)
    cpio.pack(tree, directory / "ours.cpio")
    cpio.join([demo.initrd(), directory / "ours.cpio"], directory / "initrd.cpio")
    return directory / "initrd.cpio"


def program32(word: int) -> bytes:
    """An executable of 32-bit Arm, for which there is no compiler here: one instruction.

    System V ABI, chapter 4: the ELF header and one program header, then the word.
    """
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    size, base = 52 + 32, 0x1_0000
    machine, flags = 40, 0x0500_0000  # EM_ARM, EF_ARM_ABI_VER5
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", ident, 2, machine, 1, base + size, 52, 0, flags, 52, 32, 1, 0, 0, 0
    )
    segment = struct.pack("<8I", 1, 0, base, base, size + 4, size + 4, 5, 0x1000)
    return header + segment + struct.pack("<I", word)


def warn_site(vmlinux: Path) -> int:
    """Where a WARN of the kernel's own raises its exception, having said what it warns of.

    A BRK alone would not do: BUG has the same.
    """
    with vmlinux.open("rb") as file:
        elf = ELFFile(file)
        symbols, text = elf.get_section_by_name(".symtab"), elf.get_section_by_name(".kernel")
        assert isinstance(symbols, SymbolTableSection)
        assert text is not None
        (warn,) = symbols.get_symbol_by_name("__warn_printk") or []
        base, words = text["sh_addr"], memoryview(text.data()).cast("I")
    for index, word in enumerate(words):
        if word == BRK_OF_WARN and words[index - 1] >> 26 == BL:
            distance = 4 * ((words[index - 1] & 0x3FF_FFFF ^ 1 << 25) - (1 << 25))
            if base + 4 * (index - 1) + distance == warn["st_value"]:
                return int(base + 4 * index)
    raise AssertionError("this kernel has no WARN")


def said_by_init(console: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z ]+): (.*?)\r?$", console, re.MULTILINE))


#: What the guest's first process says when nobody looks on.
UNDISTURBED = {
    "kprobe": "1", "ftrace": "on", "ftrace off": "nothing",
    "brk": str(SIGTRAP), "bkpt": str(SIGTRAP), "single step": "8",
    "hostname": "moved", "tainted": "0",
}  # fmt: skip
TAINT_WARN = str(1 << 9)


@pytest.mark.parametrize("armed", [None, "break", "hbreak"])
def test_the_guests_own(initrd: Path, vmlinux: Path, armed: str | None) -> None:
    image, append = demo.prepare().image, f"{demo.COMMAND_LINE} rdinit=/check"
    commands = ["continue"]
    expected = dict(UNDISTURBED)
    if armed:
        once, site = f"t{armed}", warn_site(vmlinux)
        commands = [
            f"{once} start_kernel", "continue",
            # Behind the words at a function's start that ftrace looks at and changes.
            f"{armed} *(panic + 8)",
            f"{once} *(__arm64_sys_sethostname + 8)", "continue",
            # Here nothing has to be warned of; do it, and take this up where it was.
            "set $was = $pc", f"{once} *{site + 4:#x}", f"set $pc = {site:#x}", "continue",
            "set $pc = $was", "continue",
        ]  # fmt: skip
        # KVM holds the guest's own single step back while anything of a debugger's is armed.
        expected |= {"single step": "0", "tainted": TAINT_WARN}
    with Stub(image, "--initrd", initrd, "--append", append) as stub:
        said = gdb(stub, vmlinux, *commands)
        assert "exited normally" in said, said + stub.console.text
        console = stub.console.rest()
        assert stub.wait() == 0
    assert said_by_init(console).items() >= expected.items(), said + console
    assert ("WARNING: CPU:" in console) == bool(armed), console
    if armed:
        assert f"{site + 4:#x} in " in said, said
