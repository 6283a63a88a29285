from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Data, Repeats, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class DuplicateExamples(Rule):
    """Anti-pattern: validation or test images that are also trained on, so that memorizing looks like generalizing.

    Fires when more than `warning` of the validation or test split, and at least `min_copies` images, are byte for byte
    training images; above `failure` it is a failure. CIFAR-10 has 3.3 % of near duplicates between test and train
    (Barz and Denzler 2020), and hardly any exact ones. Data with less than `min_bits` of information are left out:
    rows of a table with few different values repeat by chance.

    Where training images of the same classes equal each other as often, within `sigmas` binomial standard errors, the
    split was not copied from training. Either images were copied before they were split, which is judged as before, or
    there are only few different ones, which chance repeats: `info`. With p_k the probability of each, n images have
    about n^2 sum p_k^2 / 2 equal pairs and n^3 sum p_k^3 / 6 equal triples, and by Cauchy and Schwarz (sum p_k^2)^2 is
    at most sum p_k^3. Copies have too few triples for their pairs, by `sigmas` standard errors; where it is only
    `suspect_sigmas` it is a warning.
    """

    check = "duplicate_examples"
    reads = ("data",)
    severities = ("failure", "warning", "info")
    why = (
        "What was trained on can be memorized, so the score on these examples says nothing about new ones. Usual "
        "causes: splits cut from a file with repeats, oversampling before splitting, a folder that is read twice."
    )
    source = "Barz and Denzler 2020, Do we train on test data?"
    advice = "Remove repeated examples before the examples are split."
    code = "rows = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)[1]"
    explains = ("near_duplicates", "validation_above_training", "test_below_validation")

    warning: float
    failure: float
    min_copies: int
    min_bits: float
    sigmas: float
    suspect_sigmas: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, below=1)
        integer("min_copies", self.min_copies, at_least=1)
        number("min_bits", self.min_bits, at_least=0)
        number("sigmas", self.sigmas, above=0)
        number("suspect_sigmas", self.suspect_sigmas, above=0, at_most=self.sigmas)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or data["value_bits"] < self.min_bits:
            return None
        sizes = {split: sum(counts) for split, counts in data["class_counts"].items()}
        shares = {
            split: count / sizes[split] for split, count in data["duplicates"].items() if count >= self.min_copies
        }
        if not shares or max(shares.values()) <= self.warning:
            return None
        triples = _triples_for_pairs(data.get("repeats"))
        were_copied = triples < -self.sigmas
        leaked = {split: share if were_copied else self._leaked(split, share, data) for split, share in shares.items()}
        worst = max(shares, key=lambda split: (leaked[split], shares[split]))
        share, count = shares[worst], data["duplicates"][worst]
        found = f"{count} of {sizes[worst]} {worst} examples ({share:.1%}) are byte for byte training examples."
        if leaked[worst] <= self.warning:
            return self._repeated(worst, share, triples, found, data)
        return self.finding(
            "failure" if leaked[worst] > self.failure else "warning",
            measured={"share": share, "duplicates": float(count), "examples": float(sizes[worst])},
            expected=f"at most {self.warning:.0%} of an evaluation split among the training examples",
            message=f"{found} Training examples equal each other as well, in copies: more pairs than chance gives to "
            "so few triples. They were copied before they were split."
            if were_copied
            else found,
            where=worst,
            step=0,
        )

    def _leaked(self, split: str, share: float, data: Data) -> float:
        """Return the share of a split that was copied from training, beyond what training images repeat each other."""
        usual, error = _usual_share(split, data)
        return (share - usual) / (1 - usual) if share - usual > self.sigmas * error else 0.0

    def _repeated(self, split: str, share: float, triples: float, found: str, data: Data) -> Finding:
        """Return the finding about a split whose images repeat those of training as these repeat each other."""
        usual, _ = _usual_share(split, data)
        is_suspect = triples < -self.suspect_sigmas
        cause = "So many repeat by chance where only few different ones exist."
        if is_suspect:
            cause = "They have few triples for so many pairs, as if they had been copied before they were split."
        return self.finding(
            "warning" if is_suspect else "info",
            measured={"share": share, "usual_share": usual, "triples_for_pairs": triples},
            expected="examples that are all different, or a score that is meant for images which were seen before",
            message=f"{found} Of the training examples as many ({usual:.1%}) equal another one. {cause}",
            where=split,
            step=0,
        )


def _usual_share(split: str, data: Data) -> tuple[float, float]:
    """Return the share of images that equal a training image where a split has as many of each class as `split`, by
    the training images that equal another one, and the standard error of the difference from what is counted.

    A training image that repeats makes another one repeat, which doubles the variance. The share in the variance is
    Laplace's estimate, (count + 1) / (n + 2).
    """
    repeats, counts = data.get("repeats"), data["class_counts"]
    if repeats is None:
        return 0.0, 0.0
    size, n_train = sum(counts[split]), sum(counts["train"])
    usual, per_image = 0.0, 1 / size
    for n, n_class, repeated in zip(counts[split], counts["train"], repeats["train"], strict=True):
        if n and n_class:
            usual += n / size * repeated / n_class
            per_image += 2 * (n / size) ** 2 / n_class
    share = (usual * n_train + 1) / (n_train + 2)
    return usual, math.sqrt(share * (1 - share) * per_image)


def _triples_for_pairs(repeats: Repeats | None) -> float:
    """Return how many more triples of equal images there are than independent draws must have for their pairs, in
    standard errors; negative where there are too few.

    With n images of a class, m2 = 2 pairs and m3 = 6 triples, m3 has at least the expectation m2^2 / n. If all kinds of
    images are as frequent it has that one, and the variance is n (2 r^3 + 6 r^2) with r = m2 / n.
    """
    if repeats is None:
        return 0.0
    excess = variance = 0.0
    for n, pairs, triples in zip(repeats["images"], repeats["pairs"], repeats["triples"], strict=True):
        if n:
            rate = 2 * pairs / n
            excess += 6 * triples - rate**2 * n
            variance += n * (2 * rate**3 + 6 * rate**2)
    return excess / math.sqrt(variance) if variance else 0.0
