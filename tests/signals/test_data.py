"""The data's signals against slow, obvious oracles and closed forms; then with the rules on the embedded data sets,
healthy and broken in the ways that people break them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from pipeline.checks import CheckSuite, Finding
from pipeline.data import Splits, preprocessing, split
from pipeline.data.dataset import Images, Source
from pipeline.data.sources.embedded import digits, fashion_mnist_5k
from pipeline.signals.data import data_signals
from pipeline.signals.data.duplicates import count_duplicates, value_bits
from pipeline.signals.data.inputs import constant_share, input_moments
from pipeline.signals.data.neighbours import label_agreement
from pipeline.signals.data.subsample import subsample_indices

MENU = yaml.safe_load((Path(__file__).parents[2] / "conf" / "checks" / "default.yaml").read_text())["rules"]
OURS = {"constant_features", "inputs_not_scaled", "inputs_not_centred", "duplicate_examples", "split_shift",
        "class_imbalance", "label_noise", "missing_class"}  # fmt: skip
Parts = dict[str, tuple[Tensor, Tensor]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(n: int, *shape: int, high: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(high, (n, *shape), generator=generator(seed), dtype=torch.uint8)


# the measurements


def test_moments_are_those_of_all_values() -> None:
    images = pixels(60, 3, 4, 5)
    found = input_moments(images, lambda stored: stored.float() / 255)
    values = images.double() / 255
    assert found["examples"] == 60
    assert found["mean"] == pytest.approx(float(values.mean()), abs=1e-7)
    assert found["std"] == pytest.approx(float(values.std(correction=0)), abs=1e-7)
    assert found["channel_mean"] == pytest.approx([float(values[:, c].mean()) for c in range(3)], abs=1e-6)
    assert found["channel_std"] == pytest.approx([float(values[:, c].std(correction=0)) for c in range(3)], abs=1e-6)


def test_errors_are_those_of_drawing_other_images() -> None:
    """Against 400 draws of 100 images: bright ones and dark ones, busy ones and flat ones."""
    random = generator(1)
    bright = 3 * torch.randn(40_000, 1, 1, 1, generator=random)
    busy = torch.rand(40_000, 1, 1, 1, generator=random)
    images = bright + busy * torch.randn(40_000, 1, 3, 3, generator=random)
    draws = [input_moments(part, lambda stored: stored) for part in images.split(100)]
    for name in ("mean", "std"):
        spread = float(torch.tensor([draw[name] for draw in draws]).std())
        told = sum(draw[f"{name}_error"] for draw in draws) / len(draws)
        assert told == pytest.approx(spread, rel=0.15)


def test_moments_of_constant_images() -> None:
    found = input_moments(torch.full((5, 1, 2, 2), 7, dtype=torch.uint8), lambda stored: stored.float())
    assert (found["mean"], found["std"], found["mean_error"], found["std_error"]) == (7, 0, 0, 0)


def test_many_columns_are_not_listed() -> None:
    assert "channel_mean" in input_moments(pixels(4, 64, 1, 1), Tensor.float)
    assert "channel_mean" not in input_moments(pixels(4, 65, 1, 1), Tensor.float)


def test_the_sample_of_large_images_is_bounded() -> None:
    asked = []
    input_moments(
        torch.zeros(2000, 3, 32, 32, dtype=torch.uint8), lambda stored: (asked.append(len(stored)), stored.float())[1]
    )
    assert asked == [682]


def test_constant_share_looks_at_every_image() -> None:
    images = torch.full((700, 1, 2, 5), 9, dtype=torch.uint8)
    assert constant_share(images) == 1
    images[699, 0, 1, 4] = 8
    assert constant_share(images) == 0.9
    images[300, 0, 0] = 0
    assert constant_share(images) == 0.4


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 20, 20), (3, 1, 1)])
def test_copies_are_the_bytes_that_occur(shape: tuple[int, ...]) -> None:
    train, other = pixels(300, *shape, high=3, seed=1), pixels(100, *shape, high=3, seed=2)
    other[:7], other[50:53] = train[100:107], train[100]
    known = {image.numpy().tobytes() for image in train}
    assert count_duplicates(train, other) == sum(image.numpy().tobytes() in known for image in other) >= 10


def test_images_that_differ_between_the_compared_values_are_no_copies() -> None:
    train = pixels(50, 1, 20, 20)
    other = train.clone()
    compared = torch.linspace(0, 399, 64).long()
    free = next(i for i in range(400) if i not in compared)
    other.view(50, -1)[10:, free] ^= 1
    assert count_duplicates(train, other) == 10
    assert count_duplicates(train.float(), other.float()) == 10


def test_value_bits_count_what_rows_can_tell_apart() -> None:
    row = torch.arange(64)
    table = torch.stack([row % 2, row % 4, row % 8, torch.full_like(row, 3)], 1)[:, :, None, None]
    assert value_bits(table) == 1 + 2 + 3
    assert value_bits(pixels(500, 1, 10, 10, high=2)) == 64  # no more than 64 are looked at
    assert value_bits(table[:, 3:]) == 0


def test_places_are_fixed_and_follow_no_period() -> None:
    assert subsample_indices(5, 7).tolist() == [0, 1, 2, 3, 4]
    chosen = subsample_indices(20_000, 2000)
    assert torch.equal(chosen, subsample_indices(20_000, 2000))
    assert len(chosen.unique()) == 2000
    assert bool((chosen.diff() > 0).all())
    assert torch.bincount(chosen % 10, minlength=10).min() > 150


def test_agreement_is_that_of_a_slow_search() -> None:
    """12 classes' clusters that overlap, in 5 columns of different units."""
    random, classes = generator(3), 6
    centres = torch.randn(classes, 5, generator=random)
    labels = torch.randint(classes, (180,), generator=random)
    units = torch.tensor([1.0, 100.0, 0.01, 5.0, 1.0])
    rows = (centres[labels] + 0.7 * torch.randn(180, 5, generator=random)) * units
    table = rows[:, :, None, None]
    train, asked = (table[:120], labels[:120]), (table[120:], labels[120:])
    found = label_agreement(*train, {"val": asked}, classes)
    scaled = (rows - rows[:120].mean(0)) / rows[:120].std(0, correction=0)
    for name, points in (("train", range(120)), ("val", range(120, 180))):
        right, votes, clear, matrix = 0, 0, 0, [[0] * classes for _ in range(classes)]
        for i in points:
            order = sorted((j for j in range(120) if j != i), key=lambda j: float((scaled[i] - scaled[j]).norm()))[:10]
            near = [int(labels[j]) for j in order]
            own = int(labels[i])
            right += near[0] == own
            votes += near.count(own)
            most = max(near.count(c) for c in range(classes))
            said = [c for c in range(classes) if near.count(c) == most]
            if most >= 5:
                clear += 1
                matrix[said[0]][own] += 1
        n = len(points)
        assert found[name]["nearest"] == 10
        assert found[name]["examples"] == n
        assert found[name]["agreement"] == pytest.approx(right / n)
        assert found[name]["vote_agreement"] == pytest.approx(votes / n / 10)
        assert found[name]["clear"] == pytest.approx(clear / n)
        assert found[name]["clear_labels"] == matrix


