"""A virtual machine on /dev/kvm that implements ``Machine``: memory, vCPUs, stop and go.

It knows neither devices nor boot: ``populate`` sets them up, at the start and at each reset.
Source: linux/Documentation/virt/kvm/api.rst.
"""

import logging
import os
import platform
import stat
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.aarch64.registers import CNTVCT_EL0, SYSTEM_REGISTERS
from gdbstub.errors import InputError, MachineError, StubError
from gdbstub.kvm import abi as kvm_abi
from gdbstub.kvm import features as kvm_features
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.exclusive import ExclusiveSection
from gdbstub.kvm.features import CpuOptions, Features
from gdbstub.kvm.memory import GuestRam
from gdbstub.kvm.one_reg import Counts, VirtualClock
from gdbstub.kvm.tags import KvmTags
from gdbstub.kvm.vcpu import KICK, KvmVcpu, Mmio
from gdbstub.machine import DebugExit, DebugRegisters, Exit, Listener, RunMode

if TYPE_CHECKING:
    from gdbstub.architecture import Register

_log = logging.getLogger("gdbstub.kvm")

DEVICE: Final = "/dev/kvm"
API_VERSION: Final = 12

#: What VM type 0 stands for.
_DEFAULT_IPA_BITS: Final = 40
#: A group's permission to read and write.
_GROUP_MAY: Final = stat.S_IRGRP | stat.S_IWGRP


class KvmConfig(NamedTuple):
    """What a VM is made of. ``populate`` is called with vCPUs created and not yet run."""

    vcpus: int
    ram_base: int
    ram_size: int
    mmio: Mmio
    populate: Callable[["KvmMachine"], None]
    #: What there is to say of the guest in it (``Machine.about``).
    about: Mapping[str, str] = MappingProxyType({})
    cpu: CpuOptions = CpuOptions()
    #: The interrupt of a vCPU's PMU; None where ``populate`` makes no interrupt controller.
    pmu_intid: int | None = None


