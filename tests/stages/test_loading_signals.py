"""The part of `sanity.data` about loading, splitting and augmentation, as the stage puts it together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.data import CropFlip, Flip
from pipeline.stages.loading_signals import loading_signals
from pipeline.stages.sanity import data_signals_for
from tests.small_run import MakeRun

ALL = ("train", "val", "test")


def test_only_what_was_measured_is_there(small_run: MakeRun) -> None:
    assert loading_signals(small_run().components, ALL) == {}


def test_what_the_source_noted(small_run: MakeRun) -> None:
    small = small_run()
    transparency = {"images": 3, "transparent": 1, "background": "white", "lost": {"white": 0, "black": 1, "128": 0}}
    data = replace(small.components.data, loading={"transparency": transparency})
    measured = data_signals_for(small.replace(data=data).components)
    assert measured["transparency"] == transparency
    assert "class_counts" in measured


def test_groups_of_the_splits_that_may_be_measured(small_run: MakeRun) -> None:
    small = small_run()
    data = small.components.data
    grouped = replace(
        data,
        train=replace(data.train, groups=torch.arange(len(data.train))),
        val=replace(data.val, groups=torch.arange(len(data.val)) + len(data.train) - 3),
        test=replace(data.test, groups=torch.zeros(len(data.test), dtype=torch.long)),
    )
    components = small.replace(data=grouped).components
    assert loading_signals(components, ALL) == {"shared_groups": {"val": 3, "test": len(data.test)}}
    assert loading_signals(components, ("train", "val")) == {"shared_groups": {"val": 3}}
    without = replace(grouped, val=data.val)
    assert loading_signals(small.replace(data=without).components, ALL)["shared_groups"] == {"test": len(data.test)}


@pytest.mark.parametrize("augmentation", [Flip(p=0.5, average=True), CropFlip(padding=1, p=0.0)])
def test_augmentation(small_run: MakeRun, augmentation: Flip | CropFlip) -> None:
    small = small_run(augmentation=augmentation)
    state = torch.get_rng_state()
    before = small.components.data.train.pixels.clone()
    augmented = loading_signals(small.components, ALL)["augmented"]
    assert torch.equal(small.components.data.train.pixels, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert augmented["examples"] > 150
    assert loading_signals(small.replace(seed=5).components, ALL)["augmented"] == augmented
    nothing = small_run(augmentation=Flip(p=0.0, average=True))
    assert "augmented" not in loading_signals(nothing.components, ALL)
