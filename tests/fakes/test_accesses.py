"""The range that a load or store accesses, compared with an emulator that executes it."""

import pytest

from gdbstub.aarch64.accesses import accessed
from gdbstub.aarch64.registers import PC, SP_EL1, X
from gdbstub.machine import DebugRegisters
from tests.fakes.assembler import assemble
from tests.fakes.machine import fake_machine
from tests.fakes.ram import BASE

DATA = BASE + 0x1_0000

INSTRUCTIONS = [
    *(f"{op} w1, [x0]" for op in ("ldr", "str", "ldrb", "strb", "ldrh", "strh", "ldrsb", "ldrsh")),
    *(f"{op} x1, [x0]" for op in ("ldr", "str", "ldrsb", "ldrsw", "ldar", "stlr", "ldxr", "ldaxr")),
    "ldr x1, [x0, #4088]", "str w1, [x0, #4]", "ldrh w1, [x0, #6]", "ldr x1, [sp, #16]",
    "ldur x1, [x0, #-7]", "stur w1, [x0, #255]", "ldr x1, [x0], #8", "str x1, [x0, #-8]!",
    "ldtr x1, [x0, #3]", "sttrb w1, [x0, #-256]", "stp x29, x30, [sp, #-16]!",
    "ldr x1, [x0, x2]", "ldr x1, [x0, x2, lsl #3]", "ldr w1, [x0, w3, sxtw]",
    "ldr w1, [x0, w3, sxtw #2]", "strb w1, [x0, w2, uxtw]", "ldr x1, [x0, x3, sxtx]",
    "ldr x1, [x0, xzr]", "ldr x1, . + 64", "ldr w1, . - 4", "ldrsw x1, . + 8", "ldr q1, . + 16",
    "ldp x1, x2, [x0]", "ldp w1, w2, [x0, #8]", "stp x1, x2, [x0, #-512]", "ldp x1, x2, [x0], #16",
    "stp x1, x2, [x0, #-16]!", "ldpsw x1, x2, [x0, #4]", "ldnp x1, x2, [x0, #16]",
    *(f"{op} {r}1, [x0]" for op in ("ldr", "str") for r in "bhsdq"),
    "ldr q1, [x0, #32]", "ldr d1, [x0, x2, lsl #3]", "str q1, [x0, x2, lsl #4]",
    "ldr q1, [x0], #16",
    "ldp q1, q2, [x0, #32]", "stp d1, d2, [x0, #-64]", "ldp s1, s2, [x0]", "ldnp q1, q2, [x0]",
    "ldxrb w1, [x0]", "ldxp x1, x2, [x0]", "ldxp w1, w2, [x0]", "ldaxp x1, x2, [x0]",
    "ld1 {v1.16b}, [x0]", "ld1 {v1.8b, v2.8b}, [x0]", "ld1 {v1.16b, v2.16b, v3.16b}, [x0], #48",
    "ld2 {v1.4s, v2.4s}, [x0]", "ld3 {v1.8h, v2.8h, v3.8h}, [x0]",
    "st4 {v1.2d, v2.2d, v3.2d, v4.2d}, [x0], x2", "st1 {v1.2d, v2.2d, v3.2d, v4.2d}, [x0]",
    "ld1 {v1.b}[3], [x0]", "ld1 {v1.h}[1], [x0]", "st1 {v1.s}[2], [x0]", "ld1 {v1.d}[1], [x0], #8",
    "ld2 {v1.s, v2.s}[1], [x0]", "st4 {v1.b, v2.b, v3.b, v4.b}[7], [x0]",
    "ld3 {v1.d, v2.d, v3.d}[0], [x0]", "ld1r {v1.4s}, [x0]", "ld2r {v1.8b, v2.8b}, [x0]",
    "ld4r {v1.2d, v2.2d, v3.2d, v4.2d}, [x0]",
]  # fmt: skip


@pytest.mark.parametrize("text", INSTRUCTIONS)
def test_decoded_as_executed(text: str) -> None:
    image = assemble(f".arch armv8.5-a\nnop; nop; {text}")
    machine = fake_machine(image)
    try:
        vcpu = machine.vcpus[0]
        for register, value in {X[0]: DATA, X[2]: 0x40, X[3]: 0xFFFF_FFF0, SP_EL1: DATA}.items():
            vcpu.set(register, value)
        vcpu.set(PC, BASE + 8)

        def x(number: int) -> int:
            return vcpu.get(X[number] if number < 31 else SP_EL1)

        decoded = accessed(int.from_bytes(image[8:12], "little"), BASE + 8, x)
        vcpu.arm(DebugRegisters(watchpoints=((0x1FE1, 0),)))
        assert vcpu.turn(step=True) is not None
        executed = {a.address + n for a in vcpu.accesses for n in range(a.size)}
    finally:
        machine.close()
    assert decoded is not None
    assert executed
    assert set(decoded) == executed


@pytest.mark.parametrize(
    "text",
    [
        "nop",
        "add x0, x0, #1",
        "b .",
        "dc ivac, x0",
        "dc zva, x0",
        "ldraa x1, [x0]",
        "ldr z0, [x0]",
        "mrs x0, daif",
    ],
)
def test_what_is_not_known_is_none(text: str) -> None:
    word = int.from_bytes(assemble(f".arch armv8.5-a+sve\n{text}"), "little")
    assert accessed(word, BASE, lambda _: DATA) is None


