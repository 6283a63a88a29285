"""Mixup and CutMix against slow computations, and the loss of mixed examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data import Augmentation, EpochBatchSampler, Flip, Images, MixedLabels, NoAugmentation
from pipeline.data.augmentation import CutMix, Mixup
from pipeline.errors import UserError
from pipeline.model import CrossEntropy
from pipeline.training.lightning_module import Classifier
from tests.training.test_lightning_module import MOMENTUM, TRAIN, VAL, lightning, network, preprocessing, same_bits

BOTH = [Mixup(flip=0.0, alpha=0.4), CutMix(flip=0.0, alpha=1.0)]


def pixels(n: int = 40, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.randint(0, 256, (n, 3, 6, 8), generator=torch.Generator().manual_seed(0)).to(dtype)


def labels_of(augmentation: Augmentation, parameters: Tensor) -> MixedLabels:
    mixed = augmentation.mix_labels(torch.arange(len(parameters)), parameters, (6, 8))
    assert isinstance(mixed, MixedLabels)
    return mixed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_mixup(dtype: torch.dtype) -> None:
    augmentation, images = BOTH[0], pixels(dtype=dtype)
    parameters = augmentation.sample_parameters(1, 2, 40, "cpu")
    mixed, labels = augmentation(images, parameters), labels_of(augmentation, parameters)
    assert mixed.dtype == dtype
    for i, (j, share) in enumerate(zip(labels.partner.tolist(), labels.share.tolist(), strict=True)):
        expected = share * images[i].double() + (1 - share) * images[j].double()
        assert (mixed[i].double() - expected).abs().max() <= (1e-4 if dtype.is_floating_point else 0.5 + 1e-4)


def test_cutmix() -> None:
    """Each pixel is that of one of the two images, in a box whose area is the partner's share."""
    augmentation, images = BOTH[1], pixels()
    parameters = augmentation.sample_parameters(1, 2, 40, "cpu")
    mixed, labels = augmentation(images, parameters), labels_of(augmentation, parameters)
    boxes = 0
    for i, (j, share) in enumerate(zip(labels.partner.tolist(), labels.share.tolist(), strict=True)):
        foreign = (mixed[i] != images[i]).any(0)
        assert torch.equal(mixed[i], torch.where(foreign, images[j], images[i]))
        rows, columns = foreign.any(1).nonzero().flatten(), foreign.any(0).nonzero().flatten()
        if len(rows):
            area = int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))
            assert bool(foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all())
            assert share == pytest.approx(1 - area / 48, abs=1e-6)
            boxes += 1
        else:
            assert share == 1
    assert boxes > 20


@pytest.mark.parametrize("augmentation", BOTH)
def test_partners(augmentation: Augmentation) -> None:
    """Another example of the batch, each equally often; a lone example has none."""
    parameters = augmentation.sample_parameters(0, 0, 5000, "cpu")
    distances = torch.cat(
        [(labels_of(augmentation, part).partner - torch.arange(10)) % 10 for part in parameters.split(10)]
    )
    counts = torch.bincount(distances, minlength=10)
    assert counts[0] == 0
    assert counts[1:].min() > 450
    lone = augmentation.sample_parameters(0, 0, 1, "cpu")
    assert labels_of(augmentation, lone).partner.tolist() == [0]
    assert torch.equal(augmentation(pixels(1), lone), pixels(1))


def test_shares_are_beta() -> None:
    for alpha in (0.2, 1.0, 8.0):
        share = Mixup(flip=0.0, alpha=alpha).sample_parameters(0, 0, 20_000, "cpu")[:, 1]
        assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
        assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@pytest.mark.parametrize("augmentation", BOTH)
