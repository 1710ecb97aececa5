"""Execution of the script of ``--script`` against a listening stub, and the limit of a session.

The caller stops the guest when it is over.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

#: Exit status of a session that was ended after its time, as of coreutils' timeout.
TIMED_OUT = 124


async def limited(
    work: Coroutine[None, None, int], seconds: float | None, late: Callable[[], Awaitable[None]]
) -> int:
    """Return the result of *work*. After *seconds*: await *late*, cancel *work*; ``TIMED_OUT``."""
    task = asyncio.ensure_future(work)
    try:
        if (await asyncio.wait({task}, timeout=seconds))[0]:
            return task.result()
        await late()
        return TIMED_OUT
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def started(
    command: str, *, remote: str, symbols: str, qmp: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run *command* in a shell with GDB_REMOTE and GDB_SYMBOLS set.

    GDB_QMP is set, too, where *qmp*, the path of a socket, is given. At the end it is killed, with
    everything that it started.
    """
    environment = {**os.environ, "GDB_REMOTE": remote, "GDB_SYMBOLS": symbols}
    if qmp:
        environment["GDB_QMP"] = qmp
    process = await asyncio.create_subprocess_shell(
        command, env=environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        # Kill also processes that outlived the shell.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> int:
    """Wait for the end of a script; return its exit status.

    That of a command that signal N killed is 128 + N, as in a shell.
    """
    status = await process.wait()
    return status if status >= 0 else 128 - status


async def run_script(command: str, *, remote: str, symbols: str, qmp: str = "") -> int:
    """Run a script to its end (``started``); return its exit status (``ended``)."""
    async with started(command, remote=remote, symbols=symbols, qmp=qmp) as process:
        return await ended(process)
