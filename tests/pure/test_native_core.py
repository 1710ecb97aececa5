"""The native core's plain functions, compiled for this machine, beside those of Python."""

import random
from collections.abc import Iterator
from typing import Final

import pytest

from gdbstub import rsp
from gdbstub.aarch64.instructions import does_nothing
from gdbstub.aarch64.mmu import Regime, translate
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import PSTATE, SCTLR, TCR
from gdbstub.errors import InputError, MemoryFault
from gdbstub.kvm import compiler
from gdbstub.kvm.abi import ffi
from tests.pure import native
from tests.pure.agent import StaticContext

SOUND: Final = bytes(range(1, 251)) * 4


def test_every_length_is_copied_and_nothing_beside_it() -> None:
    core = native.portable()
    for copy in core.memory_write, core.memory_read:
        for length in (*range(101), 255, 256, 257):
            to, start = length % 9, length % 5
            out = bytearray(0x400)
            source = ffi.from_buffer("uint8_t[]", SOUND)
            assert copy(ffi.from_buffer("uint8_t[]", out) + to, source + start, length) == 0
            assert out == (bytes(to) + SOUND[start : start + length]).ljust(0x400, b"\0")


def test_words_that_are_as_they_were() -> None:
    words = ffi.new("uint64_t[]", [0x0123_4567_89AB_CDE0 + n for n in range(4)])
    start = int(ffi.cast("uintptr_t", words))
    for count in range(5):
        for other in (None, *range(count)):
            held = [words[n] ^ (1 << 63 if n == other else 0) for n in range(count)]
            pairs = [each for n in range(count) for each in (start + 8 * n, held[n])]
            differ = native.portable().memory_same(ffi.new("uint64_t[]", pairs), count)
            assert bool(differ) == (other is not None)


def _payloads() -> Iterator[bytes]:
    chance = random.Random(1)
    for size in (*range(41), 1023, 4090):
        yield bytes(size)
        yield chance.randbytes(size)
        yield b"}" * size
        yield b"\xff" * size
        yield bytes(chance.choices(b'#$}*"%+|~\x00\xa3\xa4\xaa\xfd\x80a', k=size))
        yield bytes(max(0, size - 1)) + b"#"[:size]


def test_frames_are_those_that_python_makes() -> None:
    for payload in _payloads():
        out, checksum = bytearray(2 * len(payload) + 1), ffi.new("uint8_t *")
        buffer = ffi.from_buffer("uint8_t[]", out)
        size = native.portable().frame(buffer, payload, len(payload), checksum)
        assert b"$%b#%02x" % (bytes(out[:size]), checksum[0]) == rsp.encode(payload)


# Translations: all of RAM is tables, whose descriptors lead into it.

RAM: Final = range(0x4000_0000, 0x4004_0000)
_SIZES: Final = {12: (0, 2), 16: (1, 3), 14: (2, 1)}  # TG0 and TG1


