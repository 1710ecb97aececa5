"""Debuggers and tracers inside a Linux guest that is debugged from outside."""

import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.kvm import user_space
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

BRK_OF_WARN = 0xD421_0000  # brk #0x800
BL = 0b100101  # bits 31 to 26
SIGTRAP = 128 + 5


def warn_site(vmlinux: Path) -> int:
    """Return the address of a BRK of WARN's that follows a call of ``__warn_printk``.

    The call tells it from a BRK of BUG's, which has the same immediate.
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


#: Lines of the guest's first process in a run without a debugger.
UNDISTURBED = {
    "kprobe": "1", "ftrace": "on", "ftrace off": "nothing",
    "brk": str(SIGTRAP), "bkpt": str(SIGTRAP), "single step": "8",
    "breakpoint": "1", "watchpoint": "1", "other traps": "0", "wrong": "0", "child": "3",
    "hostname": "moved", "tainted": "0",
}  # fmt: skip
TAINT_WARN = str(1 << 9)

#: From here on KVM holds the guest's own breakpoints back while anything at all is inserted;
#: before, while a comparator is, and then the stub arms them beside (docs/guide.md, Limits).
HOST_OWNED = (6, 14)
#: Values that the guest's debugger writes to DBGBCR and DBGWCR.
BREAK, WATCH = 0x1E5, 0x1FF5
COMPARATORS = ("DBGBVR0_EL1", "DBGBCR0_EL1", "DBGWVR0_EL1", "DBGWCR0_EL1")


@pytest.mark.parametrize("armed", [None, "break", "hbreak"])
def test_the_guests_own(
    initrd: Path, vmlinux: Path, armed: str | None, host_kernel: tuple[int, ...]
) -> None:
    commands = ["continue"]
    expected = dict(UNDISTURBED)
    if armed:
        once, site = f"t{armed}", warn_site(vmlinux)
        commands = [
            f"{once} start_kernel", "continue",
            # Behind the words at a function's start that ftrace looks at and changes.
            f"{armed} *(panic + 8)",
            # Where /debug_registers has its comparators loaded.
            f"{once} *(__arm64_sys_sethostname + 8)", "continue",
            *(f'printf "{name} %#lx\\n", (unsigned long) ${name}' for name in COMPARATORS),
            f"{once} *(__arm64_sys_sethostname + 8)", "continue",
            # Here nothing has to be warned of; do it, and take this up where it was.
            "set $was = $pc", f"{once} *{site + 4:#x}", f"set $pc = {site:#x}", "continue",
            "set $pc = $was", "continue",
        ]  # fmt: skip
        # KVM holds the guest's own single step back while anything of a debugger's is armed.
        expected |= {"single step": "0", "tainted": TAINT_WARN}
        if armed == "break" and host_kernel >= HOST_OWNED:
            expected |= {"breakpoint": "0", "watchpoint": "0"}
    with Stub(*user_space.arguments(initrd, "check")) as stub:
        said = gdb(stub, vmlinux, *commands)
        assert "exited normally" in said, said + stub.console.text
        console = stub.console.rest()
        assert stub.wait() == 0
    init = said_by_init(console)
    assert init.items() >= expected.items(), said + console
    assert ("WARNING: CPU:" in console) == bool(armed), console
    if armed:
        assert f"{site + 4:#x} in " in said, said
        # The guest's comparators are its own to read, whoever uses them.
        shown = {name: int(value, 0) for name, value in re.findall(r"^(DBG\S+) (\S+)$", said, re.M)}
        written = (int(init["place"]), BREAK, int(init["data"]), WATCH)
        assert shown == dict(zip(COMPARATORS, written, strict=True)), said
