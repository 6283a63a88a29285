"""Which overrides let a run need less memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.data import Splits
from pipeline.training.batch_size import AUTO, MIN_STEPS_PER_EPOCH, BatchSizeLimits
from pipeline.training.device import DeviceConfig
from pipeline.training.largest_batch import MIN_SIZE

LARGE_SHARE = 0.1
"""Share of a device's memory from which on it is worth while to keep the images elsewhere."""

Suggestion = tuple[str, str]
"""Overrides, and what they do."""


@dataclass(frozen=True)
class MemoryUse:
    """What a run was doing when memory ran out, by its configuration and its data (None while they are loaded)."""

    config: Mapping[str, Any]
    device_config: DeviceConfig
    data: Splits | None
    stage: str | None
    """None while the run is built."""
    is_evaluation: bool
    """Whether it was a pass whose size is fixed."""
    is_trial: bool
    is_computing_memory: bool
    """Whether it is the memory that passes are computed in; else that of the host beside an accelerator."""
    total: float
    """Bytes that there are of it."""

    @property
    def image_bytes(self) -> int:
        """The size of the images that a training keeps in memory."""
        return sum(images.pixels.nbytes for images in (self.data.train, self.data.val)) if self.data else 0

    @property
    def examples_key(self) -> str:
        """The key with the number of examples in a pass of the stage."""
        return f"stages.{self.stage}.examples" if self.stage in ("sanity", "overfit") else "data.batch_size"

    @property
    def examples(self) -> Any:
        """The value of that key."""
        if self.examples_key == "data.batch_size":
            return self.config["data"]["batch_size"]
        return self.config["stages"][self.stage]["examples"]


def suggest_overrides(use: MemoryUse) -> list[Suggestion]:
    """Return overrides that need less memory; those that change the result least come first."""
    suggestions = list[Suggestion]()
    if use.is_computing_memory:
        suggestions += [*_smaller_passes(use), *_savings_on_device(use)]
    elif use.device_config.images_on == "host":
        suggestions.append(("trainer.images_on=device", "leaves the host's memory alone"))
    return [*suggestions, *_fewer_workers(use), *_smaller_networks(use)]


def _smaller_passes(use: MemoryUse) -> Iterator[Suggestion]:
    if use.is_evaluation:
        return
    if use.data is None:
        if use.examples == AUTO:
            yield (
                f"data.batch_size={use.device_config.devices * MIN_SIZE // 2}",
                f"auto begins with {MIN_SIZE} examples",
            )
    elif use.examples_key != "data.batch_size":
        half = use.examples // 2
        if half >= 2:
            too_many = use.stage == "sanity" and use.config["stages"]["sanity"]["fit_examples"] > half
            fits = f" stages.sanity.fit_examples={half}" if too_many else ""
            yield f"{use.examples_key}={half}{fits}", "half of the examples in a pass"
    else:
        yield from _smaller_batches(use, len(use.data.train))


def _smaller_batches(use: MemoryUse, n: int) -> Iterator[Suggestion]:
    device, half = use.device_config, use.examples // 2
    has_batchnorm = use.config["batchnorm"]["position"] != "none"
    twice = replace(device, accumulate=2 * device.accumulate)
    if half and BatchSizeLimits(n, twice, has_batchnorm).is_valid(half):
        overrides = f"data.batch_size={half} trainer.accumulate={twice.accumulate}"
        yield overrides, "half of the examples in a pass; a step has as many as before"
    elif half and BatchSizeLimits(n, device, has_batchnorm).is_valid(half):
        yield f"data.batch_size={half}", "half of the examples in a pass and in a step"
    smallest = MIN_SIZE * device.devices
    if use.examples > smallest and smallest * device.accumulate * MIN_STEPS_PER_EPOCH <= n:
        yield "data.batch_size=auto", "measures which size fits"


def _savings_on_device(use: MemoryUse) -> Iterator[Suggestion]:
    device = use.device_config
    if device.kind == "cpu":
        return
    if device.amp_dtype is None:
        yield "trainer.precision=bf16-mixed", "what a pass keeps takes half of the bytes"
    if use.stage not in ("train", "finetune"):
        return
    if device.kind == "gpu" and device.cuda_graph is not False:
        yield "trainer.cuda_graph=false", "a captured step has memory of its own, as much as a pass"
    may_be_on_device = device.images_on == "device" or (device.images_on == "auto" and use.image_bytes < use.total / 2)
    if may_be_on_device and use.image_bytes > LARGE_SHARE * use.total:
        yield "trainer.images_on=host", "copies the images to the device a few steps ahead"


def _fewer_workers(use: MemoryUse) -> Iterator[Suggestion]:
    workers = use.config.get("search", {}).get("workers")
    if use.is_trial and workers != 1:
        yield f"search.workers={workers // 2 if workers else 1}", "fewer trials share the memory"


def _smaller_networks(use: MemoryUse) -> Iterator[Suggestion]:
    for node, key in (("model", "width"), ("data", "size")):
        value = use.config[node].get(key)
        if isinstance(value, int) and value > 1:
            what = "half of the units in a layer" if key == "width" else "a quarter of the pixels in an image"
            yield f"{node}.{key}={value // 2}", what
