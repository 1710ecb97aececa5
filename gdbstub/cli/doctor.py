"""``gdbstub doctor``: the host's KVM and programs, and how to install the missing ones.

Nothing is changed: a VM is created for the questions to KVM, and destroyed.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from typing import Final

from gdbstub.cli.version import version
from gdbstub.errors import InputError, MachineError, installation
from gdbstub.kvm import abi
from gdbstub.kvm.device import open_kvm
from gdbstub.kvm.port import LOCAL, ioctl
from gdbstub.lab import debian
from gdbstub.lab import tools as lab_tools
from gdbstub.vmm import gic
from gdbstub.vmm.layout import Gic

#: The debugger, as those below.
_GDB: Final = ("gdb-multiarch", "gdb-multiarch", "debugging arm64 guests from any machine")
_COMPILER: Final = "aarch64-linux-gnu-gcc"
#: Program, its Debian package, and its purpose: those that a machine with KVM does without.
_LAB_TOOLS: Final[tuple[tuple[str, str, str], ...]] = (
    ("qemu-system-aarch64", "qemu-system-arm", "the lab"),
    ("ssh", "openssh-client", "the lab"),
    ("cpio", "cpio", "preparing the lab"),
    ("apt-get", "apt", "preparing the lab"),
    (_COMPILER, "gcc-aarch64-linux-gnu", "the lab"),
)


@dataclass(frozen=True, slots=True)
class Kvm:
    """Abilities of this host's KVM for an arm64 guest."""

    guest_debug: bool
    breakpoint_slots: int
    watchpoint_slots: int
    max_vcpus: int
    ipa_bits: int
    sve: bool
    pauth: bool
    mte: bool
    gic: list[str]


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of an examination."""

    version: str
    python: str
    distribution: str
    kernel: str
    machine: str
    #: The host that ``--host auto`` chooses: ``kvm`` or ``lab``.
    host: str
    kvm: Kvm | None
    #: Version of each program; None if it is not installed.
    tools: dict[str, str | None]
    #: One line of text for each missing thing, with the remedy.
    missing: list[str] = field(default_factory=list)
    #: Debian packages that are missing.
    packages: list[str] = field(default_factory=list)


def examine() -> Findings:
    """Examine this host."""
    missing: list[str] = []
    kvm = None
    machine = platform.machine()
    if machine == "aarch64":
        try:
            kvm = _examine_kvm()
        except (InputError, MachineError) as error:
            missing.append(f"KVM: {error}")
    host = "kvm" if kvm is not None and kvm.guest_debug else "lab"
    if host == "lab" and not debian.has_packages():
        missing.append(debian.OTHER_SYSTEM.format(debian.release()))
    tools = {program: _version(program) for program, _, _ in (_GDB, *_LAB_TOOLS)}
    # An arm64 machine's own GDB debugs its guests.
    gdb = () if machine == "aarch64" and shutil.which("gdb") else (_GDB,)
    needed = (*gdb, *_needed_in_lab(machine)) if host == "lab" else gdb
    absent = [each for each in needed if tools[each[0]] is None]
    missing += [
        f"{program}, for {purpose}: {installation(package)}" for program, package, purpose in absent
    ]
    if host == "lab" and (modules := _missing_modules()):
        names = ", ".join(modules)
        missing.append(f"Python packages {names}, for the lab: pip install 'kvm-gdbstub[lab]'")
    return Findings(
        version=version(),
        python=platform.python_version(),
        distribution=debian.release(),
        kernel=platform.release(),
        machine=machine,
        host=host,
        kvm=kvm,
        tools=tools,
        missing=missing,
        packages=sorted({package for _, package, _ in absent}),
    )


def _needed_in_lab(machine: str) -> list[tuple[str, str, str]]:
    """Return those of ``_LAB_TOOLS`` that *machine* needs: on arm64 its own compiler is enough."""
    own = machine == "aarch64" and shutil.which("cc")
    return [each for each in _LAB_TOOLS if not (own and each[0] == _COMPILER)]


def _missing_modules() -> list[str]:
    return [name for name in lab_tools.MODULES if not lab_tools.has_module(name)]


def _able(findings: Findings) -> bool:
    """Return True if a guest can be run: on KVM, or in the lab, all of whose needs are there."""
    if findings.host == "kvm":
        return True
    programs = [program for program, _, _ in _needed_in_lab(findings.machine)]
    there = all(findings.tools[program] is not None for program in programs)
    return there and debian.has_packages() and not _missing_modules()


def _examine_kvm() -> Kvm:
    fd = open_kvm()

    def has(capability: int) -> int:
        return max(0, ioctl(LOCAL, fd, abi.CHECK_EXTENSION, capability))

    try:
        vm = ioctl(LOCAL, fd, abi.CREATE_VM)
        try:
            offered = [kind.name for kind in Gic if gic.offers(LOCAL, vm, kind)]
        finally:
            os.close(vm)
        return Kvm(
            guest_debug=has(abi.CAP_SET_GUEST_DEBUG) > 0,
            breakpoint_slots=has(abi.CAP_GUEST_DEBUG_HW_BPS),
            watchpoint_slots=has(abi.CAP_GUEST_DEBUG_HW_WPS),
            max_vcpus=has(abi.CAP_MAX_VCPUS),
            ipa_bits=has(abi.CAP_ARM_VM_IPA_SIZE) or 40,
            sve=has(abi.CAP_ARM_SVE) > 0,
            pauth=has(abi.CAP_ARM_PTRAUTH_ADDRESS) > 0,
            mte=has(abi.CAP_ARM_MTE) > 0,
            gic=offered,
        )
    finally:
        os.close(fd)


def _version(program: str) -> str | None:
    """Return the version that *program* prints; None if it is not installed."""
    if (path := shutil.which(program)) is None:
        return None
    option = "-V" if program == "ssh" else "--version"
    try:
        said = subprocess.run(
            [path, option], capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "found"
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "found"


def show(findings: Findings, *, as_json: bool) -> int:
    """Print *findings*; return the exit status: 0 if a guest can be run, on KVM or in the lab."""
    status = 0 if _able(findings) else 1
    if as_json:
        print(json.dumps(asdict(findings), indent=2))
        return status
    system = f"{findings.distribution}, Linux {findings.kernel} on {findings.machine}"
    rows = [
        ("gdbstub", f"{findings.version}, Python {findings.python}"),
        ("system", system),
        ("guests run", _where(findings)),
    ]
    if kvm := findings.kvm:
        rows += [
            ("guest debug", _yes(kvm.guest_debug)),
            ("breakpoint slots", str(kvm.breakpoint_slots)),
            ("watchpoint slots", str(kvm.watchpoint_slots)),
            ("vCPUs, at most", str(kvm.max_vcpus)),
            ("physical addresses", f"{kvm.ipa_bits} bits"),
            ("SVE, PAuth, MTE", ", ".join(map(_yes, (kvm.sve, kvm.pauth, kvm.mte)))),
            ("interrupt controller", ", ".join(f"GIC{k.lower()}" for k in kvm.gic)),
        ]
    rows += [(program, found or "not found") for program, found in findings.tools.items()]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:<{width}}  {text}")
    for sentence in findings.missing:
        print(f"missing: {sentence}")
    if len(findings.packages) > 1:
        print(f"all of these packages: {installation(' '.join(findings.packages))}")
    if not findings.missing:
        print("nothing is missing")
    return status


def _where(findings: Findings) -> str:
    if findings.host == "kvm":
        return "on this machine's KVM"
    if findings.machine == "aarch64":
        return "in the lab, at the speed of emulation"
    return f"in the lab: {findings.machine} has no KVM for arm64 guests"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
