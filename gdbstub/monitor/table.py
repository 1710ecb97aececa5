"""Table of monitor commands: one decorated function each, found by any unambiguous prefix.

It has no command but ``help``. The others are in this package's other files, by subject.
"""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Final, Generic, ParamSpec, TypeVar

from gdbstub.errors import InputError
from gdbstub.monitor.arguments import ArgumentTemplate, Registers
from gdbstub.monitor.text import table

Context = TypeVar("Context", bound=Registers)
Arguments = ParamSpec("Arguments")

#: A command whose format follows without a space, as in GDB's ``x/8xg``.
_BEFORE_FORMAT: Final = re.compile(r"^(\s*\w+)(?=/)")
_HELP: Final = "monitor help lists all commands"


@dataclass(frozen=True, slots=True)
class MonitorCommand(Generic[Context]):
    """Command: the words of its name, its arguments, and the function that executes it."""

    words: tuple[str, ...]
    template: ArgumentTemplate
    handler: Callable[..., str]
    #: True if it is carried out in slices.
    long: bool

    @property
    def name(self) -> str:
        """Name as a person types it."""
        return " ".join(self.words)

    @property
    def usage(self) -> str:
        """Name and arguments."""
        return f"{self.name} {self.template.text}".rstrip()

    @property
    def description(self) -> str:
        """Docstring of the handler. Its first line is the summary."""
        return inspect.cleandoc(self.handler.__doc__ or "")


class Table(Generic[Context]):
    """Commands that get a *Context*, which has what they act on; ``help`` is one of them."""

    def __init__(self) -> None:
        """Begin with ``help`` only."""
        self._rows: list[MonitorCommand[Context]] = []
        self.command("help", "[COMMAND...]")(self._help)

    @property
    def rows(self) -> Sequence[MonitorCommand[Context]]:
        """Commands in order of registration."""
        return self._rows

    def command(
        self, name: str, template: str = "", *, long: bool = False
    ) -> Callable[
        [Callable[Concatenate[Context, Arguments], str]],
        Callable[Concatenate[Context, Arguments], str],
    ]:
        """Register a handler, which gets the context and the arguments that *template* parses.

        The text that it returns is shown. Its docstring is the command's help. With *long* it is
        carried out in slices.

        Raises:
            KeyError: *template* has a word that is no field.
            ValueError: the name is taken, or there is no docstring.
        """
        words = tuple(name.split())
        row_template = ArgumentTemplate(template)

        def register(
            handler: Callable[Concatenate[Context, Arguments], str],
        ) -> Callable[Concatenate[Context, Arguments], str]:
            if any(row.words == words for row in self._rows):
                raise ValueError(f"two commands {name!r}")
            if not handler.__doc__ and sys.flags.optimize < 2:  # then there are no docstrings
                raise ValueError(f"the command {name!r} has no help")
            self._rows.append(MonitorCommand(words, row_template, handler, long))
            return handler

        return register

    def execute(self, context: Context, line: str) -> str:
        """Execute *line* and return the text to show; an empty one asks for help.

        Raises:
            InputError: it is no command, or its arguments are wrong.
            StubError: it cannot be done.
        """
        typed = _words(line)
        row = self._find(typed)
        arguments = row.template.parse(typed[len(row.words) :], context, row.usage)
        return row.handler(context, *arguments)

    def takes_long(self, line: str) -> bool:
        """Return True if *line* is a command that is carried out in slices."""
        try:
            return self._find(_words(line)).long
        except InputError:
            return False

    def _find(self, typed: Sequence[str]) -> MonitorCommand[Context]:
        """Return the command that *typed* begins with, by full words or unambiguous prefixes."""
        begun = [row for row in self._rows if _begins(row.words, typed)]
        most = max((min(len(row.words), len(typed)) for row in begun), default=0)
        begun = [row for row in begun if len(row.words) >= most]
        # All of a shorter name may have been typed, as of "info" beside "info version".
        begun = [row for row in begun if len(row.words) == most] or begun
        exact = [row for row in begun if row.words == tuple(typed[: len(row.words)])]
        if exact:
            return exact[0]
        if len(begun) == 1:
            return begun[0]
        if begun:
            names = " or ".join(row.name for row in begun)
            raise InputError(f"{' '.join(typed)!r} may be {names}: type more of it")
        raise self._unknown(" ".join(typed[: max(len(row.words) for row in self._rows)]))

    def _unknown(self, text: str) -> InputError:
        first = text.split()[0]
        names = {row.name: row.name for row in self._rows}
        names |= {row.words[0]: row.name for row in reversed(self._rows)}
        near = difflib.get_close_matches(text, names, 1) or difflib.get_close_matches(
            first, names, 1
        )
        advice = f"did you mean {names[near[0]]!r}?" if near else _HELP
        return InputError(f"there is no monitor command {first!r}; {advice}")

    def _help(self, context: Context, words: tuple[str, ...]) -> str:
        """List the commands, or describe one."""
        if words:
            row = self._find(words)
            return f"monitor {row.usage}\n\n{row.description}\n"
        lines = [(row.usage, row.description.partition("\n")[0]) for row in self._rows]
        return table(lines) + (
            "\nAny unambiguous prefix of a name will do. Addresses are 0x and hex digits,\n"
            "decimal, or a register such as $pc. monitor help COMMAND says more.\n"
        )


def _words(line: str) -> list[str]:
    """Split what was typed into words."""
    return _BEFORE_FORMAT.sub(r"\1 ", line).split() or ["help"]


def _begins(words: Sequence[str], typed: Sequence[str]) -> bool:
    """Return True if each word that was typed is a prefix of its counterpart in *words*."""
    return all(word.startswith(begun) for word, begun in zip(words, typed, strict=False))
