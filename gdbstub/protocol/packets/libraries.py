"""The list of libraries, by which GDB loads their symbols.

What a target's libraries are is its own matter.
"""

from gdbstub.capabilities import has_libraries
from gdbstub.protocol.packets.client_state import ClientState
from gdbstub.protocol.packets.xml import escape


def libraries_xml(client: ClientState) -> bytes:
    """List the libraries that are loaded now (GDB manual, "Library List Format").

    LLDB gets none, nor does a client while the guest runs on without one.
    """
    target = has_libraries(client.target)
    if target is None or client.lldb or not client.attached:
        return b"<library-list/>\n"
    lines = ["<library-list>"]
    for library in target.libraries():
        lines.append(f'<library name="{escape(library.name)}">')
        lines += (f'<section address="{gva:#x}"/>' for gva in library.sections)
        lines.append("</library>")
    return "\n".join((*lines, "</library-list>", "")).encode("utf-8", "surrogateescape")
