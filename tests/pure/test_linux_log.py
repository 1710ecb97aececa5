"""The kernel's log, read from forged rings, sound and damaged."""

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import MemoryFault, NotFound, StubError
from gdbstub.linux import log, vmcoreinfo
from gdbstub.linux.vmcoreinfo import VmcoreInfo

RING, DESCRIPTORS, INFOS, TEXT, POINTER = (0x1000 * n for n in range(1, 6))
COUNT_BITS, SIZE_BITS = 3, 8
LAYOUT = """\
OSRELEASE=6.1.0-57-cloud-arm64
BUILD-ID=00
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffff800009a6b3b8
SYMBOL(swapper_pg_dir)=ffff80000938f000
SYMBOL(prb)=5000
SIZE(prb_desc)=24
SIZE(printk_info)=88
OFFSET(printk_ringbuffer.desc_ring)=0
OFFSET(printk_ringbuffer.text_data_ring)=48
OFFSET(prb_desc_ring.count_bits)=0
OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16
OFFSET(prb_desc_ring.head_id)=24
OFFSET(prb_desc_ring.tail_id)=32
OFFSET(prb_desc.state_var)=0
OFFSET(prb_desc.text_blk_lpos)=8
OFFSET(prb_data_blk_lpos.begin)=0
OFFSET(prb_data_blk_lpos.next)=8
OFFSET(prb_data_ring.size_bits)=0
OFFSET(prb_data_ring.data)=8
OFFSET(printk_info.ts_nsec)=8
OFFSET(printk_info.text_len)=16
OFFSET(atomic_long_t.counter)=0
NUMBER(kimage_voffset)=0xffff7fffc8000000
"""


def info(text: str = LAYOUT) -> VmcoreInfo:
    found = vmcoreinfo.parse(0, text.encode())
    assert found
    return found


class Guest:
    """Memory with a ring of eight descriptors and 256 bytes of text."""

    def __init__(self, *, fits: bool = False) -> None:
        """Begin empty; *fits* as of Linux 6.18: a text may end where the ring does."""
        self.fits = fits
        self.memory = bytearray(0x6000)
        self.at = 0
        self.number = 0
        self.put(POINTER, struct.pack("<Q", RING))
        self.put(RING, struct.pack("<I4xQQ", COUNT_BITS, DESCRIPTORS, INFOS))
        self.put(RING + 48, struct.pack("<I4xQ", SIZE_BITS, TEXT))

    def put(self, gva: int, data: bytes) -> None:
        self.memory[gva : gva + len(data)] = data

    def read(self, gva: int, length: int) -> bytes:
        if gva + length > len(self.memory):
            raise MemoryFault(f"nothing at {gva:#x}")
        return bytes(self.memory[gva : gva + length])

    def print(self, text: str, state: int = 2) -> None:
        data = text.encode()
        size = (8 + len(data) + 7) & -8
        begin, end = self.at, self.at + size
        if begin % 256 + size >= 256 + self.fits:  # as get_next_lpos does
            end = (begin // 256 + 1) * 256 + size
            self.put(TEXT + 8, data)
        else:
            self.put(TEXT + begin % 256 + 8, data)
        if not data:
            begin = end = 1
        index = self.number % 8
        self.put(
            DESCRIPTORS + 24 * index, struct.pack("<QQQ", state << 62 | self.number, begin, end)
        )
        about = struct.pack(
            "<QQHBB", self.number, self.number * 1_500_000_000, len(data), 0, 6 << 5
        )
        self.put(INFOS + 88 * index, about)
        self.put(RING + 24, struct.pack("<QQ", self.number, max(0, self.number - 7)))
        self.at, self.number = max(end, self.at), self.number + 1

    def said(self) -> list[str]:
        return [line for each in log.records(info(), self.read) for line in each.lines()]


def test_records_in_order_with_their_times() -> None:
    guest = Guest()
    for text in ("Booting Linux", "two\nlines", ""):
        guest.print(text)
    assert guest.said() == [
        "[    0.000000] Booting Linux",
        "[    1.500000] two",
        "[    1.500000] lines",
        "[    3.000000] ",
    ]
    assert [each.level for each in log.records(info(), guest.read)] == [6, 6, 6]


def test_a_guest_controls_no_terminal() -> None:
    guest = Guest()
    guest.print("a\ttab, \x1b]0;title\x07 and \x9b31m")
    assert guest.said() == ["[    0.000000] a\ttab, \\x1b]0;title\\x07 and \\x9b31m"]


def test_the_release_of_a_kernel_without_a_log_is_told_as_part_of_one_line() -> None:
    text = LAYOUT.replace("SYMBOL(prb)", "SYMBOL(old)").replace("6.1.0", "5.4\x1b[2J" + "x" * 9000)
    with pytest.raises(
        NotFound, match=r"^Linux 5.4\\x1b\[2Jx+ keeps its log otherwise; 5.10"
    ) as raised:
        next(log.records(info(text), Guest().read))
    assert len(str(raised.value)) < 200


def test_a_ring_that_has_gone_round_has_the_latest() -> None:
    guest = Guest()
    for number in range(20):
        guest.print(f"{number:05}")
    assert [line[15:] for line in guest.said()] == [f"{number:05}" for number in range(12, 20)]


def test_a_record_that_ends_where_the_ring_does() -> None:
    guest = Guest(fits=True)
    texts = [f"{number:056}" for number in range(4)]  # 64 bytes each with its id
    for text in texts:
        guest.print(text)
    assert [line[15:] for line in guest.said()] == texts


def test_a_record_that_is_being_written_is_left_out() -> None:
    guest = Guest()
    guest.print("whole")
    guest.print("half", state=0)
    guest.print("committed", state=1)
    assert [line[15:] for line in guest.said()] == ["whole", "committed"]


def test_a_kernel_without_this_ring() -> None:
    other = info(LAYOUT.replace("SYMBOL(prb)", "SYMBOL(log_buf)"))
    with pytest.raises(NotFound, match=r"Linux 6\.1\.0-57-cloud-arm64 keeps its log otherwise"):
        list(log.records(other, Guest().read))


@pytest.mark.parametrize(
    ("gva", "data", "why"),
    [
        (RING, b"\xff\xff\xff\xff", "is damaged: room for"),
        (RING, b"\x1f\0\0\0", "is damaged: room for"),
        (RING + 48, b"\x3f\0\0\0", "is damaged: room for"),
        (RING + 8, b"\xff" * 8, "cannot be read: nothing at"),
        (POINTER, b"\xff" * 8, "cannot be read: nothing at"),
    ],
)
def test_a_damaged_ring_is_one_line(gva: int, data: bytes, why: str) -> None:
    guest = Guest()
    guest.print("text")
    guest.put(gva, data)
    with pytest.raises(NotFound, match=why):
        guest.said()


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 0x5FFF), st.binary(min_size=1, max_size=16))))
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, bytes]]) -> None:
    guest = Guest()
    for number in range(12):
        guest.print(f"line {number}")
    for gva, data in writes:
        guest.put(gva, data[: 0x6000 - gva])
    with suppress(StubError):
        assert len(list(log.records(info(), guest.read))) <= 1 << 20


