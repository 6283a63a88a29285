"""Averaged weights against a bare loop; what is evaluated, saved and resumed with them."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD

from pipeline.data import EpochBatchSampler
from pipeline.model import CrossEntropy
from pipeline.training.lightning_module import Classifier
from pipeline.training.weight_average import WeightAverage
from tests.resumed_training import RANDOM, STEPS, differences, read, resumed, stopped, train, without_seconds
from tests.small_run import MakeRun
from tests.training.test_lightning_module import (
    BATCH,
    SEED,
    TRAIN,
    VAL,
    N,
    lightning,
    network,
    preprocessing,
    same_bits,
)

EMA = "trainer.ema=0.9"


def classifier(ema: float | None, steps_per_call: int = 1) -> Classifier:
    return Classifier(
        network(0.2),
        preprocessing=preprocessing(),
        loss=CrossEntropy(label_smoothing=0.0),
        optimizer=functools.partial(SGD, lr=0.1, momentum=0.9),
        train=TRAIN,
        val=VAL,
        seed=SEED,
        steps=EpochBatchSampler(N, batch_size=BATCH, seed=SEED, steps_per_call=steps_per_call),
        epochs=3,
        ema=ema,
    )


def test_formula() -> None:
    """d = min(decay, (1 + t) / (10 + t)): 0.1, 2/11, then 0.2; whole numbers are copied."""
    net = nn.BatchNorm1d(1)
    average = WeightAverage(net, 0.2)
    expected, weight = 1.0, nn.init.ones_(net.weight)
    for step, decay in enumerate((0.1, 2 / 11, 0.2, 0.2), start=1):
        weight.data.fill_(float(step))
        net.get_buffer("num_batches_tracked").fill_(step)
        average.update()
        expected = decay * expected + (1 - decay) * step
        state = average.state_dict()
        assert float(state["weight"]) == pytest.approx(expected)
        assert int(state["num_batches_tracked"]) == step
    addresses = [tensor.data_ptr() for tensor in net.state_dict().values()]
    with average.in_use():
        assert weight.tolist() == pytest.approx([expected])
        assert [tensor.data_ptr() for tensor in net.state_dict().values()] == addresses
    assert weight.tolist() == [4]


def test_in_use_after_a_move() -> None:
    """The tensors of a network that was moved to another device or type are new ones."""
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, 0.9)
    net.double().get_buffer("running_mean").fill_(5.0)
    with average.in_use():
        assert net.get_buffer("running_mean").tolist() == [0, 0]
    assert net.get_buffer("running_mean").tolist() == [5, 5]


@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_trained_weights_are_the_same(steps_per_call: int, tmp_path: Path) -> None:
    """The average changes nothing in the training; validation is that of the averaged network."""
    plain, averaged = classifier(None, steps_per_call), classifier(0.9, steps_per_call)
    for module in (plain, averaged):
        lightning(tmp_path, max_epochs=3).fit(module)
    assert same_bits(plain.network.state_dict(), averaged.network.state_dict())
    for one, other in zip(plain.history, averaged.history, strict=True):
        assert one["loss"] == other["loss"]
        assert one["val_loss"] != other["val_loss"]
    average = averaged.average
    assert average is not None
    net = network(0.2).eval()
    net.load_state_dict(average.state_dict())
    loss = torch.nn.functional.cross_entropy(net(preprocessing()(VAL.pixels)), VAL.labels)
    assert averaged.history[-1]["val_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_slow_oracle(tmp_path: Path) -> None:
    """The average of the weights after every step, by a callback that sees each of them."""
    module, seen = classifier(0.9), []
    update = WeightAverage.update

    def spy(average: WeightAverage) -> None:
        seen.append({name: value.double() for name, value in module.network.state_dict().items()})
        update(average)

    before = {name: value.double() for name, value in module.network.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverage, "update", spy)
        lightning(tmp_path, max_epochs=3).fit(module)
    assert len(seen) == 3 * 4
    expected = before
    for step, state in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * state[name] for name in state}
    assert module.average is not None
    for name, value in module.average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("end", [1, STEPS, STEPS + 2])
def test_resumed_to_the_bit(small_run: MakeRun, end: int) -> None:
    options = (*RANDOM, "schedule=cosine", EMA, "trainer.steps_per_call=1")
    stage = train(2)
    whole = small_run(*options)
    outcome = stage(*whole, [])
    path = stopped(stage, small_run(*options), end)
    later, again = resumed(stage, small_run(*options), path)
    for name in ("last", "best"):
        assert not differences(read(whole, name), read(later, name))
    assert without_seconds(again.metrics["history"]) == without_seconds(outcome.metrics["history"])


def test_checkpoint_has_both(small_run: MakeRun) -> None:
    """Whoever loads it gets the average; the weights of the run without one are beside it."""
    plain, averaged = small_run(*RANDOM), small_run(*RANDOM, EMA)
    for small in (plain, averaged):
        train(2)(*small, [])
    with_average, without = read(averaged), read(plain)
    network_names = {name for name in without["state_dict"] if name.startswith("network.")}
    assert with_average["state_dict"].keys() == without["state_dict"].keys()
    trained = with_average["pipeline"]["trained_weights"]
    assert {f"network.{name}" for name in trained} == network_names
    assert all(
        torch.equal(trained[name.removeprefix("network.")], without["state_dict"][name]) for name in network_names
    )
    weight = next(name for name in network_names if name.endswith("weight"))
    assert not torch.equal(with_average["state_dict"][weight], without["state_dict"][weight])
    assert with_average["pipeline"]["averaged_steps"] == 2 * STEPS
