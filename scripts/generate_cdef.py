"""Generate each cdef.py from the headers beside it, for cffi's ABI mode: ``make generate``."""

import re
import tempfile
from pathlib import Path
from typing import Final

import cffi

ROOT: Final = Path(__file__).parents[1]
PLACES: Final = tuple(ROOT / "gdbstub" / name / "cdef.py" for name in ("kvm", "foreign"))
_DOCSTRING: Final = (
    '"""The cffi declarations of abi.h and core.h, by generate_cdef.py: ``ffi`` only."""\n'
)


def text(place: Path) -> str:
    """Return the source of the module at *place*."""
    headers = [place.with_name("abi.h"), *place.parent.glob("core/core.h")]
    declarations = "".join(header.read_text() for header in headers)
    # cffi has no preprocessor; core.h needs one for its includes and guard alone.
    declarations = re.sub(r"^#.*$", "", declarations, flags=re.MULTILINE)
    ffi = cffi.FFI()
    ffi.set_source(".".join(place.relative_to(ROOT).with_suffix("").parts), None)
    ffi.cdef(re.sub(r"/\*.*?\*/", "", declarations, flags=re.DOTALL))
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / place.name
        ffi.emit_python_code(str(made))
        return _DOCSTRING + made.read_text()


if __name__ == "__main__":
    for place in PLACES:
        place.write_text(text(place))
