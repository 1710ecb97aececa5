"""Modules of a Linux guest as the libraries of its kernel, for a client that loads their symbols.

A client that is told nothing of an address keeps what it knows of it: each section that takes
memory in the file gets an address, also one that has none now.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from gdbstub.capabilities import Library
from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.module_events import ModuleEvents
from gdbstub.linux.module_files import FileSection, ModuleFile, ModuleFiles, parse_build_id
from gdbstub.linux.modules import Module, ModuleState, Section

if TYPE_CHECKING:
    from gdbstub.linux.guest import LinuxGuest

_log = logging.getLogger(__name__)

#: Addresses that arm64 maps nothing at, at the very end of the kernel's half.
_NOWHERE: Final = 0xFFFF_FFFF_FFF0_0000
_PAGE: Final = 4096
_NOTE: Final = ".note.gnu.build-id"
_NOTE_SIZE: Final = 64


class ModuleLibraries:
    """The modules of a guest that have a file (``debug.extensions.Libraries``)."""

    def __init__(
        self, guest: "Callable[[], LinuxGuest]", files: ModuleFiles, events: ModuleEvents | None
    ) -> None:
        """Begin with nothing read; *events* is told that a client follows the modules."""
        self._guest = guest
        self._files = files
        self._events = events
        self._warned: set[tuple[int, str]] = set()
        # By the modules that were loaded when the client asked last.
        self._known: dict[Module, Library | None] = {}

    def libraries(self) -> Sequence[Library]:
        """Return the modules that are loaded now and have a file of their build."""
        if self._events is not None:
            self._events.followed = True
        before, self._known = self._known, {}
        listed, names = set[int](), set[str]()
        try:
            for module in self._guest().modules.all():
                listed.add(module.gva)
                key = module._replace(references=0)
                # A kernel has one module of a name: more are damage, and would take long.
                if not self._is_freed(module) and module.name not in names:
                    names.add(module.name)
                    self._known[key] = before[key] if key in before else self._library(module)
            if self._events is not None:
                self._events.freed &= listed
        except NotFound as reason:
            _log.info("no modules, or no more: %s", reason)
        return [library for library in self._known.values() if library is not None]

    def _is_freed(self, module: Module) -> bool:
        """Return True if *module* is in the list for the last time."""
        if self._events is None:
            return False
        if module.state is not ModuleState.GOING:
            self._events.freed.discard(module.gva)
        return module.gva in self._events.freed

    def _library(self, module: Module) -> Library | None:
        if (file := self._files.get(module.name)) is None:
            return None
        try:
            sections = self._guest().modules.sections(module)
            self._check_build(file, sections)
        except NotFound as reason:
            if (key := (module.gva, str(reason))) not in self._warned:
                self._warned.add(key)
                _log.warning("no symbols of module %s: %s", module.name, reason)
            return None
        began = module.state is ModuleState.COMING
        return Library(
            _name(file.path, began=began), tuple(_place(file, sections, module, began=began))
        )

    def _check_build(self, file: ModuleFile, sections: Sequence[Section]) -> None:
        """Check that *file* is of the build that is loaded.

        Raises:
            NotFound: it is not.
        """
        for section in sections:
            if section.name == _NOTE and file.build_id:
                try:
                    loaded = parse_build_id(self._guest().reader()(section.gva, _NOTE_SIZE)[:36])
                except MemoryFault:
                    return
                if loaded and loaded != file.build_id:
                    raise NotFound(
                        f"{file.path} is of another build: {file.build_id}, loaded is {loaded}"
                    )


def _name(path: str, *, began: bool) -> str:
    """Return the name of a module's file, another one before its init is over.

    A client that is told of the same name again keeps the addresses of before.
    """
    plain = PurePath(path)
    return f"{plain.parent}/./{plain.name}" if began else path


def _place(
    file: ModuleFile, sections: Sequence[Section], module: Module, *, began: bool
) -> Iterator[int]:
    """Yield the address of each section of *file*, in the file's order."""
    loaded: dict[str, list[int]] = {}
    for each in sections:
        loaded.setdefault(each.name, []).append(each.gva)
    # Behind a module's memory there is a page that is not mapped.
    free = module.ranges[0].stop if module.ranges else _NOWHERE
    end = free + _PAGE
    for section in file.sections:
        places = loaded.get(section.name)
        gva = places.pop(0) if section.size and places else None
        if gva is not None and (began or not _of_init(section)):
            yield gva
        elif free + section.size <= end:
            yield free
            free += -(-section.size // 16) * 16
        else:
            yield _NOWHERE


def _of_init(section: FileSection) -> bool:
    """Return True if the kernel frees *section* after the init (module_init_section)."""
    return section.name.startswith(".init")
