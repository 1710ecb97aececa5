"""Stop replies: why the target is at rest, and the registers that a client would ask for next.

It decides nothing about when one is due; ``session.py`` does.
"""

import logging
from typing import Final

from gdbstub.errors import StubError
from gdbstub.packets.client import Client
from gdbstub.target import Exited, Report, Stop

_log = logging.getLogger(__name__)

_WATCHES: Final = frozenset((Stop.WATCH, Stop.RWATCH, Stop.AWATCH))
_BREAKS: Final = frozenset((Stop.SWBREAK, Stop.HWBREAK))
_KEYS: Final = {stop: stop.value.encode() for stop in Stop}


def stop_reply(client: Client, report: Report) -> bytes:
    """Say *report* (GDB manual, E.3 "Stop Reply Packets"); the thread becomes the current one.

    ``swbreak`` and ``hwbreak`` go only to a client that offered to understand them.
    """
    if isinstance(report, Exited):
        client.over = client.guest_gone = True
        return b"W%02x" % (report.status & 0xFF)
    # The client takes the thread that it reads of here to be selected.
    client.general = report.thread
    key = _KEYS[report.stop]
    if report.stop in _WATCHES:
        why = b"%b:%x;" % (key, report.gva)
    elif report.stop in _BREAKS and key in client.features:
        why = key + b":;"
    else:
        why = b""
    return b"T%02xthread:%x;%b%b" % (report.signal, report.thread, why, _registers(client))


def _registers(client: Client) -> bytes:
    expedited = client.expedited
    try:
        return expedited.spell(client.target.read_registers(client.general, expedited.rows))
    except StubError as error:
        # A stop must be told even so; the client will ask for what it needs.
        _log.warning("no registers in the stop reply: %s", error)
        return b""
