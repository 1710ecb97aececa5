"""The kvm ring: whole stubs on real KVM, natively or in the lab of the run."""

import platform
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from gdbstub.lab import demo
from gdbstub.lab import kernel as kernel_of
from gdbstub.linux.elf import Executable
from gdbstub.linux.elf import parse as parse_elf
from tests.conftest import lab_for_stubs, shared_lab
from tests.contract.backends import NATIVE_KVM
from tests.gdb.build import build
from tests.kvm import user_space

GUESTS = Path(__file__).parent / "guests"
#: The Debian suite with the newest kernel.
NEWEST: Final = "trixie-backports"
#: The option without which a file is not collected: it names what no machine has.
_OPTION_OF_FILE: Final = {
    "test_crash.py": "--crash",
    "test_kernel_scripts.py": "--kernel-scripts",
}


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


class LinuxFiles(NamedTuple):
    """Files of a Linux guest: its kernel's, and our user space (``user_space.py``)."""

    image: Path
    symbols: Path
    modules: Path
    initrd: Path
    #: Version of the kernel.
    version: tuple[int, int]

    @property
    def has_names(self) -> bool:
        """True if the kernel tells where its kallsyms are."""
        return self.version >= (6, 0)

    @property
    def adds_random_numbers(self) -> bool:
        """True if the kernel goes elsewhere at each boot, on a CPU with RNDR as the lab's."""
        return (5, 6) <= self.version < (6, 0)

    def command_line(self, more: str = "") -> str:
        """Return a command line with KASLR, where that is known at the first instruction."""
        return f"console=ttyAMA0 quiet{' nokaslr' * self.adds_random_numbers} {more}".rstrip()


@pytest.fixture(scope="session")
def linux_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LinuxFiles]:
    """Function from a Debian suite, or "" for the demo guest's, to the files of a guest."""

    @cache
    def files(suite: str) -> LinuxFiles:
        base = kernel_of.prepare(suite)
        found = re.search(rb"Linux version (\d+)\.(\d+)", base.image.read_bytes())
        assert found
        return LinuxFiles(
            base.image,
            demo.symbols(base.image),
            base.modules,
            user_space.build(tmp_path_factory.mktemp("initrd"), suite),
            (int(found[1]), int(found[2])),
        )

    return files


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have tests of ``linux`` run with the newest kernel as well in a long run."""
    if "suite" in metafunc.fixturenames:
        given = metafunc.config.getoption("--guest-kernel")
        kernels = {given: given} if given else {"demo": ""}
        if not given and metafunc.config.getoption("--long"):
            kernels[NEWEST] = NEWEST
        metafunc.parametrize("suite", kernels.values(), ids=kernels, scope="session")


@pytest.fixture(scope="session")
def linux(linux_of: Callable[[str], LinuxFiles], suite: str) -> LinuxFiles:
    """A Linux guest, of which the kernel depends on the options of the run."""
    return linux_of(suite)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the tests of what no machine has, unless an option names it."""
    option = _OPTION_OF_FILE.get(collection_path.name)
    return True if option and not config.getoption(option) else None


@pytest.fixture(scope="session")
def crash(pytestconfig: pytest.Config) -> str:
    """The crash to run."""
    path: str = pytestconfig.getoption("--crash")
    return path


@pytest.fixture(scope="session")
def kernel_scripts(pytestconfig: pytest.Config) -> Path:
    """The directory of the kernel's scripts for GDB."""
    return Path(pytestconfig.getoption("--kernel-scripts")).absolute()


@pytest.fixture(scope="session")
def initrd(linux_of: Callable[[str], LinuxFiles]) -> Path:
    """Our user space over the demo guest's."""
    return linux_of("").initrd


@pytest.fixture(scope="session")
def host_kernel(pytestconfig: pytest.Config) -> tuple[int, ...]:
    """The version of the kernel whose KVM is tested: what a guest may use depends on it."""
    if NATIVE_KVM:
        release = platform.release()
    else:
        release = shared_lab(pytestconfig).run(["uname", "-r"]).stdout.decode()
    return tuple(int(number) for number in release.split(".")[:2])


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """List of measured values of a test, printed at the end of the run and never asserted."""
    lines: list[str] = []
    yield lines
    request.node.user_properties.extend((request.node.name, line) for line in lines)
