import xml.etree.ElementTree as ET

import pytest

from gdbstub.aarch64.architecture import AARCH64
from gdbstub.aarch64.registers import (
    CORE,
    FPSIMD,
    FPU,
    GENERAL,
    PAC_MASKS,
    PAUTH,
    SYSTEM,
    SYSTEM_REGISTERS,
    TLS,
    TPIDR,
    V,
    X,
)
from gdbstub.aarch64.sve import SVE, sve_registers, vector_lengths
from gdbstub.aarch64.sysreg import ESR, PSTATE, TCR
from gdbstub.architecture import Register
from gdbstub.protocol.packets.target_description import target_xml

LENGTHS = tuple(range(128, 2048 + 1, 128))


def every(bits: int = 0) -> tuple[Register, ...]:
    vectors = sve_registers(bits) if bits else FPSIMD
    return (*GENERAL, *vectors, *PAC_MASKS, TPIDR, *SYSTEM_REGISTERS.values())


EVERY = every()


def root(rows: tuple[Register, ...] = EVERY) -> ET.Element:
    return ET.fromstring(target_xml(AARCH64, rows))


def fields(flags: str) -> dict[str, tuple[int, int]]:
    """The fields of one flags type: first and last bit."""
    (found,) = (each for each in root().iter("flags") if each.get("id") == flags)
    return {
        field.get("name", ""): (int(field.get("start", "")), int(field.get("end", "")))
        for field in found
    }


@pytest.mark.parametrize("bits", [0, *LENGTHS])
def test_every_row_is_described_in_order(bits: int) -> None:
    described = [
        (reg.get("name"), reg.get("bitsize"), reg.get("type"), reg.get("regnum"))
        for reg in root(every(bits)).iter("reg")
    ]
    rows = [(row.name, str(row.bits), row.type, str(row.number)) for row in every(bits)]
    assert described == rows
    numbers = [row.number for row in every(bits)]
    assert numbers == sorted(set(numbers))


def test_what_gdb_must_be_told() -> None:
    assert root().findtext("architecture") == "aarch64"
    assert root().find("osabi") is None
    features = [feature.get("name") for feature in root().iter("feature")]
    assert features == [CORE, FPU, PAUTH, TLS, SYSTEM]
    # Never both kinds of vectors: GDB refuses such a description.
    features = [feature.get("name") for feature in root(every(256)).iter("feature")]
    assert features == [CORE, SVE, PAUTH, TLS, SYSTEM]


