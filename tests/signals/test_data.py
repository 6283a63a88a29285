"""The signals of the data against slow oracles and closed forms."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
import torch
from torch import Tensor

from pipeline.data import split
from pipeline.data.sources.embedded import digits
from pipeline.signals.data import data_signals
from pipeline.signals.data.duplicates import count_repeats, find_duplicates, is_in_train, value_bits
from pipeline.signals.data.inputs import constant_share, input_moments
from pipeline.signals.data.neighbours import label_agreement
from pipeline.signals.data.subsample import subsample_indices


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_pixels(n: int, *shape: int, high: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(high, (n, *shape), generator=generator(seed), dtype=torch.uint8)


def digit_splits() -> dict[str, tuple[Tensor, Tensor]]:
    data = split(digits(), validation=0.1, test=0.1, seed=0, limit=None)
    return {name: (images.pixels, images.labels) for name, images in data.splits.items()}


def test_moments() -> None:
    pixels = random_pixels(60, 3, 4, 5)
    measured = input_moments(pixels, lambda stored: stored.float() / 255)
    values = pixels.double() / 255
    assert measured["examples"] == 60
    assert measured["mean"] == pytest.approx(float(values.mean()), abs=1e-7)
    assert measured["std"] == pytest.approx(float(values.std(correction=0)), abs=1e-7)
    assert measured["channel_mean"] == pytest.approx([float(values[:, c].mean()) for c in range(3)], abs=1e-6)
    assert measured["channel_std"] == pytest.approx([float(values[:, c].std(correction=0)) for c in range(3)], abs=1e-6)


def test_standard_errors() -> None:
    """Errors agree with the spread over 400 samples of 100 images: bright and dark, with much and little contrast."""
    random = generator(1)
    bright = 3 * torch.randn(40_000, 1, 1, 1, generator=random)
    contrast = torch.rand(40_000, 1, 1, 1, generator=random)
    images = bright + contrast * torch.randn(40_000, 1, 3, 3, generator=random)
    samples = [input_moments(sample, lambda stored: stored) for sample in images.split(100)]
    for name in ("mean", "std"):
        spread = float(torch.tensor([sample[name] for sample in samples]).std())
        mean_error = sum(sample[f"{name}_error"] for sample in samples) / len(samples)
        assert mean_error == pytest.approx(spread, rel=0.15)


def test_moments_of_constant_images() -> None:
    measured = input_moments(torch.full((5, 1, 2, 2), 7, dtype=torch.uint8), lambda stored: stored.float())
    assert [measured[key] for key in ("mean", "std", "mean_error", "std_error")] == [7, 0, 0, 0]


def test_channel_limit() -> None:
    assert "channel_mean" in input_moments(random_pixels(4, 64, 1, 1), Tensor.float)
    assert "channel_mean" not in input_moments(random_pixels(4, 65, 1, 1), Tensor.float)


def test_large_images_are_sampled() -> None:
    sizes = []
    input_moments(
        torch.zeros(2000, 3, 32, 32, dtype=torch.uint8), lambda stored: (sizes.append(len(stored)), stored.float())[1]
    )
    assert sizes == [682]


def test_constant_share() -> None:
    """Every image counts, also the last one."""
    images = torch.full((700, 1, 2, 5), 9, dtype=torch.uint8)
    assert constant_share(images) == 1
    images[699, 0, 1, 4] = 8
    assert constant_share(images) == 0.9
    images[300, 0, 0] = 0
    assert constant_share(images) == 0.4


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 20, 20), (3, 1, 1)])
def test_duplicates(shape: tuple[int, ...]) -> None:
    train, other = random_pixels(300, *shape, high=3, seed=1), random_pixels(100, *shape, high=3, seed=2)
    other[:7], other[50:53] = train[100:107], train[100]
    known = {image.numpy().tobytes() for image in train}
    found = is_in_train(find_duplicates({"train": train, "val": other}))
    assert found.keys() == {"val"}
    assert found["val"].tolist() == [image.numpy().tobytes() in known for image in other]
    assert found["val"].sum() >= 10


def test_duplicates_agree_in_every_value() -> None:
    """Images that differ only between the values that are compared first are no duplicates."""
    train = random_pixels(50, 1, 20, 20)
    other = train.clone()
    compared = torch.linspace(0, 399, 64).long()
    free = next(i for i in range(400) if i not in compared)
    other.view(50, -1)[10:, free] ^= 1
    for kind in (torch.uint8, torch.float32):
        numbers = find_duplicates({"train": train.to(kind), "test": other.to(kind)})
        assert is_in_train(numbers)["test"].tolist() == [True] * 10 + [False] * 40
        assert len(numbers["train"].unique()) == 50


def test_repeats_against_a_slow_count() -> None:
    """Equal images of one class, in all splits together; those of another class are another kind."""
    pixels, labels = random_pixels(90, 1, 1, 4, high=2, seed=3), torch.arange(90) % 3
    parts = {"train": slice(0, 60), "val": slice(60, 75), "test": slice(75, 90)}
    numbers = find_duplicates({name: pixels[part] for name, part in parts.items()})
    measured = count_repeats(numbers, {name: labels[part] for name, part in parts.items()}, 4)
    rows = [tuple(row) for row in pixels.flatten(1).tolist()]
    repeated = [sum(rows[i] in rows[:i] + rows[i + 1 : 60] for i in range(60) if i % 3 == c) for c in range(3)]
    assert measured["train"] == [*repeated, 0]
    assert measured["images"] == [30, 30, 30, 0]
    for size, key in ((2, "pairs"), (3, "triples")):
        expected = [sum(len(set(group)) == 1 for group in combinations(rows[c::3], size)) for c in range(3)]
        assert measured[key] == [*expected, 0]  # type: ignore[literal-required]


def test_value_bits() -> None:
    row = torch.arange(64)
    table = torch.stack([row % 2, row % 4, row % 8, torch.full_like(row, 3)], 1)[:, :, None, None]
    assert value_bits(table) == 1 + 2 + 3
    assert value_bits(random_pixels(500, 1, 10, 10, high=2)) == 64  # at most 64 features count
    assert value_bits(table[:, 3:]) == 0


def test_subsample() -> None:
    """Indices are a function of the arguments, ascending, different, and not periodic."""
    assert subsample_indices(5, 7).tolist() == [0, 1, 2, 3, 4]
    chosen = subsample_indices(20_000, 2000)
    assert torch.equal(chosen, subsample_indices(20_000, 2000))
    assert len(chosen.unique()) == 2000
    assert bool((chosen.diff() > 0).all())
    assert torch.bincount(chosen % 10, minlength=10).min() > 150


def test_agreement_against_a_slow_search() -> None:
    """Six classes' clusters that overlap, in 5 columns of different units."""
    random, n_classes = generator(3), 6
    centres = torch.randn(n_classes, 5, generator=random)
    labels = torch.randint(n_classes, (180,), generator=random)
    units = torch.tensor([1.0, 100.0, 0.01, 5.0, 1.0])
    rows = (centres[labels] + 0.7 * torch.randn(180, 5, generator=random)) * units
    table = rows[:, :, None, None]
    measured = label_agreement(table[:120], labels[:120], {"val": (table[120:], labels[120:])}, n_classes)
    scaled = (rows - rows[:120].mean(0)) / rows[:120].std(0, correction=0)
    for name, points in (("train", range(120)), ("val", range(120, 180))):
        right, votes, clear, matrix = 0, 0, 0, [[0] * n_classes for _ in range(n_classes)]
        for i in points:
            order = sorted((j for j in range(120) if j != i), key=lambda j: float((scaled[i] - scaled[j]).norm()))[:10]
            near = [int(labels[j]) for j in order]
            label = int(labels[i])
            right += near[0] == label
            votes += near.count(label)
            most = max(near.count(c) for c in range(n_classes))
            majority = [c for c in range(n_classes) if near.count(c) == most]
            if most >= 5:
                clear += 1
                matrix[majority[0]][label] += 1
        n = len(points)
        assert measured[name]["nearest"] == 10
        assert measured[name]["examples"] == n
        assert measured[name]["agreement"] == pytest.approx(right / n)
        assert measured[name]["vote_agreement"] == pytest.approx(votes / n / 10)
        assert measured[name]["clear"] == pytest.approx(clear / n)
        assert measured[name]["clear_labels"] == matrix


