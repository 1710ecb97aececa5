"""vCPUs come and go while they are debugged, and the world stops and goes on with eight of them."""

import re
import statistics
import time
from pathlib import Path

from gdbstub.vmm import layout
from tests.kvm import user_space
from tests.kvm.client import Client
from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub
from tests.kvm.test_guest_debug import said_by_init

OFF = '"CPU1" (powered off)'
ON = '"CPU1" (halted)'
IMAGE_ALIGNMENT = 2 << 20  # linux/Documentation/arch/arm64/booting.rst


def _physical(kernel: Built, symbol: str) -> int:
    """Return the physical address of *symbol*, at which it runs while the MMU is off."""
    linked = kernel["_stext"] & -IMAGE_ALIGNMENT
    return kernel[symbol] - linked + layout.RAM_BASE


def test_a_cpu_that_goes_and_comes_back(initrd: Path, kernel: Built, vmlinux: Path) -> None:
    entry = _physical(kernel, "secondary_entry")
    arguments = user_space.arguments(initrd, "hotplug")
    with Stub(*arguments, "--smp", "2") as stub:
        said = gdb(
            stub, vmlinux,
            "info threads",
            f"hbreak *{entry:#x}", "break secondary_start_kernel",
            "break *(__arm64_sys_sethostname + 8)",
            # On for the first time: at its entry point, then with its MMU on.
            "continue", "echo entered\\n", "info threads", "continue",
            # In `hostname away`, then on again, and in `hostname back`.
            "continue", "echo away\\n", "info threads",
            "continue", "continue", "continue", "echo back\\n", "info threads",
            "continue",
        )  # fmt: skip
        assert "exited normally" in said, said + stub.console.text
        init = said_by_init(stub.console.rest())
    assert init.items() >= {"without it": "0", "with it": "0-1", "tainted": "0"}.items(), init
    start, entered, away, back = re.split(r"^(?:entered|away|back)$", said, flags=re.M)
    assert OFF in start, said
    for first, last in ((start, entered), (away, back)):
        # At the entry point, by the physical address; then at the function, by the virtual one.
        assert re.search(rf'Thread 2 "CPU1" hit Breakpoint 1, 0x0*{entry:x} in', first), said
        assert last
    assert len(re.findall(r'Thread 2 "CPU1" hit Breakpoint 2, \S+ in secondary_start', said)) == 2
    assert ON in entered, said
    assert OFF in away, said
    assert ON in back, said


def test_eight_stop_and_go_on(bare: Built, long: bool, figure: list[str]) -> None:
    stops, reads = [], []
    with Stub(bare.path, "--smp", "8") as stub, Client(stub) as client:
        last = bare["written"] + 8 * 7
        assert client.ask(f"Z2,{last:x},8") == "OK"
        assert "watch" in client.ask("vCont;c")  # all of them are under way
        assert client.ask(f"z2,{last:x},8") == "OK"
        seen: dict[int, set[str]] = {thread: set() for thread in range(1, 9)}
        for _ in range(20 if long else 8):
            client.send("vCont;c")
            stub.console.wait_for_news()
            start = time.perf_counter()
            client.interrupt()
            assert client.reply().startswith("T02")
            stops.append(time.perf_counter() - start)
            start = time.perf_counter()
            for thread, places in seen.items():
                assert client.ask(f"Hg{thread:x}") == "OK"
                registers = client.ask("g")
                assert len(registers) >= 2 * 8 * 33, registers
                places.add(registers[: 2 * 8 * 33])
            reads.append(time.perf_counter() - start)
        # Each of them ran between the stops.
        assert all(len(places) > 1 for places in seen.values()), seen
    median, worst, read = statistics.median(stops), max(stops), statistics.median(reads)
    figure.append(
        f"Ctrl-C to stop reply, 8 vCPUs: median {median * 1e3:.1f} ms, worst {worst * 1e3:.1f} ms "
        f"of {len(stops)}; Hg and g of all: {read * 1e3:.1f} ms"
    )


def test_scheduler_locking(bare: Built) -> None:
    with Stub(bare.path, "--smp", "4") as stub:
        look = [f'thread apply {n} printf "%#lx\\n", $pc' for n in (1, 3, 4)]
        said = gdb(
            stub, bare.path,
            "watch written[3]", "continue", "delete",
            "set scheduler-locking on", "thread 2",
            "echo before\\n", *look,
            *["stepi"] * 10, "tbreak software_place", "continue", "stepi",
            "echo after\\n", *look, "echo end\\n",
            "set scheduler-locking step", "stepi", "next",
            "set scheduler-locking off", "break software_place thread 3", "continue", "kill",
        )  # fmt: skip
    _, before, after, _ = re.split(r"^(?:before|after|end)$", said, flags=re.M)
    places = re.findall(r"^0x\w+$", after, re.M)
    assert len(places) == 3, said
    assert re.findall(r"^0x\w+$", before, re.M)[:3] == places, said
    assert re.search(r'Thread 2 "CPU1" hit Temporary breakpoint \d+, .*software_place', said), said
    assert re.search(r'Thread 3 "CPU2" hit Breakpoint \d+, .*software_place', said), said