def test_what_random_labels_leave() -> None:
    """Ten far clusters, 40 % of the labels drawn anew: by chance 4 % of those are right again, and errors are even."""
    random = generator(4)
    group = torch.randint(10, (3000,), generator=random)
    table = (torch.eye(10)[group] * 100 + torch.randn(3000, 10, generator=random))[:, :, None, None]
    drawn = torch.randint(10, (3000,), generator=random)
    labels = torch.where(torch.rand(3000, generator=random) < 0.4, drawn, group)
    found = label_agreement(table, labels, {}, 10)["train"]
    right = 0.64  # 0.6 + 0.4 / 10
    assert found["pure_disagreement"] == pytest.approx(1 - right, abs=0.05)
    assert found["agreement"] == pytest.approx(right**2 + 9 * 0.04**2, abs=0.05)
    assert found["chance"] == pytest.approx(0.1, abs=0.01)
    assert found["evenness"] > 0.93
    clean = label_agreement(table, group, {}, 10)["train"]
    assert (clean["agreement"], clean["vote_agreement"], clean["pure_disagreement"]) == (1, 1, 0)
    assert clean["evenness"] is None  # no other label anywhere


def test_evenness_of_one_other_class_is_nothing() -> None:
    random = generator(5)
    group = torch.randint(6, (900,), generator=random)
    table = (torch.eye(6)[group] * 100 + torch.randn(900, 6, generator=random))[:, :, None, None]
    neighbour = torch.where(torch.rand(900, generator=random) < 0.3, (group + 1) % 6, group)
    assert label_agreement(table, neighbour, {}, 6)["train"]["evenness"] < 0.05
    assert label_agreement(table, group % 2, {}, 2)["train"]["evenness"] is None


