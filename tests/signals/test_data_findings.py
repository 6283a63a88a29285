"""The signals of the data with their rules, on the embedded data sets: healthy, and with common mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
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

RULES = yaml.safe_load((Path(__file__).parents[2] / "conf" / "checks" / "default.yaml").read_text())["rules"]
DATA_RULES = {"constant_features", "inputs_not_scaled", "inputs_not_centred", "duplicate_examples", "split_shift",
              "class_imbalance", "label_noise", "missing_class", "scrambled_pixels", "channel_order",
              "near_duplicates"}  # fmt: skip
SplitArrays = dict[str, tuple[Tensor, Tensor]]

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


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=1)
def checks() -> CheckSuite:
    rules = {
        name: resolve_name(node["_target_"])(**{key: value for key, value in node.items() if not key.startswith("_")})
        for name, node in RULES.items()
        if name in DATA_RULES
    }
    return CheckSuite(fail_on="failure", rules=rules)


def judged(signals: dict[str, Any]) -> list[Finding]:
    return [f for f in checks().evaluate({"data": signals}, stage="sanity") if f.severity != "info"]


@lru_cache(maxsize=2)
def source(name: str) -> Source:
    return {"fashion_mnist_5k": fashion_mnist_5k, "digits": digits}[name]()


def embedded(name: str, *, seed: int = 0, limit: int | None = None, of: Source | None = None) -> Splits:
    validation = {"fashion_mnist_5k": 0.05, "digits": 0.1}[name]
    return split(of or source(name), validation=validation, test=0.1, seed=seed, limit=limit)


def parts_of(data: Splits) -> SplitArrays:
    return {name: (images.pixels, images.labels) for name, images in data.splits.items()}


def findings_of(
    data: Splits, parts: SplitArrays | None = None, *, fit: Callable[..., Any] = preprocessing.channel_mean
) -> list[Finding]:
    prepare = fit(data.train.pixels, scale=data.scale)
    return judged(data_signals(parts or parts_of(data), prepare, data.classes))


def first(findings: list[Finding], check: str, *, severity: str = "warning", where: str | None = None) -> Finding:
    assert [finding.check for finding in findings][:1] == [check]
    assert (findings[0].severity, findings[0].where) == (severity, where)
    return findings[0]


def unequal(images: Images, sizes: list[int]) -> Images:
    """So many of each class, the first in file order."""
    kept = [torch.nonzero(images.labels == label).flatten()[:size] for label, size in enumerate(sizes)]
    return images.select(torch.cat(kept).sort().values)


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=generator())]


# ------------------------------------------------------------------------------------------ healthy data are silent


@each_set
def test_preprocessings_are_silent(name: str) -> None:
    for kind, fit in FITS.items():
        assert findings_of(embedded(name, limit=1500), fit=fit) == [], kind


@each_set
def test_splits_are_silent(name: str) -> None:
    for limit in (None, 100, 400, 1000):
        for seed in (1, 2):
            assert findings_of(embedded(name, limit=limit, seed=seed)) == [], (limit, seed)


@each_set
@pytest.mark.parametrize("ratio", [2, 5])
def test_mild_imbalance_is_silent(name: str, ratio: int) -> None:
    whole = source(name)
    most = int(torch.bincount(whole.train.labels).min())
    for sizes in ([most] * 5 + [most // ratio] * 5, [most] + [most // ratio] * 9, [most // ratio] + [most] * 9):
        assert findings_of(embedded(name, of=replace(whole, train=unequal(whole.train, sizes)))) == []


@each_set
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_noisy_images_are_silent(name: str, sigma: float) -> None:
    whole = source(name)
    noisy = whole.train.pixels * whole.scale + sigma * torch.randn(whole.train.pixels.shape, generator=generator())
    data = replace(whole, train=Images(noisy, whole.train.labels), test=None, scale=1.0)
    assert findings_of(embedded(name, of=data)) == []


def test_weak_patterns_are_silent() -> None:
    """Ten random patterns of 8 x 8 pixels in as much noise: neighbours are even, but clear groups are right."""
    for signal in (0.05, 0.1, 0.15, 0.2, 0.3):
        random = generator(6)
        labels = torch.randint(10, (3000,), generator=random)
        images = 2 * signal * torch.randn(10, 1, 8, 8, generator=random)[labels]
        images = images + torch.randn(images.shape, generator=random)
        parts = {"train": (images[:2600], labels[:2600]), "val": (images[2600:], labels[2600:])}
        assert judged(data_signals(parts, Tensor.float, "0123456789")) == [], signal


def test_repeated_rows_of_a_coarse_table_are_silent() -> None:
    table = torch.randint(3, (900, 4, 1, 1), generator=generator()).float()
    labels = (table.flatten(1).sum(1) > 4).long()
    parts = {"train": (table[:700], labels[:700]), "val": (table[700:], labels[700:])}
    signals = data_signals(parts, Tensor.float, ["few", "many"])
    assert signals["duplicates"]["val"] == 200
    assert judged(signals) == []


def test_few_examples_do_not_fail() -> None:
    for n in (1, 2, 3):
        table, labels = torch.rand(n, 2, 1, 1, generator=generator()), torch.arange(n) % 2
        signals = data_signals({"train": (table, labels), "val": (table, labels)}, Tensor.float, ["a", "b"])
        assert not [finding for finding in judged(signals) if finding.severity == "failure"]


# ------------------------------------------------------------------------------------------ common mistakes


@each_set
def test_wrong_scale(name: str) -> None:
    """Values in their own units are too large, values that are scaled twice too small."""
    whole = source(name)
    unscaled, twice = (embedded(name, of=replace(whole, scale=scale)) for scale in (1.0, whole.scale**2))
    assert first(findings_of(unscaled), "inputs_not_scaled").measured["input_std"] > 1
    assert first(findings_of(twice), "inputs_not_scaled").measured["input_std"] < 0.1


@each_set
def test_shuffled_labels(name: str) -> None:
    whole = source(name)
    data = replace(whole, train=Images(whole.train.pixels, shuffled(whole.train.labels)))
    finding = first(findings_of(embedded(name, of=data)), "label_noise", where="train")
    assert finding.measured["agreement"] == pytest.approx(finding.measured["chance"], abs=0.03)


@each_set
@pytest.mark.parametrize("split_name", ["train", "val", "test"])
def test_shuffled_labels_of_one_split(name: str, split_name: str) -> None:
    data = embedded(name)
    parts = parts_of(data)
    parts[split_name] = (parts[split_name][0], shuffled(parts[split_name][1]))
    assert "agreement" in first(findings_of(data, parts), "label_noise", where=split_name).measured


@each_set
@pytest.mark.parametrize("share", [0.3, 0.4, 0.5])
def test_partly_random_labels(name: str, share: float) -> None:
    whole, random = source(name), generator()
    labels = whole.train.labels
    drawn = torch.randint(10, labels.shape, generator=random)
    labels = torch.where(torch.rand(labels.shape, generator=random) < share, drawn, labels)
    data = embedded(name, of=replace(whole, train=Images(whole.train.pixels, labels)))
    finding = first(findings_of(data), "label_noise", where="train")
    assert finding.measured["pure_disagreement"] == pytest.approx(0.9 * share, abs=0.07)


@each_set
@pytest.mark.parametrize("split_name", ["val", "test"])
def test_relabelled_class(name: str, split_name: str) -> None:
    """The class that looks like 3 bears label 4; label_noise explains missing_class, which is not reported."""
    data = embedded(name)
    parts = parts_of(data)
    images, labels = parts[split_name]
    parts[split_name] = (images, torch.where(labels == 3, 4, labels))
    findings = findings_of(data, parts)
    finding = first(findings, "label_noise", where=split_name)
    assert finding.measured["classes"] == 1
    assert finding.message.index(repr(data.classes[3])) < finding.message.index(repr(data.classes[4]))
    assert [finding.check for finding in findings] == ["label_noise"]


@each_set
@pytest.mark.parametrize("split_name", ["val", "test"])
def test_absent_class(name: str, split_name: str) -> None:
    """Images that look like the class that a split lacks (T-shirts, sneakers, dresses) do not make it a renamed one."""
    data = embedded(name)
    for label in (0, 7, 3):
        parts = parts_of(data)
        images, labels = parts[split_name]
        parts[split_name] = (images[labels != label], labels[labels != label])
        findings = findings_of(data, parts)
        assert first(findings, "missing_class", where=split_name).measured == {"missing": 1, "classes": 10}
        assert len(findings) == 1


@each_set
def test_permuted_classes(name: str) -> None:
    """In the test split 7 and 9 are swapped."""
    data = embedded(name)
    parts = parts_of(data)
    images, labels = parts["test"]
    parts["test"] = (images, torch.where(labels >= 7, 16 - labels, labels))
    assert first(findings_of(data, parts), "label_noise", where="test").measured["classes"] == 2


@each_set
def test_strong_imbalance(name: str) -> None:
    whole = source(name)
    most = int(torch.bincount(whole.train.labels).max())
    few = unequal(whole.train, [most] + [max(3, most // 171)] * 9)
    finding = first(findings_of(embedded(name, of=replace(whole, train=few))), "class_imbalance")
    assert finding.measured["largest_share"] > 0.9


@each_set
def test_sorted_file(name: str) -> None:
    """A file that is sorted by class was cut without shuffling: validation has one class alone."""
    data = embedded(name)
    order = data.train.labels.argsort(stable=True)
    last = torch.nonzero(data.train.labels == 9).flatten()
    stays = torch.cat([order[: -len(last)], last[:5]])  # a class without any training example is refused
    train, val = data.train.select(stays), data.train.select(last[5:])
    parts = {"train": (train.pixels, train.labels), "val": (val.pixels, val.labels)}
    findings = findings_of(data, parts)
    assert first(findings, "split_shift", where="val").measured["class_distance"] > 0.8
    assert "missing_class" not in {finding.check for finding in findings}


@each_set
def test_normalized_except_test(name: str) -> None:
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
def test_test_images_in_training(name: str) -> None:
    data = embedded(name)
    for share, severity in ((0.05, "warning"), (0.5, "failure")):
        parts = parts_of(data)
        some = round(share * len(data.test))
        parts["train"] = tuple(torch.cat([a, b[:some]]) for a, b in zip(parts["train"], parts["test"], strict=True))
        finding = first(findings_of(data, parts), "duplicate_examples", severity=severity, where="test")
        assert finding.measured["duplicates"] == some


@each_set
def test_colours_in_another_order(name: str) -> None:
    """Garments and digits of a reddish tint, read as RGB in training and as BGR in the test split."""
    data = embedded(name)
    parts = parts_of(data)
    tint = torch.tensor([1.0, 0.8, 0.7])[:, None, None]
    parts = {key: (images.float() * data.scale * tint, labels) for key, (images, labels) in parts.items()}
    parts["test"] = (parts["test"][0].flip(1), parts["test"][1])
    findings = judged(data_signals(parts, Tensor.float, data.classes))
    assert first(findings, "channel_order", severity="failure", where="test").measured["share"] > 0.9
    assert len(findings) == 1


@each_set
def test_repeated_examples(name: str) -> None:
    """Every example occurs twice before the splits are cut."""
    whole = source(name)
    twice = Images(whole.train.pixels.repeat(2, 1, 1, 1), whole.train.labels.repeat(2))
    finding = findings_of(embedded(name, of=replace(whole, train=twice)))[0]
    assert (finding.check, finding.severity) == ("duplicate_examples", "failure")


@each_set
def test_erased_images(name: str) -> None:
    """70 % of the rows are 0, then all of them."""
    whole = source(name)
    erased = whole.train.pixels.clone()
    erased[:, :, : math.ceil(0.7 * erased.shape[2])] = 0
    data = embedded(name, of=replace(whole, train=Images(erased, whole.train.labels), test=None))
    first(findings_of(data), "constant_features")
    blank = replace(whole, train=Images(torch.zeros_like(erased), whole.train.labels), test=None)
    findings = findings_of(embedded(name, of=blank))
    first(findings, "constant_features", severity="failure")
    assert "label_noise" not in {finding.check for finding in findings}
