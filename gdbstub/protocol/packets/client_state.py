"""State of one client, as packet handlers see it: the target, the session's state, the options.

It holds no bytes of the wire and resumes nothing.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from gdbstub.capabilities import PhysicalMemory, Timing, has_guest_threads
from gdbstub.errors import NoSuchThread, StubError, reply_for
from gdbstub.protocol.packets.expedited import (
    Expedited,
    expedited_registers,
    general_registers,
)
from gdbstub.protocol.states import (
    ATTACHED,
    GUEST_GONE,
    OVER,
    SESSION,
    SessionEvent,
    SessionState,
)
from gdbstub.slices import in_slices
from gdbstub.target import Action, Resume, Target, Thread

#: Thread ids that name no single thread (GDB manual, E.2 "Standard Replies", thread-id syntax).
ALL: Final = -1
ANY: Final = 0

#: Work of a packet that takes long: a slice for each ``next``. It yields payloads to send ahead, or
#: None, and returns the last payload.
Work = Generator[bytes | None, None, bytes]

#: Process id of the guest for clients that name processes. It is larger than any pid of Linux
#: (PID_MAX_LIMIT): for a core file GDB reads /proc/PID/smaps of its own machine.
GUEST: Final = (4 << 20) + 1

#: Outcome of a packet: a payload (empty: not supported) or several, a resume, work to do, or
#: None where the packet has no reply.
Reply = bytes | tuple[bytes, ...] | Resume | Work | None


_after: Final = SESSION.after  # a name of its own is found faster


class CacheableResume(NamedTuple):
    """Result of a handler whose packet means the same *resume* each time, so it may be cached."""

    resume: Resume


class CachedPacket(NamedTuple):
    """Packet in the cache: its ``data``, the timing that counts it, and the call that it means."""

    data: bytes
    timing: Timing
    call: Callable[[], Reply]


class PacketCache:
    """Cache of one client's packets, by the bytes that a packet arrived as.

    Clients repeat a few short packets. A packet found here is not parsed and not looked up again.
    """

    #: Length of the longest packet that is kept, as it arrives, in bytes.
    LONGEST: Final = 64

    def __init__(self, size: int = 4096) -> None:
        """Keep *size* packets at most; with 0 the cache is off."""
        self.size: Final = size
        #: Number of packets that were found here.
        self.hits = 0
        self.packets: Final[dict[bytes, CachedPacket]] = {}

    def add(self, arrived: bytes, packet: CachedPacket) -> None:
        """Keep *packet*, unless *arrived* is too long. A full cache is emptied first."""
        if not self.size or len(arrived) > self.LONGEST:
            return
        if len(self.packets) >= self.size and arrived not in self.packets:
            self.clear()
        self.packets[arrived] = packet

    def clear(self) -> None:
        """Forget all packets. What they mean is found again when they arrive."""
        self.packets.clear()


class ClientState:
    """State of one client: its session's state, its options, and the threads it has selected.

    ``packet_size`` is the largest payload that the client may send or get, in bytes.
    """

    def __init__(
        self,
        target: Target,
        packet_size: int,
        *,
        kill_on_disconnect: bool = False,
        cache: PacketCache | None = None,
    ) -> None:
        """Begin with no features; with *kill_on_disconnect* the guest ends with the session."""
        self.target = target
        self.packet_size = packet_size
        self.kill_on_disconnect = kill_on_disconnect
        #: State of the session. ``enter`` changes it, and a ``Session`` that gives up.
        self.state = SessionState.IDLE
        #: Features that the client announced in ``qSupported``, without the ``+``.
        self.features: frozenset[bytes] = frozenset()
        #: Process id in thread ids (GDB manual, E.2 "thread-id syntax"); 0: they have none.
        self.process = 0
        #: False after ``QStartNoAckMode``.
        self.acks = True
        #: True after ``!``: the session goes on when the guest has ended or was detached.
        self.extended = False
        #: ``Hc``: the thread that ``c`` and ``s`` resume, or ``ALL`` (gdbserver's ``cont_thread``).
        self.cont_thread = ALL
        #: Physical memory, where memory packets address that and not a thread's.
        self.physical: PhysicalMemory | None = None
        #: True if an older LLDB was told that ``x`` replies carry no ``b``.
        self.raw_upload = False
        #: True if stop replies carry LLDB's keys, because the client asked for them.
        self.lldb = False
        #: True if GDB was told where the program is, since the guest was started or attached to.
        self.relocation_told = False
        #: True after ``QEnableErrorStrings``: errors carry their text as LLDB reads it.
        self.error_strings = False
        #: The document that the client reads in pieces, if it takes long to make, and its name.
        self.document = ("", b"")
        #: The last resume; empty at first.
        self.last_resume = Resume({})
        #: Timings of the client's packets by name; unknown packets have an empty one.
        self.packet_timings: dict[bytes, Timing] = {}
        #: Timing of the packet that arrived last.
        self.last_timing = Timing()
        #: Timing of the stops that the client was told of.
        self.stop_timing = Timing()
        self.cache: Final = cache or PacketCache()

        # Those of vCPUs. They and the registers stay the same for the target's whole life.
        self.threads = tuple(thread.id for thread in target.threads())
        self.architecture = target.architecture
        self.registers = tuple(target.registers)
        #: Registers by number, each as a tuple of one, which ``read_registers`` takes.
        self.registers_by_number = {row.number: (row,) for row in self.registers}
        #: Registers that ``g`` carries. A client asks for the others one by one.
        self.general_registers = general_registers(self.registers)
        #: The pc as ``read_registers`` takes it; empty if the target shows none.
        self.pc = tuple(row for row in self.registers if row.type == "code_ptr")[:1]
        self.expedited = Expedited(expedited_registers(self.architecture, self.registers))
        #: ``Hg``: the current thread, whose registers and memory are read (gdbserver's
        #: ``general_thread``). One of the guest's own may be gone since.
        self.general_thread = self.threads[0]

    @property
    def attached(self) -> bool:
        """True while there is a guest for the client: not ended and not detached."""
        return self.state in ATTACHED

    @property
    def guest_gone(self) -> bool:
        """True if the guest was killed or has ended."""
        return self.state in GUEST_GONE

    @property
    def over(self) -> bool:
        """True if the session is over: nothing more is read from this client."""
        return self.state in OVER

    @property
    def known_threads(self) -> tuple[Thread, ...]:
        """Threads that a list shows; none without a guest."""
        return (*self.target.threads(), *self.guest_threads) if self.attached else ()

    @property
    def guest_threads(self) -> tuple[Thread, ...]:
        """Threads of the guest's own, which cannot be resumed; none without a guest."""
        target = has_guest_threads(self.target)
        return tuple(target.guest_threads()) if target is not None and self.attached else ()

    def list_threads(self, make: Callable[[], bytes]) -> Reply:
        """Call *make*, which lists threads: in slices where those of the guest's own are shown."""
        if has_guest_threads(self.target) is None or not self.attached:
            return make()
        return in_slices(make)

    def enter(self, event: SessionEvent) -> None:
        """Change the session's state as the table says.

        Raises:
            IllegalTransition: the table has no such event in this state.
        """
        self.state = _after(self.state, event)

    def attach(self) -> None:
        """Note that the client has a guest at rest: attached to, or started again."""
        self.enter(SessionEvent.ATTACH)
        self.relocation_told = False

    def detach(self) -> None:
        """Note that the guest was detached; only in extended mode the session goes on."""
        self.enter(SessionEvent.DETACH)
        self._close_unless_extended()

    def kill(self) -> None:
        """Note that the client killed the guest; only in extended mode the session goes on."""
        self.enter(SessionEvent.KILL)
        self._close_unless_extended()

    def exit(self) -> None:
        """Note that the client is told of the guest's end; only in extended mode it goes on."""
        if self.attached:
            self.enter(SessionEvent.EXIT)
        self._close_unless_extended()

    def power_off(self) -> None:
        """Note that a command has ended the guest; the session is over, in extended mode too."""
        self.enter(SessionEvent.EXIT)
        self.enter(SessionEvent.CLOSE)

    def _close_unless_extended(self) -> None:
        if not self.extended:
            self.enter(SessionEvent.CLOSE)

    @property
    def stepped(self) -> frozenset[int]:
        """Threads that the last resume stepped."""
        return self.last_resume.stepped

    def count(self, name: bytes) -> Timing:
        """Count a packet called *name*; return its timing."""
        if (timing := self.packet_timings.get(name)) is None:
            timing = self.packet_timings[name] = Timing()
        timing.count += 1
        self.last_timing = timing
        return timing

    def error_reply(self, error: StubError) -> bytes:
        """Encode *error* in the most telling form that this client reads."""
        textual = b"error-message" in self.features
        return reply_for(error, textual=textual, strings=self.error_strings)

    def encode_thread(self, thread: int) -> bytes:
        """Encode the id of a thread as this client writes it."""
        return b"p%x.%x" % (self.process, thread) if self.process else b"%x" % thread

    def thread(self, thread_id: int) -> int:
        """Return the id of one thread that exists; ``ANY`` stands for the current thread.

        Raises:
            NoSuchThread: *thread_id* is ``ALL``, or no thread has it (any more).
        """
        thread = self.general_thread if thread_id == ANY else thread_id
        if thread in self.threads or any(row.id == thread for row in self.guest_threads):
            return thread
        raise NoSuchThread(f"there is no thread {thread}")

    def vcpu_thread(self, thread_id: int) -> int:
        """Return ``thread(thread_id)``, which must be able to run.

        Raises:
            NoSuchThread: *thread_id* is ``ALL``, or no thread has it, or no vCPU executes it.
        """
        if (thread := self.thread(thread_id)) in self.threads:
            return thread
        raise NoSuchThread(
            f"no vCPU executes thread {thread}: it cannot be stepped or continued alone; select a "
            f"vCPU's, from 1 to {len(self.threads)}"
        )

    @contextmanager
    def selected(self, thread_id: int) -> Iterator[None]:
        """Make *thread_id* the current thread inside the context.

        Raises:
            NoSuchThread: no thread has this id.
        """
        before, self.general_thread = self.general_thread, self.thread(thread_id)
        try:
            yield
        finally:
            self.general_thread = before

    def read_memory(self, address: int, length: int) -> bytes:
        """Read memory in the address space that the client has chosen.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        if self.physical:
            return self.physical.read_physical(address, length)
        return self.target.read_memory(self.general_thread, address, length)

    def write_memory(self, address: int, data: bytes) -> None:
        """Write memory in the address space that the client has chosen.

        Raises:
            MemoryFault: some byte cannot be written; none was.
        """
        if self.physical:
            self.physical.write_physical(address, data)
        else:
            self.target.write_memory(self.general_thread, address, data)

    def resume(self, action: Action) -> Resume:
        """Build the resume of ``c`` or ``s``, which depends on the last ``Hc``.

        If ``Hc`` has chosen no thread, ``s`` steps the current thread and the others run, as
        in gdbserver.
        """
        if self.cont_thread != ALL:
            return Resume({self.cont_thread: action})
        moving = dict.fromkeys(self.threads, Action.CONTINUE)
        if action is not Action.CONTINUE:
            moving[self.vcpu_thread(ANY)] = action
        return Resume(moving)
