"""Clipped gradients: the numbers of torch, in one pass and in several, scaled and replayed, and what is measured."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn
from torch.optim import SGD

from pipeline.data import EpochBatchSampler
from pipeline.errors import UserError
from pipeline.model import CrossEntropy
from pipeline.signals.recorder import Recorder, RecorderConfig
from pipeline.stages.lr_range import LrRange
from pipeline.stages.overfit import Overfit
from pipeline.training.clipping import GradientClipping
from pipeline.training.lightning_module import Classifier
from tests.resumed_training import read, train
from tests.small_run import MakeRun
from tests.training.test_lightning_module import BATCH, SEED, TRAIN, VAL, N, lightning, network, preprocessing

SGD_ONE = functools.partial(SGD, lr=1.0)


def classifier(
    clipping: GradientClipping | None, *, accumulate: int = 1, recorder: Recorder | None = None
) -> Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    step_size = BATCH * accumulate
    return Classifier(
        net,
        preprocessing=preprocessing(),
        loss=CrossEntropy(label_smoothing=0.0),
        optimizer=SGD_ONE,
        train=TRAIN,
        val=VAL,
        seed=SEED,
        steps=EpochBatchSampler(N, batch_size=step_size, seed=SEED, steps_per_call=1),
        accumulate=accumulate,
        recorder=recorder,
        clipping=clipping,
    )


def fitted(module: Classifier, folder: Path, **options: Any) -> list[torch.Tensor]:
    lightning(folder, max_epochs=1, **options).fit(module)
    return [weight.detach().clone() for weight in module.network.parameters()]


def first_update(module: Classifier, folder: Path, **options: Any) -> torch.Tensor:
    """The update of the first step, at a rate of 1: minus the gradient that the optimizer got."""
    before = torch.cat([weight.detach().flatten().clone() for weight in module.network.parameters()])
    lightning(folder, max_epochs=1, limit_train_batches=1, **options).fit(module)
    return torch.cat([weight.detach().flatten() for weight in module.network.parameters()]) - before


@pytest.mark.parametrize("accumulate", [1, 2])
def test_norm_of_the_whole_step(accumulate: int, tmp_path: Path) -> None:
    free = first_update(classifier(None, accumulate=accumulate), tmp_path)
    clipped = first_update(classifier(GradientClipping(norm=0.01), accumulate=accumulate), tmp_path)
    assert free.norm() > 0.1
    torch.testing.assert_close(clipped, free * (0.01 / free.norm()), rtol=1e-3, atol=1e-8)


def test_value(tmp_path: Path) -> None:
    free, clipped = (first_update(classifier(c), tmp_path) for c in (None, GradientClipping(value=0.001)))
    torch.testing.assert_close(clipped, free.clamp(-0.001, 0.001))
    assert (free.abs() > 0.002).any()


def test_high_limits_change_no_bit(tmp_path: Path) -> None:
    free = fitted(classifier(None), tmp_path)
    limited = fitted(classifier(GradientClipping(norm=1e6, value=1e6)), tmp_path)
    assert all(torch.equal(one, other) for one, other in zip(free, limited, strict=True))


def test_scaled_gradients_are_unscaled_first(tmp_path: Path) -> None:
    """16-mixed: the norm is that of the gradient, not of 1024 times it, and the samples say how much was left."""

    def scaled() -> Any:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        return MixedPrecision("16-mixed", "cpu", scaler=scaler)

    plain = first_update(classifier(None), tmp_path)
    recorder = Recorder(RecorderConfig(every_n_steps=100, max_samples=10, probe_fraction=1.0), total_steps=4)
    module = classifier(GradientClipping(norm=0.01), recorder=recorder)
    clipped = first_update(module, tmp_path, plugins=[scaled()])
    assert float(clipped.norm()) == pytest.approx(0.01, rel=1e-2)
    cosine = torch.nn.functional.cosine_similarity(clipped, plain, dim=0)
    assert float(cosine) > 0.999
    assert recorder.samples["applied_gradient"] == [pytest.approx(0.01 / float(plain.norm()), rel=2e-2)]


def test_samples_say_what_is_left(tmp_path: Path) -> None:
    for clipping, expected in (
        (None, [None]),
        (GradientClipping(norm=0.01), None),
        (GradientClipping(norm=1e6), [1.0]),
    ):
        recorder = Recorder(RecorderConfig(every_n_steps=100, max_samples=10, probe_fraction=1.0), total_steps=4)
        fitted(classifier(clipping, recorder=recorder), tmp_path)
        shares = recorder.samples["applied_gradient"]
        assert shares == expected or (expected is None and 0 < shares[0] < 0.1)


def test_stages_clip(small_run: MakeRun) -> None:
    """Whatever trains clips: the training, the overfit stage and the range test."""
    stages: dict[str, Any] = {
        "overfit": Overfit(examples=20, steps=5, target_loss=0.01),
        "lr_range": LrRange(low=1e-3, high=10.0, steps=10, stop_factor=1e9, smoothing=0.5),
    }
    for stage in stages.values():
        free, clipped = (stage(*small_run(*options), []) for options in ((), ("trainer.clip_norm=1e-6",)))
        losses = clipped.metrics["losses"]
        assert max(losses) - min(losses) < 0.5 * (max(free.metrics["losses"]) - min(free.metrics["losses"]))
    small = small_run("trainer.clip_norm=1e-9")
    outcome = train(1)(*small, [])
    assert outcome.signals is not None
    shares = [share for share in outcome.signals["samples"]["applied_gradient"] if share is not None]
    assert shares
    assert max(shares) < 1e-6
    long = train(13)(*small_run("trainer.clip_norm=1e-9", "regularization=none"), [])
    clipped = next(finding for finding in long.findings if finding.check == "gradients_clipped")
    assert clipped.remedy == ("trainer.clip_norm=null",)  # the other limit is null already
    assert read(small)["pipeline"]["config"]["trainer"]["clip_norm"] == 1e-9


@pytest.mark.parametrize("key", ["clip_norm", "clip_value", "ema"])
@pytest.mark.parametrize("value", [0, -1, "a"])
def test_wrong_values(small_run: MakeRun, key: str, value: Any) -> None:
    with pytest.raises(UserError) as error:
        small_run(f"trainer.{key}={value}")
    assert error.value.field == f"trainer.{key}"


def test_no_network_is_needed() -> None:
    assert not GradientClipping()
    net = network()
    GradientClipping(norm=1.0, value=1.0)(net.parameters())  # without gradients there is nothing to clip
