import xml.etree.ElementTree as ET

from gdbstub.aarch64.registers import CLIENT, CORE, FPU, V, X
from gdbstub.aarch64.sysreg import PSTATE
from gdbstub.aarch64.target_xml import target_xml


def root() -> ET.Element:
    return ET.fromstring(target_xml(CLIENT))


def test_every_row_is_described_in_order() -> None:
    described = [
        (reg.get("name"), reg.get("bitsize"), reg.get("type"), reg.get("regnum"))
        for reg in root().iter("reg")
    ]
    rows = [(row.name, str(row.bits), row.type, str(n)) for n, row in enumerate(CLIENT)]
    assert described == rows


def test_what_gdb_must_be_told() -> None:
    assert root().findtext("architecture") == "aarch64"
    assert root().findtext("osabi") == "none"
    assert [feature.get("name") for feature in root().iter("feature")] == [CORE, FPU]


def test_every_type_is_defined_before_its_use() -> None:
    predefined = {"int", "data_ptr", "code_ptr", "ieee_double", "ieee_single", "ieee_half"}
    predefined |= {f"{sign}int{bits}" for sign in ("u", "") for bits in (8, 16, 32, 64, 128)}
    for feature in root().iter("feature"):
        known = set(predefined)
        for element in feature.iter():
            if used := element.get("type"):
                assert used in known
            if defined := element.get("id"):
                assert defined not in known
                known.add(defined)


def test_a_vector_is_128_bits_however_seen() -> None:
    for vector in root().iter("vector"):
        element = vector.get("type", "")
        bits = {"ieee_double": 64, "ieee_single": 32, "ieee_half": 16}.get(element)
        bits = bits or int(element.lstrip("uint"))
        assert bits * int(vector.get("count", "")) == 128


def test_cpsr_shows_each_bit_once() -> None:
    (flags,) = root().iter("flags")
    shown = {
        field.get("name"): (int(field.get("start", "")), int(field.get("end", "")))
        for field in flags
    }
    assert flags.get("size") == "4"
    assert shown["N"] == (31, 31)
    assert shown["EL"] == (2, 3)
    assert not shown.keys() & {"NZCV", "DAIF"}
    bits = [bit for start, end in shown.values() for bit in range(start, end + 1)]
    assert len(bits) == len(set(bits))
    assert shown.keys() <= vars(PSTATE).keys()


def test_only_what_is_used_is_defined() -> None:
    document = target_xml(X[:2])
    assert b"flags" not in document
    assert b"union" not in document
    assert b"union" in target_xml(V[:1])


def test_it_is_made_once() -> None:
    assert target_xml(CLIENT) is target_xml(list(CLIENT))