def open_kvm(path: str = DEVICE) -> int:
    """Open the KVM device.

    Raises:
        InputError: it is missing, or not for us.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: this kernel has no KVM, or it is switched off; use --host lab"
        ) from None
    except PermissionError:
        raise InputError(
            f"{path} is not for this user: {_remedy(path)}, or use --host lab"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None
    try:
        version = kvm_abi.ioctl(fd, kvm_abi.GET_API_VERSION)
    except OSError:
        version = None
    if version != API_VERSION:
        os.close(fd)
        raise InputError(f"{path} is not a KVM device of API version {API_VERSION}")
    return fd


def _remedy(path: str) -> str:
    """What lets somebody use a device that only others may."""
    import grp  # not at the top: nearly every start can do without

    status = os.stat(path)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    if status.st_mode & _GROUP_MAY == _GROUP_MAY:
        return f"join the group {group!r} (usermod -aG {group} $USER, then log in again)"
    return f"let the group {group!r} use it (as root: chmod g+rw {path}) and join that"


class KvmMachine:
    """A ``Machine``. All of its methods are called from one thread, the server's."""

    listener: Listener

    def __init__(self, config: KvmConfig) -> None:
        self._config = config
        self.ram = GuestRam(config.ram_base, config.ram_size, self._uncached)
        self._kvm = open_kvm()
        self._lock = threading.Lock()
        self._running = 0
        self._stopping = False
        self._closing = False
        self._exits: list[Exit] = []
        self._vcpus: tuple[KvmVcpu, ...] = ()
        self.features = Features()
        self.vector_length = 0
        self.system_registers: Sequence[Register] = ()
        self._debug = DebugRegisters()
        self._clock = VirtualClock()
        self._time_stands_still = True
        self._counts = [Counts() for _ in range(config.vcpus)]
        self._exclusive = ExclusiveSection()
        self.vm = -1
        if self.extension(kvm_abi.CAP_SET_GUEST_DEBUG) <= 0:
            raise InputError("this host's KVM cannot debug guests; use --host lab")
        self.breakpoint_slots = max(0, self.extension(kvm_abi.CAP_GUEST_DEBUG_HW_BPS))
        self.watchpoint_slots = max(0, self.extension(kvm_abi.CAP_GUEST_DEBUG_HW_WPS))
        kvm_abi.take_signal(KICK)
        try:
            self._create()
        except BaseException:
            self.close()
            raise

    @property
    def vcpus(self) -> Sequence[KvmVcpu]:
        """The vCPUs, by index."""
        return self._vcpus

    @property
    def pointer_authentication(self) -> bool:
        """Whether its vCPUs sign pointers (``Machine.pointer_authentication``)."""
        return self.features.pauth

    def extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION."""
        return kvm_abi.ioctl(self._kvm, kvm_abi.CHECK_EXTENSION, capability)

    @property
    def about(self) -> Mapping[str, str]:
        """What there is to say of it (``Machine.about``)."""
        config = self._config
        end = config.ram_base + config.ram_size
        return {
            **config.about,
            "RAM": f"{config.ram_size >> 20} MiB at {config.ram_base:#x} to {end - 1:#x}",
            "host": f"KVM on Linux {platform.release()}",
        }

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How often what happened (``Machine.counts``)."""
        reasons, exits = kvm_abi.names("EXIT_"), Counter[str]()
        for each in self._counts:
            for reason, number in each.exits.items():
                exits[reasons.get(reason, str(reason))] += number
        runs = sum(each.runs for each in self._counts)
        exits["(a kick)"] = runs - exits.total()
        requests = kvm_abi.names()
        ioctls = Counter({requests[request]: n for request, n in kvm_abi.calls.items()})
        ioctls["KVM_RUN"] = runs
        ioctls["KVM_GET_ONE_REG"] = sum(each.gets for each in self._counts)
        ioctls["KVM_SET_ONE_REG"] = sum(each.sets for each in self._counts)
        return {"exits": exits, "ioctls": ioctls}

    # Life.

    def _create(self) -> None:
        config = self._config
        try:
            self.vm = kvm_abi.ioctl(self._kvm, kvm_abi.CREATE_VM, self._vm_type())
            kvm_abi.ioctl(self.vm, kvm_abi.SET_USER_MEMORY_REGION, self.ram.region)
            self._report_undecoded_accesses()
            self.features = kvm_features.choose(config.cpu, self.extension)
            if self.features.mte:
                self._enable(kvm_abi.CAP_ARM_MTE)
            run_size = kvm_abi.ioctl(self._kvm, kvm_abi.GET_VCPU_MMAP_SIZE)
            self._vcpus = tuple(
                KvmVcpu(
                    kvm_abi.ioctl(self.vm, kvm_abi.CREATE_VCPU, index),
                    run_size,
                    index,
                    config.mmio,
                    self._clock,
                    self._counts[index],
                    self._exclusive,
                )
                for index in range(config.vcpus)
            )
            self.vector_length = kvm_features.initialise(
                self.vm, self._vcpus, config.cpu, self.features
            )
            config.populate(self)
            if self.features.pmu:
                kvm_features.start_pmu(self._vcpus, config.pmu_intid)
            listed = self._vcpus[0].listed()
            # Time begins with the first instruction, however long a debugger looks at it.
            if self._time_stands_still:
                self._clock.stopped_at = self._vcpus[0].get(CNTVCT_EL0)
        except OSError as error:
            raise MachineError(f"KVM: {error.strerror}", error.errno or 0) from error
        self.system_registers = [row for row in SYSTEM_REGISTERS.values() if row.id in listed]
        for vcpu in self._vcpus:
            vcpu.start(self._debug_exit, self._park)

    def _vm_type(self) -> int:
        """KVM_CREATE_VM's argument: guest physical address bits, where the default is too many."""
        bits = self.extension(kvm_abi.CAP_ARM_VM_IPA_SIZE)
        if not 0 < bits < _DEFAULT_IPA_BITS:
            return 0
        if self._config.ram_base + self._config.ram_size > 1 << bits:
            raise InputError(
                f"this host gives a guest {bits} bits of physical address; less RAM fits"
            )
        return bits

    def _report_undecoded_accesses(self) -> None:
        """Have KVM exit for an access without syndrome instead of failing KVM_RUN."""
        if self.extension(kvm_abi.CAP_ARM_NISV_TO_USER) > 0:
            self._enable(kvm_abi.CAP_ARM_NISV_TO_USER)

    def _enable(self, capability: int) -> None:
        cap = ffi.new("struct kvm_enable_cap *")
        cap.cap = capability
        kvm_abi.ioctl(self.vm, kvm_abi.ENABLE_CAP, cap)

    def reset(self) -> None:
        """Start over with a new VM: VCPU_INIT alone would leave the vGIC as it was."""
        self._destroy()
        self.ram.clear()
        self._clock.stopped_at = None
        self._create()

    def close(self) -> None:
        """Give everything back; safe at any time and more than once."""
        self._closing = True
        self._destroy()
        self.ram.close()
        if self._kvm >= 0:
            os.close(self._kvm)
            self._kvm = -1

    def _destroy(self) -> None:
        for vcpu in self._vcpus:
            vcpu.stop()
        for vcpu in self._vcpus:
            vcpu.close()
        self._vcpus = ()
        if self.vm >= 0:
            os.close(self.vm)
            self.vm = -1

    # Memory.

    def _uncached(self) -> bool:
        """Whether a vCPU may pass the caches by; one that runs cannot be asked.

        One that is alone can, while it is out of the guest.
        """
        running = self._running > 0 and (len(self._vcpus) > 1 or self._vcpus[0].in_guest)
        return running or any(vcpu.uncached for vcpu in self._vcpus)

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM, short where it ends or is broken (``Machine.read_memory``)."""
        return self.ram.read(ipa, length)

    def unchanged(self, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
        """A question about RAM for again and again (``Machine.unchanged``)."""
        return self.ram.unchanged(words)

    def write_memory(self, ipa: int, data: bytes) -> None:
        """Write RAM, and make it what is fetched (``Machine.write_memory``)."""
        self.ram.write(ipa, data)

    @property
    def tags(self) -> KvmTags | None:
        """The allocation tags of RAM, where the guest has MTE (``TaggedMachine``)."""
        return KvmTags(self.vm, self.ram.base, self.ram.size) if self.features.mte else None

    # Stop and go.

    def arm(self, debug: DebugRegisters) -> None:
        """Set the comparators; each vCPU gets them before it runs again."""
        self._debug = debug

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        """Run the vCPUs that are keys (``Machine.resume``)."""
        for index, go in modes.items():
            self._vcpus[index].arm(go, self._debug)
        self._let_time_go_on()
        with self._lock:
            self._exits = []
            self._stopping = False
            self._running = len(modes)
        # Made ready first, all of them: the first to run may stop the others at once.
        for vcpu in self._vcpus:
            vcpu.forget()
        for index in modes:
            self._vcpus[index].ready()
        for index in modes:
            self._vcpus[index].resume()

    def _let_time_go_on(self) -> None:
        stopped_at, self._clock.stopped_at = self._clock.stopped_at, None
        if stopped_at is None:
            return
        try:
            # One write moves the counter of every vCPU.
            self._vcpus[0].set(CNTVCT_EL0, stopped_at)
        except StubError:
            self._clock.stopped_at = stopped_at
            raise

    @property
    def time_stands_still(self) -> bool:
        """Whether the virtual counter does while all are parked."""
        return self._time_stands_still

    @time_stands_still.setter
    def time_stands_still(self, still: bool) -> None:
        first = self._vcpus[0]
        now = first.get(CNTVCT_EL0)
        self._time_stands_still = still
        self._clock.stopped_at = now if still else None
        first.set(CNTVCT_EL0, now)

    def interrupt(self) -> None:
        """Park every vCPU soon (``Machine.interrupt``)."""
        with self._lock:
            if self._running:
                self._stop_world()

    def _stop_world(self) -> None:
        """Kick every vCPU; under the lock, so that none can be resumed meanwhile."""
        if not self._stopping:
            self._stopping = True
            for vcpu in self._vcpus:
                vcpu.stop()
            self._exclusive.wake()

    def start_exclusive(self, vcpu: int) -> bool:
        """Keep all others out of the guest (``Machine.start_exclusive``)."""
        if len(self._vcpus) == 1:
            return not self._vcpus[0].stopping
        return self._exclusive.start_exclusive(self._vcpus[vcpu], self._vcpus)

    def end_exclusive(self, vcpu: int) -> None:
        """Let them in again (``Machine.end_exclusive``)."""
        if len(self._vcpus) > 1:
            self._exclusive.end_exclusive(self._vcpus[vcpu])

    def _debug_exit(self, exit: DebugExit) -> RunMode | None:
        return self.listener.debug_exit(exit)

    def _park(self, exit: Exit | None) -> None:
        """A vCPU has come to rest, on its own thread; the last one tells the listener."""
        with self._lock:
            if exit is not None:
                self._exits.append(exit)
            self._running -= 1
            last = self._running == 0
            if not last and not self._closing:  # else all are told already, and some are gone
                self._stop_world()
        if last and not self._closing:
            # The guest's time stands still from here: it must not see how long we look at it.
            try:
                if self._time_stands_still:
                    self._clock.stopped_at = self._vcpus[0].get(CNTVCT_EL0)
            except StubError as error:  # the stop must be told, whatever becomes of the clock
                _log.warning("the guest's time runs on while it is halted: %s", error)
            self.listener.parked(self._exits)
