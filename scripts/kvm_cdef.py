"""Makes gdbstub/kvm/cdef.py of abi.h, for cffi's out-of-line ABI mode: ``make docs``."""

import re
import tempfile
from pathlib import Path
from typing import Final

import cffi

MODULE: Final = "gdbstub.kvm.cdef"
PLACE: Final = Path(__file__).parents[1] / "gdbstub" / "kvm" / "cdef.py"
_DOCSTRING: Final = '"""Made by scripts/kvm_cdef.py of abi.h: ``ffi``, and nothing else."""\n'


def text() -> str:
    """What is to be in the module."""
    declarations = PLACE.with_name("abi.h").read_text()
    ffi = cffi.FFI()
    ffi.set_source(MODULE, None)
    ffi.cdef(re.sub(r"/\*.*?\*/", "", declarations, flags=re.DOTALL))
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / PLACE.name
        ffi.emit_python_code(str(made))
        return _DOCSTRING + made.read_text()


if __name__ == "__main__":
    PLACE.write_text(text())
