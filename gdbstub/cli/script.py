"""The client's script that ``--script`` runs against a listening stub.

It knows nothing of guests; the caller stops the guest when the script has ended.
"""

import asyncio
import contextlib
import os
import signal

#: The exit status of a script that was killed for taking too long: that of coreutils' timeout.
TIMED_OUT = 124


async def run_script(command: str, *, remote: str, symbols: str, seconds: float | None) -> int:
    """Run *command* in a shell with GDB_REMOTE and GDB_SYMBOLS set; return its exit status.

    After *seconds* it is killed with everything that it started, and the status is ``TIMED_OUT``.
    Of a script that a signal ended, the status is 128 plus the signal's number, as in a shell.
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
