"""Serving as one call, for programs that have a ``Target`` of their own.

It adds nothing to ``Server``. ``gdbstub/__init__.py`` lists the other public names.
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
    stop_wait_timeout: float = 0.0,
) -> None:
    """Serve *target* to one client after another, until its guest is gone.

    *endpoint* is ``HOST:PORT`` (port 0: a free one), ``unix:PATH`` or ``stdio``. *listening* is
    called once, when clients may connect. *stop_wait_timeout* is as in ``Server``. When it is
    cancelled, it disconnects the client and unbinds the endpoint.

    Raises:
        InputError: the endpoint is malformed or cannot be bound.
    """
    unopened = Server(
        target,
        endpoint,
        recorder=recorder,
        kill_on_disconnect=kill_on_disconnect,
        stop_wait_timeout=stop_wait_timeout,
    )
    async with unopened as server:
        if listening:
            listening(server)
        await server.wait_ended()