def tables(chance: random.Random) -> bytearray:
    def descriptor() -> int:
        low = chance.choice((3, 3, 3, 3, 3, 1, 0)) | chance.getrandbits(10) << 2
        high = chance.choice((0, 0, chance.getrandbits(16))) << 48
        output = chance.choice((*[chance.choice(RAM)] * 9, chance.getrandbits(48))) & -4096
        return high | output & -(1 << chance.choice((12, 14, 16))) | low

    return bytearray(b"".join(descriptor().to_bytes(8, "little") for _ in range(len(RAM) // 8)))


def random_regime(chance: random.Random) -> tuple[Regime, bool]:
    """A regime, and True if its tables have a format that native code knows."""
    granule = chance.choice((12, 12, 14, 16))
    odd = {name: chance.random() < 0.03 for name in ("EE", "DS", "EPD0", "EPD1", "MMU off")}
    tg0, tg1 = _SIZES[granule]
    tcr = TCR.of(
        T0SZ=chance.choice((16, 17, 20, 25, 25, 34, 39, 48, 10)),
        T1SZ=chance.choice((16, 17, 20, 25, 25, 34, 39, 48, 63)),
        TG0=tg0, TG1=tg1, IPS=chance.choice((0, 2, 5, 5, 6)), DS=odd["DS"],
        EPD0=odd["EPD0"], EPD1=odd["EPD1"], TBI0=chance.getrandbits(1), TBI1=chance.getrandbits(1),
    )  # fmt: skip
    ttbr = [chance.choice(RAM) & -65536 | chance.getrandbits(16) << 48 for _ in range(2)]
    regime = Regime(SCTLR.of(M=not odd["MMU off"], EE=odd["EE"]), tcr, ttbr[0], ttbr[1], 48)
    return regime, granule != 16 and tcr.IPS < 6 and not (odd["EE"] or odd["DS"])


def test_translations_are_those_that_python_makes() -> None:
    chance = random.Random(2)
    known = 0
    for _ in range(3):
        image = tables(chance)

        def read(ipa: int, length: int, image: bytearray = image) -> bytes:
            if ipa not in RAM:
                raise MemoryFault(f"no RAM at {ipa:#x}")
            return bytes(image[ipa - RAM.start : ipa - RAM.start + length])

        hva = ffi.from_buffer("uint8_t[]", image)
        ram = ffi.new("struct ram *", [RAM.start, len(RAM), hva])
        for _ in range(1500):
            regime, common = random_regime(chance)
            upper = chance.getrandbits(1)
            bits = 64 - (regime.tcr.T1SZ if upper else regime.tcr.T0SZ)
            gva = chance.getrandbits(bits) | ((1 << 64) - (1 << bits) if upper else 0)
            if chance.random() < 0.1:
                gva ^= 1 << chance.randrange(64)
            try:
                expected = translate(regime, gva, read).ipa
            except MemoryFault:
                expected = None
            ipa = ffi.new("uint64_t *")
            sctlr, tcr, *ttbr = map(int, regime[:4])
            own = ffi.new("struct regime *", [sctlr, tcr, ttbr, 1])
            if native.portable().translate(ram, own, gva, ipa):
                assert expected is None or expected not in RAM or not common, (regime, hex(gva))
            else:
                known += 1
                assert ipa[0] == expected, (regime, hex(gva))
                assert expected in RAM
    assert known > 300


# Simulation.

_FORMS: Final = (
    (0x1400_0000, 0x03FF_FFFF), (0x5400_0000, 0x00FF_FFFF), (0x3400_0000, 0x81FF_FFFF),
    (0x3600_0000, 0x81FF_FFFF), (0x1100_0000, 0xC07F_FFFF), (0x3100_0000, 0xC07F_FFFF),
    (0x2A00_03E0, 0x801F_001F), (0x2A00_0000, 0x801F_FFFF), (0x1280_0000, 0xE07F_FFFF),
    (0x1000_0000, 0xE0FF_FFFF), (0xD503_201F, 0x0000_0FE0), (0x9400_0000, 0x03FF_FFFF),
    (0x0000_0000, 0xFFFF_FFFF),
)  # fmt: skip
#: YIELD, which Python knows for a NOP, too.
_YIELD: Final = 0xD503_203F


def test_effects_are_those_that_python_computes() -> None:
    chance = random.Random(3)
    known = 0
    for _ in range(20_000):
        value, free = chance.choice(_FORMS)
        word = value | chance.getrandbits(32) & free
        pc = chance.choice((0x4000_0100, 0xFFFF_8000_0801_0004, 0, 0x007F_FFFF_FFFF_FFFC))
        pstate = PSTATE(0x3C5 | chance.getrandbits(4) << 28)
        if chance.random() < 0.1:
            pstate = PSTATE(pstate | chance.choice((1 << 20, 1 << 10, 1 << 4, 3 << 10)))
        registers = {n: chance.choice((0, 1, chance.getrandbits(64))) for n in range(32)}
        found = effect(word, pc, pstate, registers.__getitem__)
        expected = found and (found.pc, -1 if found.register is None else found.register)
        if found is None and not pstate & PSTATE.of(BTYPE=3) and does_nothing(word, pstate):
            # Python lets it lead out of both halves of the addresses, too.
            known_to_it = word != _YIELD and pc + 4 >> 55 in (0, 0x1FF)
            expected = (pc + 4, -1) if known_to_it else None
        own = ffi.new("struct effect *")
        with native.guest(StaticContext(registers)) as guest:
            failed = native.portable().simulate(word, pc, int(pstate), guest, own)
        assert (None if failed else (own.pc, own.register_number)) == expected, hex(word)
        if found and found.register is not None:
            assert own.value == found.value, hex(word)
        known += not failed
    assert known > 5_000


# The compiler.


def test_a_missing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(compiler, "is_native", lambda: False)
    with pytest.raises(InputError) as caught:
        compiler.compiler()
    assert str(caught.value) == (
        "aarch64-linux-gnu-gcc, which compiles gdbstub's native core, is not installed: "
        "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    )


def test_a_compiler_that_fails_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^false cannot compile .*: no message"):
        compiler.build(compiler.SOURCES / "never", "false")
