"""Client: what a packet handler may touch, which is the target and what one client has said.

It holds no bytes of the wire and resumes nothing.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final

from gdbstub.capabilities import PhysicalMemory, Timing
from gdbstub.errors import NoSuchThread
from gdbstub.protocol.packets.expedited import Expedited, general_registers
from gdbstub.target import Action, Resume, Target

#: Thread ids that name no single thread (GDB manual, E.2 "Standard Replies", thread-id syntax).
ALL: Final = -1
ANY: Final = 0

#: How many packets are remembered with what they mean.
REMEMBERED: Final = 256

#: A packet that takes long, a slice for each ``next``; what it returns is the payload.
Work = Generator[None, None, bytes]

#: What a handler returns: a payload (empty: not supported) or several, what to set going, or
#: a work to do, or None where the packet has no reply.
Reply = bytes | tuple[bytes, ...] | Resume | Work | None


class ClientState:
    """One client's view; ``packet_size`` is the most bytes that a packet of its may have."""

    def __init__(
        self, target: Target, packet_size: int, *, kill_on_disconnect: bool = False
    ) -> None:
        """One that has said nothing yet; with *kill_on_disconnect* its leaving ends the guest."""
        self.target = target
        self.packet_size = packet_size
        self.kill_on_disconnect = kill_on_disconnect
        #: What the client announced in ``qSupported``, without the ``+``.
        self.features: frozenset[bytes] = frozenset()
        #: False once the client asked for it.
        self.acks = True
        #: ``!``: the conversation goes on when the guest is gone or left alone.
        self.extended = False
        #: The conversation is over: nothing more is read from this client.
        self.over = False
        #: The guest is gone, killed or of itself.
        self.guest_gone = False
        #: Whether there is a guest for it: neither gone nor left alone.
        self.attached = True
        #: ``Hc``: the thread that ``c`` and ``s`` resume, or ``ALL``.
        self.resumed = ALL
        #: What the addresses of memory packets are of, where not of what a thread sees.
        self.physical: PhysicalMemory | None = None
        #: Whether an older LLDB was told that ``x`` replies carry no ``b``.
        self.raw_upload = False
        #: Whether it takes the keys of LLDB's in stop replies; it has asked for them.
        self.lldb = False
        #: What was resumed last; nothing yet.
        self.last_resume = Resume({})
        #: Its packets by name, unknown ones under an empty one, and the one that came last.
        self.packets: dict[bytes, Timing] = {}
        self.last = Timing()
        #: The stops that it was told of.
        self.stops = Timing()

        #: Packets that may come again, each with what counts it and what it calls.
        self.calls: dict[bytes, tuple[Timing, Callable[[], Reply]]] = {}
        #: The same for what ``vCont`` asks, where it says which threads.
        self.resumes: dict[bytes, Resume] = {}

        # Threads and rows stay for the target's whole life.
        self.threads = tuple(thread.id for thread in target.threads())
        self.architecture = target.architecture
        self.registers = tuple(target.registers)
        #: The same by number, each a row of one: what ``read_registers`` takes.
        self.numbered = {row.number: (row,) for row in self.registers}
        #: The rows that ``g`` carries, the first row's feature: a client asks for the rest singly.
        self.general_registers = general_registers(self.registers)
        #: The pc as ``read_registers`` takes it; empty if the target shows none.
        self.pc = tuple(row for row in self.registers if row.type == "code_ptr")[:1]
        self.expedited = Expedited(self.architecture, self.registers)
        #: ``Hg``: the thread that registers and memory are read of; always one that exists.
        self.general = self.threads[0]

    @property
    def known_threads(self) -> tuple[int, ...]:
        """The threads that a list has: without a guest there are none."""
        return self.threads if self.attached else ()

    def attach(self) -> None:
        """There is a guest for it again."""
        self.attached = True
        self.guest_gone = False

    def leave(self, *, guest_gone: bool) -> None:
        """There is no guest for it any more, and unless it said ``!``, nothing more to say."""
        self.attached = False
        self.guest_gone |= guest_gone
        self.over = not self.extended

    @property
    def stepped(self) -> frozenset[int]:
        """The threads that the last resume stepped."""
        return self.last_resume.stepped

    def count(self, name: bytes) -> Timing:
        """A packet *name* has come; its timing."""
        if (timing := self.packets.get(name)) is None:
            timing = self.packets[name] = Timing()
        timing.count += 1
        self.last = timing
        return timing

    def remember(self, data: bytes, timing: Timing, call: Callable[[], Reply]) -> None:
        """*data* means *call*, however often it comes."""
        if len(self.calls) == REMEMBERED:
            self.calls.clear()
        self.calls[data] = timing, call

    def thread(self, thread_id: int) -> int:
        """Check that one thread is meant and exists; ``ANY`` is the current one.

        Raises:
            NoSuchThread: it does not.
        """
        if thread_id == ANY:
            return self.general
        if thread_id not in self.threads:
            raise NoSuchThread(f"no thread {thread_id:x}")
        return thread_id

    @contextmanager
    def looking_at(self, thread_id: int) -> Iterator[None]:
        """Make *thread_id* the one that registers are read of, for a while.

        Raises:
            NoSuchThread: it does not exist.
        """
        before, self.general = self.general, self.thread(thread_id)
        try:
            yield
        finally:
            self.general = before

    def read_memory(self, address: int, length: int) -> bytes:
        """Read memory, in the space that the client chose.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        if self.physical:
            return self.physical.read_physical(address, length)
        return self.target.read_memory(self.general, address, length)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory, in the same.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """
        if self.physical:
            self.physical.write_physical(address, data)
        else:
            self.target.write_memory(self.general, address, data)

    def resume(self, action: Action) -> Resume:
        """What ``c`` or ``s`` resumes after the last ``Hc``.

        A step with no thread chosen steps the current one and lets the others run, as
        gdbserver does.
        """
        if self.resumed != ALL:
            return Resume({self.resumed: action})
        return Resume(dict.fromkeys(self.threads, Action.CONTINUE) | {self.general: action})
