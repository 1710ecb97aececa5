"""The table of packets: one decorated function each, found by the longest name that fits.

It holds no packet itself; those stand in this package's other files, by subject.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Concatenate, Final, NamedTuple, ParamSpec

from gdbstub.errors import NoGuest
from gdbstub.protocol.packets.client_state import ClientState, Reply
from gdbstub.protocol.packets.template import PacketTemplate, thread_id
from gdbstub.target import Target

Arguments = ParamSpec("Arguments")

#: Where packets are described; the second is lldb/docs/resources/lldbgdbremote.md.
MANUALS: Final = ("GDB manual", "LLDB extension")

#: Longer packets are not said twice.
_SHORT: Final = 64
_SUFFIX: Final = re.compile(rb";thread:([^;]*);\Z")


class PacketDefinition(NamedTuple):
    """One row of the table."""

    name: bytes
    template: PacketTemplate
    handler: Callable[..., Reply]
    #: What the handler gets before the arguments of the packet.
    constants: tuple[object, ...]
    #: What ``qSupported`` says because this packet is registered.
    feature: bytes
    #: Whether it is obeyed even while the target runs.
    always: bool
    #: Whether it is obeyed while there is no guest for the client: it asks nothing of one.
    idle: bool
    #: Whether a guest that was left running is halted before it is obeyed.
    halts: bool
    #: What the handler gets before these: a capability that not every target has. Of a target
    #: without, the packet is not known.
    needs: Callable[[Target], object | None] | None
    #: Whether ``;thread:ID;`` at its end says which thread's registers are meant.
    suffix: bool


#: Every packet by name, in order of registration.
PACKETS: Final[dict[bytes, PacketDefinition]] = {}

# The lengths that names with this first byte have, longest first.
_LENGTHS: Final[dict[bytes, tuple[int, ...]]] = {}


def packet(
    name: str,
    template: str = "",
    *constants: object,
    feature: str = "",
    always: bool = False,
    idle: bool = False,
    halts: bool = False,
    suffix: bool = False,
    needs: Callable[[Target], object | None] | None = None,
) -> Callable[
    [Callable[Concatenate[ClientState, Arguments], Reply]],
    Callable[Concatenate[ClientState, Arguments], Reply],
]:
    """Register a handler: it gets the client, *constants*, and what *template* matches.

    With *needs*, the packet is for targets of which that is not None, and the handler gets it
    behind the client.

    Without a guest, which is after ``D`` or the guest's end in extended mode, those with *idle*
    are obeyed and no others; those with *halts* too, when a guest that runs has been halted.

    With *suffix*, a packet may name the thread for which it is obeyed (LLDB extension,
    ``QThreadSuffixSupported``); what ``Hg`` said holds again afterwards.

    Raises:
        ValueError: the name is taken, or the handler's docstring does not say where the
            GDB manual, or LLDB's page of its extensions, describes the packet.
    """
    key = name.encode()
    row_template = PacketTemplate(template)

    def register(
        handler: Callable[Concatenate[ClientState, Arguments], Reply],
    ) -> Callable[Concatenate[ClientState, Arguments], Reply]:
        if key in PACKETS:
            raise ValueError(f"two handlers for {name!r}")
        if not any(manual in (handler.__doc__ or "") for manual in MANUALS):
            raise ValueError(f"{handler.__name__} does not cite one of {MANUALS}")
        PACKETS[key] = PacketDefinition(
            *(key, row_template, handler, constants, feature.encode()),
            *(always, idle, halts, needs, suffix),
        )
        lengths = {len(key), *_LENGTHS.get(key[:1], ())}
        _LENGTHS[key[:1]] = tuple(sorted(lengths, reverse=True))
        return handler

    return register


def find(data: bytes) -> PacketDefinition | None:
    """The row that *data* is a packet of."""
    for end in _LENGTHS.get(data[:1], ()):
        row = PACKETS.get(data[:end])
        if row and not (row.template.closed and data[end : end + 1].isalnum()):
            return row
    return None


# Features that no packet has for itself, and the capability that each needs.
_FEATURES: Final[dict[bytes, Callable[[Target], object | None]]] = {}


def feature(name: str, needs: Callable[[Target], object | None]) -> None:
    """Register what ``qSupported`` says of targets with a capability, beside what packets have."""
    _FEATURES[name.encode()] = needs


def offered(target: Target) -> Iterator[bytes]:
    """What ``qSupported`` says of *target*, by what is registered."""
    for row in PACKETS.values():
        if row.feature and (row.needs is None or row.needs(target) is not None):
            yield row.feature
    for name, needs in _FEATURES.items():
        if needs(target) is not None:
            yield name


def dispatch(client: ClientState, data: bytes) -> Reply:
    """Do what one packet asks; the reply to one that is not in the table is empty.

    Raises:
        NoGuest: the client has none, and the packet asks something of it.
        StubError: it cannot be done.
    """
    if client.attached and (known := client.calls.get(data)) is not None:
        client.last, call = known
        client.last.count += 1
        return call()
    row = find(data)
    timing = client.count(row.name if row else b"")
    if row is None:
        return b""
    if not (client.attached or row.idle or row.halts):
        raise NoGuest("no guest is attached: attach 1 halts one that was left, run begins anew")
    if row.suffix and (match := _SUFFIX.search(data)):
        with client.looking_at(thread_id(match[1])):
            return _call(row, client, data[: match.start()])
    if row.needs is not None or row.halts or len(data) > _SHORT:
        return _call(row, client, data)
    call = partial(row.handler, client, *row.constants, *row.template.parse(data, len(row.name)))
    client.remember(data, timing, call)
    return call()


def _call(row: PacketDefinition, client: ClientState, data: bytes) -> Reply:
    before = row.constants
    if row.needs is not None:
        if (capability := row.needs(client.target)) is None:
            return b""
        before = (capability, *before)
    return row.handler(client, *before, *row.template.parse(data, len(row.name)))
