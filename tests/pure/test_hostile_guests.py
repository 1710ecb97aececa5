"""Commands on a guest whose memory is made to cost much: each ends, in slices, by a line."""

import asyncio
import json
import struct
import threading
from pathlib import Path

import pytest

from gdbstub import rsp, slices
from gdbstub.aarch64.registers import CPSR, PC, SCTLR_EL1, SP_EL0
from gdbstub.cli.serving.qmp import MachineGuest, QmpServer
from gdbstub.debug.caches import Caches, Content
from gdbstub.errors import MemoryFault, NotFound
from gdbstub.linux.btf import Btf
from gdbstub.linux.guest import LinuxGuest
from gdbstub.linux.process import Process
from gdbstub.linux.task_threads import TaskThreads
from gdbstub.linux.tasks import Task
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.endpoint import Unix
from gdbstub.protocol.session import Session
from tests.pure.hostile_guests import (
    CODE,
    DATA,
    FIRST,
    HEAD,
    IMAGE,
    IMAGE_SIZE,
    PAGE,
    SIZE,
    START,
    STRUCTURES,
    Area,
    HostileMachine,
    again,
    at,
    chain,
    kernel,
    log_ring,
    pages,
    same_names,
    with_module,
    with_symbols,
)
from tests.pure.linux_images import btf_of

KEPT = {"fp": 80, "sp": 88, "pc": 96}
#: Most bytes that are read of a guest in one turn of the event loop: a mebibyte, and a text.
MOST = (1 << 20) + (128 << 10)
STEPS = 9_000
NOT_FINISHED = "not finished: more than 9000 reads of the guest's memory"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a slice be over at each step, and few steps be the most."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0)
    monkeypatch.setattr(slices, "MOST_STEPS", STEPS)


def text_of(sent: bytes) -> str:
    """The text in console packets, and an error's."""
    shown = ""
    connection = rsp.Connection()
    for event in connection.receive(sent):
        if isinstance(event, rsp.Packet):
            data = event.data
            shown += (
                bytes.fromhex(data[1:].decode()).decode()
                if data[:1] == b"O" and data != b"OK"
                else data.decode()
            )
    return shown


def answer(machine: HostileMachine, packet: bytes) -> str:
    """Return the reply to *packet*; the work on it has as many turns as it wants."""
    session = Session(monitored_debugger(machine))
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    session.receive(rsp.encode(b"qSupported:error-message+"))
    machine.total = 0
    sent = session.receive(rsp.encode(packet))
    while session.busy:
        assert machine.total <= MOST, f"{machine.total} bytes were read in a turn"
        machine.total = 0
        sent += session.advance()
    session.close()
    return text_of(sent)


def monitor(machine: HostileMachine, line: str) -> str:
    return answer(machine, b"qRcmd," + line.encode().hex().encode())


WITHOUT_END = Area(DATA, SIZE, chain(64))
#: Lines of a text of VMCOREINFO, but for its last one.
ALMOST = b"OSRELEASE=6\nSYMBOL(init_uts_ns)=0\nNUMBER(kimage_voffset)=0\nPAGESIZE"


@pytest.mark.parametrize("line", ["ps", "bt 77777777", "bt"])
def test_a_list_of_tasks_without_an_end(line: str) -> None:
    machine = kernel(WITHOUT_END)
    if line == "bt":  # of a program, whose task is known by its stack
        machine.vcpus[0].set(CPSR, 0)
    assert NOT_FINISHED in monitor(machine, line)


@pytest.mark.parametrize("table", ["tasks", "cpus", "modules"])
def test_tables_without_an_end(table: str) -> None:
    machine = with_module(kernel(WITHOUT_END), DATA)
    if table == "cpus":
        machine.vcpus[0].set(CPSR, 0)
    assert NOT_FINISHED in answer(machine, b"qXfer:osdata:read:%b:0,1000" % table.encode())


def test_tasks_as_threads_without_an_end(caplog: pytest.LogCaptureFixture) -> None:
    machine = kernel(WITHOUT_END)
    machine.vcpus[0].set(CPSR, 0)
    assert "Threads are the vCPUs" in monitor(machine, "tasks on")
    assert f"not all tasks are shown as threads: {NOT_FINISHED}" in caplog.text


