"""Commands on the modules of a Linux guest.

``gdbstub.linux.modules`` reads them.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gdbstub.errors import NotFound
from gdbstub.linux.modules import Module, ModuleState, Section
from gdbstub.monitor.context import CommandContext, command
from gdbstub.monitor.text import table

if TYPE_CHECKING:
    from gdbstub.linux.module_files import ModuleFile

#: Names of sections that are one word of a command: LLDB evaluates what is between backticks.
_PLAIN: Final = re.compile(r"[\w.$][\w.$,+-]*", re.ASCII)


@command("modules", "[NAME]", long=True)
def modules(context: CommandContext, name: str | None) -> str:
    """List the loaded modules of a Linux guest, or the sections of module NAME.

    The kernel lists sections of a module's init after it has freed them, too. No symbols are
    needed, but the kernel's BTF.
    """
    found = context.kernel.modules
    if name is not None:
        rows = [(each.name, f"{each.gva:#x}") for each in found.sections(_named(context, name))]
        return table(rows, ("section", "address"))
    lines, damage = list[tuple[str, ...]](), ""
    try:
        for module in found.all():
            state, code = module.state.name.lower(), f"{module.base:#x}"
            lines.append((module.name, str(module.size), str(module.references), state, code))
    except NotFound as reason:
        damage = f"{reason}\n"
    head = ("module", "size", "used", "state", "code")
    return (table(lines, head) if lines or damage else "No module is loaded.\n") + damage


@command("modules lldb", "[NAME]", long=True)
def modules_lldb(context: CommandContext, name: str | None) -> str:
    """Print the commands by which LLDB loads the symbols of the modules, or of module NAME.

    With --modules they have the paths of the files. Sections that the kernel has freed after a
    module's init are left out.
    """
    files, found = context.locator.program.modules, context.kernel.modules
    lines, damage = list[str](), ""
    try:
        for module in [_named(context, name)] if name else found.all():
            file = files.get(module.name) if files else None
            lines += _load(module, found.sections(module), file)
    except NotFound as reason:
        damage = f"{reason}\n"
    return "".join(lines) + damage or "No module is loaded.\n"


def _named(context: CommandContext, name: str) -> Module:
    """Return the module of this name.

    Raises:
        NotFound: there is none.
    """
    wanted = name.replace("-", "_")
    for module in context.kernel.modules.all():
        if module.name == wanted:
            return module
    raise NotFound(f"no module {wanted} is loaded: monitor modules lists those that are")


def _load(module: Module, sections: Sequence[Section], file: "ModuleFile | None") -> Iterator[str]:
    """Yield LLDB's commands for one module."""
    path = file.path if file else f"{module.name}.ko"
    known = {each.name for each in file.sections if each.size} if file else None
    freed = module.state is ModuleState.LIVE
    places = dict[str, int]()
    for each in sections:
        wanted = known is None or each.name in known
        if wanted and _PLAIN.fullmatch(each.name) and not (freed and each.name.startswith(".init")):
            places.setdefault(each.name, each.gva)
    listed = "".join(f" {name} {gva:#x}" for name, gva in places.items())
    yield f"target modules add {shlex.quote(path)}\n"
    yield f"target modules load --file {shlex.quote(path)}{listed}\n"