def test_many_classes_get_no_matrix() -> None:
    table, labels = torch.arange(808.0).view(202, 4, 1, 1), torch.arange(202)
    assert "clear_labels" in label_agreement(table[:100], labels[:100], {}, 100)["train"]
    assert "clear_labels" not in label_agreement(table[:101], labels[:101], {}, 101)["train"]


def test_what_is_measured_is_plain_repeatable_and_draws_nothing() -> None:
    parts = parts_of(embedded("digits"))
    state = torch.random.get_rng_state()
    first = data_signals(parts, lambda stored: stored.float() / 16, "0123456789")
    again = data_signals(parts, lambda stored: stored.float() / 16, "0123456789")
    assert torch.equal(state, torch.random.get_rng_state())
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert first["class_counts"]["test"] == torch.bincount(parts["test"][1]).tolist()
    assert first["inputs"].keys() == {"train", "val", "test"}
    assert first["duplicates"].keys() == {"val", "test"}
    assert first["neighbours"].keys() == {"train", "val", "test"}
    without = {name: part for name, part in parts.items() if name != "test"}
    assert "test" not in json.dumps(data_signals(without, Tensor.float, "0123456789"))


def test_preparing_leaves_no_graph() -> None:
    parts = parts_of(embedded("digits"))
    layer = torch.nn.Linear(8, 8)
    seen = []
    data_signals(parts, lambda stored: (seen.append(layer(stored.float())), seen[-1])[1], "0123456789")
    assert not any(inputs.requires_grad for inputs in seen)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_hardly_any_data(n: int) -> None:
    table, labels = torch.rand(n, 2, 1, 1, generator=generator()), torch.arange(n) % 2
    signals = data_signals({"train": (table, labels), "val": (table, labels)}, Tensor.float, ["a", "b"])
    assert set(signals["neighbours"]) == (set() if n == 1 else {"train", "val"})
    assert not [finding for finding in judged(signals) if finding.severity == "failure"]


# with the rules, on real images


@lru_cache(maxsize=1)
def checks() -> CheckSuite:
    rules = {
        name: resolve_name(node["_target_"])(**{key: value for key, value in node.items() if not key.startswith("_")})
        for name, node in MENU.items()
        if name in OURS
    }
    return CheckSuite(fail_on="failure", rules=rules)


def judged(signals: dict[str, Any]) -> list[Finding]:
    return [f for f in checks().evaluate({"data": signals}, stage="sanity") if f.severity != "info"]


@lru_cache(maxsize=2)
def source(name: str) -> Source:
    return {"fashion_mnist_5k": fashion_mnist_5k, "digits": digits}[name]()


def embedded(name: str, *, seed: int = 0, limit: int | None = None, of: Source | None = None) -> Splits:
    share = {"fashion_mnist_5k": 0.05, "digits": 0.1}[name]
    return split(of or source(name), validation=share, test=0.1, seed=seed, limit=limit)


def parts_of(data: Splits) -> Parts:
    return {name: (images.pixels, images.labels) for name, images in data.splits.items()}


def found(
    data: Splits, parts: Parts | None = None, *, fit: Callable[..., Any] = preprocessing.channel_mean
) -> list[Finding]:
    prepare = fit(data.train.pixels, scale=data.scale)
    return judged(data_signals(parts or parts_of(data), prepare, data.classes))


FITS = {
    "none": preprocessing.none,
    "channel_mean": preprocessing.channel_mean,
    "mean_image": preprocessing.mean_image,
    "standardize": preprocessing.standardize,
    "pca": lambda stored, scale: preprocessing.pca(stored, scale=scale, components=None),
    "three components": lambda stored, scale: preprocessing.pca(stored, scale=scale, components=3),
    "whiten": lambda stored, scale: preprocessing.whiten(stored, scale=scale, epsilon=0.01),
}
each_set = pytest.mark.parametrize("name", ["fashion_mnist_5k", "digits"])


@each_set
@pytest.mark.parametrize("fit", FITS)
def test_healthy_data_are_silent_however_prepared(name: str, fit: str) -> None:
    assert found(embedded(name, limit=1500), fit=FITS[fit]) == []


@each_set
@pytest.mark.parametrize("limit", [None, 100, 400, 1000])
@pytest.mark.parametrize("seed", [1, 2])
def test_healthy_data_are_silent_however_split(name: str, limit: int | None, seed: int) -> None:
    assert found(embedded(name, limit=limit, seed=seed)) == []


