"""Looks at the data alone, before any network: the checks of images and labels, and pictures of what is odd."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pipeline import validation
from pipeline.data.dataset import CLASSIFICATION
from pipeline.signals.data.suspects import (
    Suspect,
    alike_suspects,
    blank_suspects,
    odd_suspects,
    repeated_suspects,
)
from pipeline.stages import sample_images
from pipeline.stages.sanity import data_signals_for
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings


@dataclass(frozen=True)
class DataCheck(Stage):
    """Measure the images and labels of all splits, evaluate the checks of data, and collect suspects.

    Test images are looked at too, since nothing is trained or chosen here. `pictures` bounds each kind of suspect.
    """

    is_fixable = False
    needs_network = False

    pictures: int

    def __post_init__(self) -> None:
        validation.integer("pictures", self.pictures, at_least=1, at_most=200)

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        data = components.data
        signals: dict[str, Any] = {"data": data_signals_for(components, with_test=True)}
        context.progress(1, 2, unit="")
        suspects = self._find_suspects(components, signals["data"])
        findings = components.checks.evaluate(signals, stage="data", earlier=all_findings(earlier))
        counts = {kind: len(found) for kind, found in suspects.items()}
        return Outcome(
            name="data",
            passed=not components.checks.has_failure(findings),
            seconds=time.perf_counter() - started,
            headline=_headline(findings, counts),
            metrics={"examples": data.sizes, "suspects": _records(components, suspects)},
            findings=tuple(findings),
            signals=signals,
            images=self._images(components, suspects) if context.save_images else {},
        )

    def _find_suspects(self, components: Components, measured: Mapping[str, Any]) -> dict[str, list[Suspect]]:
        """Return the suspects of each kind."""
        data, limit = components.data, self.pictures
        pixels = {name: cast(Tensor, images.pixels) for name, images in data.splits.items()}  # or stored pixels
        labels = {name: images.labels for name, images in data.splits.items()}
        has_classes = data.task == CLASSIFICATION

        def name_of(label: Tensor) -> str:
            return data.classes[int(label)] if has_classes else "other labels"

        odd = odd_suspects(pixels["train"], data.train.labels, name_of, has_classes=has_classes, limit=limit)
        return {
            "blank": blank_suspects(pixels, limit=limit),
            "repeated": repeated_suspects(pixels, labels, name_of, limit=limit),
            "alike": alike_suspects(measured.get("near_copies", {}), limit=limit),
            **odd,
        }

    def _images(self, components: Components, suspects: Mapping[str, Sequence[Suspect]]) -> dict[str, Any]:
        """Return what the data look like, and the suspects with their partners, by the names in pictures.npz."""
        images: dict[str, Any] = dict(sample_images.data_images(components))
        if min(components.data.input_shape[1:]) < 2:  # rows of a table
            return images
        for kind, found in suspects.items():
            if found:
                places = [(suspect.split, suspect.index) for suspect in found]
                partners = [suspect.partner or place for suspect, place in zip(found, places, strict=True)]
                images[f"suspects_{kind}"] = np.stack([_select(components, places), _select(components, partners)])
        return images


def _select(components: Components, places: Sequence[tuple[str, int]]) -> np.ndarray:
    """Return the images at (split, index), uint8 (n, H, W, channels)."""
    data = components.data
    shown = [
        sample_images.select_images(data.splits[split], torch.tensor([index]), scale=data.scale)
        for split, index in places
    ]
    return np.concatenate(shown)


def _records(components: Components, suspects: Mapping[str, Sequence[Suspect]]) -> dict[str, list[dict[str, Any]]]:
    """Return the suspects as plain data: split, index, label, file, note and the other one of a pair."""
    data = components.data

    def describe(split: str, index: int) -> dict[str, Any]:
        names, has_classes = data.splits[split].names, data.task == CLASSIFICATION
        label = data.classes[int(data.splits[split].labels[index])] if has_classes else ""
        return {"split": split, "index": index, "label": label, **({} if names is None else {"file": names[index]})}

    return {
        kind: [
            describe(one.split, one.index)
            | {"note": one.note}
            | ({"partner": describe(*one.partner)} if one.partner else {})
            for one in found
        ]
        for kind, found in suspects.items()
        if found
    }


def _headline(findings: Sequence[Any], counts: Mapping[str, int]) -> str:
    words = {
        "blank": "blank",
        "repeated": "repeated elsewhere",
        "alike": "much like another",
        "far": "far from all others",
        "class": "unlike their class",
    }
    found = [f"{count} {words[kind]}" for kind, count in counts.items() if count]
    shown = f"; to look at: {', '.join(found)}" if found else ""
    return f"{len(findings)} finding{'s' * (len(findings) != 1)}{shown}"