def test_tasks_as_threads_are_bounded_at_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gdbstub.linux.task_threads._STEPS", STEPS)
    machine = kernel(WITHOUT_END)
    machine.vcpus[0].set(CPSR, 0)
    debugger = monitored_debugger(machine)
    debugger.tasks = TaskThreads(LinuxGuest(machine, debugger.memory), debugger.caches)
    assert debugger.guest_threads() == ()
    assert f"not all tasks are shown as threads: {NOT_FINISHED}" in caplog.text


def test_a_search_for_tasks_is_bounded_and_its_failure_remembered_until_the_next_stop() -> None:
    machine = HostileMachine()
    machine.written.clear()
    machine.vcpus[0].set(SCTLR_EL1, 1)
    debugger = monitored_debugger(machine)
    debugger.tasks = TaskThreads(LinuxGuest(machine, debugger.memory), debugger.caches)
    for _ in range(2):
        machine.total = 0
        assert debugger.guest_threads() == ()
        assert 0 < machine.total <= SIZE * 3 // 8
        machine.total = 0
        assert debugger.guest_threads() == ()
        assert not machine.total
        debugger.caches.invalidate(Content.RAN)
    assert "VMCOREINFO is not in RAM" in monitor(machine, "tasks on")


@pytest.mark.parametrize(
    "packet", [b"qfThreadInfo", b"qXfer:threads:read::0,100000", b"jThreadsInfo"]
)
def test_lists_of_threads_are_made_in_slices(
    monkeypatch: pytest.MonkeyPatch, packet: bytes
) -> None:
    monkeypatch.setattr("gdbstub.linux.task_threads._STEPS", 100)
    monkeypatch.setattr("gdbstub.linux.task_threads.MOST", 60)
    machine = kernel(WITHOUT_END, types=btf_of(STRUCTURES | {"cpu_context": (104, KEPT)}))
    debugger = monitored_debugger(machine)
    session = Session(debugger)
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+")
    session.receive(rsp.encode(b"qRcmd," + b"tasks on".hex().encode()))
    while session.busy:
        session.advance()
    debugger.caches.invalidate(Content.RAN)
    assert len(debugger.guest_threads()) < 20
    sent = session.receive(rsp.encode(packet))
    assert session.busy
    while session.busy:
        sent += session.advance()
    assert len(debugger.guest_threads()) > 50
    last = debugger.guest_threads()[-1].id
    assert (str(last) if packet == b"jThreadsInfo" else f"{last:x}") in text_of(sent)
    session.close()


def test_where_a_tasks_tables_are_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = kernel()
    guest = LinuxGuest(machine, monitored_debugger(machine).memory)
    task = Task(at(FIRST), 1, 0, "S", "prog", -1, kernel_thread=False)
    tasks, looked = guest.tasks, list[str]()

    def beside(self: Btf, member: str, before: str) -> int:
        looked.append(member)
        raise NotFound("there is no pgd")

    monkeypatch.setattr(Btf, "beside", beside)
    for _ in range(2):
        with pytest.raises(MemoryFault, match="there is no pgd"):
            tasks.tables(task, guest.reader())
    assert looked == ["pgd"]


def test_the_layout_for_backtraces_is_read_once_for_each_kernel() -> None:
    machine = kernel(types=btf_of(STRUCTURES | {"cpu_context": (104, KEPT)}))
    guest = LinuxGuest(machine, monitored_debugger(machine).memory)
    first = guest.backtraces
    assert guest.backtraces is first
    machine.write_info("NUMBER(another)=1\n")
    assert guest.backtraces is not first


def test_memory_of_a_task_is_looked_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = kernel(WITHOUT_END, types=btf_of(STRUCTURES | {"cpu_context": (104, KEPT)}))
    guest = LinuxGuest(machine, monitored_debugger(machine).memory)
    shown = TaskThreads(guest, Caches())
    thread = shown.threads()[-1].id
    monkeypatch.setattr("gdbstub.linux.task_threads._STEPS", 100)
    # Each of the names may be the wanted one.
    monkeypatch.setattr(guest.tasks.image, "btf", Btf(b"", b"\0task_size\0" + b"pgd\0" * 1000))
    with pytest.raises(MemoryFault, match="more than 100 reads"):
        shown.read_memory(thread, 0x40_0000, 4)


