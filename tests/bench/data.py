"""Images a second into a training on the CPU, in every way that images are kept, beside torchvision's loader."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.data import EpochBatchSampler, Images, NoAugmentation
from pipeline.data.pixels import MappedPixels
from pipeline.data.preprocessing import channel_mean
from pipeline.data.sources.decode_files import decode_files
from pipeline.data.sources.image_files import ImageReader
from pipeline.training.examples import place_examples
from tests.bench.budget import rounds

BATCH, STEPS_PER_CALL = 64, 10
MEAN = [0.485, 0.456, 0.406]


def measure(n: int = 1280, *, seconds: float = 90.0, side: int = 224) -> dict[str, Any]:
    """Return the images a second of each way, as medians over rounds in turns, and their ratios to torchvision.

    A way gives an epoch of `n` JPEG files of `side` x `side` in random order as batches of centred float32.
    "torchvision" is `ImageFolder` behind a `DataLoader` with two workers. Of "in memory" and "mapped" the images are
    decoded already, as they are from the second epoch, or the second start, on.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = _write_files(Path(folder), n, side)
        ways = _ways(Path(folder), files, side)
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for i in rounds(seconds, at_least=3):
            for name in list(ways) if i % 2 else reversed(list(ways)):
                started = time.perf_counter()
                count = ways[name](i)
                speeds[name].append(count / (time.perf_counter() - started))
    loader = speeds["torchvision"]
    results: dict[str, Any] = {f"{name}: images a second": statistics.median(row) for name, row in speeds.items()}
    for name, row in speeds.items():
        if name != "torchvision":
            ratios = [own / other for own, other in zip(row, loader, strict=True)]
            results[f"{name} / torchvision"] = statistics.median(ratios)
            results[f"{name} / torchvision: lowest, highest"] = f"{min(ratios):.2f} .. {max(ratios):.2f}"
    return results | {"images": n, "rounds": len(loader), "threads": torch.get_num_threads()}


def _write_files(folder: Path, n: int, side: int) -> list[Path]:
    random = np.random.default_rng(0)
    files = []
    for i in range(n):
        coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        file = folder / "images" / str(i % 2) / f"{i:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, quality=85)
        files.append(file)
    return files


def _ways(folder: Path, files: list[Path], side: int) -> dict[str, Callable[[int], int]]:
    """Return by name a function of the epoch that deals out its batches and returns the number of images."""
    reader = ImageReader(None, False, "crop", "white")
    lazy = decode_files(files, reader, root=folder)
    pixels, labels = lazy[:], torch.arange(len(files)) % 2
    np.save(folder / "pixels.npy", pixels.numpy())
    mapped = MappedPixels(np.load(folder / "pixels.npy", mmap_mode="r"))
    prepare, cpu = channel_mean(pixels, scale=1 / 255), torch.device("cpu")

    def make_epoch(images: Images, on_host: bool) -> Callable[[int], int]:
        sampler = EpochBatchSampler(len(images), batch_size=BATCH, seed=0, steps_per_call=STEPS_PER_CALL)
        capacity = BATCH * STEPS_PER_CALL
        examples = place_examples(images, NoAugmentation(), cpu, on_host=on_host, capacity=capacity)

        def epoch(number: int) -> int:
            sampler.epoch, count = number, 0
            for chunk in examples.chunks(sampler):
                examples.begin_chunk()
                for _, index in chunk:
                    batch, _ = examples.select(index)
                    count += len(prepare(batch))
            return count

        return epoch

    return {
        "in memory": make_epoch(Images(pixels, labels), on_host=False),
        "mapped": make_epoch(Images(mapped, labels), on_host=True),
        "decoded when needed": make_epoch(Images(lazy, labels), on_host=True),
        "torchvision": _torchvision_epoch(folder / "images"),
    }


def _torchvision_epoch(folder: Path) -> Callable[[int], int]:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, [1, 1, 1])])
    loader = DataLoader(
        ImageFolder(folder, transform), BATCH, shuffle=True, num_workers=2, persistent_workers=True, prefetch_factor=4
    )
    return lambda epoch: sum(len(batch) for batch, _ in loader)
