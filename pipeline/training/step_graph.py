"""Training steps as CUDA graphs: captured once and replayed, so that one launch runs all kernels of a step.

A graph repeats kernels on the same memory and runs no Python. All that differs from step to step is therefore on the
device: the index of the examples, the learning rates, and the state of the random generator, which is seeded for each
replay as for each eager step. Loss and weights have the same bits as those of eager steps, except where a kernel itself
sums in another order each time.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from pipeline.training.device_rates import constants
from pipeline.training.lightning_shortcuts import count_step, cuda_generator, seed_generators
from pipeline.training.step import SeedOfPart, StepResult, TrainingStep, sum_parts

MAX_DIFFERENCE = 0.1
"""Most that replayed steps may differ from eager ones, as a share of the update. Sums in another order differ by less
than a hundredth; a random number or a count that was frozen changes an update by about its whole size."""


class Capturer(Protocol):
    """What captures functions on a device, so that they can be replayed."""

    def warm_up(self, *, strict: bool) -> AbstractContextManager[None]:
        """Return a context for an eager run; with `strict` a value that is read back raises an error."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what `function` does on the device, without doing it."""


class CudaCapturer:
    """Captures with `torch.cuda.graph`. The graphs of one capturer share memory, and are replayed in turn."""

    def __init__(self, device: torch.device):
        self._device = device
        self._pool: Any = None

    @contextmanager
    def warm_up(self, *, strict: bool) -> Iterator[None]:
        """Use a stream of its own, as torch asks before a capture. With `strict` synchronization raises an error."""
        current, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        mode = torch.cuda.get_sync_debug_mode()
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                torch.cuda.set_sync_debug_mode("error" if strict else mode)
                yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            current.wait_stream(side)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        graph, failures = torch.cuda.CUDAGraph(), list[Exception]()
        generator, autocast_cache = cuda_generator(self._device), torch.is_autocast_cache_enabled()
        spare = generator.clone_state()
        torch.set_autocast_cache_enabled(False)  # a weight cast once would stay as it is through all replays
        try:
            # thread_local: threads that copy images or pin memory may go on. The outer block brings the stream back
            # where the end of a failed capture raises an error of its own
            with (
                torch.cuda.stream(torch.cuda.current_stream(self._device)),
                torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
            ):
                try:
                    function()
                except Exception as error:  # noqa: BLE001 - raised again below, whatever it is
                    failures.append(error)
        except Exception as error:  # noqa: BLE001 - the first failure is the cause of this one
            failures.append(error)
        finally:
            torch.set_autocast_cache_enabled(autocast_cache)
        if failures:
            generator.graphsafe_set_state(spare)  # the generator would wait for the end of the capture for ever
            raise failures[0]
        self._pool = graph.pool()
        return graph.replay


class CannotCapture(Exception):
    """The step cannot be captured; the message says why."""


