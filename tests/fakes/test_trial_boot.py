"""A trial boot of a kernel whose place the seed alone does not decide."""

from contextlib import closing

import pytest

from gdbstub.aarch64.registers import ID_AA64ISAR0_EL1
from gdbstub.errors import NotFound
from gdbstub.linux.kaslr import LinkedKernel
from gdbstub.linux.trial_boot import TrialBoot
from tests.contract.programs import BASE, SPIN
from tests.fakes.machine import fake_machine

RNDR = 1 << 60


def begin(patch: pytest.MonkeyPatch, release: str, isar0: int) -> None:
    """Start a trial boot of a kernel of this *release*, and end it."""
    banner = f"Linux version {release} (gcc) #1 SMP\n"
    kernel = LinkedKernel(BASE, (BASE,), BASE, banner, start_kernel=BASE)
    with closing(fake_machine(SPIN.image)) as machine:
        vcpu = machine.vcpus[0]
        get = vcpu.get
        patch.setattr(vcpu, "get", lambda row: isar0 if row is ID_AA64ISAR0_EL1 else get(row))
        trial = TrialBoot(machine, kernel, lambda: None)
        trial.start()
        with pytest.raises(NotFound):
            trial.finish()


@pytest.mark.parametrize("release", ["5.6.0", "5.10.0-32-cloud-arm64", "5.19.17"])
def test_random_numbers_of_the_cpu_are_added_to_the_seed(
    monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    with pytest.raises(NotFound, match="elsewhere at each boot; use nokaslr"):
        begin(monkeypatch, release, RNDR)
    begin(monkeypatch, release, 0)


@pytest.mark.parametrize(
    "release", ["4.19.0", "5.5.1", "6.0.0", "6.1.0-57", "7.3.0", "of mine", "5." + "9" * 5000]
)
def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    begin(monkeypatch, release, RNDR)
