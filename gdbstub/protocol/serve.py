"""The protocol half as one call, for programs that have a ``Target`` of their own.

It adds nothing to what ``server.py`` does; ``gdbstub/__init__.py`` names what else is public.
"""

from collections.abc import Callable

from gdbstub.protocol.endpoint import Endpoint
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from gdbstub.target import Target


async def serve(
    target: Target,
    endpoint: Endpoint | str,
    *,
    recorder: Recorder | None = None,
    kill_on_disconnect: bool = False,
    listening: Callable[[Server], None] | None = None,
) -> None:
    """Serve *target* to one client after another, until it is gone.

    *endpoint* is ``HOST:PORT`` (port 0: a free one), ``unix:PATH`` or ``stdio``; *listening* is
    called once, when clients may come. Cancelled, it lets the client go and leaves nothing bound.

    Raises:
        InputError: the endpoint cannot be had.
    """
    asked = Server(target, endpoint, recorder=recorder, kill_on_disconnect=kill_on_disconnect)
    async with asked as server:
        if listening:
            listening(server)
        await server.wait_ended()
