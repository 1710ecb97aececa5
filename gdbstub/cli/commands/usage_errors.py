"""Errors of a command line that click refuses, as one line that says what to do.

Options of QEMU are explained by ``qemu_options``.
"""

import os
import shlex

import click

_QEMU = "qemu-system-"


def refusal(error: click.ClickException, arguments: list[str], root: click.Group) -> str:
    """Return the line for *error*, by which click has refused *arguments* of the command *root*."""
    said = " ".join(error.format_message().split())
    context = (isinstance(error, click.UsageError) and error.ctx) or _context(arguments, root)
    if isinstance(error, click.NoSuchOption):
        if same := _by_habit(arguments):
            return same
        if _shown(error.possibilities or (), context):
            return said
        said = error.message
    elif said.startswith("No such command ") and isinstance(context.command, click.Group):
        words = arguments[len(context.command_path.split()) - 1 :]
        return f"{_head(error.message)}; {_instead(words, context, context.command)}"
    elif isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        return said  # it says what was expected
    return f"{_head(said)}; see {context.command_path} --help"


def _context(arguments: list[str], root: click.Group) -> click.Context:
    """Return the context of the command that *arguments* are for."""
    context = click.Context(root, info_name="gdbstub")
    for word in arguments:
        command = context.command
        found = command.get_command(context, word) if isinstance(command, click.Group) else None
        if found is None:
            break
        context = click.Context(found, info_name=word, parent=context)
    return context


def _head(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _by_habit(arguments: list[str]) -> str:
    """Explain options of QEMU among the *arguments* of ``run``, or of no command."""
    command, *words = arguments
    if command != "run" and not command.startswith("-"):
        return ""
    from gdbstub.cli.commands.qemu_options import explain  # needed for few errors

    return explain(words if command == "run" else arguments)


def _shown(names: tuple[str, ...] | list[str], context: click.Context) -> bool:
    """Return True if *names*, which click proposes, are some, and none is hidden."""
    hidden = {
        name
        for each in context.command.params
        if isinstance(each, click.Option) and each.hidden
        for name in each.opts
    }
    return bool(names) and not hidden.intersection(names)


def _instead(words: list[str], context: click.Context, group: click.Group) -> str:
    """Say what may be meant by *words*, of which the first is no command of *group*."""
    if context.parent is None and words[0].startswith(_QEMU):
        return f"to debug its guest: gdbstub launch -- {shlex.join(words)}"
    if context.parent is None and os.path.exists(words[0]):
        return f"to run that guest: gdbstub run {shlex.join(words)}"
    return f"expected one of {', '.join(group.list_commands(context))}"
