"""Count of the KVM ioctls for one step, from stop to stop, by strace in the lab.

Both stubs are counted alike: the calls of 17 steps less those of one step, divided by 16. So
the calls of a connection are not included.
"""

import re
import subprocess
from collections import Counter
from typing import Final

from bench.stubs import ROOT, Serving

_STEPS: Final = 16
_OUTPUT: Final = "/tmp/ioctls"
_CALL: Final = re.compile(rb"ioctl\(\d+, (?:\S+ or )?(KVM_\w+)")

#: Two requests have the same number; strace knows the older one.
_NAMES: Final = {b"KVM_ARM_SET_DEVICE_ADDR": "KVM_GET_ONE_REG"}

#: Calls by name; of one step on average.
Calls = dict[str, float]


def for_a_step(serving: Serving) -> Calls:
    """Return the number of calls of each kind for one ``vCont;s``."""
    some = _calls(serving, 1 + _STEPS)
    some.subtract(_calls(serving, 1))
    return {_NAMES.get(name, name.decode()): n / _STEPS for name, n in some.items() if n}


def _calls(serving: Serving, steps: int) -> Counter[bytes]:
    lab = serving.place.lab
    pid = lab.run(["pidof", serving.stub.program]).stdout.split()[0].decode()
    argv = ["chroot", ROOT, "strace", "-f", "-e", "trace=ioctl", "-o", _OUTPUT, "-p", pid]
    with lab.popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as strace:
        assert strace.stderr
        strace.stderr.readline()  # it has attached
        try:
            serving.place.measure("rounds", f"{steps}x", "--", "vCont;s:1", "--")
        finally:
            lab.run(["sh", "-c", "kill -INT $(pidof strace)"])
            strace.communicate()
    return Counter(_CALL.findall(lab.run(["cat", f"{ROOT}{_OUTPUT}"]).stdout))