def test_draws_depend_on_seed_and_epoch_alone(augmentation: Augmentation) -> None:
    state = torch.get_rng_state()
    first = augmentation.sample_parameters(1, 2, 50, "cpu")
    assert torch.equal(first, augmentation.sample_parameters(1, 2, 50, "cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.equal(first[:, 1], augmentation.sample_parameters(seed, epoch, 50, "cpu")[:, 1])


def test_loss_and_dominant_label() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, share = torch.randn(6, 4, generator=generator), torch.rand(6, generator=generator)
    own, partner = torch.arange(6) % 4, (torch.arange(6) + 1) % 4
    mixed = MixedLabels(own, partner, share)
    soft = share[:, None] * F.one_hot(own, 4) + (1 - share[:, None]) * F.one_hot(partner, 4)
    loss = mixed.mean_loss(CrossEntropy(label_smoothing=0.0).per_example, logits)
    torch.testing.assert_close(loss, F.cross_entropy(logits, soft))
    assert mixed.dominant.tolist() == soft.argmax(1).tolist()
    several = MixedLabels(torch.ones(2, 3), torch.zeros(2, 3), torch.tensor([0.9, 0.1]))
    assert several.dominant.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_without_mixing() -> None:
    assert Mixup(flip=0.5, alpha=1.0).without_mixing() == Flip(p=0.5, average=False)
    assert isinstance(BOTH[1].without_mixing(), NoAugmentation)


@pytest.mark.parametrize("alpha", [0, -1, "a", None])
def test_wrong_alpha(alpha: object) -> None:
    for cls in (Mixup, CutMix):
        with pytest.raises(UserError) as error:
            cls(flip=0.0, alpha=alpha)  # type: ignore[arg-type]
        assert error.value.field == "alpha"


def trained(augmentation: Augmentation, folder: Path, epochs: int = 2) -> Classifier:
    classifier = Classifier(
        network(),
        preprocessing=preprocessing(),
        loss=CrossEntropy(label_smoothing=0.0),
        optimizer=MOMENTUM,
        train=TRAIN,
        val=VAL,
        seed=7,
        steps=EpochBatchSampler(len(TRAIN), batch_size=16, seed=7, steps_per_call=3),
        augmentation=augmentation,
        epochs=epochs,
    )
    lightning(folder, max_epochs=epochs).fit(classifier)
    return classifier


def test_training_on_mixed_examples(tmp_path: Path) -> None:
    """The step's loss is the shared one, and nothing of it reaches the validation."""
    plain, mixed, again = (
        trained(a, tmp_path) for a in (NoAugmentation(), Mixup(flip=0.0, alpha=1.0), Mixup(flip=0.0, alpha=1.0))
    )
    assert same_bits(mixed.network.state_dict(), again.network.state_dict())
    assert not same_bits(plain.network.state_dict(), mixed.network.state_dict())
    augmentation, index = mixed.augmentation, torch.arange(16)
    parameters = augmentation.sample_parameters(7, 0, len(TRAIN), "cpu")
    mixed.examples.set_parameters(parameters)
    images, labels = mixed.examples.select(index)
    assert isinstance(labels, MixedLabels)
    assert torch.equal(images, augmentation(TRAIN.pixels[:16], parameters[:16]))
    assert torch.equal(labels.own, TRAIN.labels[:16])
    assert torch.equal(labels.partner, TRAIN.labels[labels_of(augmentation, parameters[:16]).partner])
    step = mixed._make_step(mixed.optimizers())
    expected = labels.mean_loss(mixed.loss.per_example, mixed(images))
    loss, hits = step.run_pass(index)
    torch.testing.assert_close(loss, expected.detach())
    assert torch.equal(hits, mixed(images).argmax(1) == labels.dominant)


def test_nearly_pure_mixtures_train_alike(tmp_path: Path) -> None:
    """With shares of 0 or 1 the loss is that of whole examples, some of them another's."""
    mixed = trained(Mixup(flip=0.0, alpha=1e-4), tmp_path)
    plain = trained(NoAugmentation(), tmp_path)
    assert mixed.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.3)
    assert isinstance(Images(TRAIN.pixels, TRAIN.labels), Images)
