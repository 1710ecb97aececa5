"""Access to host memory by A64 instructions, for what Python and libc do not offer.

A copy that survives a memory error of the host, and cache maintenance to the point of
coherency. There is no compiler at install, so each is A64 words, with their text beside them;
nothing here runs on any other architecture. It knows nothing of a guest.
"""

import functools
import mmap
import signal
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from gdbstub.errors import MachineError
from gdbstub.kvm import abi
from gdbstub.kvm.abi import CData, ffi

#: Words and their text; an address in the text is relative to its own line (``.``).
Code = tuple[tuple[int, str], ...]

#: The handler of SIGBUS, a memory error for the most part: x1 has the siginfo_t, x2 the
#: ucontext_t, whose registers the thread goes on with. An error that nobody has met yet
#: (BUS_MCEERR_AO) may wait until somebody does. At an access of this file's own, the function
#: returns 1. A KVM_RUN that the signal has ended fails with EHWPOISON instead of EINTR. All
#: else is as deadly as ever. Source: linux/arch/arm64/include/uapi/asm/sigcontext.h,
#: linux/include/uapi/asm-generic/siginfo.h, linux/mm/memory-failure.c.
ON_SIGBUS: Final[Code] = (
    (0xB9400823, "ldr w3, [x1, #8]"),  # si_code
    (0x7100147F, "cmp w3, #5"),  # BUS_MCEERR_AO
    (0x54000240, "b.eq . + 72"),
    (0xF940DC44, "ldr x4, [x2, #440]"),  # pc
    (0x10FFFF85, "adr x5, . - 16"),
    (0xCB050084, "sub x4, x4, x5"),
    (0xF140049F, "cmp x4, #4096"),  # within this page
    (0x54000123, "b.lo . + 36"),
    (0xF9405C44, "ldr x4, [x2, #184]"),  # x0
    (0xB100109F, "cmn x4, #4"),  # -EINTR
    (0x54000161, "b.ne . + 44"),
    (0x7100107F, "cmp w3, #4"),  # BUS_MCEERR_AR
    (0x54000121, "b.ne . + 36"),
    (0x92801084, "mov x4, #-133"),  # -EHWPOISON
    (0xF9005C44, "str x4, [x2, #184]"),
    (0xD65F03C0, "ret"),
    # Go on at the caller's, with 1.
    (0xF940D444, "ldr x4, [x2, #424]"),  # x30
    (0xF900DC44, "str x4, [x2, #440]"),
    (0xD2800024, "mov x4, #1"),
    (0xF9005C44, "str x4, [x2, #184]"),
    (0xD65F03C0, "ret"),
    # rt_sigaction(SIGBUS, what stands behind the code, NULL, 8): SIG_DFL.
    (0xD28000E0, "mov x0, #7"),
    (0x100001E1, "adr x1, . + 60"),
    (0xD2800002, "mov x2, #0"),
    (0xD2800103, "mov x3, #8"),
    (0xD28010C8, "mov x8, #134"),
    (0xD4000001, "svc #0"),
    # kill(getpid(), SIGBUS)
    (0xD2801588, "mov x8, #172"),
    (0xD4000001, "svc #0"),
    (0xD28000E1, "mov x1, #7"),
    (0xD2801028, "mov x8, #129"),
    (0xD4000001, "svc #0"),
    (0xD65F03C0, "ret"),
    *[(0, "udf #0")] * 8,
)

#: ``int copy(to, from, length)``. No word is ever half-written where *to* and *length* are
#: multiples of 4: each half of an STP is a single access (Arm ARM B2.2.1). A C library's copy
#: promises nothing, and may be one by SVE, of which QEMU's TCG does not see that it writes code.
COPY: Final[Code] = (
    (0xF1002042, "subs x2, x2, #8"),
    (0x54000083, "b.lo . + 16"),
    (0x28C11023, "ldp w3, w4, [x1], #8"),
    (0x28811003, "stp w3, w4, [x0], #8"),
    (0x17FFFFFC, "b . - 16"),
    (0x36100062, "tbz w2, #2, . + 12"),
    (0xB8404423, "ldr w3, [x1], #4"),
    (0xB8004403, "str w3, [x0], #4"),
    (0x36080062, "tbz w2, #1, . + 12"),
    (0x78402423, "ldrh w3, [x1], #2"),
    (0x78002403, "strh w3, [x0], #2"),
    (0x36000062, "tbz w2, #0, . + 12"),
    (0x39400023, "ldrb w3, [x1]"),
    (0x39000003, "strb w3, [x0]"),
    (0xD2800000, "mov x0, #0"),
    (0xD65F03C0, "ret"),
)

#: ``int read(to, from, length)``: the same by wider accesses. So much is read of a guest at rest.
READ: Final[Code] = (
    (0xF1008042, "subs x2, x2, #32"),
    (0x540000C3, "b.lo . + 24"),
    (0xA8C11023, "ldp x3, x4, [x1], #16"),
    (0xA8C11825, "ldp x5, x6, [x1], #16"),
    (0xA8811003, "stp x3, x4, [x0], #16"),
    (0xA8811805, "stp x5, x6, [x0], #16"),
    (0x17FFFFFA, "b . - 24"),
    (0x91008042, "add x2, x2, #32"),
    *COPY,
)

