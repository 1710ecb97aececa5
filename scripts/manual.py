"""Man pages and shell completions, made of the command line itself: for the wheel's build hook."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class
from click_man.core import generate_man_page

ROOT: Final = Path(__file__).parents[1]
PROGRAM: Final = "gdbstub"
#: Characters of a command's first sentence, at most, in a list of commands.
_SENTENCE: Final = 200
#: Where a shell looks for the completion of a program, below /usr or a virtual environment.
COMPLETIONS: Final = {
    "bash": f"share/bash-completion/completions/{PROGRAM}",
    "zsh": f"share/zsh/site-functions/_{PROGRAM}",
    "fish": f"share/fish/vendor_completions.d/{PROGRAM}.fish",
}


def files() -> Iterator[tuple[str, str]]:
    """Give the path below the prefix, and the text, of each file."""
    sys.path.insert(0, str(ROOT))
    from gdbstub import __version__
    from gdbstub.cli.commands.group import commands

    for context in _contexts(click.Context(commands, info_name=PROGRAM)):
        page = generate_man_page(context, version=__version__)
        # Reproducible: a page of a version is the same on each day.
        page = re.sub(r'^(\.TH "[^"]*" "1") "[^"]*"', r'\1 ""', page)
        yield f"share/man/man1/{context.command_path.replace(' ', '-')}.1", page
    for shell, path in COMPLETIONS.items():
        found = get_completion_class(shell)
        assert found is not None
        completion = found(commands, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
        yield path, found.source_template % completion.source_vars()


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Give *context*, and one for each command below it."""
    group = context.command
    found = {}
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                command.short_help = command.get_short_help_str(limit=_SENTENCE)
                found[name] = command
        group.commands = found  # where the page's list is taken from; ours are loaded on demand
    yield context
    for name, command in found.items():
        yield from _contexts(click.Context(command, info_name=name, parent=context))


def write(prefix: Path) -> None:
    """Write the files below *prefix*."""
    for path, text in files():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
