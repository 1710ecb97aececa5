"""System calls on KVM for one step, from stop to stop, counted by strace in the lab."""

import re
import subprocess
from collections import Counter
from typing import Final

from bench.stubs import ROOT, Serving

_OUTPUT: Final = "/tmp/ioctls"
_CALL: Final = re.compile(rb"ioctl\(\d+, (KVM_\w+)")

#: Two requests have the same number; strace knows the older one.
_NAMES: Final = {b"KVM_ARM_SET_DEVICE_ADDR": "KVM_GET_ONE_REG"}


def for_a_step(serving: Serving, seconds: float = 3.0) -> Counter[str]:
    """How many of each, of a ``vCont;s`` on average, rounded."""
    lab = serving.place.lab
    pid = lab.run(["pidof", serving.stub.program]).stdout.split()[0].decode()
    argv = ["chroot", ROOT, "strace", "-f", "-e", "trace=ioctl", "-o", _OUTPUT, "-p", pid]
    with lab.popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as strace:
        assert strace.stderr
        strace.stderr.readline()  # it has attached
        try:
            steps, _ = serving.place.measure("rounds", seconds, "--", "vCont;s:1", "--")
        finally:
            lab.run(["sh", "-c", "kill -INT $(pidof strace)"])
            strace.communicate()
    calls = Counter(_CALL.findall(lab.run(["cat", f"{ROOT}{_OUTPUT}"]).stdout))
    each = {_NAMES.get(name, name.decode()): round(n / steps) for name, n in calls.items()}
    return Counter({name: number for name, number in each.items() if number})
