"""Regions of plain instructions, and their exits."""

from gdbstub.aarch64.instructions import Region, keeps_code, region

ADD, NOP, RET, SVC = 0x91000400, 0xD503201F, 0xD65F03C0, 0xD4000001
EVERYWHERE = range(0, 1 << 20)


def branch(offset: int) -> int:
    return 0x1400_0000 | offset // 4 & (1 << 26) - 1


def call(offset: int) -> int:
    return branch(offset) | 1 << 31


def branch_if(offset: int) -> int:
    """B.NE."""
    return 0x5400_0001 | (offset // 4 & (1 << 19) - 1) << 5


def ahead(*words: int, within: range = EVERYWHERE, start: int = 0, room: int = 5) -> Region:
    """From *start* on, where *words* lie from 0 on and nothing behind them."""
    memory = {4 * n: word for n, word in enumerate(words)}
    return region(start, within, lambda gva: memory.get(gva, 0), room)


def test_it_ends_at_what_is_no_plain_instruction() -> None:
    for last in (NOP, SVC, RET, 0, 0xD61F0000, 0xC85F7C20):
        assert ahead(ADD, ADD, last, ADD) == (frozenset({0, 4}), (8,), False)


def test_it_ends_where_the_range_does() -> None:
    assert ahead(ADD, ADD, ADD, within=range(0, 8)) == (frozenset({0, 4}), (8,), False)


def test_it_may_have_nothing_inside() -> None:
    assert ahead(SVC) == (frozenset(), (0,), False)


def test_both_ways_of_a_branch_are_followed() -> None:
    inside, exits, loops = ahead(branch_if(12), ADD, SVC, ADD, RET)
    assert (inside, set(exits), loops) == (frozenset({0, 4, 12}), {8, 16}, False)


def test_a_way_back_inside_is_a_loop() -> None:
    assert ahead(ADD, branch_if(-4), SVC) == (frozenset({0, 4}), (8,), True)
    assert ahead(branch(0)) == (frozenset({0}), (4,), True)


def test_a_way_back_out_is_none() -> None:
    words = SVC, ADD, branch_if(-8), ADD, SVC
    inside, exits, loops = ahead(*words, within=range(4, 16), start=4)
    assert (inside, set(exits), loops) == (frozenset({4, 8, 12}), {0, 16}, False)


def test_it_ends_before_a_call() -> None:
    assert ahead(ADD, call(0x100), ADD) == (frozenset({0}), (4,), False)


def test_what_others_may_patch_is_left_or_followed_both_ways() -> None:
    """A NOP may become a branch, and a branch a NOP."""
    inside, exits, _ = ahead(ADD, branch(12), ADD, SVC, ADD, SVC)
    assert (inside, set(exits)) == (frozenset({0, 4, 8, 16}), {12, 20})
    assert ahead(ADD, NOP, ADD) == (frozenset({0}), (4,), False)


def test_what_masked_interrupts_do_not_show_in_is_run_through() -> None:
    paciasp, dmb, mrs_sp_el0, mrs_daif = 0xD503233F, 0xD5033BBF, 0xD5384100, 0xD53B4220
    assert ahead(paciasp, dmb, mrs_sp_el0, ADD, mrs_daif).exits == (16,)
    for wait in 0xD503205F, 0xD503207F, 0xD5031000, 0xD5031020:
        assert ahead(ADD, wait) == (frozenset({0}), (4,), False)


def test_there_are_no_more_exits_than_room_is_for() -> None:
    words = [each for n in range(9) for each in (ADD, branch_if(0x200 + 8 * n))]
    for room in range(1, 12):
        inside, exits, _ = ahead(*words, SVC, room=room)
        assert len(exits) == min(room, 10)
        # As far as there was room for, one way out being always at the end.
        assert len(inside) == (2 * room - 1 if room < 10 else 18)
        assert inside.isdisjoint(exits)


def test_a_branch_without_room_that_another_way_leads_to() -> None:
    """It is followed then: an exit is never inside."""
    for room in range(1, 6):
        inside, exits, _ = ahead(
            branch_if(16), branch_if(0x100), branch_if(0x104), SVC, branch(-12), SVC, room=room
        )
        assert inside.isdisjoint(exits)
        assert len(exits) <= room


def test_what_may_go_on_anywhere_is_left_before() -> None:
    bc_cond = branch_if(8) | 1 << 4  # BC.NE: told from B.NE by one bit, and not followed
    assert ahead(ADD, bc_cond, ADD) == (frozenset({0}), (4,), False)


def test_there_is_an_end_to_looking() -> None:
    inside, exits, loops = region(0, EVERYWHERE, lambda _: ADD, 5)
    assert (len(inside), exits, loops) == (1024, (4096,), False)


def test_what_may_change_what_is_fetched() -> None:
    keep = {
        ADD, NOP, RET, branch(8), branch_if(8),
        0xF9000020,  # str x0, [x1]
        0xC85F7C20,  # ldxr x0, [x1]
        0xC8A07C41,  # cas x0, x1, [x2]
        0xD503233F,  # paciasp
        0xD5033BBF, 0xD5033F9F, 0xD5033F5F,  # dmb ish, dsb sy, clrex
        0xD53BE041,  # mrs x1, cntvct_el0
    }  # fmt: skip
    lose = {
        SVC, 0xD4000002, 0xD4200000, 0,  # svc, hvc, brk, udf
        0xD5033FDF, 0xD50330FF,  # isb, sb
        0xD50B7520, 0xD508751F,  # ic ivau, x0; ic iallu
        0xD508871F,  # tlbi vmalle1
        0xD5182000, 0xD5181000,  # msr ttbr0_el1, x0; msr sctlr_el1, x0
        0xD69F03E0,  # eret
    }  # fmt: skip
    assert {word for word in keep | lose if keeps_code(word)} == keep
