"""Bisection by Bayes' rule: the first bad image of a list, where a bad one may fail only at times.

It runs nothing. A good image never fails; a bad one fails at an unknown rate, the same for all
bad images. So a failure proves its image bad, and passes make it good with a probability. The prior
of the rate has the density 1 / rate: one in ten is as likely as one in a hundred. For a judge that
is never wrong the rate is 1.
"""

import math
from collections.abc import Sequence


class Bisection:
    """Beliefs on which of the images from index 1 on is the first bad one.

    Image 0 is good and the last one is bad.
    """

    def __init__(self, number: int, confidence: float | None) -> None:
        """Begin with *number* images; *confidence* None: a bad image fails each time."""
        self._confidence = confidence
        self._failures = 0
        self._passes = [0] * number
        #: Images at which the first bad one may be.
        self._first, self._last = 1, number - 1

    def note(self, image: int, *, failed: bool) -> None:
        """Take account of one run of *image*.

        Raises:
            ValueError: it contradicts what is known: image 0 is good, the last one bad.
        """
        if failed:
            if image < self._first:
                raise ValueError(image)
            self._failures += 1
            self._last = min(self._last, image)
        elif self._confidence is None:
            if image >= self._last:
                raise ValueError(image)
            self._first = max(self._first, image + 1)
        else:
            self._passes[image] += 1

    def beliefs(self) -> list[float]:
        """Return for each image the probability that it is the first bad one; their sum is 1."""
        weights = [0.0] * len(self._passes)
        passes = sum(self._passes[self._last + 1 :])
        logs: dict[int, float] = {}
        for image in range(self._last, self._first - 1, -1):
            passes += self._passes[image]
            logs[image] = self._log_weight(passes)
        top = max(logs.values())
        for image, value in logs.items():
            weights[image] = math.exp(value - top)
        total = sum(weights)
        return [weight / total for weight in weights]

    def _log_weight(self, passes: int) -> float:
        """Return the logarithm of the likelihood that bad images passed *passes* times.

        It is the integral of r^F (1 - r)^P / r over the rate r: Beta(F, P + 1).
        """
        if self._confidence is None or not self._failures:
            return 0.0
        return math.lgamma(passes + 1) - math.lgamma(self._failures + passes + 1)

    def found(self) -> tuple[int, float] | None:
        """Return the first bad image and the probability that it is; None: not known yet."""
        beliefs = self.beliefs()
        image = max(range(len(beliefs)), key=beliefs.__getitem__)
        wanted = 1.0 if self._confidence is None else self._confidence
        return (image, beliefs[image]) if beliefs[image] >= wanted else None

    def next_image(self) -> int:
        """Return the image whose next run tells most: the expected entropy after it is least."""
        if self._confidence is not None and not self._failures:
            return self._last  # which is bad: nothing is known of the rate before it has failed
        beliefs = self.beliefs()
        rates = self._rates()
        fails = [belief * rate for belief, rate in zip(beliefs, rates, strict=True)]
        passes = [belief - fail for belief, fail in zip(beliefs, fails, strict=True)]
        best, least = self._last, math.inf
        for image in range(self._first - 1, self._last + 1):
            # Image is bad if the first bad one is not after it.
            after_failure = _entropy(fails[: image + 1])
            after_pass = _entropy(passes[: image + 1] + beliefs[image + 1 :])
            # The sum of both, each weighted by its probability.
            if after_failure + after_pass < least - 1e-12:
                best, least = image, after_failure + after_pass
        return best

    def _rates(self) -> list[float]:
        """Return the expected rate of failures for each image as the first bad one."""
        if self._confidence is None:
            return [1.0] * len(self._passes)
        rates, passes = [], sum(self._passes)
        for count in [0, *self._passes[:-1]]:
            passes -= count
            rates.append(self._failures / (self._failures + passes + 1))
        return rates


def _entropy(weights: Sequence[float]) -> float:
    """Return the entropy of *weights*, which need not add up to 1, times their sum."""
    total = sum(weights)
    if not total:
        return 0.0
    return -sum(weight * math.log(weight / total) for weight in weights if weight)
