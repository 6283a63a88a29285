"""The arithmetic of curves that rules share, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.checks.training_curves import (
    Training,
    is_augmented,
    lr_remedy,
    medians,
    nearest_power_of_ten,
    standard_error,
    to_floats,
)


def training(**changes: Any) -> Training:
    """Two epochs of five steps of ten examples; the rate of the second is a tenth."""
    signals: dict[str, Any] = {
        "classes": 4,
        "epochs_planned": 2,
        "batch_size": 10,
        "train_examples": 50,
        "val_examples": 25,
        "chance_accuracy": 0.25,
        "losses": [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0],
        "accuracies": [0.1] * 9 + [0.7],
        "epochs": {
            "step": [5, 10],
            "lr": [0.1, 0.01],
            "loss": [8.0, 3.0],
            "accuracy": [0.2, 0.6],
            "probe_accuracy": [0.3, 0.9],
            "val_accuracy": [0.3, 0.4],
        },
    }
    curves = Training.from_signals(signals | changes)
    assert curves is not None
    return curves


def test_words_and_null_become_numbers() -> None:
    numbers = to_floats(["inf", "-inf", 2, 0.5, None, "nan"])
    assert numbers[:4] == (math.inf, -math.inf, 2.0, 0.5)
    assert all(value != value for value in numbers[4:])


def test_medians_of_equal_stretches() -> None:
    assert medians([1, 2, 9, 4, 5, 6], 2) == [2, 5]
    assert medians([3, 1], 5) == [3, 1]
    assert medians([1, 1, 100, 1, 2, 2, -50, 2], 2) == [1, 2]  # one outlier moves nothing
    uneven = list(range(11))
    assert len(medians(uneven, 4)) == 4


@pytest.mark.parametrize("n", [10, 64, 1000])
def test_standard_error_is_that_of_the_binomial(n: int) -> None:
    assert standard_error(0.5, n) == pytest.approx(0.5 / math.sqrt(n))
    assert 0 < standard_error(1.0, n) < 1 / math.sqrt(n)  # a perfect score is not certain
    assert standard_error(1.0, n) == pytest.approx(standard_error(0.0, n))
    assert standard_error(0.3, 10**8) == pytest.approx(math.sqrt(0.3 * 0.7 / 10**8))


@pytest.mark.parametrize(
    ("wanted", "measured", "factor"),
    [
        (1e-3, 1e-4, 10),
        (1e-3, 9e-6, 100),
        (1e-3, 9e-4, 10),
        (1e-3, 0.0, 1000),
        (1e-3, 1e-9, 1000),
        (3e-3, 0.01, 0.1),
        (3e-3, 0.3, 0.01),
        (3e-3, 1e6, 0.001),
    ],
)
def test_rates_are_changed_by_powers_of_ten(wanted: float, measured: float, factor: float) -> None:
    assert nearest_power_of_ten(wanted, measured) == pytest.approx(factor)


def test_a_rate_stays_within_what_optimizers_accept() -> None:
    assert lr_remedy({"lr": 0.05}, 0.1) == ("optimizer.lr=0.005",)
    assert lr_remedy({"lr": 500}, 100) == ("optimizer.lr=1e+03",)
    for unknown in ({}, {"lr": None}, {"lr": math.nan}, {"lr": "nan"}, {"lr": 0.0}):
        assert lr_remedy(unknown, 0.1) == ()


def test_only_a_finished_training_is_one() -> None:
    whole = training().signals
    assert Training.from_signals({}) is None
    assert Training.from_signals({key: value for key, value in whole.items() if key != "epochs_planned"}) is None
    assert Training.from_signals({**whole, "losses": []}) is None
    assert Training.if_finished(whole) is not None
    for change in ({"running": True}, {"exploded": True}, {"nonfinite": ["the loss"]}, {"epochs": {}}):
        assert Training.if_finished({**whole, **change}) is None
        assert Training.from_signals({**whole, **change}) is not None


def test_normalized_accuracy() -> None:
    curves = training()
    assert curves.normalized_accuracy(0.25) == 0
    assert curves.normalized_accuracy(1.0) == 1
    assert curves.normalized_accuracy(0.625) == 0.5
    assert training(chance_accuracy=1.0).normalized_accuracy(1.0) == 0
    assert training(chance_accuracy=None).chance == 0.25


def test_beats_chance_by_five_standard_errors() -> None:
    limit = 0.25 + 5 * standard_error(0.25, 50)  # the probe has no more examples than there are
    for accuracy, expected in [(limit + 0.001, True), (limit - 0.001, False)]:
        epochs = {"accuracy": [0.2], "probe_accuracy": [accuracy]}
        assert training(epochs=epochs).beats_chance() is expected
        assert training(epochs={"accuracy": [accuracy]}).beats_chance() is expected
    assert not training(epochs={}).beats_chance()


def test_gap_and_its_error() -> None:
    gap, error = training(probe_examples=40).gap() or (0.0, 0.0)
    assert gap == pytest.approx(0.5)
    assert error == pytest.approx(math.hypot(standard_error(0.9, 40), standard_error(0.4, 25)))
    assert training(epochs={"probe_accuracy": [0.9]}).gap() is None
    assert training(epochs={"probe_accuracy": ["nan"], "val_accuracy": [0.4]}).gap() is None


def test_update_ratios_skip_zero_weights_and_zero_rates() -> None:
    rows = {"update": [[1.0, 5.0], [9.0, 9.0], [3.0, 6.0], [2.0, "nan"]], "weight": [[10.0, 0.0]] * 4}
    samples = {"lr": [0.1, 0.0, 0.1, 0.1], "weights": {"name": ["a", "b"], **rows}}
    curves = training(samples=samples)
    assert curves.update_ratios() == {"a": (0.1, 0.3, 0.2)}
    assert curves.median_update_ratios() == {"a": 0.2}
    assert curves.median_update_ratios(min_samples=4) == {}
    assert training().update_ratios() == {}


def test_progress_is_the_sum_of_the_rates() -> None:
    curves = training()
    assert curves.rates() == [0.1] * 5 + [0.01] * 5
    assert curves.smoothed_loss(0.0) == 10.0
    assert curves.smoothed_loss(1.0) == 1.5  # averaged over a tenth of the run, at least two steps
    assert curves.smoothed_loss(0.5) == 8.5  # half of the summed rates, 0.55, is reached at the third step of ten
    assert training(epochs={}).smoothed_loss(0.5) == 6.5


def test_rates_of_entries_that_stand_for_several_steps() -> None:
    curves = training(steps_per_entry=5, losses=[3.0, 2.0, 1.0])  # the third epoch was broken off
    assert curves.steps == 15
    assert curves.rates() == [0.1, 0.01, 0.01]


def test_mean_and_error_of_an_epoch() -> None:
    (first, error), (second, _) = training().epoch_losses()
    assert (first, second) == (8.0, 3.0)
    assert error == pytest.approx(math.sqrt(2.5 / 5))  # variance of 6..10 over five steps


def test_late_accuracy() -> None:
    assert training().late_accuracy() == 0.7
    assert math.isnan(training(accuracies=[]).late_accuracy())


def test_augmentation_is_read_off_its_class() -> None:
    assert not is_augmented({})
    assert not is_augmented({"augmentation": "NoAugmentation"})
    assert is_augmented({"augmentation": "Flip"})
