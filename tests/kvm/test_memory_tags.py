"""MTE: the tags that a client writes are the guest's, and the reverse.

The lab of a run has none, since it would be slower for everything else: these have their own.
QEMU 7.2 takes every granule of a page for one of its first two, so tags alternate here; what is
done with part of a page is shown without KVM.
"""

import subprocess
from collections.abc import Iterator

import pytest

from gdbstub.lab.host import VARIABLE
from gdbstub.lab.opening import start_lab
from gdbstub.lab.qemu import Options
from tests.contract.backends import NATIVE_KVM
from tests.kvm.client import Client, stop_fields, stop_pc
from tests.kvm.conftest import GUESTS, Built
from tests.kvm.stub import Stub

END_OF_RAM = 0x4000_0000 + (512 << 20)
TCO = 1 << 25


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Built:
    program = tmp_path_factory.mktemp("tags") / "tags.elf"
    flags = ["-nostdlib", "-static", "-Wl,-Ttext=0x40080000", "-Wl,--build-id=none"]
    argv = ["aarch64-linux-gnu-gcc", *flags, "-o", str(program), str(GUESTS / "tags.S")]
    subprocess.run(argv, check=True)
    return Built(program)


@pytest.fixture(scope="module")
def tagged_host() -> Iterator[None]:
    """A host with MTE, which the stubs of these tests join."""
    if NATIVE_KVM:
        yield
        return
    with start_lab(Options(mte=True)) as lab, pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(lab.directory))
        yield


def run_to(client: Client, place: int) -> None:
    assert client.ask(f"Z1,{place:x},4") == "OK"
    assert stop_pc(stop_fields(client.ask("vCont;c"))) == place
    assert client.ask(f"z1,{place:x},4") == "OK"


def test_a_host_without(bare: Built) -> None:
    """The lab of the run; natively, only where the host has none."""
    with Stub(bare.path) as stub, Client(stub) as client:
        if "memory-tagging+" in client.ask("qSupported"):
            assert NATIVE_KVM, "the lab was to have no MTE"
            pytest.skip("this host has MTE")
        assert client.ask("qMemTags:40000000,10:1") == ""
        assert client.ask("QMemTags:40000000,10:1:01") == ""
        assert client.ask("qIsAddressTagged:40000000") == ""


def test_tags_are_one_and_the_same(tagged_host: None, tags: Built) -> None:
    data = tags["data"]
    with Stub(tags.path, *([] if NATIVE_KVM else ["--cpu=mte=on"])) as stub, Client(stub) as client:
        if "memory-tagging+" not in client.ask("qSupported"):
            assert NATIVE_KVM, "the lab was to have MTE"
            pytest.skip("this host has no MTE")
        # Before the MMU is on, too: nothing is tagged yet.
        assert client.ask(f"qMemTags:{data:x},20:1") == "m0000"

        run_to(client, tags["stored"])
        assert client.ask(f"qMemTags:{data:x},20:1") == "m0706"
        assert client.ask(f"qMemTags:{data + 8:x},10:1") == "m0706"
        assert client.ask(f"qMemTags:{data + 8:x},0:1") == "m"
        assert client.ask(f"QMemTags:{data:x},1000:1:0c03") == "OK"
        assert client.ask(f"qMemTags:{data:x},30:1") == "m0c030c"

        run_to(client, tags["loaded"])
        assert (client.register(12), client.register(13)) == (0xC << 56, 0x3 << 56)

        run_to(client, tags["handled"])
        assert client.register(14) == TCO


def test_the_guests_brk_leaves_the_same_behind_as_if_nobody_looked(
    tagged_host: None, tags: Built
) -> None:
    with Stub(tags.path) as stub, Client(stub) as client:
        if "memory-tagging+" not in client.ask("qSupported"):
            pytest.skip("this host has no MTE")
        # Nothing is armed: the BRK never comes to us. The guest ends if its TCO is right.
        assert client.ask("vCont;c") == "W00"


def test_what_has_no_tags(tagged_host: None, tags: Built) -> None:
    with Stub(tags.path) as stub, Client(stub) as client:
        if "memory-tagging+" not in client.ask("qSupported"):
            pytest.skip("this host has no MTE")
        run_to(client, tags["stored"])
        last = END_OF_RAM - 16
        assert client.ask(f"QMemTags:{last:x},10:1:05") == "OK"
        # It is mapped, but no RAM.
        assert client.ask(f"qMemTags:{last:x},20:1") == "E0e"
        assert client.ask(f"QMemTags:{last:x},20:1:0909") == "E0e"
        assert client.ask(f"QMemTags:{last:x},ffffffff:1:09") == "E0e"
        assert client.ask(f"qMemTags:{last:x},10:1") == "m05"
        # It is not mapped.
        assert client.ask("qMemTags:0,10:1") == "E0e"
        assert client.ask(f"qMemTags:{tags['data']:x},10:0") == "E16"
        assert client.ask(f"qIsAddressTagged:{tags['data'] + 3:x}") == "01"
        # With its tag in the pointer, as GDB asks.
        assert client.ask(f"qIsAddressTagged:{5 << 56 | tags['data']:x}") == "01"
        assert client.ask("qIsAddressTagged:0") == "00"


def test_a_page_that_nobody_has_touched(tagged_host: None, tags: Built) -> None:
    """Runs over pages, and over what KVM has not given the guest yet."""
    place = 0x4800_0000
    with Stub(tags.path) as stub, Client(stub) as client:
        if "memory-tagging+" not in client.ask("qSupported"):
            pytest.skip("this host has no MTE")
        assert client.ask(f"qMemTags:{place:x},3000:1") == "m" + "0000" * 384
        assert client.ask(f"QMemTags:{place:x},3000:1:0102") == "OK"
        assert client.ask(f"qMemTags:{place + 0xFF0:x},1020:1") == "m" + "0201" * 129


def test_a_guest_may_do_without(tagged_host: None, tags: Built) -> None:
    with Stub(tags.path, "--cpu=mte=off") as stub, Client(stub) as client:
        assert "memory-tagging+" not in client.ask("qSupported")
