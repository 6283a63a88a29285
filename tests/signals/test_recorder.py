"""What is recorded of a training, against a bare loop that computes the same by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.signals import Recorder, RecorderConfig


def recording(every_n_steps: int = 3, max_samples: int = 100, probe_fraction: float = 0.1) -> RecorderConfig:
    return RecorderConfig(every_n_steps=every_n_steps, max_samples=max_samples, probe_fraction=probe_fraction)


def train(recorder: Recorder, steps: int, *, lr: float = 0.1) -> list[tuple[float, float, float]]:
    """Train a small network; gives (gradient, weight, update) norms of the first layer at every step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    told = []
    for step in range(1, steps + 1):
        x, y = torch.randn(8, 5), torch.randint(0, 2, (8,))
        look = recorder.sample(step, network)
        if look:
            with look.forward():
                logits = network(x)
        else:
            logits = network(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, y).backward()
        weight = network[0].weight
        before, gradient = weight.detach().clone(), weight.grad
        assert gradient is not None
        if look:
            look.before_update(logits)
        optimizer.step()
        if look:
            look.after_update(lr)
        told.append((float(gradient.norm()), float(before.norm()), float((weight.detach() - before).norm())))
    return told


def test_norms_of_the_steps_that_are_looked_at() -> None:
    recorder = Recorder(recording(every_n_steps=4), total_steps=12)
    told = train(recorder, 12)
    samples = recorder.samples
    assert samples["step"] == [1, 4, 8, 10, 12]
    assert samples["weights"]["name"] == ["0.weight", "2.weight"]
    for row, step in enumerate(samples["step"]):
        found = [samples["weights"][key][row][0] for key in ("gradient", "weight", "update")]
        assert found == pytest.approx(told[step - 1], rel=1e-5)
        gradients = samples["weights"]["gradient"][row]
        assert samples["gradient_ratio"][row] == pytest.approx(gradients[0] / gradients[1])
    assert samples["activations"]["kind"] == ["tanh"]
    assert all(len(samples["activations"][key]) == 5 for key in ("mean", "std", "saturated"))


def test_noise_needs_the_step_after() -> None:
    recorder = Recorder(recording(every_n_steps=4), total_steps=12)
    train(recorder, 12)
    noise = recorder.samples["gradient_noise"]
    assert all(value is not None for value in noise[:-1])
    assert noise[-1] is None  # nothing came after step 12


def test_every_step_can_be_looked_at() -> None:
    recorder = Recorder(recording(every_n_steps=1), total_steps=5)
    train(recorder, 5)
    assert recorder.samples["step"] == [1, 2, 3, 4, 5]
    assert [value is None for value in recorder.samples["gradient_noise"]] == [False] * 4 + [True]


def test_the_first_look_finds_out_how_later_ones_may_look() -> None:
    recorder = Recorder(recording(every_n_steps=1), total_steps=2)
    train(recorder, 2)
    assert recorder.activation_modules is not None
    assert list(recorder.activation_modules.values()) == list(
        zip(recorder.samples["activations"]["name"], recorder.samples["activations"]["kind"], strict=True)
    )


def test_long_runs_are_looked_at_less_often() -> None:
    assert Recorder(recording(every_n_steps=10, max_samples=50), total_steps=400).every == 10
    assert Recorder(recording(every_n_steps=10, max_samples=50), total_steps=1001).every == 21


def test_a_recorder_goes_on_from_its_state() -> None:
    whole, first, second = (Recorder(recording(every_n_steps=2), total_steps=8) for _ in range(3))
    train(whole, 8)
    train(first, 8)
    second.load(first.state())
    assert second.state() == first.state()
    assert second.samples["step"] == whole.samples["step"]


def test_the_probe_notes_dead_units_after_each_epoch() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
        network[0].bias.zero_()
    recorder = Recorder(recording(), total_steps=1)
    for epoch, batches in enumerate([[[1.0, 0.0]], [[1.0, 0.0], [-1.0, 1.0]]]):
        with torch.no_grad(), recorder.probe_epoch(network, epoch=epoch, step=epoch) as before_batch:
            for batch in batches:
                before_batch()
                network(torch.tensor([batch]))
    assert recorder.units["epoch"] == [0, 1]
    assert recorder.units["name"] == ["1"]
    assert recorder.units["dead"] == [[pytest.approx(2 / 3)], [0.0]]


@pytest.mark.parametrize(
    ("field", "value"), [("every_n_steps", 0), ("max_samples", 0), ("probe_fraction", 0.0), ("probe_fraction", 2.0)]
)
def test_fields_are_validated(field: str, value: float) -> None:
    with pytest.raises(UserError) as error:
        recording(**{field: value})
    assert error.value.field == field


def test_the_probe_has_enough_and_not_too_many_examples() -> None:
    assert [recording(probe_fraction=0.02).probe_examples(n) for n in (10, 1000, 10_000, 10**6)] == [10, 64, 200, 500]
