"""Every kind of breakpoint in a bare-metal program, packet by packet and under gdb."""

import re
import statistics
import time

import pytest

from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

VCPUS = pytest.mark.parametrize("vcpus", [1, 4])


@VCPUS
def test_each_kind_hits_at_its_pc_and_address(bare: Built, vcpus: int) -> None:
    written = bare["written"] + 8 * (vcpus - 1)
    readable = bare["readable"] + 8 * (vcpus - 1)
    changed = bare["changed"] + 8 * (vcpus - 1)
    kinds = [
        (0, bare["software_place"], 4, bare["software_place"], "swbreak", None),
        (1, bare["hardware_place"], 4, bare["hardware_place"], "hwbreak", None),
        (2, written, 8, bare["write_place"], "watch", written),
        (3, readable, 8, bare["read_place"], "rwatch", readable),
        (4, changed, 8, bare["access_place"], "awatch", changed),
    ]
    with Stub(bare.path, "--smp", str(vcpus)) as stub, Client(stub) as client:
        for kind, gva, length, pc, key, watched in kinds:
            assert client.ask(f"Z{kind},{gva:x},{length:x}") == "OK"
            for _ in range(2):
                fields = stop_fields(client.ask("vCont;c"))
                assert key in fields, fields
                assert stop_pc(fields) == pc
                if watched is not None:
                    # Only the last vCPU touches these, so it must be the one that is named.
                    assert int(fields["thread"], 16) == vcpus
                    assert watched <= int(fields[key], 16) < watched + 8
                # By without the breakpoint, as a client goes.
                assert client.ask(f"z{kind},{gva:x},{length:x}") == "OK"
                stepped = stop_fields(client.ask(f"vCont;s:{fields['thread']}"))
                assert stop_pc(stepped) == pc + 4
                assert stepped["thread"] == fields["thread"]
                assert client.ask(f"Z{kind},{gva:x},{length:x}") == "OK"
            assert client.ask(f"z{kind},{gva:x},{length:x}") == "OK"


@VCPUS
def test_gdb_sees_them_too(bare: Built, vcpus: int) -> None:
    last = vcpus - 1
    with Stub(bare.path, "--smp", str(vcpus)) as stub:
        said = gdb(
            stub, bare.path,
            "break software_place", "continue", "bt", "delete",
            "hbreak hardware_place", "continue", "delete",
            f"watch written[{last}]", "continue", "continue", "delete",
            f"rwatch readable[{last}]", "continue", "delete",
            f"awatch changed[{last}]", "continue", "delete",
            "info threads", "kill",
        )  # fmt: skip
    assert re.search(r"Breakpoint 1, .*software_place", said), said
    assert re.search(r"#1 .* in rounds", said), said
    assert re.search(r"Breakpoint 2, .*hardware_place", said), said
    values = re.findall(
        rf"watchpoint 3: written\[{last}\]\n+Old value = (\d+)\nNew value = (\d+)", said
    )
    assert len(values) == 2, said
    assert all(int(new) == int(old) + 1 for old, new in values), values
    assert re.search(r"read watchpoint 4: .*\n+Value = 0\n", said), said
    assert re.search(r"access \(read/write\) watchpoint 5: ", said), said
    assert len(re.findall(r"Thread 1\.\d|Thread \d", said)) >= vcpus, said


def test_all_slots_and_one_more(bare: Built) -> None:
    """The error is clear, and what was there before still hits."""
    place = bare["hardware_place"]
    with Stub(bare.path) as stub, Client(stub) as client:
        # Far away first: the last of them is the one that will be hit.
        free = []
        for n in range(1, 17):
            if client.ask(f"Z1,{0x4010_0000 + 16 * n:x},4") != "OK":
                break
            free.append(n)
        slots = len(free)
        assert 2 <= slots < 16
        assert client.ask(f"z1,{0x4010_0000 + 16 * slots:x},4") == "OK"
        assert client.ask(f"Z1,{place:x},4") == "OK"
        assert client.ask("Z1,40200000,4") == "E1c"
        assert client.ask(f"Z1,{place:x},4") == "OK", "what is there may be inserted again"
        assert stop_pc(stop_fields(client.ask("vCont;c"))) == place

        watches = 0
        while client.ask(f"Z2,{0x4010_0000 + 16 * (watches + 1):x},8") == "OK":
            watches += 1
        assert 2 <= watches < 16
        assert client.ask(f"z2,{0x4010_0000 + 16 * watches:x},8") == "OK"
        assert client.ask(f"Z2,{bare['written']:x},8") == "OK"
        assert client.ask("Z3,40200000,8") == "E1c"
        assert client.ask(f"z1,{place:x},4") == "OK"
        assert "watch" in stop_fields(client.ask("vCont;c"))


def test_gdb_says_that_the_slots_are_full(bare: Built) -> None:
    with Stub(bare.path) as stub:
        places = [f"hbreak *{0x4010_0000 + 16 * n:#x}" for n in range(16)]
        said = gdb(stub, bare.path, *places, "continue", "delete", "hbreak hardware_place",
                   "continue", "kill", expected=["Remote failure reply: all "])  # fmt: skip
    # GDB 16 and newer say how many there are.
    told = r"Cannot insert .*Remote failure reply: all \d+ hardware breakpoints are in use"
    assert re.search(rf"Could not insert hardware breakpoint|{told}", said), said
    assert re.search(r"Breakpoint 17, .*hardware_place", said), said


@VCPUS
def test_interrupting_a_tight_loop(bare: Built, vcpus: int, figure: list[str]) -> None:
    seconds = []
    with Stub(bare.path, "--smp", str(vcpus)) as stub, Client(stub) as client:
        # All of them under way first.
        assert client.ask(f"Z2,{bare['written'] + 8 * (vcpus - 1):x},8") == "OK"
        assert "watch" in stop_fields(client.ask("vCont;c"))
        assert client.ask(f"z2,{bare['written'] + 8 * (vcpus - 1):x},8") == "OK"
        before = client.register(32)
        places = set()
        for _ in range(20):
            client.send("vCont;c")
            stub.console.wait_for_news()
            start = time.perf_counter()
            client.interrupt()
            reply = client.reply()
            seconds.append(time.perf_counter() - start)
            assert reply.startswith("T02"), reply
            places.add(client.register(32))
        assert places - {before}, "the guest ran between the interrupts"
    figure.append(
        f"Ctrl-C to stop reply, {vcpus} vCPU: median {statistics.median(seconds) * 1e3:.1f} ms, "
        f"worst {max(seconds) * 1e3:.1f} ms of 20"
    )


@VCPUS
def test_a_client_that_vanishes_leaves_nothing_behind(bare: Built, vcpus: int) -> None:
    with Stub(bare.path, "--smp", str(vcpus)) as stub:
        with Client(stub) as client:
            assert client.ask(f"Z0,{bare['software_place']:x},4") == "OK"
            assert client.ask(f"Z1,{bare['hardware_place']:x},4") == "OK"
            stop_fields(client.ask("vCont;c"))
        with Client(stub) as client:
            # Nothing of the first client's is hit any more: only our own is.
            assert client.ask(f"Z2,{bare['written']:x},8") == "OK"
            for _ in range(2):
                assert "watch" in stop_fields(client.ask("vCont;c"))
                client.ask(f"z2,{bare['written']:x},8")
                stop_fields(client.ask("vCont;s:1"))
                client.ask(f"Z2,{bare['written']:x},8")
