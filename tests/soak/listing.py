"""A case for a person to read: its instructions, and what is asked for at each."""

from collections.abc import Iterator

from gdbstub.target import BreakpointKind
from tests.soak.case import Case, Request

_NAMES = {
    BreakpointKind.SOFTWARE: "Z0",
    BreakpointKind.HARDWARE: "Z1",
    BreakpointKind.WRITE: "Z2",
    BreakpointKind.READ: "Z3",
    BreakpointKind.ACCESS: "Z4",
}


def listing(case: Case) -> str:
    """The bodies of all vCPUs, with addresses, and the watchpoints."""
    return "\n".join(_lines(case))


def _lines(case: Case) -> Iterator[str]:
    program = case.program
    at: dict[int, list[str]] = {}
    for request in case.requests:
        if request.place:
            at.setdefault(program.addresses[request.place], []).append(_said(request))
        else:
            yield f"{_NAMES[request.kind]} on {request.length} bytes at {request.gva:#x}"
    if program.vectors_in_text:
        yield "VBAR_EL1 is where the text of each vCPU begins"
    for gva, placed in program.lines.items():
        if placed.place.node >= 0 or gva in at:
            said = f"    // {', '.join(at[gva])}" if gva in at else ""
            yield f"  {gva:#x}  {placed.line.text}{said}"


def _said(request: Request) -> str:
    name = _NAMES[request.kind]
    return name if request.stops else f"{name} dprintf" if request.prints else f"{name} if false"
