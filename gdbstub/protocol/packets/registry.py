"""Table of packets: one decorated handler each, found by the longest name that fits.

It defines no packet. Packets are in this package's other files, by subject.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar, cast

from gdbstub.errors import NoGuest, PacketError
from gdbstub.protocol.packets.client_state import CacheableResume, CachedPacket, ClientState, Reply
from gdbstub.protocol.packets.template import PacketTemplate, thread_id
from gdbstub.target import Stopped, Target

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result", bound=Reply | CacheableResume)

#: Documents that describe packets; the second is lldb/docs/resources/lldbgdbremote.md.
MANUALS: Final = ("GDB manual", "LLDB extension")

#: Level of optimisation (``-OO``, PYTHONOPTIMIZE) from which on Python keeps no docstrings.
_NO_DOCSTRINGS: Final = 2

_SUFFIX: Final = re.compile(rb";thread:([^;]*);\Z")


class PacketDefinition(NamedTuple):
    """Row of the table: one packet."""

    name: bytes
    template: PacketTemplate
    handler: Callable[..., Reply | CacheableResume]
    #: Arguments of the handler before those of the packet.
    constants: tuple[object, ...]
    #: Feature that ``qSupported`` announces because this packet is registered.
    feature: bytes
    #: True if the packet is obeyed even while the target runs.
    while_running: bool
    #: True if the packet is obeyed without a guest, because it asks nothing of one.
    without_guest: bool
    #: True if a guest that runs detached is halted before the packet is obeyed.
    halts: bool
    #: Getter of the capability that the handler gets before its constants. If the target has
    #: none, the packet is unknown.
    needs: Callable[[Target], object | None] | None
    #: True if ``;thread:ID;`` at the packet's end selects the thread of its registers.
    suffix: bool

    def is_known(self, target: Target) -> bool:
        """Return True if the packet is one for *target*."""
        return self.needs is None or self.needs(target) is not None

    def must_halt(self, target: Target) -> bool:
        """Return True if *target* runs and must be halted before the packet is obeyed."""
        return self.halts and target.running and self.is_known(target)


#: Packets by name, in order of registration.
PACKETS: Final[dict[bytes, PacketDefinition]] = {}

# Lengths of the names with this first byte, longest first.
_LENGTHS: Final[dict[bytes, tuple[int, ...]]] = {}


def packet(
    name: str,
    template: str = "",
    *constants: object,
    feature: str = "",
    while_running: bool = False,
    without_guest: bool = False,
    halts: bool = False,
    suffix: bool = False,
    needs: Callable[[Target], object | None] | None = None,
) -> Callable[
    [Callable[Concatenate[ClientState, Arguments], Result]],
    Callable[Concatenate[ClientState, Arguments], Result],
]:
    """Register a handler: it gets the client, *constants*, and the values that *template* matches.

    With *needs*, only targets for which it returns a capability know the packet. The handler
    gets the capability after the client. With *while_running*, the packet is obeyed at once even
    while the target runs; any other waits until the target is at rest.

    In extended mode there is no guest after ``D`` or the guest's end. Then only packets with
    *without_guest* are obeyed, and packets with *halts*, before which a guest that runs is
    halted.

    With *suffix*, a packet may name the thread for which it is obeyed (LLDB extension,
    ``QThreadSuffixSupported``). The thread that ``Hg`` selected is the current one afterwards.

    Raises:
        ValueError: the name is taken, or the handler's docstring cites neither the GDB manual
            nor LLDB's page of its extensions.
    """
    key = name.encode()
    parser = PacketTemplate(template)

    def register(
        handler: Callable[Concatenate[ClientState, Arguments], Result],
    ) -> Callable[Concatenate[ClientState, Arguments], Result]:
        if key in PACKETS:
            raise ValueError(f"two handlers for {name!r}")
        text = handler.__doc__ or ""
        if not any(manual in text for manual in MANUALS) and sys.flags.optimize < _NO_DOCSTRINGS:
            raise ValueError(f"{handler.__name__} does not cite one of {MANUALS}")
        PACKETS[key] = PacketDefinition(
            name=key,
            template=parser,
            handler=handler,
            constants=constants,
            feature=feature.encode(),
            while_running=while_running,
            without_guest=without_guest,
            halts=halts,
            needs=needs,
            suffix=suffix,
        )
        lengths = {len(key), *_LENGTHS.get(key[:1], ())}
        _LENGTHS[key[:1]] = tuple(sorted(lengths, reverse=True))
        return handler

    return register


def find(data: bytes) -> PacketDefinition | None:
    """Return the row of the packet *data*, or None if the packet is unknown."""
    for end in _LENGTHS.get(data[:1], ()):
        row = PACKETS.get(data[:end])
        if row and not (row.template.closed and data[end : end + 1].isalnum()):
            return row
    return None


# Features of no single packet, and the capability that each needs.
_FEATURES: Final[dict[bytes, Callable[[Target], object | None]]] = {}


def feature(name: str, needs: Callable[[Target], object | None]) -> None:
    """Register a feature that ``qSupported`` announces if *needs* returns a capability."""
    _FEATURES[name.encode()] = needs


def offered(target: Target) -> Iterator[bytes]:
    """Yield the features that ``qSupported`` announces for *target*."""
    for row in PACKETS.values():
        if row.feature and row.is_known(target):
            yield row.feature
    for name, needs in _FEATURES.items():
        if needs(target) is not None:
            yield name


def dispatch(client: ClientState, data: bytes, arrived: bytes = b"") -> Reply:
    """Obey one packet and return its outcome; a packet that is not in the table gets ``b""``.

    *arrived*, if given, are bytes that mean this packet whenever they arrive, by themselves and
    between frames. The packet is then kept in the client's cache under them, if it can be.

    Raises:
        NoGuest: the client has no guest, and the packet needs one.
        StubError: the packet cannot be obeyed.
    """
    row = find(data)
    timing = client.count(row.name if row else b"")
    if row is None:
        return b""
    if not (row.without_guest or row.halts or client.attached):
        raise NoGuest("no guest is attached: attach 1 halts one that was left, run begins anew")
    if row.suffix and (match := _SUFFIX.search(data)):
        with client.selected(thread_id(match[1])):
            return _plain(_call(row, client, data[: match.start()]))
    if row.halts:
        return _plain(_with_halted(row, client, data))
    if not arrived or row.needs is not None:  # a capability may go
        return _plain(_call(row, client, data))
    call = partial(row.handler, client, *row.constants, *row.template.parse(data, len(row.name)))
    if not isinstance(result := call(), CacheableResume):
        # What means no cacheable resume, as no memory read does, never will.
        client.cache.add(arrived, CachedPacket(data, timing, cast("Callable[[], Reply]", call)))
        return result
    resume = result.resume
    client.cache.add(arrived, CachedPacket(data, timing, lambda: resume))
    return resume


def _plain(result: Reply | CacheableResume) -> Reply:
    return result.resume if isinstance(result, CacheableResume) else result


def _with_halted(
    row: PacketDefinition, client: ClientState, data: bytes
) -> Reply | CacheableResume:
    """Obey a packet for which a guest was halted that ran detached; if it is refused, let it go on.

    A guest whose reset has failed, or that has stopped by itself, stays halted.
    """
    try:
        return _call(row, client, data)
    except PacketError:
        target = client.target
        if not (client.attached or target.running or client.guest_gone):
            report = target.report()
            if isinstance(report, Stopped) and report == Stopped(report.thread, report.signal):
                target.detach()
        raise


def _call(row: PacketDefinition, client: ClientState, data: bytes) -> Reply | CacheableResume:
    before = row.constants
    if row.needs is not None:
        if (capability := row.needs(client.target)) is None:
            return b""
        before = (capability, *before)
    return row.handler(client, *before, *row.template.parse(data, len(row.name)))
