"""The table of conditions and commands that library targets and the debug core share."""

from gdbstub.agent import Clauses, ConditionTable, Outcome
from tests.pure.agent import StaticContext, assemble, printf

X0_IS_3 = assemble("reg 0; const8 3; equal; end")
HI = assemble("const8 0; const8 0") + printf(0, b"hi") + assemble("end")
STOPS, GOES_ON = Outcome(True), Outcome(False)


def at(x0: int) -> StaticContext:
    return StaticContext({0: x0})


def test_a_breakpoint_without_clauses_stops() -> None:
    table: ConditionTable[str] = ConditionTable()
    assert table.evaluate("soft", 8, at(0)) == STOPS
    table.attach("soft", 8, Clauses())
    assert table.evaluate("soft", 8, at(0)) == STOPS
    assert not table.false_hits


def test_false_hits_are_counted_by_kind_and_address() -> None:
    table: ConditionTable[str] = ConditionTable()
    table.attach("soft", 8, Clauses.compile([X0_IS_3]))
    hits = [table.evaluate("soft", 8, at(x0)) for x0 in (1, 3, 2)]
    assert hits == [GOES_ON, STOPS, GOES_ON]
    assert table.evaluate("hard", 8, at(0)) == STOPS
    assert table.false_hits == {("soft", 8): 2}


def test_commands_print_and_do_not_stop() -> None:
    table: ConditionTable[str] = ConditionTable()
    table.attach("soft", 8, Clauses.compile([X0_IS_3], [HI]))
    assert table.evaluate("soft", 8, at(3)) == Outcome(False, b"hi")
    assert table.evaluate("soft", 8, at(2)) == GOES_ON
    table.attach("soft", 8, Clauses())
    assert table.evaluate("soft", 8, at(2)) == STOPS


def test_removed_clauses_are_gone_and_persistent_ones_outlast_a_client() -> None:
    table: ConditionTable[str] = ConditionTable()
    table.attach("soft", 8, Clauses.compile([X0_IS_3]))
    table.remove("soft", 8)
    table.remove("soft", 8)
    assert table.evaluate("soft", 8, at(0)) == STOPS
    for gva, persist in ((16, True), (24, False)):
        table.attach("soft", gva, Clauses.compile([], [HI], persist=persist))
    assert table.keep_persistent() == {("soft", 16)}
    assert table.evaluate("soft", 16, at(0)) == Outcome(False, b"hi")
    assert table.evaluate("soft", 24, at(0)) == STOPS


def test_variables_are_shared_by_breakpoints_until_they_are_reset() -> None:
    table: ConditionTable[str] = ConditionTable()
    table.attach("soft", 8, Clauses.compile([assemble("const8 0; setv 1; end")]))
    table.attach("soft", 16, Clauses.compile([assemble("getv 1; end")]))
    assert table.evaluate("soft", 16, at(0)) == STOPS  # never set: an error counts as true
    assert table.evaluate("soft", 8, at(0)) == GOES_ON
    assert table.evaluate("soft", 16, at(0)) == GOES_ON
    table.reset_variables()
    assert table.evaluate("soft", 16, at(0)) == STOPS


def test_the_code_of_all_breakpoints_is_bounded_and_what_goes_makes_room() -> None:
    false = assemble("const8 0; end") + bytes(0x3F00)  # behind the end
    table: ConditionTable[str] = ConditionTable()
    for gva in range(16):
        table.attach("soft", gva, Clauses.compile([false]))
    table.attach("soft", 16, Clauses.compile([false]))  # left to the client
    table.attach("soft", 17, Clauses.compile([], [HI + false]))
    outcomes = [table.evaluate("soft", gva, at(0)) for gva in range(18)]
    assert outcomes[:17] == [GOES_ON] * 16 + [STOPS]
    assert b"<dprintf: conditions and commands of all breakpoints" in outcomes[17].output
    table.remove("soft", 3)
    table.attach("soft", 16, Clauses.compile([false]))
    assert table.evaluate("soft", 16, at(0)) == GOES_ON
    table.keep_persistent()
    table.attach("soft", 18, Clauses.compile([false] * 16))
    assert table.evaluate("soft", 18, at(0)) == GOES_ON