def test_random_labels() -> None:
    """Ten far clusters, 40 % of the labels random: by chance 4 % of all are right again, and errors are even."""
    random = generator(4)
    group = torch.randint(10, (3000,), generator=random)
    table = (torch.eye(10)[group] * 100 + torch.randn(3000, 10, generator=random))[:, :, None, None]
    drawn = torch.randint(10, (3000,), generator=random)
    labels = torch.where(torch.rand(3000, generator=random) < 0.4, drawn, group)
    measured = label_agreement(table, labels, {}, 10)["train"]
    right = 0.64  # 0.6 + 0.4 / 10
    assert measured["pure_disagreement"] == pytest.approx(1 - right, abs=0.05)
    assert measured["agreement"] == pytest.approx(right**2 + 9 * 0.04**2, abs=0.05)
    assert measured["chance"] == pytest.approx(0.1, abs=0.01)
    assert measured["evenness"] > 0.93
    clean = label_agreement(table, group, {}, 10)["train"]
    assert (clean["agreement"], clean["vote_agreement"], clean["pure_disagreement"]) == (1, 1, 0)
    assert clean["evenness"] is None  # there is no other label


def test_evenness_of_one_other_class() -> None:
    random = generator(5)
    group = torch.randint(6, (900,), generator=random)
    table = (torch.eye(6)[group] * 100 + torch.randn(900, 6, generator=random))[:, :, None, None]
    next_class = torch.where(torch.rand(900, generator=random) < 0.3, (group + 1) % 6, group)
    assert label_agreement(table, next_class, {}, 6)["train"]["evenness"] < 0.05
    assert label_agreement(table, group % 2, {}, 2)["train"]["evenness"] is None


