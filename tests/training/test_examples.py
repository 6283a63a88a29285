"""Training examples that stay on the host: each step gets those that it would get from the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.data import CropFlip, EpochBatchSampler, Images, NoAugmentation, Splits
from pipeline.errors import UserError
from pipeline.stages.train import Train
from pipeline.training import examples
from pipeline.training.examples import ResidentExamples, StreamedExamples, TrainingExamples, keeps_images_on_host
from tests.small_run import MakeRun

CPU = torch.device("cpu")
N, BATCH = 23, 4
IMAGES = Images(torch.arange(N * 16, dtype=torch.uint8).view(N, 1, 4, 4), torch.arange(N))


def sampler(step: int = 0, epoch: int = 0) -> EpochBatchSampler:
    steps = EpochBatchSampler(N, batch_size=BATCH, seed=3, steps_per_call=2)
    steps.step, steps.epoch = step, epoch
    return steps


def selected(source: TrainingExamples, steps: EpochBatchSampler, *, ahead: int) -> list[tuple[int, Tensor, Tensor]]:
    """Return each step's examples, where the loader fetches `ahead` chunks before one is used."""
    found, chunks, waiting = [], source.chunks(steps), []
    for chunk in chunks:
        waiting.append(chunk)
        if len(waiting) > ahead:
            found += use(source, waiting.pop(0))
    for chunk in waiting:
        found += use(source, chunk)
    return found


def use(source: TrainingExamples, chunk: object) -> list[tuple[int, Tensor, Tensor]]:
    source.begin_chunk()
    return [(step, *source.select(index)) for step, index in chunk]  # type: ignore[attr-defined]


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("first_step", [0, 3])
def test_streamed_examples(ahead: int, first_step: int) -> None:
    augmentation = CropFlip(padding=1, p=0.5)
    resident = ResidentExamples(IMAGES, augmentation, CPU)
    streamed = StreamedExamples(IMAGES, augmentation, CPU, capacity=2 * BATCH)
    addresses = set()
    for epoch in range(2):
        parameters = augmentation.sample_parameters(5, epoch, N, CPU)
        for source in (resident, streamed):
            source.set_parameters(parameters)
        one = selected(resident, sampler(first_step, epoch), ahead=ahead)
        other = selected(streamed, sampler(first_step, epoch), ahead=ahead)
        assert [step for step, *_ in other] == list(range(first_step, 6))
        for (step, pixels, labels), (same_step, same_pixels, same_labels) in zip(one, other, strict=True):
            assert step == same_step
            assert torch.equal(pixels, same_pixels)
            assert torch.equal(labels, same_labels)
        for source in (resident, streamed):  # a graph has their addresses
            assert source.parameters is not None
            addresses.add((source.pixels.data_ptr(), source.labels.data_ptr(), source.parameters.data_ptr()))
    assert len(addresses) == 2


def test_an_epoch_may_end_early() -> None:
    """What was copied for a chunk that no step used does not reach the next epoch."""
    streamed = StreamedExamples(IMAGES, NoAugmentation(), CPU, capacity=2 * BATCH)
    chunks = streamed.chunks(sampler())
    for _ in range(2):
        next(chunks)
    streamed.begin_chunk()
    expected = selected(ResidentExamples(IMAGES, NoAugmentation(), CPU), sampler(epoch=1), ahead=1)
    for (_, pixels, _), (_, same, _) in zip(expected, selected(streamed, sampler(epoch=1), ahead=1), strict=True):
        assert torch.equal(pixels, same)


def test_a_failed_copy_ends_the_training() -> None:
    labels_too_few = Images(IMAGES.pixels[:2], IMAGES.labels)
    streamed = StreamedExamples(labels_too_few, NoAugmentation(), CPU, capacity=2 * BATCH)
    chunks = streamed.chunks(sampler())
    next(chunks)
    with pytest.raises(IndexError):
        streamed.begin_chunk()


class Memory:
    def __init__(self, free: float):
        self._free = free

    def free(self) -> float:
        return self._free


def test_which_images_stay_on_the_host(small_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    components, _ = small_run()
    data: Splits = components.data
    size = data.train.pixels.nbytes + data.val.pixels.nbytes
    for override, expected in (("auto", False), ("host", True), ("device", False)):
        device = small_run(f"trainer.images_on={override}").components.device_config
        assert keeps_images_on_host(data, device) is expected
    monkeypatch.setattr(type(components.device_config), "kind", "gpu")
    for free, expected in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(examples, "memory_of", lambda device, free=free: Memory(free))
        assert keeps_images_on_host(data, components.device_config) is expected


def test_training_from_the_host(small_run: MakeRun) -> None:
    """The bits are those of images on the device, and a finding says where the images are."""
    stage = Train(epochs=2, break_factor=3.0, patience=None, monitor="val_accuracy")
    options = ("augmentation=crop_flip", "trainer.steps_per_call=3")
    one = stage(*small_run(*options, "trainer.images_on=device"), [])
    host = small_run(*options, "trainer.images_on=host")
    other = stage(*host, [])
    assert other.signals["losses"] == one.signals["losses"]
    for row, same in zip(other.metrics["history"], one.metrics["history"], strict=True):
        assert row | {"seconds": 0} == same | {"seconds": 0}
    assert "streamed_bytes" not in one.signals
    assert other.signals["streamed_bytes"] == host.components.data.train.pixels.nbytes
    assert [finding.check for finding in other.findings if finding.check == "streamed_images"] == ["streamed_images"]


def test_unknown_place(small_run: MakeRun) -> None:
    with pytest.raises(UserError) as caught:
        small_run("trainer.images_on=disk")
    assert caught.value.field == "trainer.images_on"
