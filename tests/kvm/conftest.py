"""The kvm ring: whole stubs on real KVM, natively or in the lab of the run."""

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gdbstub.lab import demo
from gdbstub.linux.elf import Executable
from gdbstub.linux.elf import parse as parse_elf
from tests.conftest import figures, lab_for_stubs, shared_lab
from tests.contract.backends import NATIVE_KVM
from tests.gdb.build import build
from tests.kvm import user_space

GUESTS = Path(__file__).parent / "guests"


@pytest.fixture(scope="session", autouse=True)
def _host(pytestconfig: pytest.Config) -> None:
    """Let every stub of these tests use the lab of the run, where there is no arm64 KVM."""
    if not NATIVE_KVM:
        lab_for_stubs(pytestconfig)


class Built:
    """A guest program: the file and its symbols."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._elf: Executable = parse_elf(path.read_bytes(), path.name)

    def __getitem__(self, symbol: str) -> int:
        return self._elf.symbol(symbol)

    @property
    def start(self) -> int:
        """The virtual address that it was linked to begin at."""
        return self._elf.segments[0].vaddr

    @property
    def symbols(self) -> Mapping[str, int]:
        """All of them."""
        return self._elf.symbols


def _built(tmp_path_factory: pytest.TempPathFactory, name: str) -> Built:
    directory = tmp_path_factory.mktemp(name)
    return Built(build(directory, GUESTS / f"{name}.c", "-O1").elf)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _built(tmp_path_factory, "bare")


@pytest.fixture(scope="session")
def own_brk(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _built(tmp_path_factory, "own_brk")


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return _built(tmp_path_factory, "devices")


@pytest.fixture(scope="session")
def vmlinux() -> Path:
    """The demo guest's symbols; made here, not while a test waits."""
    return demo.prepare().symbols


@pytest.fixture(scope="session")
def kernel(vmlinux: Path) -> Built:
    """The demo guest's kernel: its functions' addresses."""
    return Built(vmlinux)


@pytest.fixture(scope="session")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user space of our Linux guests: see ``user_space.py``."""
    return user_space.build(tmp_path_factory.mktemp("initrd"))


@pytest.fixture(scope="session")
def host_kernel(pytestconfig: pytest.Config) -> tuple[int, ...]:
    """The version of the kernel whose KVM is tested: what a guest may use depends on it."""
    if NATIVE_KVM:
        release = platform.release()
    else:
        release = shared_lab(pytestconfig).run(["uname", "-r"]).stdout.decode()
    return tuple(int(number) for number in release.split(".")[:2])


@pytest.fixture
def figure(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """List of measured values of a test, printed at the end of the run and never asserted."""
    lines: list[str] = []
    yield lines
    figures(pytestconfig).extend(f"{request.node.name}: {line}" for line in lines)
