"""`watch`: the checks of a training in anybody's loop.

Hooks and a few calls collect the signals that the pipeline's own training has. A step that is not looked at costs some
microseconds and never waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pipeline.signals.recorder import Recorder, RecorderConfig, StepSampler
from pipeline.validation import integer
from pipeline.watching.adapter import output_tensor, unwrap
from pipeline.watching.curves import LABELLED_STEPS, Curves
from pipeline.watching.errors import PreflightError
from pipeline.watching.findings import Findings
from pipeline.watching.first_update import FirstUpdate
from pipeline.watching.loop_faults import LoopFaults
from pipeline.watching.optimizers import as_list
from pipeline.watching.output_gradient import OutputGradient
from pipeline.watching.processes import is_first_process, share_flag
from pipeline.watching.run_files import WatchedRun
from pipeline.watching.training_signals import training_signals
from pipeline.watching.verdicts import Verdicts, not_in_the_way
from pipeline.watching.watched_schedule import WatchedSchedule

MAX_SAMPLES = 400
"""Steps that are measured at most, apart from a factor of two."""


class Watch:
    """Watches a loop between `__enter__` and `__exit__`; see `pipeline.watch`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
        *,
        classes: int | None = None,
        every: int = 50,
        out: str | Path | None = None,
        policy: str = "warn",
        ignore: Collection[str] = (),
        epochs: int | None = None,
        scheduler: LRScheduler | None = None,
        name: str = "watch",
    ):
        if not isinstance(model, nn.Module):
            raise PreflightError(f"expected an nn.Module, got a {type(model).__name__}.", field="model")
        integer("every", every, at_least=1)
        if classes is not None:
            integer("classes", classes, at_least=2)
        run = WatchedRun(Path(out), name) if out is not None else None
        self.verdicts = Verdicts(policy=policy, ignore=ignore, run=run)
        self.network, self.epochs = unwrap(model), epochs
        self.is_compiled = any(hasattr(module, "_orig_mod") for module in (model, *model.modules()))
        self.optimizers = as_list(optimizer)
        self.schedule = None if scheduler is None else WatchedSchedule(scheduler)
        self.first_update, self.output_gradient = FirstUpdate(), OutputGradient()
        self.curves = Curves(classes)
        self.recorder = Recorder(RecorderConfig(every, MAX_SAMPLES, 1.0), total_steps=0)
        self.structure: dict[str, Any] = {}
        """Signals of network, loss and optimizer that were measured once, at the first step."""
        self._has_begun = self.is_active = False
        self._sampler: StepSampler | None = None
        self._is_sampled = False
        self._tracing, self._is_tracing, self._has_traced = ExitStack(), False, False
        self._is_updated = False
        self._losses: list[Tensor] = []
        self._hits: Tensor | None = None
        self._examples = 0
        self._faults: LoopFaults | None = None
        self._handles: list[Any] = []
        self._forward_handles: list[Any] = []

    @property
    def findings(self) -> Findings:
        """The findings so far; after the loop those of the whole training."""
        return self.verdicts.findings

    @property
    def should_stop(self) -> bool:
        """Whether the loop should end: a failure was found under `policy="stop"`."""
        return self.verdicts.should_stop

    # ------------------------------------------------------------------ begin and end

    def __enter__(self) -> Watch:
        self._has_begun, self.is_active = True, is_first_process()
        if self.is_active:
            self._faults = LoopFaults(self.network, self.optimizers)
            for optimizer in self.optimizers:
                self._handles.append(optimizer.register_step_post_hook(self._after_update))
            self._handles += [one.register_step_pre_hook(self._before_update) for one in self.optimizers]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Remove all hooks, judge the whole training, print and write the result. A second call does nothing."""
        if not self.is_active:
            return
        self.is_active = False
        self._tracing.close()
        for handle in (*self._handles, *self._forward_handles):
            handle.remove()
        assert self._faults is not None
        self._faults.close()
        self.curves.read()
        with not_in_the_way():
            signals = self.signals(running=error is not None)
            self.verdicts.conclude(signals, headline=self._headline(), error=error)

    # ------------------------------------------------------------------ a step

    @contextmanager
    def step(self) -> Iterator[None]:
        """Surround one step of the loop: forward pass, backward pass, `backward_done`, the update if there is one."""
        self.begin_step()
        try:
            yield
        finally:
            self.end_step()

    def begin_step(self) -> None:
        """Begin a step, for loops that cannot use `with`."""
        if not self._has_begun:
            raise PreflightError("begin with `with pipeline.watch(...) as w:` around the loop.", field="watch")
        if not self.is_active:
            return
        assert self._faults is not None
        self._faults.is_in_step, self._has_traced = True, False
        step = self.curves.steps + 1
        if self._faults.accumulates:  # the gradient of a pass is not that of a step
            self.recorder.forget_gradients()
        if self._sampler is None:
            self._sampler = self.recorder.sample(step, self.network)
        if self._sampler is not None and not self._sampler.needs_gradients_only:
            self._sampler.step = step
            self._sampler.activations.next_batch()  # an earlier pass of the same update may have been measured
            self._faults.begin_measuring()
            self._forward_handles += self._hook_forward()

    def before_backward(self, loss: Tensor) -> None:
        """Look at the graph of a loss, once; `begin_step` does so with the outputs where the model itself is called."""
        self._tracing.close()
        if self.is_active and "unregistered_parameters" not in self.structure and loss.requires_grad:
            self._measure_structure(loss)

    def backward_done(self, loss: Tensor, outputs: Any = None, labels: Any = None) -> None:
        """Record a step after its backward pass: the loss, and the outputs and labels if they are at hand.

        Tensors stay on their device. Of a step in several passes, each pass is recorded.
        """
        if not self.is_active:
            return
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise PreflightError("give the loss as a tensor of one number, not as loss.item().", field="loss")
        assert self._faults is not None
        self._tracing.close()
        self._faults.after_backward()
        self._losses.append(loss.detach().reshape(()))
        tensor = None if outputs is None else output_tensor(outputs)
        if self._faults.is_measuring and "loss_direction" not in self.structure:
            self.structure |= self.output_gradient.signals(tensor, labels)
            self.output_gradient.forget()
        tensor = None if tensor is None else tensor.detach()
        self.count_examples(len(labels) if isinstance(labels, Tensor) and labels.ndim else 0)
        self.add_answers(tensor, labels)
        if self._sampler is not None:
            with torch.no_grad():
                if self._is_sampled:  # at an earlier pass, which no update followed
                    self.recorder.forget_gradients()
                self._is_sampled = not self._sampler.needs_gradients_only
                shown = tensor if tensor is not None and tensor.ndim >= 2 else loss.new_zeros(1, 1)
                self._sampler.before_update(shown.detach().flatten(2).mean(2) if shown.ndim > 2 else shown)
        if not self.optimizers:
            self._after_update(None)

    def add_answers(self, outputs: Tensor | None, labels: Any) -> None:
        """Count the right answers of a pass: outputs (N, C, ...), labels (N, ...)."""
        if not self.is_active or self.curves.classes is None or outputs is None or not isinstance(labels, Tensor):
            return
        outputs = outputs.detach()
        if outputs.ndim != labels.ndim + 1:
            return
        self._hits = (outputs.argmax(1) == labels).float().mean()
        if self._losses and (self._sampler is not None or self.curves.steps < LABELLED_STEPS):
            self.curves.count_labels(self._losses[-1], outputs, labels)

    def count_examples(self, examples: int) -> None:
        """Add the examples of a pass, for loops whose labels are not seen."""
        self._examples += examples

    def end_step(self) -> None:
        """End a step, for loops that cannot use `with`."""
        if not self.is_active:
            return
        assert self._faults is not None
        self._tracing.close()
        self._faults.is_in_step = False
        if self._is_updated:
            self._is_updated = False
            self._finish_sample(None)
        if self._losses:
            self.curves.add(self._losses, self._hits, self._examples)
        self._losses, self._hits, self._examples = [], None, 0
        if self.schedule is not None:
            self.schedule.look()
        if self._faults.is_measuring:
            self._faults.end_measuring()
            for handle in self._forward_handles:
                handle.remove()
            self._forward_handles = []
            self._look(self.curves.read())

    # ------------------------------------------------------------------ an epoch

    def epoch(self, **metrics: float | None) -> Findings:
        """End an epoch with its metrics: `val_loss`, `val_accuracy`, also `loss` and `accuracy` if the loop has them.

        `val_examples`, a whole number, lets differences be compared with their standard errors. Returns the findings so
        far, of which new ones were printed. Raises `PreflightError` for an accuracy that is no share.
        """
        if self.is_active:
            numbers = _checked_metrics(metrics)
            if "val_examples" in numbers:
                self.structure["val_examples"] = int(numbers.pop("val_examples"))
            self.curves.end_epoch(lr=self._rate(), metrics=numbers)
            if self.schedule is not None:
                self.schedule.end_epoch(steps=len(self.curves.losses), epochs=len(self.curves.rows))
            self._judge_so_far()
        self.verdicts.should_stop = share_flag(self.should_stop)
        return self.findings

    # ------------------------------------------------------------------ checkpoints: plain data only

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured so far, for a checkpoint of the loop."""
        return {"curves": self.curves.state_dict(), "recorder": self.recorder.state(), "structure": self.structure}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict()`."""
        self.curves.load_state_dict(state["curves"])
        self.recorder.load(state["recorder"])
        self.structure = dict(state["structure"])

    # ------------------------------------------------------------------ inside

    def signals(self, *, running: bool) -> dict[str, Any]:
        """Return everything that was measured: the signals of `train` in docs/signals.md."""
        assert self._faults is not None
        own = self.structure | self._faults.signals()
        if self.schedule is not None:
            own |= self.schedule.signals(self.epochs or (None if running else len(self.curves.rows)))
        return training_signals(
            self.curves, self.recorder, self.optimizers, own, network=self.network, epochs=self.epochs, running=running
        )

    def _hook_forward(self) -> list[Any]:
        """Trace the first forward pass of a measured step. A compiled model would run its operations one by one."""
        if self.is_compiled:
            return []
        return [
            self.network.register_forward_pre_hook(self._begin_forward),
            self.network.register_forward_hook(self._end_forward, always_call=True),
        ]

    def _begin_forward(self, module: nn.Module, inputs: Any) -> None:
        if self._sampler is not None and not self._has_traced and torch.is_grad_enabled() and module.training:
            first = next((one for one in inputs if isinstance(one, Tensor)), None)
            if "input_std" not in self.structure and first is not None and first.is_floating_point():
                self.structure["input_std"] = float(first.detach().float().std(correction=0))
            self.trace_forward()

    def trace_forward(self) -> None:
        """Measure the activations of what runs until the end of the model's pass, or the beginning of the backward."""
        sampler = self._sampler
        if sampler is not None and not sampler.needs_gradients_only and not self.is_compiled and not self._is_tracing:
            self._is_tracing = self._has_traced = True
            self._tracing.callback(setattr, self, "_is_tracing", False)
            self._tracing.enter_context(sampler.forward())

    def _end_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._tracing.close()
        if output is None or not torch.is_grad_enabled():
            return
        if "unregistered_parameters" not in self.structure:
            self._measure_structure(output_tensor(output))
        if "loss_direction" not in self.structure and self.curves.classes is not None:
            self.output_gradient.watch(output_tensor(output))

    def _measure_structure(self, value: Tensor) -> None:
        """Compare the parameters that `value` depends on with those of the network and of the optimizers."""
        from pipeline.watching.structure import structure_signals

        self.structure |= structure_signals(self.network, self.optimizers, value)

    def _before_update(self, optimizer: Optimizer, *_: Any) -> None:
        sampler = self._sampler
        if sampler is None or sampler.needs_gradients_only or len(self.optimizers) > 1:
            return
        self.first_update.before(optimizer, len(self._losses))
        if self._losses:  # else a closure is going to make the backward pass
            sampler.at_update()

    def _after_update(self, optimizer: Optimizer | None, *_: Any) -> None:
        assert self._faults is not None
        self._faults.after_update()
        if len(self.optimizers) > 1:  # each moves a part: the step is measured when all have
            self._is_updated = True
        else:
            self._finish_sample(optimizer)

    def _finish_sample(self, optimizer: Optimizer | None) -> None:
        if self._sampler is not None and self._losses:
            self._sampler.after_update(self._rate() or 0.0)
            if optimizer is not None and not self._sampler.needs_gradients_only:
                self.first_update.after(optimizer, self._sampler, len(self._losses))
                self.structure |= self.first_update.signals
            self._sampler, self._is_sampled = None, False
            if len(self.recorder.samples["step"]) > MAX_SAMPLES:
                self.recorder.thin_out()

    def _rate(self) -> float | None:
        """Return the rate of the first group that has one above zero: the first layers may rest on purpose."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        rates = [float(group["lr"]) for group in groups if group.get("lr") is not None]
        return next((rate for rate in rates if rate > 0), rates[0] if rates else None)

    def _look(self, losses: list[float]) -> None:
        """Judge at once where a loss is not finite or far too high; all else waits for the end of the epoch."""
        if self.curves.exploded is not None or not all(math.isfinite(loss) for loss in losses):
            self._judge_so_far()

    def _judge_so_far(self) -> None:
        with not_in_the_way():
            self.verdicts.judge_so_far(self.signals(running=True), headline=self._headline())

    def _headline(self) -> str:
        losses = self.curves.losses
        if not losses:
            return "no step was recorded: call backward_done(loss) in each step()"
        return f"{len(losses)} steps, {len(self.curves.rows)} epochs; loss {losses[0]:.4g} -> {losses[-1]:.4g}"


def _checked_metrics(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics as numbers, without those that are None."""
    numbers = {key: float(value) for key, value in metrics.items() if value is not None}
    for key, value in numbers.items():
        if key.endswith("accuracy") and not 0 <= value <= 1 and math.isfinite(value):
            raise PreflightError(
                f"an accuracy is a share from 0 to 1, got {value:g}. Divide percent by 100.", field=key
            )
    return numbers
