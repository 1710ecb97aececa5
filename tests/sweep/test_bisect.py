"""Bisection: of a list of images by a script, and its beliefs."""

import random
import signal

import pytest

from gdbstub.sweep.bayes import Bisection
from gdbstub.sweep.store import Store
from tests.bounds import HANGS
from tests.pure.elves import Elf
from tests.sweep.conftest import Sweeps
from tests.sweep.killing import wait_for_rows

IMAGES = [f"image-{number:02}" for number in range(16)]
FIRST_BAD = 11
#: Fails for the bad images.
ALWAYS = """
case $GDBSTUB_PARAMETERS in *image-1[1-5]*) exit 1;; esac
"""
#: Fails for the bad images in a third of the runs, by the seed of the run.
FLAKY = """
case $GDBSTUB_PARAMETERS in *image-1[1-5]*) ;; *) exit 0;; esac
seed=${GDBSTUB_PARAMETERS##*'"seed": '}
seed=${seed%?}
test $((1${seed#${seed%???}} % 3)) -ne 0
"""


@pytest.fixture
def images(sweeps: Sweeps) -> Sweeps:
    for name in IMAGES:
        (sweeps.directory / name).write_bytes(Elf().build())
    return sweeps


def words(*more: str) -> list[str]:
    return ["bisect", *more, f"--good={IMAGES[0]}", f"--bad={IMAGES[-1]}", "--seed=3"]


def test_a_script_that_is_never_wrong(images: Sweeps) -> None:
    out, err = images.call(*words("--script", ALWAYS), *IMAGES)
    assert out == f"first bad: {images.directory / IMAGES[FIRST_BAD]}\n"
    assert f"{images.directory / IMAGES[FIRST_BAD - 1]} is good; probability 1.0000, 6 runs" in err
    with Store.read(images.out) as store:  # the two that are known, and one of each half
        assert store.total() == 6


def test_options_after_the_images(images: Sweeps) -> None:
    """The manual's synopsis has this order."""
    options = (f"--good={IMAGES[0]}", f"--bad={IMAGES[-1]}", "--", *IMAGES, "--script", ALWAYS)
    out, _ = images.call("bisect", *options)
    assert out == f"first bad: {images.directory / IMAGES[FIRST_BAD]}\n"


def test_a_flaky_script(images: Sweeps) -> None:
    out, err = images.call(*words("--confidence=0.99", "--script", FLAKY), *IMAGES)
    assert out == f"first bad: {images.directory / IMAGES[FIRST_BAD]}\n"
    assert "probability 0.99" in err


def test_a_bisection_that_is_killed(images: Sweeps) -> None:
    script = f"sleep 0.1; {FLAKY}"
    with images.start(*words("--confidence=0.99", "--script", script), *IMAGES) as process:
        wait_for_rows(images, 9)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=HANGS)
    with Store.read(images.out) as store:
        before = {row.run.number: row.outcome for row in store.rows() if row.outcome}
    out, _ = images.call("resume")
    assert out == f"first bad: {images.directory / IMAGES[FIRST_BAD]}\n"
    with Store.read(images.out) as store:
        after = {row.run.number: row.outcome for row in store.rows()}
    assert before.items() <= after.items()  # nothing that was stored is executed again


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "run 2: {}/image-00, which is good, failed: look at the script"),
        ("exit 0", "run 1: {}/image-15, which is bad, passed: look at the script"),
    ],
)
def test_a_script_that_contradicts_what_is_known(images: Sweeps, script: str, said: str) -> None:
    out, err = images.call(*words("--script", script), *IMAGES, status=2)
    assert out == ""
    assert said.format(images.directory) in err


def test_too_few_runs(images: Sweeps) -> None:
    options = words("--confidence=0.999", "--limit=8", "--script", FLAKY)
    _, err = images.call(*options, *IMAGES, status=2)
    assert "the first bad image is not known after 8 runs: the best guess is" in err
    assert f"gdbstub sweep resume {images.out} --limit 16 allows more" in err
    out, _ = images.call("resume", "--limit=200")
    assert out == f"first bad: {images.directory / IMAGES[FIRST_BAD]}\n"
    with Store.read(images.out) as store:
        assert (store.plan.limit, store.total() > 8) == (200, True)


def test_a_limit_for_a_sweep(sweeps: Sweeps) -> None:
    sweeps.call("guest", "--script=true")
    _, err = sweeps.call("resume", "--limit=9", status=2)
    assert err == "gdbstub: --limit 9 is for a bisection; a sweep's runs are planned\n"


def test_an_image_that_cannot_be_judged(images: Sweeps) -> None:
    _, err = images.call(*words("--append=refused", "--script", "true"), *IMAGES, status=2)
    assert f"{images.directory / IMAGES[-1]} cannot be judged: gdbstub run ended with sta" in err


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.1])
def test_the_confidence_that_was_asked_for(rate: float) -> None:
    """No more of many bisections find a wrong image than the confidence allows."""
    right = 0
    for seed in range(200):
        draw = random.Random(seed)
        first_bad = draw.randrange(1, 16)
        bisection = Bisection(16, 0.9)
        while (found := bisection.found()) is None:
            image = bisection.next_image()
            bisection.note(image, failed=image >= first_bad and draw.random() < rate)
        right += found[0] == first_bad
        assert found[1] >= 0.9
    assert right >= 180


@pytest.mark.parametrize("number", [2, 3, 16, 100])
def test_as_few_runs_as_a_binary_search(number: int) -> None:
    for first_bad in range(1, number):
        bisection, runs = Bisection(number, None), 0
        while (found := bisection.found()) is None:
            image = bisection.next_image()
            bisection.note(image, failed=image >= first_bad)
            runs += 1
        assert found == (first_bad, 1.0)
        assert runs <= (number - 2).bit_length()


def test_beliefs_are_probabilities() -> None:
    bisection = Bisection(9, 0.99)
    draw = random.Random(1)
    for _ in range(200):
        beliefs = bisection.beliefs()
        assert sum(beliefs) == pytest.approx(1)
        assert min(beliefs) >= 0
        assert beliefs[0] == 0
        image = bisection.next_image()
        bisection.note(image, failed=image >= 5 and draw.random() < 0.2)


def test_the_order_of_the_images(images: Sweeps) -> None:
    options = ("bisect", "--script=true", f"--good={IMAGES[2]}", f"--bad={IMAGES[1]}", *IMAGES)
    _, err = images.call(*options, status=2)
    (line,) = err.splitlines()
    assert "image-01 does not come after --good" in line
