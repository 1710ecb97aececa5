"""Generate docs/options.md, docs/monitor.md and docs/registers.md from the code: ``make docs``."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from gdbstub.aarch64.bits import Field
from gdbstub.aarch64.registers import FPSIMD, GENERAL, PAC_MASKS, SYSTEM_REGISTERS, TPIDR
from gdbstub.aarch64.sysreg import FIELDS
from gdbstub.aarch64.system_registers import TABLE
from gdbstub.architecture import Register
from gdbstub.cli.commands.group import commands
from gdbstub.monitor.commands import COMMANDS

DOCS: Final = Path(__file__).parents[1] / "docs"

_MADE: Final = "Made by `make docs` from the code."


def options() -> str:
    """Return the page of all commands and their options."""
    parts = [f"# Options\n\n{_MADE} `gdbstub COMMAND --help` shows the same.\n"]
    for name, command in _commands(commands, "gdbstub"):
        parts.append(_command(name, command))
    return "\n".join(parts)


def _commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {name}", "", f"    {name} {usage}".rstrip(), ""]
    lines += [" ".join((command.help or "").split()), ""]
    rows = [
        _row(
            _code(
                ", ".join(option.opts) + (f" {metavar}" if (metavar := _metavar(option)) else "")
            ),
            " ".join((option.help or "").split()) + _default(option),
        )
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if rows:
        lines += ["| option | effect |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _metavar(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return option.metavar or "|".join(option.type.choices)
    return option.metavar or option.type.name.upper()


def _default(option: click.Option) -> str:
    shown = option.show_default and option.default is not None
    return f" [default: {option.default}]" if shown else ""


def monitor() -> str:
    """Return the page of the monitor commands."""
    parts = [
        "# Monitor commands\n\n"
        f"{_MADE} `monitor help` in GDB shows the same; in LLDB it is\n"
        "`process plugin packet monitor help`. Any unambiguous prefix of a name will do. An\n"
        "address is `0x` and hex digits, decimal digits, or a register such as `$pc`. Sessions\n"
        "are in the [guide](guide.md#monitor-commands), in [Linux guests](linux.md) and in\n"
        "[modules and tasks](modules.md).\n"
    ]
    rows = sorted(COMMANDS.rows, key=lambda row: row.words)
    parts += [
        "| command | effect |",
        "|---|---|",
        *(_summary(r.name, r.description) for r in rows),
        "",
    ]
    for row in rows:
        first, _, rest = row.description.partition("\n")
        parts.append(f"## {row.name}\n\n    (gdb) monitor {row.usage}\n\n{first}\n{_text(rest)}")
    return "\n".join(parts)


def _summary(name: str, description: str) -> str:
    """Return the row of a command in the table before their sections."""
    return _row(f"[`{name}`](#{name.replace(' ', '-')})", description.partition("\n")[0])


def _text(description: str) -> str:
    """Return the paragraphs of a docstring as they are: they may be tables."""
    rest = description.strip("\n")
    return f"\n```text\n{rest}\n```\n" if rest else ""


def registers() -> str:
    """Return the page of the registers."""
    parts = [
        "# Registers\n\n"
        f"{_MADE} *Number* is the one of `p` and `P` packets. A machine shows\n"
        "those system registers that its KVM has; [the guide](guide.md#system-registers) says how\n"
        "to read and write them.\n",
        "## General registers\n",
        *_table(_groups((*GENERAL, *FPSIMD, *PAC_MASKS, TPIDR), _plain)),
        "",
        "With SVE there are `z0` to `z31`, `p0` to `p15`, `ffr` and `vg` in place of the\n"
        "vectors.\n",
        "## System registers\n",
        "Their encoding is that of MRS: op0, op1, CRn, CRm, op2.\n",
        *_table(_groups(tuple(SYSTEM_REGISTERS.values()), _plain), encoded=True),
        "",
        "## Fields\n",
        "`monitor regs NAME` shows a register's fields by the names in the Arm ARM; so does\n"
        "`info registers NAME` in GDB.\n",
        "| register | fields, with their bits |",
        "|---|---|",
        *_fields(),
        "",
    ]
    return "\n".join(parts)


_ENCODINGS: Final = {row.name: row[1:6] for row in TABLE}


def _plain(row: Register) -> str:
    """Return the name without its index, by which rows belong together."""
    return re.sub(r"(?<=[A-Za-z])\d+(?=_EL|$)", "", row.name)


def _groups(rows: Sequence[Register], key: Callable[[Register], str]) -> Iterator[list[Register]]:
    """Yield rows that differ in their index only, together if there are many."""
    for _, found in itertools.groupby(rows, key=key):
        group = list(found)
        if len(group) > 8:
            yield group
        else:
            yield from ([row] for row in group)


def _table(groups: Iterator[list[Register]], *, encoded: bool = False) -> Iterator[str]:
    yield "| name | number | bits | type |" + (" encoding |" if encoded else "")
    yield "|---|---|---|---|" + ("---|" if encoded else "")
    for group in groups:
        first, last = group[0], group[-1]
        many = first is not last
        cells = [
            f"`{first.name}`" + (f" to `{last.name}`" if many else ""),
            f"{first.number:#x}" + (f" to {last.number:#x}" if many else ""),
            str(first.bits),
            f"`{first.type}`",
        ]
        if encoded:
            known = _ENCODINGS.get(first.name)
            cells.append(" ".join(map(str, known)) if known and not many else "")
        yield _row(*cells)


def _fields() -> Iterator[str]:
    for name, fields in sorted(FIELDS.items()):
        shown = [f"{field} {_bits(bits)}" for field, bits in fields.disjoint().items()]
        yield _row(f"`{name}`", ", ".join(shown))


def _bits(bits: Field) -> str:
    high = bits.lo + bits.width - 1
    return f"[{high}:{bits.lo}]" if bits.width > 1 else f"[{high}]"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text}`"


#: The pages, by their names.
PAGES: Final = {"options.md": options, "monitor.md": monitor, "registers.md": registers}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
