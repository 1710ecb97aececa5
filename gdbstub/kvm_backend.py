"""A virtual machine on /dev/kvm that implements ``Machine``: memory, vCPUs, stop and go.

Devices and boot are its board's (``kvm.board``).
Source: linux/Documentation/virt/kvm/api.rst.
"""

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gdbstub.aarch64.registers import SYSTEM_REGISTERS
from gdbstub.errors import InputError
from gdbstub.false_hits import FalseHit
from gdbstub.kvm import abi, features
from gdbstub.kvm.abi import ffi
from gdbstub.kvm.board import Board
from gdbstub.kvm.device import open_kvm
from gdbstub.kvm.exclusive import ExclusiveSection
from gdbstub.kvm.features import CpuOptions, Features
from gdbstub.kvm.memory import GuestRam
from gdbstub.kvm.one_reg import Counts
from gdbstub.kvm.port import LOCAL, IoctlPort, ioctl
from gdbstub.kvm.tags import KvmTags
from gdbstub.kvm.vcpu import KICK, KvmVcpu
from gdbstub.kvm.virtual_counter import VirtualCounter
from gdbstub.kvm.watchdog import Watchdog
from gdbstub.machine import (
    Capabilities,
    DebugExit,
    DebugRegisters,
    Exit,
    Listener,
    RunMode,
)

if TYPE_CHECKING:
    from gdbstub.architecture import Register


#: The physical address bits of VM type 0.
_DEFAULT_IPA_BITS: Final = 40


class KvmConfig(NamedTuple):
    """vCPUs and RAM of a VM: ``ram_size`` bytes from ``ram_base`` on."""

    vcpus: int
    ram_base: int
    ram_size: int
    cpu: CpuOptions = CpuOptions()