class StepGraph:
    """The step over a full batch, as one graph, or as one for each pass and one for the update (`accumulate`).

    `buffers` are the tensors besides weights and the optimizer's state that a step changes, such as running statistics.
    All are left as they were. The optimizer must have made a step, so that its state exists. Raises `CannotCapture`.
    """

    def __init__(self, step: TrainingStep, index: Tensor, capturer: Capturer, buffers: Sequence[Tensor]):
        self._step, self._buffers = step, buffers
        self._optimizer: Optimizer = step.torch_optimizer
        self._parameters = step.parameters
        self._constants = constants(self._optimizer)
        self._passes = step.accumulate
        self._index = torch.empty_like(index[: len(index) // self._passes])
        self._result = torch.zeros(2, device=index.device)
        saved = [tensor.detach().clone() for tensor in self._changing_tensors()]
        try:
            self._build(index, capturer, saved)
        except CannotCapture:
            raise
        except Exception as error:  # whatever a network, torch or the driver raises: the eager step may still work
            raise CannotCapture(describe(error)) from error
        finally:
            restore(self._changing_tensors(), saved)

    def _build(self, index: Tensor, capturer: Capturer, saved: list[Tensor]) -> None:
        """Run two steps eagerly, capture one, and let it repeat the two from the same state."""
        eager = [self._first_pass, self._further_pass, self._step.update]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about streams and synchronization
            with capturer.warm_up(strict=False):
                first, _ = self._run(eager, index, _SEEDS[0])
            with capturer.warm_up(strict=True):
                second, _ = self._run(eager, index.flip(0), _SEEDS[1])
            expected = [first, second]
            expected += [parameter.detach().clone() for parameter in self._parameters]
            self._graphs = self._capture(capturer)
        self._gradients = [parameter.grad for parameter in self._parameters]
        restore(self._changing_tensors(), saved)
        actual = [self._run(self._graphs, index, _SEEDS[0])[0], self._run(self._graphs, index.flip(0), _SEEDS[1])[0]]
        actual += [parameter.detach() for parameter in self._parameters]
        if relative_difference(actual, expected, saved) > MAX_DIFFERENCE:
            raise CannotCapture(
                "a replayed step gives other numbers than an eager one: the network draws random numbers on the CPU, "
                "or changes from step to step what it computes"
            )

    def _changing_tensors(self) -> list[Tensor]:
        """Return all that a step changes, the parameters first."""
        state = [
            value
            for parameter in self._parameters
            for value in self._optimizer.state.get(parameter, {}).values()
            if isinstance(value, Tensor)
        ]
        return [*self._parameters, *self._buffers, *state]

    def matches(self, index: Tensor) -> bool:
        """Return whether the step over `index` is a full one, and the optimizer's constants are those captured."""
        return len(index) == self._passes * len(self._index) and constants(self._optimizer) == self._constants

    def __call__(self, index: Tensor, seed_of: SeedOfPart) -> StepResult:
        """Do what the `TrainingStep` does."""
        return count_step(self._step.optimizer, lambda: self._run(self._graphs, index, seed_of))

    def adopt_gradients(self) -> None:
        """Let the parameters have the gradients of the latest replay."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def _run(self, pieces: list[Callable[[], None]], index: Tensor, seed_of: SeedOfPart) -> StepResult:
        """Make a step by its pieces: the first pass, the further ones, the update."""
        first, further, update = pieces
        assert self._step.rates is not None
        self._step.rates.refresh()
        results = []
        for number, part in enumerate(index.split(len(self._index))):
            self._index.copy_(part)
            seed_generators(seed_of(number), index.device)
            (further if number else first)()
            result = self._result.clone()  # the next replay overwrites it
            results.append((result[0], result[1:]))
        update()
        return sum_parts(results) if self._passes > 1 else results[0]

    def _first_pass(self) -> None:
        self._step.clear_gradients()
        self._further_pass()

    def _further_pass(self) -> None:
        weight = 1 / self._passes if self._passes > 1 else 1.0
        loss, hits = self._step.run_pass(self._index, weight=weight)
        self._result.copy_(torch.stack([loss.float(), hits.sum()]))

    def _capture(self, capturer: Capturer) -> list[Callable[[], None]]:
        """Return the captured pieces. A single pass and its update are one graph."""
        if self._passes == 1:

            def whole_step() -> None:
                self._first_pass()
                self._step.update()

            return [capturer.capture(whole_step), _do_nothing, _do_nothing]
        return [capturer.capture(piece) for piece in (self._first_pass, self._further_pass, self._step.update)]


def restore(tensors: list[Tensor], saved: list[Tensor]) -> None:
    """Write `saved` back into `tensors`, where they are in memory."""
    with torch.no_grad():
        for tensor, value in zip(tensors, saved, strict=True):
            tensor.copy_(value)


def relative_difference(actual: list[Tensor], expected: list[Tensor], before: list[Tensor]) -> float:
    """Return how far two steps lead apart, as a share of how far they lead.

    The first two of `actual` and `expected` are the losses of the steps, the others the parameters after them; `before`
    begins with the parameters before them.
    """
    losses = [(float(one), float(other)) for one, other in zip(actual[:2], expected[:2], strict=True)]
    loss_difference = max(abs(one - other) / (abs(other) or 1.0) for one, other in losses)
    apart = far = 0.0
    for one, other, start in zip(actual[2:], expected[2:], before, strict=False):
        apart += float((one - other).double().square().sum())
        far += float((other - start).double().square().sum())
    return max(loss_difference, (apart / far) ** 0.5 if far else 0.0)


def describe(error: Exception) -> str:
    """Return in one sentence why a capture failed, with the line of the user's code where there is one."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(place) for place in _LIBRARIES)
    ]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return "the device has too little memory for a second copy of the activations"
    if "synchroniz" in text or "during capture" in text or "capturing" in text:
        return (
            f"it waits for the device{place}: it reads a number back (`.item()`, `if` on a tensor) or copies one from "
            "the host"
        )
    return f"{type(error).__name__}{place}: {next(iter(text.splitlines()), '')}"


def _do_nothing() -> None:
    pass


_SEEDS: tuple[SeedOfPart, SeedOfPart] = (lambda part: 1 + part, lambda part: 2**20 + part)
_LIBRARIES = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Folders whose code is not the user's."""
