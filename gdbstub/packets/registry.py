"""The table of packets: one decorated function each, found by the longest name that fits.

It holds no packet itself; those stand in this package's other files, by subject.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec

from gdbstub.packets.client import Client
from gdbstub.packets.template import Template
from gdbstub.target import Resume

#: What a handler returns: a payload (empty: not supported) or several, what to set going, or
#: None where the packet has no reply.
Reply = bytes | tuple[bytes, ...] | Resume | None

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True)
class Packet:
    """One row of the table."""

    name: bytes
    template: Template
    handler: Callable[..., Reply]
    #: What the handler gets before the arguments of the packet.
    constants: tuple[object, ...]
    #: What ``qSupported`` says because this packet is registered.
    feature: bytes
    #: Whether it is obeyed even while the target runs.
    always: bool


#: Every packet by name, in order of registration.
PACKETS: Final[dict[bytes, Packet]] = {}

# The lengths that names with this first byte have, longest first.
_LENGTHS: Final[dict[bytes, tuple[int, ...]]] = {}


def packet(
    name: str, template: str = "", *constants: object, feature: str = "", always: bool = False
) -> Callable[
    [Callable[Concatenate[Client, Arguments], Reply]],
    Callable[Concatenate[Client, Arguments], Reply],
]:
    """Register a handler: it gets the client, *constants*, and what *template* matches.

    Raises:
        ValueError: the name is taken, or the handler's docstring does not say where the
            GDB manual describes the packet.
    """
    key = name.encode()
    row_template = Template(template)

    def register(
        handler: Callable[Concatenate[Client, Arguments], Reply],
    ) -> Callable[Concatenate[Client, Arguments], Reply]:
        if key in PACKETS:
            raise ValueError(f"two handlers for {name!r}")
        if "GDB manual" not in (handler.__doc__ or ""):
            raise ValueError(f"{handler.__name__} does not cite the GDB manual")
        PACKETS[key] = Packet(key, row_template, handler, constants, feature.encode(), always)
        lengths = {len(key), *_LENGTHS.get(key[:1], ())}
        _LENGTHS[key[:1]] = tuple(sorted(lengths, reverse=True))
        return handler

    return register


def find(data: bytes) -> Packet | None:
    """The row that *data* is a packet of."""
    for end in _LENGTHS.get(data[:1], ()):
        row = PACKETS.get(data[:end])
        if row and not (row.template.closed and data[end : end + 1].isalnum()):
            return row
    return None


def dispatch(client: Client, data: bytes) -> Reply:
    """Do what one packet asks; the reply to one that is not in the table is empty.

    Raises:
        StubError: it cannot be done.
    """
    row = find(data)
    if row is None:
        return b""
    client.packets[row.name] = client.packets.get(row.name, 0) + 1
    return row.handler(client, *row.constants, *row.template.parse(data, len(row.name)))
