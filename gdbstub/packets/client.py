"""Client: what a packet handler may touch, which is the target and what one client has said.

It holds no bytes of the wire and resumes nothing.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gdbstub.aarch64.registers import CORE, Register
from gdbstub.errors import NoSuchThread
from gdbstub.packets.expedited import Expedited
from gdbstub.target import Action, PhysicalMemory, Resume, Tally, Target

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


@dataclass(slots=True)
class Client:
    """One client's view; ``packet_size`` is the most bytes that a packet of its may have."""

    target: Target
    packet_size: int
    #: What the client announced in ``qSupported``, without the ``+``.
    features: frozenset[bytes] = frozenset()
    #: False once the client asked for it.
    acks: bool = True
    #: ``!``: the conversation goes on when the guest is gone or left alone.
    extended: bool = False
    #: The conversation is over: nothing more is read from this client.
    over: bool = False
    #: The guest is gone, killed or of itself.
    guest_gone: bool = False
    #: Whether there is a guest for it: neither gone nor left alone.
    attached: bool = True
    #: ``Hc``: the thread that ``c`` and ``s`` resume, or ``ALL``.
    resumed: int = ALL
    #: What the addresses of memory packets are of, where not of what a thread sees.
    physical: PhysicalMemory | None = None
    #: Whether an older LLDB was told that ``x`` replies carry no ``b``.
    raw_upload: bool = False
    #: Whether it takes the keys of LLDB's in stop replies; it has asked for them.
    lldb: bool = False
    #: What was resumed last; nothing yet.
    last_resume: Resume = Resume({})  # noqa: RUF009 - frozen
    #: Whether the guest ends with its client's leaving.
    kill_on_disconnect: bool = False
    #: Its packets by name, unknown ones under an empty one, and the one that came last.
    packets: dict[bytes, Tally] = field(default_factory=dict)
    last: Tally = field(default_factory=Tally)
    #: The stops that it was told of.
    stops: Tally = field(default_factory=Tally)

    #: Packets that may come again, each with what counts it and what it calls.
    calls: dict[bytes, tuple[Tally, Callable[[], Reply]]] = field(default_factory=dict)
    #: The same for what ``vCont`` asks, where it says which threads.
    resumes: dict[bytes, Resume] = field(default_factory=dict)

    threads: tuple[int, ...] = field(init=False)
    registers: tuple[Register, ...] = field(init=False)
    #: The same by number, each a row of one: what ``read_registers`` takes.
    numbered: dict[int, tuple[Register]] = field(init=False)
    #: The rows that ``g`` carries, a few first ones: a client asks for the rest one by one.
    general_registers: tuple[Register, ...] = field(init=False)
    expedited: Expedited = field(init=False)
    #: ``Hg``: the thread that registers and memory are read of; always one that exists.
    general: int = field(init=False)

    def __post_init__(self) -> None:
        # Threads and rows stay for the target's whole life.
        self.threads = tuple(thread.id for thread in self.target.threads())
        self.registers = tuple(self.target.registers)
        self.numbered = {row.number: (row,) for row in self.registers}
        self.general_registers = tuple(row for row in self.registers if row.feature == CORE)
        self.expedited = Expedited(self.registers)
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

    def count(self, name: bytes) -> Tally:
        """A packet *name* has come; its tally."""
        if (tally := self.packets.get(name)) is None:
            tally = self.packets[name] = Tally()
        tally.count += 1
        self.last = tally
        return tally

    def remember(self, data: bytes, tally: Tally, call: Callable[[], Reply]) -> None:
        """*data* means *call*, however often it comes."""
        if len(self.calls) == REMEMBERED:
            self.calls.clear()
        self.calls[data] = tally, call

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
