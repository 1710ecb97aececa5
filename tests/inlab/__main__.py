"""Start a lab and run the tests in it that come on standard input; ``LabTests`` is the caller."""

import json
import signal
import sys

from gdbstub.lab.opening import open_lab, start_lab
from gdbstub.lab.qemu import Options
from tests.inlab.runner import run_in_lab


def main() -> None:
    # The lab is closed as after any exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wish = json.loads(sys.argv[1])
    options = Options(**wish["options"])
    with open_lab(options) if wish["is_usual"] else start_lab(options) as lab:
        asked = json.load(sys.stdin)
        run_in_lab(lab, asked["nodeids"], long=asked["long"])


if __name__ == "__main__":
    main()
