"""Execution of the script of ``--script`` against a listening stub.

The caller stops the guest when ``run_script`` returns.
"""

import asyncio
import contextlib
import os
import signal

#: Exit status for a script that was killed after its time, as of coreutils' timeout.
TIMED_OUT = 124


async def run_script(command: str, *, remote: str, symbols: str, seconds: float | None) -> int:
    """Run *command* in a shell with GDB_REMOTE and GDB_SYMBOLS set; return its exit status.

    After *seconds* it is killed with everything that it started, and the status is
    ``TIMED_OUT``. The status of a command that signal N killed is 128 + N, as in a shell.
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
        # Kill also processes that outlived the shell.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    return status if status >= 0 else 128 - status
