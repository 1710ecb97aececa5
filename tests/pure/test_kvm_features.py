"""``--cpu``: what it says, and what it comes to on hosts that have more or less."""

from typing import TYPE_CHECKING, cast

import pytest

from gdbstub.aarch64.sve import VLS
from gdbstub.architecture import Register
from gdbstub.errors import InputError
from gdbstub.kvm import abi
from gdbstub.kvm.features import CpuOptions, Features, choose, parse_cpu, set_up_vectors

if TYPE_CHECKING:
    from gdbstub.kvm.vcpu import KvmVcpu

ALL = {
    abi.CAP_ARM_SVE,
    abi.CAP_ARM_PTRAUTH_ADDRESS,
    abi.CAP_ARM_PTRAUTH_GENERIC,
    abi.CAP_ARM_PMU_V3,
    abi.CAP_ARM_EL1_32BIT,
}


def on_a_host(cpu: str, *offered: int) -> Features:
    return choose(parse_cpu(cpu), lambda capability: int(capability in offered))


@pytest.mark.parametrize(
    ("text", "cpu"),
    [
        ("host", CpuOptions()),
        ("sve=off", CpuOptions(sve=False)),
        ("host,sve=off", CpuOptions(sve=False)),
        ("host, sve=256 , pauth=on", CpuOptions(sve=True, vector_length=256, pauth=True)),
        ("pmu=off,aarch32=on", CpuOptions(pmu=False, aarch32=True)),
        ("mte=on", CpuOptions(mte=True)),
        ("aarch32=on,sve=off", CpuOptions(sve=False, aarch32=True)),
    ],
)
def test_what_it_means(text: str, cpu: CpuOptions) -> None:
    assert parse_cpu(text) == cpu
    assert parse_cpu(str(cpu)) == cpu


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no feature; those are sve, pauth, pmu, mte, aarch32"),
        ("max", "'max' is no feature"),
        ("host,", "'' is no feature"),
        ("sve=off,host", "'host' is no feature"),
        ("vector_length=128", "'vector_length' is no feature"),
        ("pauth", "expected pauth=on or pauth=off"),
        ("pmu=yes", "expected pmu=on or pmu=off"),
        ("pmu=256", "expected pmu=on or pmu=off"),
        ("sve=on,sve=256", "sve is there twice"),
        ("aarch32=on,pauth=on", "with aarch32=on there is no sve, no pauth and no mte"),
        *(
            (f"sve={bits}", "a multiple of 128 up to 2048")
            for bits in ("", "0", "100", "-128", "2176", "12800000000", "0x80", "²")
        ),
    ],
)
def test_what_means_nothing(text: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_cpu(text)
    assert str(caught.value).startswith(f"--cpu {text}: ")
    assert why in str(caught.value)


def test_a_host_gives_what_it_has() -> None:
    assert on_a_host("host", *ALL) == Features(sve=True, pauth=True, pmu=True)
    assert on_a_host("host") == Features()
    assert on_a_host("host", abi.CAP_ARM_PTRAUTH_ADDRESS) == Features()
    assert on_a_host("sve=off,pauth=off,pmu=off", *ALL) == Features()
    # AArch32 at EL1 goes without what is AArch64's.
    assert on_a_host("aarch32=on", *ALL) == Features(pmu=True, aarch32=True)


@pytest.mark.parametrize(
    ("cpu", "lacking", "what"),
    [
        ("sve=on", abi.CAP_ARM_SVE, "SVE"),
        ("sve=256", abi.CAP_ARM_SVE, "SVE"),
        ("pauth=on", abi.CAP_ARM_PTRAUTH_GENERIC, "pointer authentication"),
        ("pmu=on", abi.CAP_ARM_PMU_V3, "PMU"),
        ("aarch32=on", abi.CAP_ARM_EL1_32BIT, "AArch32 at EL1"),
    ],
)
def test_what_the_host_lacks_is_said(cpu: str, lacking: int, what: str) -> None:
    with pytest.raises(InputError, match=f"^--cpu host,{cpu}: KVM on this host has no {what}"):
        on_a_host(cpu, *ALL - {lacking})


class Vcpu:
    """A vCPU whose vectors may have 128, 256 or 512 bits."""

    def get(self, register: Register) -> int:
        assert register is VLS
        return 0b1011


@pytest.mark.parametrize("bits", [384, 640, 1024, 2048])
def test_a_length_that_the_hosts_vectors_cannot_have_is_said(bits: int) -> None:
    vcpu = cast("KvmVcpu", Vcpu())
    with pytest.raises(InputError) as caught:
        set_up_vectors(vcpu, parse_cpu(f"sve={bits}"))
    assert str(caught.value) == (
        f"--cpu host,sve={bits}: SVE vectors on this host may have 128, 256, 512 bits"
    )


def test_the_bits_that_kvm_takes() -> None:
    # linux/arch/arm64/include/uapi/asm/kvm.h, KVM_ARM_VCPU_*.
    assert Features().init == 1 << 2
    assert Features(pmu=True).init == 1 << 2 | 1 << 3
    assert Features(sve=True).init == 1 << 2 | 1 << 4
    assert Features(pauth=True).init == 1 << 2 | 1 << 5 | 1 << 6
    assert Features(aarch32=True).init == 1 << 2 | 1 << 1
