"""docs/options.md, docs/monitor.md and docs/registers.md are what the code says."""

import pytest

from gdbstub.aarch64.registers import SYSTEM_REGISTERS
from gdbstub.cli.options import RUN
from gdbstub.monitor.commands import COMMANDS
from tests.reference_pages import DOCS, PAGES, monitor, options, registers


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_make_docs_would_write_it(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), f"docs/{name} is old: make docs"


def test_every_option_of_run_is_there_with_its_help() -> None:
    section = options().partition("## gdbstub run\n")[2].partition("\n## ")[0]
    for option in RUN:
        assert (f"| `{option.flag}" in section) == bool(option.help), option.flag
    assert "`--smp N` | Number of vCPUs. [default: 1] |" in section
    assert "`--host auto\\|kvm\\|lab`" in section


def test_every_command_has_a_section() -> None:
    said = options()
    for name in ("run", "attach", "launch", "vms", "recover", "doctor", "symbols", "lab up"):
        assert f"\n## gdbstub {name}\n" in said


def test_every_monitor_command_has_a_section() -> None:
    said = monitor()
    for row in COMMANDS.rows:
        assert f"\n| [`{row.name}`](#{row.name.replace(' ', '-')}) | " in said
        assert f"\n## {row.name}\n\n    (gdb) monitor {row.usage}\n" in said


def test_every_system_register_is_there_by_itself_or_in_a_group() -> None:
    said = registers()
    for name in ("SCTLR_EL1", "CNTVCT_EL0", "SP_EL0", "MDSCR_EL1"):
        row = SYSTEM_REGISTERS[name]
        assert f"| `{name}` | {row.number:#x} | {row.bits} | `{row.type}` |" in said
    assert "| `DBGBVR0_EL1` to `DBGBVR15_EL1` |" in said
    assert "| `x0` to `x30` | 0x0 to 0x1e | 64 |" in said
