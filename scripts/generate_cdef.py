"""Generate gdbstub/kvm/cdef.py, for cffi's out-of-line ABI mode: ``make generate``."""

import re
import tempfile
from pathlib import Path
from typing import Final

import cffi

MODULE: Final = "gdbstub.kvm.cdef"
PLACE: Final = Path(__file__).parents[1] / "gdbstub" / "kvm" / "cdef.py"
_DOCSTRING: Final = (
    '"""The cffi declarations of abi.h and core.h, by generate_cdef.py: ``ffi`` only."""\n'
)


def text() -> str:
    """Return the source of the module."""
    headers = (PLACE.with_name("abi.h"), PLACE.with_name("core") / "core.h")
    declarations = "".join(header.read_text() for header in headers)
    # cffi has no preprocessor; core.h needs one for its includes and guard alone.
    declarations = re.sub(r"^#.*$", "", declarations, flags=re.MULTILINE)
    ffi = cffi.FFI()
    ffi.set_source(MODULE, None)
    ffi.cdef(re.sub(r"/\*.*?\*/", "", declarations, flags=re.DOTALL))
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / PLACE.name
        ffi.emit_python_code(str(made))
        return _DOCSTRING + made.read_text()


if __name__ == "__main__":
    PLACE.write_text(text())
