"""Replay of the corpus: each target's oracle holds for what campaigns have reached."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.__main__ import Outcome, outcomes
from tests.fuzz.targets import TARGETS

#: Of all files, in bytes; the inputs are for a reader, too.
SMALL = 600_000


@pytest.mark.parametrize("name", TARGETS)
def test_the_oracle_holds(name: str) -> None:
    found = corpus.inputs(name)
    assert found
    for data in found:
        try:
            TARGETS[name].function(data)
        except Exception as error:
            error.add_note(f"the input is {data!r}")
            raise


def test_each_file_is_a_targets_and_all_are_small() -> None:
    files = list(corpus.PLACE.iterdir())
    assert {file.stem for file in files} == {*TARGETS}
    assert sum(file.stat().st_size for file in files) < SMALL


def test_a_smaller_corpus_has_an_input_for_each_jump() -> None:
    data = [b"", *corpus.inputs("usernet"), *corpus.inputs("options")]
    chosen = corpus.fewest(TARGETS["options"].function, data)
    assert set(chosen) < set(data)
    assert corpus.fewest(TARGETS["options"].function, chosen) == chosen


def test_what_a_campaign_says_becomes_its_outcome() -> None:
    said = [
        b"INFO: Running with entropic power schedule (0xFF, 100).\n",
        b"#8\tINITED cov: 21 ft: 34 corp: 5/77b exec/s: 0 rss: 76Mb\n",
        b"FINDING IndexError at rsp.py:44: .fuzz/findings/framing/0123\n",
        b"#1000\tDONE   cov: 22 ft: 35 corp: 5/77b lim: 512 exec/s: 500 rss: 76Mb\n",
        b"==12== ERROR: libFuzzer: timeout after 25 seconds\n",
    ]
    *_, last = outcomes("framing", said)
    findings = ("IndexError at rsp.py:44", "libFuzzer: timeout after 25 seconds")
    assert last._replace(seconds=0.0) == Outcome("framing", 1000, 22, findings)
