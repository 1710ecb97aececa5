"""Instructions of a round trip: none takes 5 % more of them than when they were counted last.

A count is the same however busy the machine is. ``make bench ARGS=--renew`` writes those of now,
which are committed with the change that made them.
"""

from bench import guard


def test_no_round_trip_takes_more_instructions(figure: list[str]) -> None:
    before, now = guard.committed(), guard.measure()
    figure.extend(f"{row}: {number:,} instructions" for row, number in now.items())
    assert list(now) == [row.name for row in guard.ROWS]
    if before:  # of this machine's release
        complaints = guard.complaints(before, now)
        assert not complaints, "\n".join(complaints)