def unequal(images: Images, sizes: list[int]) -> Images:
    """The first so many of each class, in file order."""
    kept = [torch.nonzero(images.labels == label).flatten()[:size] for label, size in enumerate(sizes)]
    return images.select(torch.cat(kept).sort().values)


@each_set
@pytest.mark.parametrize("ratio", [2, 5])
def test_mild_imbalance_is_silent(name: str, ratio: int) -> None:
    whole = source(name)
    most = int(torch.bincount(whole.train.labels).min())
    for sizes in ([most] * 5 + [most // ratio] * 5, [most] + [most // ratio] * 9, [most // ratio] + [most] * 9):
        assert found(embedded(name, of=changed(whole, train=unequal(whole.train, sizes)))) == []


@each_set
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_noisy_images_are_silent(name: str, sigma: float) -> None:
    whole = source(name)
    noisy = whole.train.pixels * whole.scale + sigma * torch.randn(whole.train.pixels.shape, generator=generator())
    assert found(embedded(name, of=changed(whole, train=Images(noisy, whole.train.labels), test=None, scale=1.0))) == []


@pytest.mark.parametrize("signal", [0.05, 0.1, 0.15, 0.2, 0.3])
def test_weak_patterns_in_noise_are_not_noise_in_labels(signal: float) -> None:
    """Ten random patterns of 8 x 8 pixels under as much noise: neighbours are even, but a clear group is right."""
    random = generator(6)
    labels = torch.randint(10, (3000,), generator=random)
    images = 2 * signal * torch.randn(10, 1, 8, 8, generator=random)[labels]
    images = images + torch.randn(images.shape, generator=random)
    parts = {"train": (images[:2600], labels[:2600]), "val": (images[2600:], labels[2600:])}
    assert judged(data_signals(parts, Tensor.float, "0123456789")) == []


def test_rows_of_a_rough_table_may_repeat() -> None:
    table = torch.randint(3, (900, 4, 1, 1), generator=generator()).float()
    labels = (table.flatten(1).sum(1) > 4).long()
    parts = {"train": (table[:700], labels[:700]), "val": (table[700:], labels[700:])}
    signals = data_signals(parts, Tensor.float, ["few", "many"])
    assert signals["duplicates"]["val"] == 200
    assert judged(signals) == []


def changed(whole: Source, **fields: Any) -> Source:
    return Source(**{**{name: getattr(whole, name) for name in whole.__dataclass_fields__}, **fields})


def relabelled(whole: Source, change: Callable[[Tensor], Tensor]) -> Source:
    return changed(whole, train=Images(whole.train.pixels, change(whole.train.labels)))


def randomly(share: float, seed: int = 0) -> Callable[[Tensor], Tensor]:
    def change(labels: Tensor) -> Tensor:
        random = generator(seed)
        drawn = torch.randint(10, labels.shape, generator=random)
        return torch.where(torch.rand(labels.shape, generator=random) < share, drawn, labels)

    return change


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=generator())]


def first(findings: list[Finding], check: str, *, severity: str = "warning", where: str | None = None) -> Finding:
    assert [finding.check for finding in findings][:1] == [check]
    assert (findings[0].severity, findings[0].where) == (severity, where)
    return findings[0]


@each_set
def test_values_in_their_own_units_and_scaled_twice(name: str) -> None:
    whole = source(name)
    assert "too large" in first(found(embedded(name, of=changed(whole, scale=1.0))), "inputs_not_scaled").message
    twice = changed(whole, scale=whole.scale**2)
    assert "too small" in first(found(embedded(name, of=twice)), "inputs_not_scaled").message


@each_set
def test_shuffled_labels(name: str) -> None:
    findings = found(embedded(name, of=relabelled(source(name), shuffled)))
    assert "nothing to do with its pixels" in first(findings, "label_noise", where="train").message


@each_set
@pytest.mark.parametrize("split_name", ["train", "val", "test"])
def test_labels_shuffled_in_one_split(name: str, split_name: str) -> None:
    data = embedded(name)
    parts = parts_of(data)
    parts[split_name] = (parts[split_name][0], shuffled(parts[split_name][1]))
    assert "nothing to do" in first(found(data, parts), "label_noise", where=split_name).message


