"""Some of these tests again, on another CPU and interrupt controller."""

from collections.abc import Iterator

import pytest

from gdbstub.lab.host import VARIABLE, Lab
from tests.conftest import shared_lab
from tests.hardware import OTHER
from tests.kvm.test_bare_metal import test_each_kind_hits_at_its_pc_and_address  # noqa: F401
from tests.kvm.test_kaslr import test_breakpoints_by_name_from_the_first_instruction_on  # noqa: F401
from tests.kvm.test_linux import test_from_the_first_instruction_to_init  # noqa: F401

pytestmark = [pytest.mark.other_hardware, pytest.mark.usefixtures("other")]


@pytest.fixture(scope="module")
def other(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """The second lab, which every stub joins meanwhile."""
    lab = shared_lab(pytestconfig, OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(lab.directory))
        yield lab


def test_it_is_of_another_kind(other: Lab) -> None:
    said = other.run(["gdbstub", "doctor"], check=False).stdout.decode()
    assert "GICv2" in said
    assert "SVE, PAuth, MTE        no, no, no" in said