@pytest.mark.parametrize("line", ["modules", "bt"])
def test_a_list_of_modules_without_an_end(line: str) -> None:
    assert NOT_FINISHED in monitor(with_module(kernel(WITHOUT_END), DATA), line)


def test_words_that_each_may_be_the_head_of_the_modules() -> None:
    data = Area(FIRST + PAGE, IMAGE_SIZE, again(struct.pack("<Q", at(DATA))))
    assert NOT_FINISHED in monitor(kernel(WITHOUT_END, data), "modules")


def test_names_that_each_may_be_of_the_first_task() -> None:
    data = Area(FIRST, IMAGE_SIZE, again(b"swapper\0" + bytes(8)))
    machine = kernel(WITHOUT_END, data)
    machine.vcpus[0].set(SP_EL0, 0)
    del machine.written[FIRST]
    assert NOT_FINISHED in monitor(machine, "ps")


def in_module(machine: HostileMachine) -> HostileMachine:
    """Have the vCPU execute a module's code."""
    machine.vcpus[0].set(PC, CODE + 0x100)
    return with_module(machine, HEAD - 8)


@pytest.mark.parametrize("name", [b"$x".ljust(8, b"x"), b"".ljust(8, b"\0")])
def test_symbols_that_name_nothing(name: bytes) -> None:
    row = struct.pack("<IBBHQQ", 8, 0, 0, 1, CODE, 0)
    machine = in_module(
        kernel(Area(DATA, SIZE // 2, again(row)), Area(SIZE // 2, SIZE, again(name)))
    )
    with_symbols(machine, 1 << 17, DATA, SIZE // 2)
    said = monitor(machine, "bt")
    assert f"{CODE + 0x100:#x} [mod+0x100]" in said or NOT_FINISHED in said


def test_texts_of_the_log_that_are_all_the_same() -> None:
    machine = kernel(Area(DATA, SIZE, again(struct.pack("<Q", 1 << 16 | 0xFFFF))))
    log_ring(machine, 20)
    assert NOT_FINISHED in monitor(machine, "dmesg")


def test_a_log_that_has_more_text_than_room() -> None:
    """Each record says that all the text is its own."""
    bits = 12
    rows = b"".join(struct.pack("<QQQ", 1 << 62 | n, 0, (1 << bits) - 8) for n in range(1 << bits))
    machine = kernel(Area(DATA, SIZE, again(b"\xff" * 8)))
    machine.written[DATA] = rows
    log_ring(machine, bits)
    assert "it has more text than room" in monitor(machine, "dmesg")


@pytest.mark.parametrize("size", [1 << 17, 1 << 18, 1 << 40, (1 << 64) - 1])
def test_a_log_whose_records_are_said_to_be_large(size: int) -> None:
    machine = kernel(Area(DATA, SIZE, again(b"\xff" * 8)))
    log_ring(machine, 12)
    machine.write_info(f"SYMBOL(prb)={at(41 << 20):x}\nSIZE(prb_desc)={size}\n")
    assert f"the kernel's log is damaged: records of {size} bytes" in monitor(machine, "dmesg")


def test_names_of_types_that_are_all_the_same() -> None:
    assert NOT_FINISHED in monitor(kernel(WITHOUT_END, types=same_names()), "ps")


def test_pages_that_each_look_like_vmcoreinfo() -> None:
    machine = kernel(Area(0, SIZE, pages(ALMOST)))
    machine.written.clear()
    assert NOT_FINISHED in monitor(machine, "ps")
    machine = kernel(Area(0, SIZE, again(b"OSRELEAS")))
    machine.written.clear()
    assert "VMCOREINFO is not in RAM" in monitor(machine, "dmesg")


def test_addresses_of_one_page_everywhere() -> None:
    """A table of pages that is a page of itself: each address is mapped, to that page."""
    page = 32 << 10
    machine = kernel(Area(page, page + PAGE, again(struct.pack("<Q", START + page | 0x703))))
    names = ("num_syms", "relative_base", "offsets", "names", "token_table", "token_index")
    far = 0xFFFF_9000_0000_0000
    lines = "".join(f"SYMBOL(kallsyms_{name})={far:x}\n" for name in names)
    machine.written[48 << 20] = struct.pack("<I", 1 << 21)
    lines += f"SYMBOL(kallsyms_num_syms)={at(48 << 20):x}\nSYMBOL(swapper_pg_dir)={at(page):x}\n"
    machine.write_info(lines)
    monitor(machine, "bt")


def test_a_hit_waits_for_no_list_without_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gdbstub.linux.process._STEPS", STEPS)
    machine = kernel(WITHOUT_END)
    # A member of mm_struct without a name, which tells where its tables are.
    types = btf_of(STRUCTURES | {"": (64, {"task_size": 8, "pgd": 16})})
    machine.written[IMAGE + 0x1_0000] = types
    process = Process(machine, monitored_debugger(machine).memory, "nobody")
    assert process.matches(machine.vcpus[0])
    assert NOT_FINISHED in caplog.text


def test_the_work_ends_with_its_client() -> None:
    machine = kernel(WITHOUT_END)
    session = Session(monitored_debugger(machine))
    session.receive(rsp.encode(b"qRcmd," + b"ps".hex().encode()))
    before = threading.active_count()
    assert session.busy
    assert b"$E04" in session.receive(b"\x03")
    assert not session.busy
    assert threading.active_count() < before
    session.receive(rsp.encode(b"qRcmd," + b"ps".hex().encode()))
    session.close()
    assert threading.active_count() < before


def test_a_core_file_is_written_in_slices_and_removed_when_that_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = kernel()
    session = Session(monitored_debugger(machine))
    session.receive(rsp.encode(b"qRcmd," + b"vmcore x.core".hex().encode()))
    while machine.total < SIZE // 8:
        before = machine.total
        session.advance()
        assert machine.total - before <= MOST
        assert session.busy
    assert (tmp_path / "x.core").exists()
    assert b"$E04" in session.receive(b"\x03")
    assert not list(tmp_path.iterdir())
    session.close()


async def test_qmp_answers_others_while_it_searches(tmp_path: Path) -> None:
    machine = HostileMachine([Area(0, SIZE, pages(ALMOST))])
    machine.written.clear()
    path = tmp_path / "qmp"
    guest = MachineGuest(monitored_debugger(machine), lambda ipa: None)
    async with QmpServer(Unix(str(path)), guest):
        replies = []

        async def ask(*names: str) -> None:
            reader, writer = await asyncio.open_unix_connection(str(path))
            for name in ("", "qmp_capabilities", *names):
                if name:
                    writer.write(json.dumps({"execute": name}).encode() + b"\n")
                said = json.loads(await reader.readline())
            replies.append(said)
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(ask("x-vmcoreinfo"), ask(*["query-status"] * 20))
    first, second = replies
    assert first["return"]["status"] == "paused"
    assert "not finished" in second["error"]["desc"]


def lines_of_log(machine: HostileMachine, text: bytes) -> None:
    """Have one record in the log, of *text*."""
    bits = 16
    machine.written[DATA] = struct.pack("<QQQ", 1 << 62, 0, 16 + len(text) & -8)
    log_ring(machine, bits, records=0)
    infos = machine.written[ring := 40 << 20]
    machine.written[ring] = infos[:16] + struct.pack("<Q", at(DATA + PAGE)) + infos[24:]
    machine.written[DATA + PAGE] = struct.pack("<8xQHBB", 0, len(text), 0, 0)
    machine.written[ring + 56] = struct.pack("<Q", at(DATA + 2 * PAGE))
    machine.written[DATA + 2 * PAGE + 8] = text


def test_a_log_of_lines_that_are_empty() -> None:
    machine = kernel()
    lines_of_log(machine, b"\n" * 60_000)
    assert NOT_FINISHED in monitor(machine, "dmesg")
    assert NOT_FINISHED in monitor(machine, "why")


def test_of_a_long_log_the_end_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdbstub.monitor.linux._MOST_SHOWN", 500)
    machine = kernel()
    lines_of_log(machine, b"\n".join(b"line %d" % n for n in range(100)))
    said = monitor(machine, "dmesg").splitlines()
    assert said[0] == "(79 lines before are left out: monitor dmesg shows 500 characters at most)"
    assert said[-2:] == ["[    0.000000] line 99", "OK"]
    assert monitor(machine, "dmesg 2").splitlines()[0].endswith("line 98")
    assert len(monitor(machine, f"dmesg {2**64 - 1}").splitlines()) == len(said)
