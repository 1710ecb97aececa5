"""A VMM as a process of its own whose vCPUs count in x0, and that goes by ``kvm_run`` alone.

Like kvmtool it looks at the reason of an exit whatever KVM_RUN has returned; at one for a debugger
it ends. It makes threads all the while, hundreds a second, each of which ends at once. As VMMs in
Rust do, it copies the descriptors of its VM and vCPUs, and runs these by the copies.

SIGUSR1 has its vCPUs pause outside of KVM_RUN, SIGUSR2 go on, and SIGHUP has each of them fork a
process; it says when that is so. First it says its process id and the address of its RAM.
"""

import contextlib
import fcntl
import mmap
import os
import signal
import threading
from functools import partial
from typing import Final

from gdbstub.kvm import abi
from gdbstub.kvm.abi import ffi
from tests.contract.programs import BASE, COUNT

SIZE: Final = 1 << 16
VCPUS: Final = 2
#: The exit status after an exit for a debugger.
SAW_DEBUG_EXIT: Final = 4
#: The exit status of a process that it forks, and of the VMM if that had another.
FORKED: Final = 6
LOST_A_CHILD: Final = 5

#: Time after which a thread is signalled again, in seconds.
_AGAIN: Final = 0.05

_PC: Final = 0x6030_0000_0010_0040
_SIGNALS: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)


class Vm:
    """The VM."""

    def __init__(self) -> None:
        """Make it, with RAM and vCPUs."""
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self._fd = fcntl.ioctl(kvm, abi.CREATE_VM, 0)
        self._copy = os.dup(self._fd)
        self._ram = mmap.mmap(-1, SIZE)
        self._ram[: len(COUNT.image)] = COUNT.image
        self.hva = int(ffi.cast("uintptr_t", ffi.from_buffer(self._ram)))
        region = ffi.new("struct kvm_userspace_memory_region *")
        region.guest_phys_addr, region.memory_size, region.userspace_addr = BASE, SIZE, self.hva
        _ioctl(self._fd, abi.SET_USER_MEMORY_REGION, region)
        self._pause = Pause()
        self._vcpus = [Vcpu(self._fd, number, self._pause) for number in range(VCPUS)]

    def start(self) -> None:
        """Run it."""
        for vcpu in self._vcpus:
            vcpu.start()

    def take(self, signum: int) -> None:
        """Pause, go on, or fork."""
        if signum == signal.SIGUSR2:
            self._pause.end()
            return
        if signum == signal.SIGUSR1:
            self._pause.begin()
        for vcpu in self._vcpus:
            if signum == signal.SIGUSR1:
                done = partial(self._pause.holds, vcpu)
            else:
                vcpu.forked.clear()
                done = partial(vcpu.forked.wait, _AGAIN)
            # It may not have been in KVM_RUN when the signal came. A debugger stops it at each.
            while not done():
                signal.pthread_kill(vcpu.ident or 0, signal.SIGALRM)


class Pause:
    """Pause of all vCPUs: asked for or not, and the threads that are in one.

    A thread that has no time between two pauses stays in the first, which is then the second.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = False
        self._in_it: set[threading.Thread] = set()

    def begin(self) -> None:
        """Ask for one."""
        with self._changed:
            self._asked = True

    def end(self) -> None:
        """Let all go on."""
        with self._changed:
            self._asked = False
            self._changed.notify_all()

    def holds(self, thread: threading.Thread) -> bool:
        """Return True once *thread* is in it; False if that takes long."""
        with self._changed:
            return self._changed.wait_for(lambda: thread in self._in_it, _AGAIN)

    def take(self, thread: threading.Thread) -> None:
        """Wait for the end of one that is asked for, in *thread*."""
        with self._changed:
            if self._asked:
                self._in_it.add(thread)
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._asked)
                self._in_it.remove(thread)


class Vcpu(threading.Thread):
    """A vCPU, and the thread that runs it but for a *pause*."""

    def __init__(self, vm: int, number: int, pause: Pause) -> None:
        super().__init__(daemon=True)
        self._fd = fcntl.ioctl(vm, abi.CREATE_VCPU, number)
        init = ffi.new("struct kvm_vcpu_init *")
        _ioctl(vm, abi.ARM_PREFERRED_TARGET, init)
        _ioctl(self._fd, abi.ARM_VCPU_INIT, init)
        pc = ffi.new("uint64_t *", BASE)
        register = ffi.new("struct kvm_one_reg *", [_PC, int(ffi.cast("uintptr_t", pc))])
        _ioctl(self._fd, abi.SET_ONE_REG, register)
        self._page = mmap.mmap(self._fd, mmap.PAGESIZE)
        self._copy = os.dup(self._fd)
        self._run = ffi.cast("struct kvm_run *", ffi.from_buffer(self._page))
        self._pause = pause
        self.forked = threading.Event()
        self.forked.set()

    def run(self) -> None:
        while True:
            if not self.forked.is_set():
                _fork()
                self.forked.set()
            self._pause.take(self)
            with contextlib.suppress(InterruptedError):
                fcntl.ioctl(self._copy, abi.RUN, 0)
            if self._run.exit_reason == abi.EXIT_DEBUG:
                os._exit(SAW_DEBUG_EXIT)


def _ioctl(fd: int, request: int, structure: abi.CData) -> None:
    fcntl.ioctl(fd, request, ffi.buffer(structure))


def _fork() -> None:
    if (child := os.fork()) == 0:
        os._exit(FORKED)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != FORKED:
        os._exit(LOST_A_CHILD)


def _make_threads() -> None:
    rest = threading.Event()
    while not rest.wait(0.002):  # else it takes all the time that there is
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    signal.signal(signal.SIGALRM, lambda *_: None)
    vm = Vm()
    vm.start()
    threading.Thread(target=_make_threads, daemon=True).start()
    print(os.getpid(), vm.hva, flush=True)
    while True:
        vm.take(signum := signal.sigwait(_SIGNALS))
        print(int(signum), flush=True)


if __name__ == "__main__":
    main()
