"""`HFWatch`: the checks of a training as a callback of Hugging Face's `transformers.Trainer`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.errors import UserError
from pipeline.watching.findings import Findings
from pipeline.watching.watch import Watch

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise UserError("HFWatch needs transformers: pip install 'staged-training-pipeline[transformers]'.") from error


class HFWatch(TrainerCallback):
    """Watches the training of a `transformers.Trainer`: `Trainer(callbacks=[pipeline.HFWatch()])`.

    The arguments are those of `pipeline.watch`; under `policy="stop"` a failure ends the training. The loss is what the
    model returns with its outputs, `accuracy` names the metric of `compute_metrics` that is the accuracy on the
    evaluation set. `findings` holds the findings.
    """

    def __init__(
        self,
        *,
        classes: int | None = None,
        every: int = 50,
        out: str | Path | None = None,
        policy: str = "warn",
        accuracy: str = "accuracy",
    ):
        self.arguments: dict[str, Any] = {"classes": classes, "every": every, "out": out, "policy": policy}
        self.accuracy = accuracy
        self.watch: Watch | None = None
        self._metrics: dict[str, float] = {}
        self._passes: list[Tensor] = []
        self._hook: Any = None

    @property
    def findings(self) -> Findings:
        """The findings so far; after the training those of all of it."""
        return Findings([]) if self.watch is None else self.watch.findings

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model: nn.Module = kwargs["model"]
        epochs = math.ceil(args.num_train_epochs) if args.max_steps <= 0 else None
        self.watch = Watch(
            model, _torch_optimizer(kwargs.get("optimizer")), epochs=epochs, name="transformers", **self.arguments
        )
        self.watch.__enter__()
        self._hook = self.watch.network.register_forward_hook(self._after_forward, with_kwargs=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None:
            self._passes = []
            self.watch.begin_step()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None and self._passes:
            self.watch.backward_done(torch.stack(self._passes).mean())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None:
            self.watch.end_step()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        names = {"eval_loss": "val_loss", f"eval_{self.accuracy}": "val_accuracy"}
        self._metrics |= {names[key]: float(value) for key, value in (metrics or {}).items() if key in names}
        if self.watch is not None and args.eval_strategy == "epoch":  # it comes after the end of the epoch
            self._end_epoch(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None and args.eval_strategy != "epoch":
            self._end_epoch(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.watch is not None:
            self._hook.remove()
            self.watch.close()

    def _end_epoch(self, control: Any) -> None:
        assert self.watch is not None
        self.watch.epoch(**self._metrics)
        self._metrics = {}
        control.should_training_stop |= self.watch.should_stop

    def _after_forward(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Keep the loss of a training pass, and count its examples and right answers."""
        loss = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
        if self.watch is None or not module.training or not isinstance(loss, Tensor):
            return
        self._passes.append(loss.detach())
        labels = kwargs.get("labels")
        if isinstance(labels, Tensor):
            self.watch.count_examples(len(labels))
            logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
            if isinstance(logits, Tensor) and labels.ndim == 1:
                self.watch.add_answers(logits, labels)


def _torch_optimizer(optimizer: Any) -> Optimizer | None:
    """Return the optimizer inside Accelerate's wrapper."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, Optimizer) else None