@pytest.mark.parametrize("bits", LENGTHS)
def test_sve_registers_are_as_wide_as_the_vectors_say(bits: int) -> None:
    sizes = {row.name: row.size for row in sve_registers(bits)}
    assert len(sizes) == 32 + 2 + 16 + 1 + 1
    assert {sizes[f"z{n}"] for n in range(32)} == {bits // 8}
    assert {sizes[name] for name in (*(f"p{n}" for n in range(16)), "ffr")} == {bits // 64}
    assert (sizes["fpsr"], sizes["fpcr"], sizes["vg"]) == (4, 4, 8)


def test_registers_of_the_same_length_are_the_same() -> None:
    assert sve_registers(512) is sve_registers(512)
    assert vector_lengths(0b1011) == (128, 256, 512)


def test_pauth_names_are_in_the_order_that_gdb_counts_them() -> None:
    (feature,) = (each for each in root().iter("feature") if each.get("name") == PAUTH)
    assert [reg.get("name") for reg in feature] == [
        "pauth_dmask", "pauth_cmask", "pauth_dmask_high", "pauth_cmask_high",
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [EVERY, every(128), every(384), every(2048)])
def test_every_type_is_defined_before_its_use(rows: tuple[Register, ...]) -> None:
    predefined = {"int", "data_ptr", "code_ptr", "ieee_double", "ieee_single", "ieee_half"}
    predefined |= {f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64, 128)}
    for feature in root(rows).iter("feature"):
        known = set(predefined)
        for element in feature.iter():
            if used := element.get("type"):
                assert used in known
            if defined := element.get("id"):
                assert defined not in known
                known.add(defined)


@pytest.mark.parametrize("bits", [0, *LENGTHS])
def test_a_vector_has_as_many_bits_however_seen(bits: int) -> None:
    for vector in root(every(bits)).iter("vector"):
        if vector.get("id") == "svep":
            assert (vector.get("type"), vector.get("count")) == ("uint8", str(bits // 64))
            continue
        element = vector.get("type", "")
        size = {"ieee_double": 64, "ieee_single": 32, "ieee_half": 16}.get(element)
        size = size or int(element.lstrip("uint"))
        assert size * int(vector.get("count", "")) == (bits or 128)


def test_cpsr_shows_each_bit_once() -> None:
    shown = fields("cpsr_flags")
    assert root().find(".//flags[@id='cpsr_flags']").get("size") == "4"  # type: ignore[union-attr]
    assert shown["N"] == (31, 31)
    assert shown["EL"] == (2, 3)
    assert not shown.keys() & {"NZCV", "DAIF"}
    bits = [bit for start, end in shown.values() for bit in range(start, end + 1)]
    assert len(bits) == len(set(bits))
    assert shown.keys() <= vars(PSTATE).keys()


def test_no_bit_is_shown_twice() -> None:
    for flags in root().iter("flags"):
        spans = [range(*span) for span in fields(flags.get("id", "")).values()]
        bits = [bit for span in spans for bit in (*span, span.stop)]
        assert len(bits) == len(set(bits)), flags.get("id")
        assert max(bits) < 8 * int(flags.get("size", ""))


def test_a_system_registers_fields_are_those_of_its_word() -> None:
    assert fields("TCR")["T1SZ"] == (TCR.T1SZ.lo, 21)
    assert fields("ESR")["EC"] == (26, 31)
    # What the rest of a syndrome means depends on EC.
    assert not fields("ESR").keys() & {"WnR", "comment"}
    assert ESR.WnR.lo == 6


def test_system_registers_are_fetched_when_asked_for_and_never_put_back() -> None:
    for feature in root().iter("feature"):
        of_the_system = feature.get("name") == SYSTEM
        for reg in feature.iter("reg"):
            assert reg.get("group") == ("system" if of_the_system else None)
            assert reg.get("save-restore") == ("no" if of_the_system else None)


def test_numbers() -> None:
    assert [row.number for row in (*GENERAL, *FPSIMD)] == list(range(68))
    # GDB's own numbers of SVE's follow those of the general registers.
    assert [row.number for row in (*GENERAL, *sve_registers(256))] == list(range(86))
    numbers = [row.number for row in SYSTEM_REGISTERS.values()]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0x200
    # A machine that lacks some leaves gaps: no other is called otherwise.
    some = [*GENERAL, SYSTEM_REGISTERS["FAR_EL1"], SYSTEM_REGISTERS["VBAR_EL1"]]
    described = [reg.get("regnum") for reg in ET.fromstring(target_xml(AARCH64, some)).iter("reg")]
    assert described[-2:] == [str(row.number) for row in some[-2:]]


def test_each_system_register_has_a_name_and_an_id_of_its_own() -> None:
    rows = SYSTEM_REGISTERS.values()
    assert len({row.id for row in rows}) == len({row.name.lower() for row in rows}) == len(rows)


def test_ids_that_the_kernel_gives() -> None:
    ids = {name: row.id & 0xFFFF_FFFF for name, row in SYSTEM_REGISTERS.items()}
    # linux/arch/arm64/include/uapi/asm/kvm.h, KVM_REG_ARM_TIMER_CTL, _CNT and _CVAL.
    assert ids["CNTV_CTL_EL0"] == 0x13DF19
    assert ids["CNTVCT_EL0"] == 0x13DF1A
    assert ids["CNTV_CVAL_EL0"] == 0x13DF02
    assert ids["PMEVCNTR30_EL0"] == 0x13DF5E
    assert ids["VBAR_EL1"] == 0x13C600
    assert ids["SPSR_EL1"] == 0x100048
    assert ids["SPSR_fiq"] == 0x100050


def test_only_what_is_used_is_defined() -> None:
    document = target_xml(AARCH64, X[:2])
    assert b"flags" not in document
    assert b"union" not in document
    assert b"union" in target_xml(AARCH64, V[:1])


def test_it_is_made_once() -> None:
    assert target_xml(AARCH64, EVERY) is target_xml(AARCH64, list(EVERY))