@each_set
@pytest.mark.parametrize("share", [0.3, 0.4, 0.5])
def test_a_part_of_the_labels_is_random(name: str, share: float) -> None:
    finding = first(found(embedded(name, of=relabelled(source(name), randomly(share)))), "label_noise", where="train")
    assert "look random" in finding.message
    assert finding.measured["pure_disagreement"] == pytest.approx(0.9 * share, abs=0.07)


@each_set
@pytest.mark.parametrize("split_name", ["val", "test"])
def test_labels_of_one_class_shifted(name: str, split_name: str) -> None:
    data = embedded(name)
    parts = parts_of(data)
    images, labels = parts[split_name]
    parts[split_name] = (images, torch.where(labels == 3, 4, labels))
    findings = found(data, parts)
    told = f"{data.classes[3]!r} seems to be labelled {data.classes[4]!r}"
    assert told in first(findings, "label_noise", where=split_name).message
    assert [finding.check for finding in findings] == ["label_noise"]  # which explains missing_class


@each_set
def test_another_order_of_classes_in_the_test_split(name: str) -> None:
    data = embedded(name)
    parts = parts_of(data)
    images, labels = parts["test"]
    parts["test"] = (images, torch.where(labels >= 7, 16 - labels, labels))  # 7 8 9 are 9 8 7
    finding = first(found(data, parts), "label_noise", where="test")
    assert "So it is with 2 of 10 classes" in finding.message


@each_set
def test_one_class_has_nearly_all(name: str) -> None:
    whole = source(name)
    most = int(torch.bincount(whole.train.labels).max())
    few = unequal(whole.train, [most] + [max(3, most // 171)] * 9)
    assert "right in 9" in first(found(embedded(name, of=changed(whole, train=few))), "class_imbalance").message


@each_set
def test_a_sorted_file_cut_without_shuffling(name: str) -> None:
    data = embedded(name)
    order = data.train.labels.argsort(stable=True)
    last = torch.nonzero(data.train.labels == 9).flatten()
    stays = torch.cat([order[: -len(last)], last[:5]])  # a class without any training example is refused
    train, val = data.train.select(stays), data.train.select(last[5:])
    parts = {"train": (train.pixels, train.labels), "val": (val.pixels, val.labels)}
    findings = found(data, parts)
    assert "other classes" in first(findings, "split_shift", where="val").message
    assert "missing_class" not in {finding.check for finding in findings}


@each_set
def test_normalised_for_training_but_not_for_the_test(name: str) -> None:
    data = embedded(name)
    parts = {split: (images * data.scale, labels) for split, (images, labels) in parts_of(data).items()}
    mean, std = parts["train"][0].mean(), parts["train"][0].std()
    for split_name in ("train", "val"):
        parts[split_name] = ((parts[split_name][0] - mean) / std, parts[split_name][1])
    findings = judged(data_signals(parts, Tensor.float, data.classes))
    first(findings, "split_shift", where="test")
    parts["test"] = (parts["test"][0] * 255, parts["test"][1])
    first(judged(data_signals(parts, Tensor.float, data.classes)), "split_shift", severity="failure", where="test")


@each_set
def test_test_images_among_the_training_images(name: str) -> None:
    data = embedded(name)
    for share, severity in ((0.05, "warning"), (0.5, "failure")):
        parts = parts_of(data)
        some = round(share * len(data.test))
        parts["train"] = tuple(torch.cat([a, b[:some]]) for a, b in zip(parts["train"], parts["test"], strict=True))
        finding = first(found(data, parts), "duplicate_examples", severity=severity, where="test")
        assert finding.measured["duplicates"] == some


@each_set
def test_examples_repeated_before_splitting(name: str) -> None:
    whole = source(name)
    twice = Images(whole.train.pixels.repeat(2, 1, 1, 1), whole.train.labels.repeat(2))
    data = embedded(name, of=changed(whole, train=twice))
    assert found(data)[0].check == "duplicate_examples"
    assert found(data)[0].severity == "failure"


@each_set
def test_mostly_and_wholly_erased_images(name: str) -> None:
    whole = source(name)
    erased = whole.train.pixels.clone()
    erased[:, :, : math.ceil(0.7 * erased.shape[2])] = 0
    data = embedded(name, of=changed(whole, train=Images(erased, whole.train.labels), test=None))
    first(found(data), "constant_features")
    blank = changed(whole, train=Images(torch.zeros_like(erased), whole.train.labels), test=None)
    findings = found(embedded(name, of=blank))
    first(findings, "constant_features", severity="failure")
    assert "label_noise" not in {finding.check for finding in findings}
