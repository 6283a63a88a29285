"""Short fits: Adam on one batch, two of them in turns in one network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.signals import short_fit
from pipeline.signals.short_fit import COSTLY, ShortFit, bounded_rounds, fit_signals, step_operations

INPUTS, LABELS = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])


def network(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


def reference_loss(inputs: Tensor, steps: int) -> float:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), LABELS).backward()
        optimizer.step()
    return float(F.cross_entropy(model(inputs), LABELS).detach())


def test_two_fits_take_turns() -> None:
    model = network()
    fits = [
        ShortFit(model, F.cross_entropy, inputs, LABELS, lr=0.01, seed=lambda step: step)
        for inputs in (INPUTS, torch.zeros_like(INPUTS))
    ]
    for steps in (0, 7, 14):
        for fit, inputs in zip(fits, (INPUTS, torch.zeros_like(INPUTS)), strict=True):
            loss, outputs = fit.run(steps - fit.step)
            assert loss == pytest.approx(reference_loss(inputs, steps))
            assert outputs.shape == (6, 3)


def test_rounds_end_when_real_inputs_are_ahead() -> None:
    rounds: list[int] = []
    measured = fit_signals(
        network(), F.cross_entropy, INPUTS, LABELS, [], steps=5, rounds=40, lr=0.05, seed=lambda step: step,
        on_round=rounds.append,
    )  # fmt: skip
    assert measured["fit_steps"] == 5 * len(rounds) < 200
    assert measured["fit_loss"] < 0.9 * measured["fit_loss_zeroed"]
    assert 0 <= measured["fit_first_accuracy"] <= measured["fit_accuracy"] <= 1


def test_all_rounds_where_inputs_say_nothing() -> None:
    measured = fit_signals(
        network(), F.cross_entropy, torch.zeros_like(INPUTS), LABELS, [], steps=5, rounds=3, lr=0.05,
        seed=lambda step: step, has_classes=False,
    )  # fmt: skip
    assert measured["fit_steps"] == 15
    assert measured["fit_loss"] == measured["fit_loss_zeroed"]
    assert "fit_accuracy" not in measured


def test_a_gradient_that_appears_during_the_fit_is_not_dead() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    nn.init.zeros_(model[1].weight)
    measured = fit_signals(
        model, F.cross_entropy, INPUTS, LABELS, ["0.weight"], steps=5, rounds=1, lr=0.01, seed=lambda step: step
    )
    assert measured["zero_gradients"] == []


def test_each_step_has_its_seed() -> None:
    """A network that draws numbers gives the same fit each time."""
    model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    losses = []
    for _ in range(2):
        model.load_state_dict(state)
        fit = ShortFit(model, F.cross_entropy, INPUTS, LABELS, lr=0.01, seed=lambda step: step)
        losses.append((fit.run(0)[0], fit.run(9)[0]))
    assert losses[0] == losses[1]


def test_operations_of_a_step() -> None:
    """Two for each weight and example, three times: forward, and backward to weights and to inputs."""
    assert step_operations(network(), INPUTS) == 3 * 2 * 12 * 6 + 20 * 15
    norm = nn.BatchNorm1d(4)
    step_operations(norm, INPUTS)
    assert norm.training
    assert not norm.running_mean.any()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [(COSTLY, (20, 6)), (1.01 * COSTLY, (5, 24)), (6.25e9, (5, 16)), (1e12, (5, 12))],
)
def test_rounds_are_bounded(operations: float, expected: tuple[int, int]) -> None:
    assert bounded_rounds(20, 6, operations) == expected
    assert bounded_rounds(1, 1, 1e15) == (1, 1)


def test_costly_networks_stop_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (F.cross_entropy, INPUTS, LABELS, [])
    options = {"steps": 40, "rounds": 6, "lr": 0.05, "seed": lambda step: step}
    whole = fit_signals(network(), *arguments, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(short_fit, "COSTLY", 0)
    bounded = fit_signals(network(), *arguments, **options)  # type: ignore[arg-type]
    assert whole["fit_most_steps"] == 240
    assert bounded["fit_steps"] < whole["fit_steps"]
    assert bounded["fit_loss"] < 0.9 * bounded["fit_loss_zeroed"]
