"""The words of random programs against an assembler. Outside the lab only."""

from tests.fakes.assembler import assemble
from tests.soak.case import draw


def test_words_are_what_their_text_assembles_to() -> None:
    lines = {placed.line for seed in range(40) for placed in draw(seed).program.lines.values()}
    image = assemble("\n".join(line.text for line in lines))
    assembled = [int.from_bytes(image[i : i + 4], "little") for i in range(0, len(image), 4)]
    wrong = [
        f"{line.text}: {right:08x}, not {line.word:08x}"
        for line, right in zip(lines, assembled, strict=True)
        if line.word != right
    ]
    assert not wrong
