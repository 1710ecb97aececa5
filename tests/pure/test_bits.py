import pytest

from gdbstub.aarch64.sysreg import DBGBCR, DBGWCR


def test_fields_of_a_word() -> None:
    control = DBGBCR.of(E=1, PMC=0b11, BAS=0xF)
    assert control == 0x1E7
    assert control.BAS == 0xF
    assert repr(control) == "DBGBCR(BAS=0xf, PMC=0x3, E=0x1)"
    assert DBGBCR(control).replace(E=0) == 0x1E6


def test_a_wrong_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no field 'PAC'"):
        DBGBCR.of(PAC=3)
    with pytest.raises(ValueError, match="cannot hold"):
        DBGWCR.of(LSC=4)
