"""Caches of what was read of the guest, and their one owner, which empties them.

A cache says what its entries are made of (``Content``). Whoever changes that calls
``Caches.invalidate``. Only a cache's owner may clear it besides, as ``Locator`` does where it finds
that a descriptor has changed.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Flag, auto
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Content(Flag):
    """Parts of the guest that entries are made of, and what changes at an event."""

    #: Nothing that could change unnoticed: the user of an entry checks it at each look-up.
    CHECKED = 0
    #: A vCPU's registers.
    REGISTERS = auto()
    #: The way from a virtual to a physical address: translation tables and their registers.
    TRANSLATIONS = auto()
    #: The instructions that a vCPU fetches.
    CODE = auto()
    #: BRKs of ours in RAM.
    BREAKPOINTS = auto()

    #: A client has written a register: TTBR0_EL1, for example.
    REGISTER_WRITTEN = REGISTERS | TRANSLATIONS | CODE
    #: A client has written memory: a translation table or code, for example.
    MEMORY_WRITTEN = TRANSLATIONS | CODE
    #: One vCPU has executed an instruction or a range, and no other has run. Its plan invalidates
    #: CODE itself, after each instruction that can change what is fetched.
    STEPPED = REGISTERS | TRANSLATIONS
    #: vCPUs have run.
    RAN = REGISTERS | TRANSLATIONS | CODE
    #: The guest has started over. Empties every cache.
    ALL = REGISTERS | TRANSLATIONS | CODE | BREAKPOINTS

    # Enum would hash a member's name, in Python; every value of a Flag exists once.
    __hash__ = object.__hash__


class CacheCounts(NamedTuple):
    """Numbers of look-ups that found an entry, and of those that did not."""

    hits: int
    misses: int


class Cache(Generic[Key, Value]):
    """Bounded table of values, none of which is None. Its owner is the ``Caches`` it is added to.

    Its counts may be a few short where several threads share it. A look-up on a hot path reads
    ``entries`` and counts by itself: a call costs as much as the look-up.
    """

    __slots__ = ("_limit", "clear", "enabled", "entries", "hits", "misses")

    def __init__(self, limit: int) -> None:
        """Begin empty; *limit* is the most entries."""
        self.entries: Final[dict[Key, Value]] = {}
        #: Drop every entry. ``Caches`` calls it, often: it is the dict's own method.
        self.clear: Final = self.entries.clear
        self._limit = limit
        self.enabled = True
        self.hits = 0
        self.misses = 0

    def get(self, key: Key) -> Value | None:
        """Return the value for *key*, or None where there is none."""
        value = self.entries.get(key)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep *value* for *key*. A full cache is emptied first."""
        if self.enabled:
            if len(self.entries) >= self._limit:
                self.entries.clear()
            self.entries[key] = value

    def put_all(self, values: Iterable[tuple[Key, Value]]) -> None:
        """Keep all *values*, pairs of a key and a value; a few more than the most may stay."""
        if self.enabled:
            if len(self.entries) >= self._limit:
                self.entries.clear()
            self.entries.update(values)

    def __contains__(self, key: Key) -> bool:
        """Return True if there is a value for *key*. Not counted as a look-up."""
        return key in self.entries


class _AnyCache(Protocol):
    """A ``Cache`` of any keys and values."""

    enabled: bool
    hits: int
    misses: int

    @property
    def clear(self) -> Callable[[], None]: ...


class _Row(NamedTuple):
    """A cache and what its entries are made of; *vcpu* where they are about one vCPU."""

    name: str
    made_of: Content
    vcpu: int | None
    cache: _AnyCache


class Caches:
    """Owner of every cache of one debugger."""

    def __init__(self, *, enabled: bool = True) -> None:
        """Own none yet. Where *enabled* is false, no cache keeps anything."""
        self._enabled: Final = enabled
        self._rows: list[_Row] = []
        # What each call of ``invalidate`` calls.
        self._emptied: dict[tuple[Content, int | None], tuple[Callable[[], None], ...]] = {}

    def add(
        self, name: str, made_of: Content, cache: Cache[Key, Value], *, vcpu: int | None = None
    ) -> Cache[Key, Value]:
        """Own *cache* and return it; one of the same name and vCPU is replaced, its counts kept."""
        cache.enabled = self._enabled
        for row in self._rows:
            if (row.name, row.vcpu) == (name, vcpu):
                cache.hits, cache.misses = row.cache.hits, row.cache.misses
                self._rows.remove(row)
                break
        self._rows.append(_Row(name, made_of, vcpu, cache))
        self._emptied.clear()
        return cache

    def invalidate(self, changed: Content, vcpu: int | None = None) -> None:
        """Empty the caches whose entries are made of what has *changed*.

        With *vcpu*, those of that vCPU only: for its own thread.
        """
        if (emptied := self._emptied.get((changed, vcpu))) is None:
            emptied = self._emptied[changed, vcpu] = tuple(
                row.cache.clear
                for row in self._rows
                if (vcpu is None or vcpu == row.vcpu)
                and (changed is Content.ALL or changed & row.made_of)
            )
        for clear in emptied:
            clear()

    @property
    def counts(self) -> Mapping[str, CacheCounts]:
        """Look-ups since the start, by the caches' names."""
        counts: dict[str, CacheCounts] = {}
        for name, _, _, cache in self._rows:
            hits, misses = counts.get(name, (0, 0))
            counts[name] = CacheCounts(hits + cache.hits, misses + cache.misses)
        return counts
