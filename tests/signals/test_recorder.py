"""The recorder of a training, against a bare loop that computes the same by hand."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.signals.recorder import Recorder, RecorderConfig


def config(every_n_steps: int = 3, max_samples: int = 100, probe_fraction: float = 0.1) -> RecorderConfig:
    return RecorderConfig(every_n_steps=every_n_steps, max_samples=max_samples, probe_fraction=probe_fraction)


def train(recorder: Recorder, steps: int, *, lr: float = 0.1) -> list[tuple[float, float, float]]:
    """Train a small network; return (gradient, weight, update) norms of the first layer at every step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    rows = []
    for step in range(1, steps + 1):
        x, y = torch.randn(8, 5), torch.randint(0, 2, (8,))
        probe = recorder.sample(step, network)
        if probe:
            with probe.forward():
                logits = network(x)
        else:
            logits = network(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, y).backward()
        weight = network[0].weight
        before, gradient = weight.detach().clone(), weight.grad
        assert gradient is not None
        if probe:
            probe.before_update(logits)
        optimizer.step()
        if probe:
            probe.after_update(lr)
        rows.append((float(gradient.norm()), float(before.norm()), float((weight.detach() - before).norm())))
    return rows


def test_samples() -> None:
    recorder = Recorder(config(every_n_steps=4), total_steps=12)
    rows = train(recorder, 12)
    samples = recorder.samples
    assert samples["step"] == [1, 4, 8, 10, 12]
    assert samples["weights"]["name"] == ["0.weight", "2.weight"]
    for i, step in enumerate(samples["step"]):
        recorded = [samples["weights"][key][i][0] for key in ("gradient", "weight", "update")]
        assert recorded == pytest.approx(rows[step - 1], rel=1e-5)
        gradients = samples["weights"]["gradient"][i]
        assert samples["gradient_ratio"][i] == pytest.approx(gradients[0] / gradients[1])
    assert samples["activations"]["kind"] == ["tanh"]
    assert all(len(samples["activations"][key]) == 5 for key in ("mean", "std", "saturated"))


def test_noise_needs_the_next_step() -> None:
    recorder = Recorder(config(every_n_steps=4), total_steps=12)
    train(recorder, 12)
    noise = recorder.samples["gradient_noise"]
    assert all(value is not None for value in noise[:-1])
    assert noise[-1] is None  # there is no step after 12


def test_every_step() -> None:
    recorder = Recorder(config(every_n_steps=1), total_steps=5)
    train(recorder, 5)
    assert recorder.samples["step"] == [1, 2, 3, 4, 5]
    assert [value is None for value in recorder.samples["gradient_noise"]] == [False] * 4 + [True]


def test_activation_modules() -> None:
    """The first probe finds the modules that later ones hook."""
    recorder = Recorder(config(every_n_steps=1), total_steps=2)
    train(recorder, 2)
    assert recorder.activation_modules is not None
    assert list(recorder.activation_modules.values()) == list(
        zip(recorder.samples["activations"]["name"], recorder.samples["activations"]["kind"], strict=True)
    )


class LeavesOut(nn.Module):
    """Leaves out its second block in some passes, as stochastic depth does."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(2))
        self.depth = 1

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks[: self.depth]:
            x = block(x) + 1
        return x


@pytest.mark.parametrize(("depths", "measured"), [((2, 1, 2), [2, 1, 2]), ((1, 2), [1, 1]), ((0, 2, 1), [0, 2, 1])])
def test_passes_of_different_layers(depths: tuple[int, ...], measured: list[int]) -> None:
    """Every row has an entry for each layer of the first pass that had any."""
    recorder, network = Recorder(config(every_n_steps=1), total_steps=9), LeavesOut()
    for step, network.depth in enumerate(depths, start=1):
        probe = recorder.sample(step, network)
        assert probe is not None
        with probe.forward() if network.depth else nullcontext():  # a pass in evaluation mode is not measured
            outputs = network(torch.randn(8, 5, requires_grad=True))
        outputs.sum().backward()
        probe.before_update(outputs)
        probe.after_update(0.1)
    table = recorder.samples["activations"]
    assert [sum(value is not None for value in row) for row in table["std"]] == measured
    assert {len(row) for row in table["std"]} == {len(table["name"])}


def test_max_samples() -> None:
    assert Recorder(config(every_n_steps=10, max_samples=50), total_steps=400).every_n_steps == 10
    assert Recorder(config(every_n_steps=10, max_samples=50), total_steps=1001).every_n_steps == 21


def test_state() -> None:
    recorder, restored = (Recorder(config(every_n_steps=2), total_steps=8) for _ in range(2))
    train(recorder, 8)
    restored.load(recorder.state())
    assert restored.state() == recorder.state()
    assert restored.samples["step"] == [1, 2, 4, 6, 8]


def test_probe_epoch() -> None:
    """It lists the share of dead units of each layer after each epoch."""
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
        network[0].bias.zero_()
    recorder = Recorder(config(), total_steps=1)
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
def test_invalid_fields(field: str, value: float) -> None:
    with pytest.raises(UserError) as error:
        config(**{field: value})
    assert error.value.field == field


def test_probe_examples() -> None:
    assert [config(probe_fraction=0.02).probe_examples(n) for n in (10, 1000, 10_000, 10**6)] == [10, 64, 200, 500]


def test_thin_out() -> None:
    """A training of unknown length keeps every second sample, and measures half as many from then on."""
    recorder = Recorder(config(every_n_steps=2), total_steps=0)
    train(recorder, 8)
    steps, updates = recorder.samples["step"], recorder.samples["weights"]["update"]
    recorder.thin_out()
    assert recorder.samples["step"] == steps[::2]
    assert recorder.samples["weights"]["update"] == updates[::2]
    assert len(recorder.samples["weights"]["name"]) == len(updates[0])
    assert recorder.every_n_steps == 4