@pytest.mark.parametrize("text", ["dc zva, x0", "dc gva, x0", "dc gzva, x0"])
@pytest.mark.parametrize(("dczid", "size"), [(0, 4), (4, 64), (7, 512), (9, 2048)])
def test_a_zeroed_block_is_aligned_to_its_size(text: str, dczid: int, size: int) -> None:
    word = int.from_bytes(assemble(f".arch armv8.5-a+memtag\n{text}"), "little")
    for gva in DATA, DATA + size - 1, 0xF8FF_8000_0000_0000 + 3 * size // 2:
        start = gva - gva % size
        found = accessed(word, BASE, lambda _, gva=gva: gva, lambda: dczid)  # type: ignore[misc]
        assert found == range(start, start + size)


# The emulator executes them as NOPs: it has no allocation tags.
@pytest.mark.parametrize(
    ("text", "offset", "size"),
    [
        ("stg x1, [x0]", 0, 16),
        ("stg x1, [x0, #-16]", -16, 16),
        ("stzg x1, [x0], #32", 0, 16),
        ("st2g sp, [x0, #4080]!", 4080, 32),
        ("stz2g x1, [x0, #-4096]", -4096, 32),
        ("stgp x1, x2, [x0]", 0, 16),
        ("stgp x1, x2, [x0], #-32", 0, 16),
        ("stgp x1, x2, [x0, #-1024]!", -1024, 16),
    ],
)
def test_tags_are_stored_for_whole_granules(text: str, offset: int, size: int) -> None:
    word = int.from_bytes(assemble(f".arch armv8.5-a+memtag\n{text}"), "little")
    assert accessed(word, BASE, lambda _: DATA) == range(DATA + offset, DATA + offset + size)


# Newer than the emulator and the assembler: words as LLVM makes them.
@pytest.mark.parametrize(
    ("word", "offset", "size"),
    [
        (0x99000A18, -8, 8),  # stilp w24, w0, [x16, #-8]!
        (0xD9010A39, -16, 16),  # stilp x25, x1, [x17, #-16]!
        (0x99021A5A, 0, 8),  # stilp w26, w2, [x18]
        (0x99440A9C, 0, 8),  # ldiapp w28, w4, [x20], #8
        (0xD9471AFF, 0, 16),  # ldiapp xzr, x7, [x23]
        (0x998009E3, -4, 4),  # stlr w3, [x15, #-4]!
        (0xD9800BE3, -8, 8),  # stlr x3, [sp, #-8]!
        (0x99C009E3, 0, 4),  # ldapr w3, [x15], #4
        (0xD9C009E3, 0, 8),  # ldapr x3, [x15], #8
        (0x1D1FF9E3, -1, 1),  # stlur b3, [x15, #-1]
        (0x5D0029E3, 2, 2),  # stlur h3, [x15, #2]
        (0xDD5F79E3, -9, 8),  # ldapur d3, [x15, #-9]
        (0x1DC0ABE3, 10, 16),  # ldapur q3, [sp, #10]
        (0x4D0187E3, 0, 8),  # stl1 {v3.d}[1], [sp]
        (0xC95F7FE9, 0, 8),  # ldtxr x9, [sp]
        (0x8902FFE4, 0, 4),  # stltxr w2, w4, [sp]
        (0xE95FF455, 504, 16),  # ldtp x21, x29, [x2, #504]
        (0xE88117E3, 0, 16),  # sttp x3, x5, [sp], #16
        (0xEDE07437, -1024, 32),  # ldtp q23, q29, [x1, #-1024]!
        (0xC9807C41, 0, 8),  # cast x0, x1, [x2]
        (0x49807C82, 0, 16),  # caspt x0, x1, x2, x3, [x4]
        (0x192784BF, 0, 4),  # swpt w7, wzr, [x5]
        (0x592907FF, 0, 8),  # ldtadd x9, xzr, [sp]
        (0x38209081, 0, 8),  # rcwclr x0, x1, [x4]
        (0x7863A3E5, 0, 8),  # rcwsswpl x3, x5, [sp]
        (0x1920A081, 0, 16),  # rcwswpp x1, x0, [x4]
        (0x59200C86, 0, 16),  # rcwscasp x0, x1, x6, x7, [x4]
    ],
)
def test_newer_architectures(word: int, offset: int, size: int) -> None:
    assert accessed(word, BASE, lambda _: DATA) == range(DATA + offset, DATA + offset + size)


@pytest.mark.parametrize(
    "word",
    [
        0xDC000000,  # a literal that would be a vector's prefetch
        0xF9C00000,  # ldr with size 3 and opc 3
        0xB9C00000,  # ldr with size 2 and opc 3
        0x7D800000,  # a vector of 16 bytes with size 1
        0xF8800400,  # a prefetch with post-index
        0x3C000800,  # an unprivileged vector
        0xF8600800,  # a register offset with option 0
        0x68400000,  # ldnp with the encoding of ldpsw
        0xB8309000,  # ld<op> with the encoding of st64b, of 4 bytes
        0x0D00C000,  # st1r
        0x8C407000,  # ld1 with bit 31
        0xCDC00000,
    ],
)
def test_what_is_not_allocated_is_none(word: int) -> None:
    assert accessed(word, BASE, lambda _: DATA) is None


@pytest.mark.parametrize("text", ["prfm pldl1keep, [x0]", "prfm pldl1keep, . + 8", "prfum 0, [x0]"])
def test_a_prefetch_accesses_nothing(text: str) -> None:
    found = accessed(int.from_bytes(assemble(text), "little"), BASE, lambda _: DATA)
    assert found is not None
    assert len(found) == 0
