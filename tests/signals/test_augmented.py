"""What an augmentation does to classes: which are mapped onto others, which are destroyed, and what stays silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.checks import Finding
from pipeline.data import Augmentation, CropFlip, Flip, Images, split
from pipeline.data.sources.embedded import digits, fashion_mnist_5k
from pipeline.signals.data.augmented import augmentation_signals
from tests.checks.rule_cases import rule_of

Vary = Callable[[Tensor, int], Tensor]


def of(augmentation: Augmentation) -> Vary:
    return lambda images, epoch: augmentation(images, augmentation.sample_parameters(0, epoch, len(images), "cpu"))


def sometimes(change: Callable[[Tensor], Tensor]) -> Vary:
    def vary(images: Tensor, epoch: int) -> Tensor:
        drawn = torch.rand(len(images), generator=torch.Generator().manual_seed(epoch)) < 0.5
        return torch.where(drawn.view(-1, 1, 1, 1), change(images), images)

    return vary


def keep_one_row(images: Tensor, epoch: int) -> Tensor:
    drawn = torch.rand(len(images), 1, generator=torch.Generator().manual_seed(epoch))
    height = images.shape[2]
    near = (torch.arange(height) - (drawn * height).long()).abs() < 1
    return images * near[:, None, :, None]


def erase_a_fifth(images: Tensor, epoch: int) -> Tensor:
    height, width = images.shape[2:]
    start = torch.rand(len(images), 2, generator=torch.Generator().manual_seed(epoch))
    rows, columns = (
        (torch.arange(side) - (start[:, i : i + 1] * side).long()).abs() < side // 5
        for i, side in enumerate((height, width))
    )
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def blinkers(n: int = 400) -> tuple[Tensor, Tensor]:
    """Return bright triangles that point left (0) or right (1), at many places, on a noisy ground."""
    random = torch.Generator().manual_seed(0)
    images = 20 * torch.rand(n, 1, 15, 15, generator=random)
    labels = torch.arange(n) % 2
    rows, columns = torch.meshgrid(torch.arange(15), torch.arange(15), indexing="ij")
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(6, 9, (2,), generator=random).tolist()
        from_tip = (columns - (column - 4)) if label == 0 else ((column + 4) - columns)
        image[0, (from_tip >= 0) & (from_tip < 7) & ((rows - row).abs() * 2 <= from_tip)] += 150
    return images.round().byte(), labels


def coloured(n: int = 300) -> tuple[Tensor, Tensor]:
    """Return red (0), green (1) and blue (2) squares at many places on a grey ground."""
    random = torch.Generator().manual_seed(0)
    images = 90 + 30 * torch.rand(n, 3, 12, 12, generator=random)
    labels = torch.arange(n) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = torch.randint(1, 6, (2,), generator=random).tolist()
        image[:, row : row + 5, column : column + 5] = 40
        image[label, row : row + 5, column : column + 5] = 180 + 40 * torch.rand(1, generator=random)
    return images.round().byte(), labels


def finding(images: Tensor, labels: Tensor, vary: Vary) -> Finding | None:
    n_classes = int(labels.max()) + 1
    augmented = augmentation_signals(images, labels, vary, n_classes)
    assert augmented is not None
    data = {"augmented": augmented, "class_names": [str(label) for label in range(n_classes)]}
    return rule_of("augmentation_changes_class")({"data": data})  # type: ignore[typeddict-item]


def embedded(name: str) -> Images:
    if name == "digits":
        return split(digits(), validation=0.1, test=0.1, seed=0, limit=None).train
    return fashion_mnist_5k().train


@pytest.mark.parametrize(
    ("make", "change", "severity"),
    [
        (blinkers, lambda images: images.flip(-1), "failure"),
        (coloured, lambda images: images[:, [1, 0, 2]], "warning"),
    ],
)
def test_one_class_becomes_another(
    make: Callable[[], tuple[Tensor, Tensor]], change: Callable[[Tensor], Tensor], severity: str
) -> None:
    images, labels = make()
    found = finding(images, labels, sometimes(change))
    assert found is not None
    assert found.measured["classes"] == 2
    assert found.measured["moved"] > 0.9
    always = finding(images, labels, lambda varied, epoch: change(varied))
    assert always is not None
    assert always.measured["classes"] == 2
    upright = finding(images, labels, sometimes(lambda varied: varied.flip(-2)))
    assert upright is None


def test_digits_turned_over() -> None:
    train = embedded("digits")
    found = finding(train.pixels, train.labels, sometimes(lambda images: images.flip(-1, -2)))
    assert found is not None
    assert found.severity == "warning"
    assert "'6'" in found.message
    assert "'9'" in found.message


def test_nothing_is_left() -> None:
    images, labels = coloured()
    for vary in (
        lambda varied, epoch: varied.float().mean(1, keepdim=True).expand_as(varied).byte(),
        lambda varied, epoch: torch.full_like(varied, 128),
    ):
        found = finding(images, labels, vary)
        assert found is not None
        assert found.severity == "failure"
    train = embedded("digits")
    found = finding(train.pixels, train.labels, keep_one_row)
    assert found is not None
    assert found.severity == "failure"


@pytest.mark.parametrize("name", ["digits", "fashion"])
@pytest.mark.parametrize(
    "vary",
    [of(Flip(p=0.5, average=False)), of(CropFlip(padding=1, p=0.0)), of(CropFlip(padding=4, p=0.5)), erase_a_fifth],
    ids=["flip", "shift", "crop_flip", "erase"],
)
def test_sound_augmentations(name: str, vary: Vary) -> None:
    train = embedded(name)
    assert finding(train.pixels, train.labels, vary) is None


def test_changed_images_count() -> None:
    images, labels = coloured()
    half = augmentation_signals(images, labels, lambda varied, _: torch.cat([varied[:99].flip(-1), varied[99:]]), 3)
    assert half is not None
    assert half["examples"] == 99
    assert half["class_examples"] == [33, 33, 33]
    assert augmentation_signals(images, labels, lambda varied, _: varied.clone(), 3) is None
    epochs: list[int] = []

    def third_time(varied: Tensor, epoch: int) -> Tensor:
        epochs.append(epoch)
        return varied.flip(-1) if epoch == 2 else varied

    assert augmentation_signals(images, labels, third_time, 3) is not None
    assert epochs == [0, 1, 2]


def test_matrices() -> None:
    images, labels = coloured()
    swapped = augmentation_signals(images, labels, lambda varied, _: varied[:, [1, 0, 2]], 4)  # no example of 3
    assert swapped is not None
    assert swapped["called"][:3] == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert swapped["unvaried_called"][:3] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert swapped["called"][3] == [None] * 4
    closed = swapped["gap_closed"]
    assert closed[0][1] == pytest.approx(1, abs=0.1)
    assert closed[1][0] == pytest.approx(1, abs=0.1)
    assert abs(closed[2][0] or 1) < 0.1
    assert closed[3] == [None] * 4
    assert [closed[i][i] for i in range(3)] == [None] * 3
    assert swapped["chance"] == pytest.approx(1 / 3)
    many = augmentation_signals(images, labels, lambda varied, _: varied.flip(-1), 101)
    assert many is not None
    assert "called" not in many


def test_a_gap_is_closed_from_both_sides() -> None:
    """Copies of one image lie in its class, and most of that class is as far from them as before."""
    images, labels = coloured()
    copies = augmentation_signals(images, labels, lambda varied, _: images[:1].expand_as(varied), 3)
    assert copies is not None
    assert copies["called"][1][0] == 1
    assert (copies["gap_closed"][1][0] or 0) < 0.97


def test_no_image_is_its_own_neighbour() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(200, 1, 10, 10, generator=random)
    labels = torch.randint(2, (200,), generator=random)
    augmented = augmentation_signals(images, labels, lambda varied, _: varied + 0.01, 2)
    assert augmented is not None
    assert augmented["agreement"] == pytest.approx(0.5, abs=0.08)
    assert augmented["unvaried_agreement"] == pytest.approx(0.5, abs=0.08)


def test_random_state_is_restored() -> None:
    images, labels = coloured(60)

    def vary(varied: Tensor, epoch: int) -> Tensor:
        return (varied.float() + 5 * torch.rand(varied.shape)).byte()

    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = augmentation_signals(images, labels, vary, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert augmentation_signals(images, labels, vary, 3) == first


def test_rows_of_a_table() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    table = torch.randn(300, 6, 1, 1, generator=random)
    table[:, 0, 0, 0] += 6.0 * labels
    table *= torch.tensor([0.001, 1, 1, 1, 1, 1000]).view(6, 1, 1)

    def noise(varied: Tensor, epoch: int) -> Tensor:
        return varied + 0.1 * varied.std(0) * torch.randn(varied.shape)

    assert finding(table, labels, noise) is None
    found = finding(table, labels, lambda varied, _: torch.cat([varied[:, :1] * 0, varied[:, 1:]], 1))
    assert found is not None