#: ``int clean(start, end)``: clean and invalidate to the point of coherency.
CLEAN: Final[Code] = (
    (0xD53B0022, "mrs x2, ctr_el0"),
    (0xD3504C42, "ubfx x2, x2, #16, #4"),  # DminLine
    (0xD2800083, "mov x3, #4"),
    (0x9AC22062, "lsl x2, x3, x2"),
    (0xD1000443, "sub x3, x2, #1"),
    (0x8A230000, "bic x0, x0, x3"),
    (0xD50B7E20, "dc civac, x0"),
    (0x8B020000, "add x0, x0, x2"),
    (0xEB01001F, "cmp x0, x1"),
    (0x54FFFFA3, "b.lo . - 12"),
    (0xD5033F9F, "dsb sy"),
    (0xD2800000, "mov x0, #0"),
    (0xD65F03C0, "ret"),
)

#: ``int same(pairs, count)``: whether each address still holds the word beside it.
SAME: Final[Code] = (
    (0xB40000E1, "cbz x1, . + 28"),
    (0xA8C10C02, "ldp x2, x3, [x0], #16"),
    (0xF9400042, "ldr x2, [x2]"),
    (0xEB03005F, "cmp x2, x3"),
    (0x540000A1, "b.ne . + 20"),
    (0xD1000421, "sub x1, x1, #1"),
    (0x17FFFFFA, "b . - 24"),
    (0xD2800000, "mov x0, #0"),
    (0xD65F03C0, "ret"),
    (0xD2800020, "mov x0, #1"),
    (0xD65F03C0, "ret"),
)

_WORD: Final = 8
#: Places for words; a thread that reads takes one out meanwhile.
_words: Final[list[CData]] = []


class _Functions(NamedTuple):
    copy: CData
    read: CData
    clean: CData
    same: CData
    page: mmap.mmap  # that they stand in


def executable(*codes: Code) -> tuple[list[int], mmap.mmap]:
    """Map *codes* together, executable; return their addresses, and the page to keep.

    Raises:
        MachineError: this process may not execute memory that it has written.
    """
    parts = [b"".join(word.to_bytes(4, "little") for word, _ in code) for code in codes]
    image = b"".join(parts)
    try:
        page = mmap.mmap(
            -1,
            mmap.PAGESIZE,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
            prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
        )
    except OSError as error:
        raise MachineError(
            f"this process may not have memory that is both written and executed: {error.strerror}"
        ) from error
    page[: len(image)] = image
    start = int(ffi.cast("uintptr_t", ffi.from_buffer(page)))
    abi.clear_cache()(ffi.cast("char *", start), ffi.cast("char *", start + len(image)))
    return list(accumulate(map(len, parts[:-1]), initial=start)), page


@functools.cache
def _functions() -> _Functions:
    """Map the functions, executable, and handle SIGBUS by ``ON_SIGBUS``.

    Raises:
        MachineError: this process may not execute memory that it has written.
    """
    (on_sigbus, *addresses), page = executable(ON_SIGBUS, COPY, READ, CLEAN, SAME)
    copy, read, clean, same = addresses
    abi.handle_signal(signal.SIGBUS, on_sigbus)
    return _Functions(
        ffi.cast("int (*)(uintptr_t, uintptr_t, size_t)", copy),
        ffi.cast("int (*)(uintptr_t, uintptr_t, size_t)", read),
        ffi.cast("int (*)(uintptr_t, uintptr_t)", clean),
        ffi.cast("int (*)(uint64_t *, size_t)", same),
        page,
    )


def survive() -> None:
    """Survive memory errors of the host from now on: a copy reports them."""
    _functions()


def read(address: int, length: int) -> bytes | None:
    """Read the bytes at *address*; None where a memory error is among them."""
    if length <= _WORD:
        return _read_word(address, length)
    data = bytearray(length)
    to = int(ffi.cast("uintptr_t", ffi.from_buffer(data)))
    return None if _functions().read(to, address, length) else bytes(data)


def _read_word(address: int, length: int) -> bytes | None:
    """Read up to 8 bytes, such as a descriptor or an instruction, into a buffer that is kept."""
    try:
        word = _words.pop()
    except IndexError:
        word = ffi.new("uint64_t *")
    failed = _functions().copy(int(ffi.cast("uintptr_t", word)), address, length)
    data: bytes = ffi.buffer(word, length)[:]
    _words.append(word)
    return None if failed else data


def write(address: int, data: bytes) -> bool:
    """Write *data*, by whole words where it has any; return False at a memory error."""
    source = int(ffi.cast("uintptr_t", ffi.from_buffer(data)))
    return not _functions().copy(address, source, len(data))


def clean(address: int, length: int) -> bool:
    """Clean and invalidate the lines of a range to the point of coherency (DC CIVAC).

    Returns False at a memory error.
    """
    return not _functions().clean(address, address + length)


def unchanged(words: Sequence[tuple[int, int]]) -> Callable[[], bool]:
    """Return a function that is True while each address holds the word beside it."""
    pairs = ffi.new("uint64_t[]", [each for pair in words for each in pair])
    same, count = _functions().same, len(words)
    return lambda: not same(pairs, count)
