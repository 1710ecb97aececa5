"""Locations of software breakpoints: where their addresses lie now, and what may be there.

A request remembers its address and the address spaces that it was asked for in. The physical
addresses found last serve to recognise hits. ``Locator.find`` translates anew when a descriptor
that led there has changed, or a register that chose the tables: one comparison of RAM shows that.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from gdbstub.aarch64.comparators import canonical
from gdbstub.aarch64.mmu import Regime, walk
from gdbstub.aarch64.permissions import NONE, Permissions, permissions
from gdbstub.aarch64.registers import CPSR, SPSR_EL1
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.debug.address_spaces import AddressSpace, is_upper, space_of
from gdbstub.debug.caches import Cache, Caches, Content
from gdbstub.debug.guest_text import GuestText, obstacle_at
from gdbstub.debug.patch_sites import is_patch_site
from gdbstub.debug.ram_comparison import unchanged
from gdbstub.machine import Machine, Power

if TYPE_CHECKING:
    from gdbstub.debug.guest_exception import SavedState

_TOP: Final = 1 << 64
#: In place of registers: what was found by them holds no more.
_STALE: Final = ("stale",)
_OFF: Final = Power.OFF
_NO_SPACE: Final = "asked for in no address space"
_NOT_RUNNING: Final = "its process does not run"
_OTHER_TEXT: Final = "other text is there since the guest started over"
#: Walks that are remembered.
_WALKS: Final = 1024
#: The end of the addresses that AArch32 code can be at.
_AARCH32_END: Final = 1 << 32


class BreakpointRequest:
    """A software breakpoint that a client asked for.

    ``spaces`` are those that it was asked for in, while its address was mapped there. One that
    was asked for in none belongs to whichever space has its address; ``flat`` says that it was
    asked for with the MMU off, by an address in RAM.
    """

    def __init__(self, gva: int, vcpu: int, vector: int | None = None) -> None:
        """Make a request for *gva* by a client whose current thread is that of *vcpu*."""
        self.gva = gva
        self.vcpu = vcpu
        self.spaces: set[AddressSpace] = set()
        self.flat = False
        #: Text about ``gva`` when it was asked for with the MMU off, before the guest started over.
        self.text: bytes | None = None
        self.started_over = False
        self.aarch32 = False
        #: The exception level of the vCPU that it was asked for on.
        self.el = 1
        #: The exception vector that a return to ``gva`` leads to, where nothing can execute there.
        self.vector = vector
        #: True if another level can execute at ``gva``, so that it is to be served there, too.
        self.executable = False
        #: True if a return must be met at ``vector``; else the guest may go on to ``gva``.
        self.returns = False
        #: The registers that the abort at ``vector`` overwrites, as they were at the last resume.
        self.before: SavedState | None = None
        #: The physical addresses that were found last.
        self.ipas: frozenset[int] = frozenset()
        #: True if a BRK could not serve it when that was looked at last.
        self.needs_comparator = False
        #: True after z0, until the next resume: a client that asks again means the same request.
        self.removed = False

    def copy(self) -> Self:
        """Return another one that is the same."""
        same = object.__new__(type(self))  # ``copy.copy`` takes three times as long
        vars(same).update(vars(self))
        same.spaces = set(self.spaces)
        return same

    @property
    def comparator(self) -> int:
        """Canonical address of the comparator that serves it where no BRK can."""
        return canonical(self.gva if self.vector is None or not self.returns else self.vector)

    def forget(self) -> None:
        """Forget all but the address, and that it was a physical one: the guest starts over."""
        self.started_over = True
        self.spaces = set()
        self.aarch32 = self.aarch32 and self.flat
        self.vector, self.returns = None, False
        self.ipas = frozenset()


class Location(NamedTuple):
    """One place of a request's address, by one set of tables.

    ``obstacle`` says why no BRK may be there; it is empty where one may. ``lower_half`` is true of
    an address of the lower half while the MMU is on: a process has it. ``debugs_itself`` is true of
    text that sets MDSCR_EL1: it may use comparators of its own at any moment.
    """

    space: AddressSpace | None
    ipa: int | None
    permissions: Permissions
    obstacle: str = ""
    patch_site: bool = False
    lower_half: bool = False
    debugs_itself: bool = False


class _KnownWalk:
    """A walk that led to RAM: the descriptors and the text that were read, and the location."""

    __slots__ = ("_holds", "around", "descriptors", "location")

    def __init__(
        self, descriptors: tuple[tuple[int, bytes], ...], around: bytes, location: Location
    ) -> None:
        self.descriptors = descriptors
        self.around = around
        self.location = location
        self._holds: Callable[[], bool] | None = None

    def holds(self, machine: Machine) -> bool:
        """Return True while RAM has these descriptors."""
        if self._holds is None:  # most walks are never looked at again
            self._holds = unchanged(machine, self.descriptors)
        return self._holds()


class Translations(Protocol):
    """Sources of translation regimes: ``VirtualMemory``."""

    def regime(self, vcpu: int) -> Regime:
        """Return the regime that a vCPU is in now."""
        ...

    def read_physical(self, ipa: int, length: int) -> bytes:
        """Read RAM with our BRKs hidden, short at its end."""
        ...

    def kernels(self) -> Sequence[int]:
        """Return the values of TTBR1_EL1 that were seen at EL1, the latest first."""
        ...


class Locator:
    """Finds the locations of requests; every vCPU is parked."""

    def __init__(self, machine: Machine, translations: Translations, caches: Caches) -> None:
        self._machine = machine
        self._translations = translations
        #: True while a process is chosen by something else than an address space.
        self.any_space = False
        # The last regime in which a space of the lower half was current.
        self._regimes: dict[AddressSpace, Regime] = {}
        self._words: dict[int, bytes] = {}  # descriptors that were read, by physical address
        # The registers that all locations were found by, and a comparison of the descriptors.
        self._found_by: tuple[object, ...] | None = None
        self._maybe_a32 = False  # True if one of the addresses may be that of A32 code
        self._on: Sequence[int] = ()  # the vCPUs that are not powered off
        self._text = GuestText(translations)
        self._comparison: Cache[int, Callable[[], bool]] = caches.add(
            "placement", Content.CHECKED, Cache(1)
        )
        # By address, exception level and what chose the tables. A client takes each breakpoint back
        # at a stop and asks for it again.
        self._walks: Cache[tuple[int, int, Regime], _KnownWalk] = caches.add(
            "walks to breakpoints", Content.CHECKED, Cache(_WALKS)
        )
        # Locations by the same keys, found since the guest stopped, or since ``forget``.
        self._found: Cache[tuple[int, int, Regime], Location] = caches.add(
            "places of breakpoints", Content.RAN, Cache(_WALKS)
        )
        # True once all was found to hold, until the guest runs or a client writes to it.
        self._holds: Cache[int, bool] = caches.add(
            "placement holds", Content.REGISTERS | Content.TRANSLATIONS, Cache(1)
        )

    def spaces(self, request: BreakpointRequest) -> Set[AddressSpace]:
        """Return the spaces that *request* belongs to; none: whichever has its address."""
        return frozenset() if self.any_space and not is_upper(request.gva) else request.spaces

    def reset(self) -> None:
        """Forget all spaces and locations: the guest starts over."""
        self._regimes.clear()
        self._text.reset()
        self._walks.clear()
        self.forget()

    def forget(self) -> None:
        """Forget all locations: ``is_current`` compares what ``find`` reads from now on."""
        self._words = {}
        self._found_by = None
        self._maybe_a32 = False
        self._comparison.clear()
        self._found.clear()
        self._holds.clear()

    def is_current(self) -> bool:
        """Return True if all that ``find`` has returned since ``forget`` still holds."""
        if self._found_by is None:
            return False
        if self._holds.get(0):
            return True
        if self._found_by != self._look() or not self._words_hold():
            return False
        self._holds.put(0, True)
        return True

    def _words_hold(self) -> bool:
        holds = self._comparison.get(0)
        if holds is None:
            holds = unchanged(self._machine, tuple(self._words.items()))
            self._comparison.put(0, holds)
            if 0 not in self._comparison:
                return False  # nothing may be kept
        return holds()

    def _look(self) -> tuple[object, ...]:
        """Read all registers that choose tables, and the state that code is executed in."""
        every = self._machine.vcpus
        vcpus: Sequence[int] = range(len(every))
        if len(vcpus) > 1:  # what the registers of one that is off lead to may be others' by now
            vcpus = [each for each in vcpus if every[each].power is not _OFF] or vcpus
        self._on = vcpus
        regimes = tuple(self._translations.regime(vcpu) for vcpu in vcpus)
        states = tuple(self._executes_aarch32(vcpu) for vcpu in vcpus) if self._maybe_a32 else ()
        return regimes, tuple(self._translations.kernels()), states

    def bind(self, request: BreakpointRequest, vcpu: int) -> None:
        """Note the address space that *request* is asked for in, by a vCPU's registers now."""
        regime = self._translations.regime(vcpu)
        pstate = PSTATE(self._machine.vcpus[vcpu].get(CPSR))
        request.vcpu, request.el = vcpu, pstate.EL
        space = space_of(regime, request.gva)
        if space is not None and is_upper(request.gva):
            request.spaces.add(space)
        elif (ipa := self._walk(request, regime).ipa) is not None:
            if space is None:
                request.flat, request.text = True, self._text.around(ipa)
                request.started_over, request.aarch32 = False, bool(pstate.nRW)
            else:
                request.spaces.add(space)
                self._regimes[space] = regime

    def _executes_aarch32(self, vcpu: int) -> bool | None:
        """Return True if the process that a vCPU is in executes A32 code; None if unknown."""
        own = self._machine.vcpus[vcpu]
        pstate = PSTATE(own.get(CPSR))
        if pstate.nRW or not pstate.EL:
            return bool(pstate.nRW)
        # What is saved may be of the process that the kernel has just switched from: it says where
        # an A64 BRK must not be, and not where it may.
        return True if PSTATE(own.get(SPSR_EL1)).nRW else None

    def find(self, request: BreakpointRequest) -> list[Location]:
        """Find the locations of *request* now: none where its address is not mapped."""
        if self._found_by is None:
            self._found_by = self._look()
        find = self._find_upper if is_upper(request.gva) else self._find_lower
        found = [location for location in find(request) if location.ipa is not None]
        known = [each for each in found if each.obstacle not in (_NO_SPACE, _NOT_RUNNING)]
        if known:  # else it keeps those of before: another run of a program has the same pages
            request.ipas = frozenset(each.ipa for each in known if each.ipa is not None)
        return found

    def permissions(self, request: BreakpointRequest, vcpu: int) -> Permissions:
        """Return the permissions at *request* by a vCPU's tables; none where no RAM is mapped."""
        found = self._walk(request, self._translations.regime(vcpu))
        return NONE if found.ipa is None else found.permissions

    def _find_upper(self, request: BreakpointRequest) -> Iterator[Location]:
        """Look in the kernels' tables that it was asked for in, or else in those of now."""
        found: dict[AddressSpace, Location] = {}
        for regime in self._kernel_regimes(request.vcpu):
            space = space_of(regime, request.gva)
            if space is None or space in found:
                continue
            location = self._walk(request, regime)
            if location.ipa is not None:
                found[space] = location
        asked = [location for space, location in found.items() if space in request.spaces]
        if not asked and found:  # the kernel has other tables now
            space, location = next(iter(found.items()))
            request.spaces = {space}
            asked = [location]
        yield from asked

    def _kernel_regimes(self, vcpu: int) -> Iterator[Regime]:
        """List the regimes that the kernel may be in, that of *vcpu* first."""
        vcpus = sorted(self._on, key=lambda each: each != vcpu)
        regimes = [self._translations.regime(each) for each in vcpus]
        mapped = [regime for regime in regimes if regime.sctlr.M and not regime.tcr.EPD1]
        yield from mapped
        for regime in mapped[:1]:
            for ttbr1 in self._translations.kernels():
                yield regime._replace(ttbr1=ttbr1)

    def _find_lower(self, request: BreakpointRequest) -> Iterator[Location]:
        vcpus = self._on
        regimes = {each: self._translations.regime(each) for each in vcpus}
        now = {space: each for each in vcpus if (space := space_of(regimes[each], request.gva))}
        tables = {space.table: each for space, each in now.items()}
        if request.gva < _AARCH32_END and not self._maybe_a32:
            self._maybe_a32 = True  # first: ``_look`` then reads more
            self._found_by = self._look()
        for space in (spaces := self.spaces(request)):
            if space in now:
                self._regimes[space] = regimes[now[space]]
                if request.gva < _AARCH32_END:
                    here = (each for each in vcpus if space_of(regimes[each], request.gva) == space)
                    known = set(map(self._executes_aarch32, here))
                    request.aarch32 = True in known or (request.aarch32 and False not in known)
                yield self._lower(request, regimes[now[space]])
            elif (regime := self._regimes.get(space)) and space.table not in tables:
                # It may have ended, and its tables be those of another process.
                yield self._lower(request, regime)._replace(obstacle=_NOT_RUNNING)
            elif space.table in tables:  # the kernel has given it another ASID, or it is a new one
                location = self._lower(request, regimes[tables[space.table]])
                if location.ipa in request.ipas:
                    yield location
        if spaces:
            return
        location = self._lower(request, regimes.get(request.vcpu) or regimes[vcpus[0]])
        # The same if it is mapped one to one: it is the place that was meant.
        if location.ipa is not None and request.flat and location.ipa == request.gva:
            other = request.started_over and self._text.around(location.ipa) != request.text
            if other:
                self._found_by = _STALE  # the guest may put its code there yet
            yield location._replace(obstacle=_OTHER_TEXT if other else location.obstacle)
        elif location.ipa is not None:
            yield location._replace(obstacle=_NO_SPACE)

    def _lower(self, request: BreakpointRequest, regime: Regime) -> Location:
        location = self._walk(request, regime)
        return location._replace(obstacle="AArch32 code") if request.aarch32 else location

    def _walk(self, request: BreakpointRequest, regime: Regime) -> Location:
        """Translate the address of *request*, and note each descriptor that was read."""
        tables = regime._replace(ttbr0=0) if is_upper(request.gva) else regime
        key = request.gva, request.el, tables
        if (location := self._found.get(key)) is None:
            location = self._known_location(key) or self._walk_anew(request, regime, key)
            self._found.put(key, location)
        return location

    def _known_location(self, key: tuple[int, int, Regime]) -> Location | None:
        """Return the location that an earlier walk has led to, if this one leads there, too."""
        known = self._walks.get(key)
        if known is None or not known.holds(self._machine):
            return None
        ipa = known.location.ipa
        if ipa is None or self._text.around(ipa) != known.around:
            return None
        for place, descriptor in known.descriptors:
            self._note(place, descriptor)
        return known.location

    def _walk_anew(
        self, request: BreakpointRequest, regime: Regime, key: tuple[int, int, Regime]
    ) -> Location:
        descriptors: list[tuple[int, bytes]] = []

        def read(ipa: int, length: int) -> bytes:
            data = self._machine.read_memory(ipa, length)
            if length == 8:
                self._note(ipa, data)
                descriptors.append((ipa, data))
            return data

        gva = request.gva % _TOP
        found = walk(regime, gva, read)
        may = permissions(found)
        space, lower = space_of(regime, gva), bool(regime.sctlr.M) and not is_upper(gva)
        if found.mapping is None:
            return Location(space, None, may, "not mapped", lower_half=lower)
        ipa = found.mapping.ipa
        around = self._text.around(ipa)
        if not around:
            return Location(space, None, may, "not in RAM", lower_half=lower)
        # A kernel's half is executed by the kernel; the other one by whoever has it.
        executes = may.el1_executes if is_upper(gva) and request.el else may.executes
        obstacle = obstacle_at(self._machine, ipa) if executes else "not executable"
        own = may.el1_executes and may.writes and self._text.debugs_itself(ipa)
        # Kernels that patch their text have it in the upper half.
        site = is_patch_site(around) and not (own and not is_upper(gva))
        location = Location(space, ipa, may, obstacle, site, lower, own)
        self._walks.put(key, _KnownWalk(tuple(descriptors), around, location))
        return location

    def _note(self, ipa: int, descriptor: bytes) -> None:
        """Note a *descriptor* that was read, and that all is old if it is not as it was before."""
        if ipa not in self._words:
            self._words[ipa] = descriptor
            self._comparison.clear()
        elif self._words[ipa] != descriptor:
            self._found_by = _STALE  # what was found by it holds no more
            self._holds.clear()