class KvmMachine:
    """A ``Machine``. All of its methods are called from one thread, the server's."""

    complete = True  # all memory of the guest (``RamLayout``)

    listener: Listener

    def __init__(self, config: KvmConfig, board: Board, port: IoctlPort = LOCAL) -> None:
        """Make the VM with *board* in it, halted at the guest's first instruction.

        Raises:
            InputError: this host has no KVM, or cannot give a guest such a machine.
            MachineError: KVM failed.
        """
        self._config = config
        self._board = board
        self.port = port
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
        self._counter = VirtualCounter(self._first)
        self._counts = [Counts() for _ in range(config.vcpus)]
        self._watchdog = Watchdog()
        self._exclusive = ExclusiveSection()
        self.vm = -1
        try:
            if self.extension(abi.CAP_SET_GUEST_DEBUG) <= 0:
                raise InputError("this host's KVM cannot debug guests; use --host lab")
            self.breakpoint_slots = max(0, self.extension(abi.CAP_GUEST_DEBUG_HW_BPS))
            self.watchpoint_slots = max(0, self.extension(abi.CAP_GUEST_DEBUG_HW_WPS))
            abi.take_signal(KICK)
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
        """True if its vCPUs sign pointers (``Machine.pointer_authentication``)."""
        return self.features.pauth

    def extension(self, capability: int) -> int:
        """Call KVM_CHECK_EXTENSION."""
        return ioctl(self.port, self._kvm, abi.CHECK_EXTENSION, capability)

    # The optional half.

    @property
    def capabilities(self) -> Capabilities:
        """All but tags, which only a guest with MTE has (``Machine.capabilities``)."""
        ram = self.ram
        tags = KvmTags(self.port, self.vm, ram.base, ram.size) if self.features.mte else None
        return Capabilities(
            reset=self,
            time=self._counter,
            tags=tags,
            comparison=ram,
            passes=self,
            about=self,
            counts=self,
            layout=self,
        )

    @property
    def ram_ranges(self) -> Sequence[range]:
        """The one range of RAM (``RamLayout``)."""
        return (range(self.ram.base, self.ram.base + self.ram.size),)

    @property
    def about(self) -> Mapping[str, str]:
        """The board's description, RAM and the host (``Described``)."""
        config = self._config
        end = config.ram_base + config.ram_size
        return {
            **self._board.about,
            "RAM": f"{config.ram_size >> 20} MiB at {config.ram_base:#x} to {end - 1:#x}",
            "host": f"KVM on Linux {os.uname().release}",
        }

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """The numbers of exits and ioctls, by kind (``Counted``)."""
        reasons, exits = abi.names("EXIT_"), Counter[str]()
        for each in self._counts:
            for reason, number in each.exits.items():
                exits[reasons.get(reason, str(reason))] += number
        native = [each.native for each in self._counts]
        exits["DEBUG"] += sum(each.passed for each in native)
        runs = sum(each.runs for each in native)
        exits["(a kick)"] = runs - exits.total()
        requests = abi.names()
        calls = self.port.calls.items()
        ioctls = Counter({requests.get(request, hex(request)): n for request, n in calls})
        ioctls["KVM_RUN"] = runs
        ioctls["KVM_GET_ONE_REG"] = sum(each.gets + each.native.gets for each in self._counts)
        ioctls["KVM_SET_ONE_REG"] = sum(each.sets + each.native.sets for each in self._counts)
        ioctls["KVM_SET_GUEST_DEBUG"] += sum(each.debugs for each in native)
        return {"exits": exits, "ioctls": ioctls}

    # Life.

    def _create(self) -> None:
        config, board, port = self._config, self._board, self.port
        self._watchdog = Watchdog()
        self.vm = ioctl(port, self._kvm, abi.CREATE_VM, self._vm_type())
        ioctl(port, self.vm, abi.SET_USER_MEMORY_REGION, self.ram.region)
        self._report_undecoded_accesses()
        self.features = features.choose(config.cpu, self.extension)
        if self.features.mte:
            self._enable(abi.CAP_ARM_MTE)
        run_size = ioctl(port, self._kvm, abi.GET_VCPU_MMAP_SIZE)
        for index in range(config.vcpus):
            vcpu = KvmVcpu(
                port,
                ioctl(port, self.vm, abi.CREATE_VCPU, index),
                run_size,
                index,
                board.mmio,
                self._counter.clock,
                self._counts[index],
                self._exclusive,
                self._watchdog,
                self.ram.native,
                config.vcpus == 1,
            )
            self._vcpus = *self._vcpus, vcpu
        self.vector_length = features.initialise(
            port, self.vm, self._vcpus, config.cpu, self.features
        )
        board.build(self)
        if self.features.pmu:
            features.start_pmu(self._vcpus, board.pmu_intid)
        board.boot(self)
        listed = self._vcpus[0].listed()
        # Time begins with the first instruction, however long a debugger looks at it.
        self._counter.stop()
        self.system_registers = [row for row in SYSTEM_REGISTERS.values() if row.id in listed]
        for vcpu in self._vcpus:
            vcpu.start(self._debug_exit, self._park)

    def _first(self) -> KvmVcpu:
        return self._vcpus[0]

    def _vm_type(self) -> int:
        """Choose KVM_CREATE_VM's argument: physical address bits, or 0 for the default of 40."""
        bits = self.extension(abi.CAP_ARM_VM_IPA_SIZE)
        if not 0 < bits < _DEFAULT_IPA_BITS:
            return 0
        if self._config.ram_base + self._config.ram_size > 1 << bits:
            raise InputError(
                f"{self._config.ram_size >> 20} MiB of RAM at {self._config.ram_base:#x} need more "
                f"than the {bits} bits of physical address of a guest on this host; give less"
            )
        return bits

    def _report_undecoded_accesses(self) -> None:
        """Have KVM exit for an access without syndrome instead of failing KVM_RUN."""
        if self.extension(abi.CAP_ARM_NISV_TO_USER) > 0:
            self._enable(abi.CAP_ARM_NISV_TO_USER)

    def _enable(self, capability: int) -> None:
        cap = ffi.new("struct kvm_enable_cap *")
        cap.cap = capability
        ioctl(self.port, self.vm, abi.ENABLE_CAP, cap)

    def reset(self) -> None:
        """Start over with a new VM (``Resettable``): VCPU_INIT alone does not reset the vGIC."""
        self._destroy()
        self.ram.clear()
        self._counter.forget()
        try:
            self._create()
        except BaseException:
            self._destroy()  # without threads, its vCPUs would never come to rest
            raise

    def close(self) -> None:
        """Release everything; safe at any time and more than once."""
        self._closing = True
        self._destroy()
        self.ram.close()
        if self._kvm >= 0:
            os.close(self._kvm)
            self._kvm = -1

    def _destroy(self) -> None:
        for vcpu in self._vcpus:
            vcpu.stop()
        self._watchdog.close()
        for vcpu in self._vcpus:
            vcpu.close()
        self._vcpus = ()
        if self.vm >= 0:
            os.close(self.vm)
            self.vm = -1

    # Memory.

    def _uncached(self) -> bool:
        """Return True if a vCPU may access RAM past the caches.

        A vCPU that runs cannot be asked, and so counts as one, but by its own thread if there is no
        other. Another thread's question would come between that one's calls.
        """
        if self._running and (len(self._vcpus) > 1 or not self._vcpus[0].is_this_thread):
            return True
        return any(vcpu.uncached for vcpu in self._vcpus)

    def read_memory(self, ipa: int, length: int) -> bytes:
        """Read RAM, short where it ends or is broken (``Machine.read_memory``)."""
        return self.ram.read(ipa, length)

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        """Write RAM, for instruction fetches too (``Machine.write_memory``).

        The guest is killed with this process, so what is *temporary* is nothing special.
        """
        self.ram.write(ipa, data)

    # Stop and go.

    def arm(self, debug: DebugRegisters) -> None:
        """Set the comparators; each vCPU gets them before it runs again."""
        self._debug = debug

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        """Run the vCPUs that are keys (``Machine.resume``)."""
        for index, mode in modes.items():
            self._vcpus[index].arm(mode, self._debug)
        self._counter.go_on()
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

    def interrupt(self) -> None:
        """Park every vCPU soon (``Machine.interrupt``)."""
        with self._lock:
            if self._running:
                self._stop_world()

    def _stop_world(self) -> None:
        """Stop every vCPU; under the lock, so that none can be resumed meanwhile."""
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
        """Let the others run again (``Machine.end_exclusive``)."""
        if len(self._vcpus) > 1:
            self._exclusive.end_exclusive(self._vcpus[vcpu])

    def pass_over(self, vcpu: int, hit: FalseHit) -> None:
        """Pass over hits like *hit* (``PassesOver.pass_over``)."""
        self._vcpus[vcpu].false_hits.add(hit)

    def take_passed(self, vcpu: int) -> Sequence[tuple[FalseHit, int]]:
        """Return how many hits were passed over (``PassesOver.take_passed``)."""
        return self._vcpus[vcpu].false_hits.take()

    def _debug_exit(self, exit: DebugExit) -> RunMode | None:
        return self.listener.debug_exit(exit)

    def _park(self, exit: Exit | None) -> None:
        """Note that a vCPU has parked, on its own thread; the last one calls the listener."""
        with self._lock:
            if exit is not None:
                self._exits.append(exit)
            self._running -= 1
            last = self._running == 0
            if not last and not self._closing:  # else all are told already, and some are gone
                self._stop_world()
        if last and not self._closing:
            # The guest's time stands still from here: it must not see how long we look at it.
            self._counter.stop_or_warn()
            self.listener.parked(self._exits)
