"""Running a client's script against a listening stub, for ``--script``.

It knows nothing of guests; whoever calls stops the guest when this returns.
"""

import asyncio
import contextlib
import os
import signal

#: The exit status of a script that was killed for taking too long, as coreutils' timeout has it.
TIMED_OUT = 124


async def run_script(command: str, *, remote: str, symbols: str, seconds: float | None) -> int:
    """Run *command* in a shell with GDB_REMOTE and GDB_SYMBOLS set; return its exit status.

    After *seconds* it is killed with everything that it started. A status from a signal is
    128 and the signal's number, as a shell says it.
    """
    environment = {**os.environ, "GDB_REMOTE": remote, "GDB_SYMBOLS": symbols}
    process = await asyncio.create_subprocess_shell(
        command, env=environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        status = await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        status = TIMED_OUT
    finally:
        # Also what outlived the shell: nothing of a script is left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return status if status >= 0 else 128 - status
