"""``gdbstub run`` over the fake machine: ``python -m tests.gdb.stand_in run GUEST OPTIONS``.

For tests of what runs the command; it knows those options that they give.
"""

import argparse
import asyncio
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from elftools.elf.elffile import ELFFile

from gdbstub.aarch64.registers import PC
from gdbstub.cli.serving.script import limited, run_script
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Unix
from gdbstub.protocol.record import Recorder
from gdbstub.protocol.server import Server
from tests.fakes.machine import FakeMachine


class Uart:
    """A PL011, as far as output goes."""

    def read(self, ipa: int, size: int) -> int:
        return 0

    def write(self, ipa: int, size: int, value: int) -> None:
        sys.stdout.buffer.write(bytes([value & 0xFF]))
        sys.stdout.buffer.flush()


def load(machine: FakeMachine, guest: Path) -> None:
    with guest.open("rb") as file:
        elf = ELFFile(file)
        for segment in elf.iter_segments("PT_LOAD"):
            machine.write_memory(segment["p_paddr"], segment.data())
        machine.vcpus[0].set(PC, elf["e_entry"])


async def serve(arguments: argparse.Namespace) -> int:
    guest: Path = arguments.guest
    machine = FakeMachine(lambda made: load(made, guest), vcpus=arguments.smp, device=Uart())
    debugger = monitored_debugger(machine, GuestProgram(str(guest), None))
    endpoint = Unix(arguments.gdb.removeprefix("unix:"))
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    opened = arguments.record.open("w") if arguments.record else nullcontext()
    with opened as file:
        server = Server(debugger, endpoint, recorder=Recorder(file) if file else None)
        await server.start()
        print(f"gdbstub: listening on {arguments.gdb}", file=sys.stderr, flush=True)
        if arguments.free_run:
            debugger.detach()
        if arguments.script:
            work = run_script(arguments.script, remote=server.remote, symbols=str(guest))
            status = await limited(work, arguments.timeout, lambda: asyncio.sleep(0))
        else:
            ended = asyncio.ensure_future(server.wait_ended())
            stopped = asyncio.ensure_future(over.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            status = 0
        await server.close()
    machine.close()
    return status


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("guest", type=Path)
    parser.add_argument("--smp", type=int, default=1)
    parser.add_argument("--gdb", default="unix:socket")
    parser.add_argument("--script")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--free-run", action="store_true")
    sys.exit(asyncio.run(serve(parser.parse_args())))


if __name__ == "__main__":
    main()
