"""The table of programs against an assembler. Outside the lab only."""

import pytest

from tests.contract import loops, origins, programs, retries, run_control
from tests.fakes.assembler import assemble

ALL = programs.ALL | run_control.ALL | loops.ALL | origins.ALL | retries.ALL


@pytest.mark.parametrize("name", ALL)
def test_words_are_what_their_text_assembles_to(name: str) -> None:
    program = ALL[name]
    image = assemble(program.text)
    assembled = [image[i : i + 4] for i in range(0, len(image), 4)]
    table = [word.to_bytes(4, "little") for word, _ in program.lines]
    wrong = [
        f"{text}: {bytes(reversed(right)).hex()}"
        for right, word, (_, text) in zip(assembled, table, program.lines, strict=True)
        if right != word
    ]
    assert not wrong