_NUMBERED = [line.partition("=")[0] for line in LAYOUT.splitlines() if "(" in line]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(_NUMBERED),
        st.one_of(
            st.integers(-(1 << 63), (1 << 64) - 1), st.integers(-100, 100), st.just(-(1 << 62))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_layout_hangs_or_raises_anything_else(values: dict[str, int]) -> None:
    guest = Guest()
    for number in range(12):
        guest.print(f"line {number}")
    more = "".join(
        f"{name}={value:x}\n" if name.startswith("SYMBOL") else f"{name}={value}\n"
        for name, value in values.items()
    )
    with suppress(StubError):
        for record in log.records(info(LAYOUT + more), guest.read):
            assert all(line.replace("\t", " ").isprintable() for line in record.lines())


@pytest.mark.parametrize("line", ["SIZE(a)=-24", "OFFSET(a)=-1", "LENGTH(a)=-1", "SYMBOL(a)=-1"])
def test_what_cannot_be_below_zero_is_none(line: str) -> None:
    kind = line.partition("(")[0]
    with pytest.raises(NotFound, match=rf"has no {kind}\(a\)"):
        info(f"{LAYOUT}{line}\n").number(kind, "a")
    assert info(f"{LAYOUT}NUMBER(a)=-1\n").number("NUMBER", "a") == -1


def ram(*texts: tuple[int, bytes]) -> Callable[[int, int], bytes]:
    memory = bytearray(16 << 20)
    for at, text in texts:
        memory[at : at + len(text)] = text

    def read(ipa: int, length: int) -> bytes:
        if not 0x4000_0000 <= ipa < 0x4100_0000:
            raise MemoryFault("no RAM")
        return bytes(memory[ipa - 0x4000_0000 :][:length])

    return read


RAM = [range(0x4000_0000, 0x4100_0000)]


def test_vmcoreinfo_is_found_at_the_start_of_a_page() -> None:
    text = LAYOUT.encode() + b"\0"
    read = ram((0x123, text), (0x3000, b"OSRELEASE=no\0"), (0x40_0000, text))
    found = vmcoreinfo.find(RAM, read)
    assert found.ipa == 0x4040_0000
    assert found.release == "6.1.0-57-cloud-arm64"
    assert found.number("NUMBER", "kimage_voffset") == 0xFFFF_7FFF_C800_0000
    assert found.number("SYMBOL", "prb") == 0x5000
    assert vmcoreinfo.read_at(0x4040_0000, read) == found
    assert vmcoreinfo.read_at(0x4040_1000, read) is None
    assert vmcoreinfo.read_at(0x9000_0000, read) is None
    with pytest.raises(NotFound, match=r"has no OFFSET\(a\.b\)"):
        found.number("OFFSET", "a.b")


def test_without_it_that_is_said() -> None:
    with pytest.raises(NotFound, match="VMCOREINFO is not in RAM"):
        vmcoreinfo.find(RAM, ram())


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1" + "0" * 40, "0x1" + "0" * 16, "-1" + "0" * 20, ""]
)
def test_numbers_of_the_guest_s_have_64_bits(value: str) -> None:
    damaged = info(LAYOUT + f"NUMBER(VA_BITS)={value}\n")
    with pytest.raises(NotFound, match=r"has no NUMBER\(VA_BITS\)"):
        damaged.number("NUMBER", "VA_BITS")


def test_a_size_that_is_too_large_is_not_read() -> None:
    damaged = info(LAYOUT.replace("SIZE(prb_desc)=24", f"SIZE(prb_desc)={1 << 60}"))
    guest = Guest()
    guest.print("text")
    with pytest.raises(NotFound, match=f"damaged: records of {1 << 60} bytes"):
        list(log.records(damaged, guest.read))
