"""The training examples on the device that trains: all of them, or those of the steps at hand, copied ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.data import Augmentation, Images, MixedLabels, NoAugmentation, Splits
from pipeline.data.pixels import StoredPixels
from pipeline.training.device import DeviceConfig
from pipeline.training.device_memory import memory_of
from pipeline.training.lightning_shortcuts import Chunk

DEVICE_SHARE = 0.5
"""Most of the device's free memory that images may take; the rest is for activations and the optimizer."""


class TrainingExamples(ABC):
    """Interface: `chunks` deals out indices, `select` returns the examples at one of them.

    The tensors that `select` reads stay at one place in memory, since a captured step has their addresses.
    """

    augmentation: Augmentation
    pixels: Tensor
    labels: Tensor
    parameters: Tensor | None = None
    """The augmentation's parameters of each example in this epoch; None without augmentation."""

    @abstractmethod
    def chunks(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Yield `chunks` with indices on the device that `select` understands."""

    def begin_chunk(self) -> None:  # noqa: B027 - where all examples are there, nothing is to be done
        """Make the examples of the next chunk available; called before its first step."""

    @abstractmethod
    def set_parameters(self, parameters: Tensor) -> None:
        """Use `parameters` (N, k), on the device, in this epoch."""

    def select(self, index: Tensor) -> tuple[Tensor, Tensor | MixedLabels]:
        """Return the augmented images at `index` (B,) and their labels, on the device."""
        pixels, labels = self.pixels.index_select(0, index), self.labels.index_select(0, index)
        if self.parameters is None:
            return pixels, labels
        parameters = self.parameters.index_select(0, index)
        return self.augmentation(pixels, parameters), self.augmentation.mix_labels(labels, parameters, pixels.shape[2:])


class ResidentExamples(TrainingExamples):
    """All examples on the device."""

    def __init__(self, images: Images, augmentation: Augmentation, device: torch.device):
        images = images.to(device)
        assert isinstance(images.pixels, Tensor)
        self.pixels, self.labels, self.augmentation, self._device = images.pixels, images.labels, augmentation, device

    def chunks(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            yield [(step, index.to(self._device, non_blocking=True)) for step, index in chunk]

    def set_parameters(self, parameters: Tensor) -> None:
        if self.parameters is None:
            self.parameters = parameters
        else:
            self.parameters.copy_(parameters)


class StreamedExamples(TrainingExamples):
    """The images in the host's memory; those of a chunk are copied while the chunk before it trains.

    A thread gathers the images of a chunk in pinned memory and copies them to the device on a stream of its own. An
    index counts from the first example of the chunk. The device holds the examples of two chunks.
    """

    def __init__(self, images: Images, augmentation: Augmentation, device: torch.device, *, capacity: int):
        self._images, self.augmentation, self._device = images, augmentation, device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._allocate(capacity)
        self._all_labels = images.labels.to(device)
        self.labels = self._all_labels.new_empty((capacity, *images.labels.shape[1:]))
        self._positions = torch.arange(capacity).to(device)
        self._all_parameters: Tensor | None = None
        self._waiting: deque[Tensor] = deque()  # the indices of chunks that are not copied yet
        self._copy: Future[Tensor] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="copy-images")

    def _allocate(self, capacity: int) -> None:
        shape, dtype = (capacity, *self._images.pixels.shape[1:]), self._images.pixels.dtype
        self._pinned = torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")
        self._incoming = torch.empty(shape, dtype=dtype, device=self._device)
        self.pixels = torch.empty_like(self._incoming)

    def chunks(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        self._waiting.clear()
        self._wait_for_copy()
        for chunk in chunks:
            self._waiting.append(torch.cat([index for _, index in chunk]).cpu())
            ends = torch.tensor([len(index) for _, index in chunk]).cumsum(0).tolist()
            yield [
                (step, self._positions[end - len(index) : end]) for (step, index), end in zip(chunk, ends, strict=True)
            ]

    def begin_chunk(self) -> None:
        if self._copy is None:
            self._begin_copy()
        index = self._wait_for_copy()
        assert index is not None
        n = len(index)
        index = index.to(self._device)
        self._take_incoming(n)
        torch.index_select(self._all_labels, 0, index, out=self.labels[:n])
        if self.parameters is not None and self._all_parameters is not None:
            self.parameters[:n].copy_(self._all_parameters.index_select(0, index))
        if self._waiting:
            self._begin_copy()

    def _take_incoming(self, n: int) -> None:
        self.pixels[:n].copy_(self._incoming[:n])

    def set_parameters(self, parameters: Tensor) -> None:
        self._all_parameters = parameters
        if self.parameters is None:
            self.parameters = parameters.new_zeros((len(self._positions), *parameters.shape[1:]))

    def _begin_copy(self) -> None:
        # the copy may overwrite `_incoming` once the work that reads it, and is queued already, is done
        ready = self._stream and torch.cuda.current_stream(self._device).record_event()
        self._copy = self._thread.submit(self._copy_images, self._waiting.popleft(), ready)

    def _copy_images(self, index: Tensor, ready: Any) -> Tensor:
        n = len(index)
        pixels = self._images.pixels
        if isinstance(pixels, StoredPixels):
            self._pinned[:n].copy_(pixels.gather(index))
        else:
            torch.index_select(pixels, 0, index, out=self._pinned[:n])
        with torch.cuda.stream(self._stream) if self._stream else nullcontext():
            if self._stream:
                self._stream.wait_event(ready)
            self._incoming[:n].copy_(self._pinned[:n], non_blocking=True)
        if self._stream:
            self._stream.synchronize()  # this thread waits, so that the pinned memory may be written again
        return index

    def _wait_for_copy(self) -> Tensor | None:
        copy, self._copy = self._copy, None
        return copy.result() if copy else None


class GatheredExamples(StreamedExamples):
    """Images that are not in memory, for the CPU: those of a chunk are gathered while the chunk before it trains."""

    def _allocate(self, capacity: int) -> None:
        self._incoming = self.pixels = self._images.pixels[:0]

    def _copy_images(self, index: Tensor, ready: Any) -> Tensor:
        self._incoming = self._images.pixels.index_select(0, index)
        return index

    def _take_incoming(self, n: int) -> None:
        self.pixels = self._incoming


def place_examples(
    images: Images, augmentation: Augmentation, device: torch.device, *, on_host: bool, capacity: int
) -> TrainingExamples:
    """Return the examples on `device`, or streamed to it; a chunk has at most `capacity` of them."""
    if on_host and device.type == "cpu" and isinstance(images.pixels, StoredPixels):
        return GatheredExamples(images, augmentation, device, capacity=capacity)
    if on_host:
        return StreamedExamples(images, augmentation, device, capacity=capacity)
    return ResidentExamples(images, augmentation, device)


def keeps_images_on_host(data: Splits, device: DeviceConfig) -> bool:
    """Return whether the training and validation images stay in the host's memory.

    With `trainer.images_on=auto` they do where they need more than `DEVICE_SHARE` of what is free on a device with
    memory of its own; and on the CPU where they are not in memory at all.
    """
    if device.kind == "cpu" and isinstance(data.train.pixels, StoredPixels):
        return True
    if device.images_on != "auto" or device.kind == "cpu":
        return device.images_on == "host"
    needed = sum(images.pixels.nbytes for images in (data.train, data.val))
    return needed > DEVICE_SHARE * memory_of(device.device).free()


def draws_parameters(augmentation: Augmentation) -> bool:
    """Return whether images are varied at all."""
    return not isinstance(augmentation, NoAugmentation)