def test_matrix_limit() -> None:
    table, labels = torch.arange(808.0).view(202, 4, 1, 1), torch.arange(202)
    assert "clear_labels" in label_agreement(table[:100], labels[:100], {}, 100)["train"]
    assert "clear_labels" not in label_agreement(table[:101], labels[:101], {}, 101)["train"]


def test_signals_are_json_and_repeatable() -> None:
    """Equal data give equal signals, and torch's global generator is not changed."""
    splits = digit_splits()
    state = torch.random.get_rng_state()
    first, again = (data_signals(splits, lambda stored: stored.float() / 16, "0123456789") for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert first["class_counts"]["test"] == torch.bincount(splits["test"][1]).tolist()
    assert first["inputs"].keys() == {"train", "val", "test"}
    assert first["duplicates"].keys() == {"val", "test"}
    assert first["neighbours"].keys() == {"train", "val", "test"}
    del splits["test"]
    assert "test" not in json.dumps(data_signals(splits, Tensor.float, "0123456789"))


def test_no_gradients_are_tracked() -> None:
    layer = torch.nn.Linear(8, 8)
    outputs = []
    data_signals(digit_splits(), lambda stored: (outputs.append(layer(stored.float())), outputs[-1])[1], "0123456789")
    assert not any(output.requires_grad for output in outputs)


def test_few_examples() -> None:
    for n in (1, 2, 3):
        table, labels = torch.rand(n, 2, 1, 1, generator=generator()), torch.arange(n) % 2
        signals = data_signals({"train": (table, labels), "val": (table, labels)}, Tensor.float, ["a", "b"])
        assert set(signals["neighbours"]) == (set() if n == 1 else {"train", "val"})
