"""``gdbstub run`` on the fake machine, with as much of a host's scheduling as races need.

How many instructions a vCPU takes before the next one has its turn depends on the seed of the run,
so the same seed shows the same race again.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from gdbstub.cli.serving.serve import recording, run_to_end, serve, until_signal
from gdbstub.cli.settings.serve import ServeSettings
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.protocol.endpoint import Tcp
from gdbstub.signals import DeferredSignals
from tests.fakes.machine import fake_machine
from tests.fakes.vcpu import FakeVcpu


def option(name: str) -> str | None:
    found = (word.partition("=")[2] for word in sys.argv if word.startswith(f"--{name}="))
    return next(found, None)


def image(elf: str) -> bytes:
    """Return the program's bytes as they lie in RAM."""
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "image"
        subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", elf, binary], check=True)
        return binary.read_bytes()


async def session(signals: DeferredSignals) -> int:
    parameters = json.loads(os.environ["GDBSTUB_PARAMETERS"])
    turn = random.Random(parameters["seed"]).randrange(100, 1000)
    FakeVcpu.turn_length = FakeVcpu.slow_turn_length = turn
    guest = parameters["guest"]
    machine = fake_machine(image(guest), vcpus=int(parameters["smp"]))
    timeout = option("timeout")
    settings = ServeSettings(
        Tcp("localhost", 0),
        symbols=guest,
        script=option("script"),
        timeout=float(timeout) if timeout else None,
    )
    try:
        async with until_signal(signals) as stopped:
            with recording(option("record")) as recorder:
                program = GuestProgram(guest)
                return await serve(machine, program, settings, stopped, recorder=recorder)
    finally:
        machine.close()


sys.exit(run_to_end(session))
