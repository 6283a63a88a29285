"""Trains a second time: from the best checkpoint of the first training, with parts unfrozen and a lower rate."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import derive_seed
from pipeline.errors import UserError
from pipeline.loggers import MultiLogger
from pipeline.model.frozen import frozen_names, unfreeze
from pipeline.runs.paths import CHECKPOINTS, FINETUNE
from pipeline.stages.signals_of_training import planned_schedule
from pipeline.stages.train import Train
from pipeline.training import checkpoints
from pipeline.training.device import ProcessRank
from pipeline.training.lightning_module import Classifier
from pipeline.training.metrics import AUTO, choose_monitor
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.outcome import Outcome

START, SECOND = "start", 2
"""The key of a checkpoint that says from which weights it was trained, and what the seed is derived with."""


@dataclass(frozen=True)
class Finetune(Train):
    """Train the network of the best checkpoint for `epochs` more, and keep what is best in `finetune/checkpoints/`.

    What `model.frozen` names learns now where `unfreeze` chooses it (None: all of it). Rates are `lr_factor` times
    those of the configuration, by a schedule of its own length. Optimizer, batch order and dropout start anew. The best
    checkpoint is chosen among the epochs as in `Train`, and is the start itself where no epoch comes up to it.
    """

    name: ClassVar[str] = FINETUNE
    is_fixable = False  # a remedy is tried in a folder of its own, which has no first training
    fixes_warnings = False

    unfreeze: Sequence[str] | None
    lr_factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        validation.number("lr_factor", self.lr_factor, above=0, at_most=1e3)
        names = [] if self.unfreeze is None else self.unfreeze
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
            raise UserError(f"expected a list of names such as [backbone], got {self.unfreeze!r}.", field="unfreeze")

    def check_order(self, earlier: Sequence[str]) -> None:
        if "train" not in earlier:
            raise UserError(
                "no training comes before. Use stage=[sanity,overfit,train,finetune,evaluate]; to start from another "
                "run, stage=[sanity,train] and init.from=RUN.",
                field="epochs",
            )

    def check_components(self, components: Components) -> None:
        """Check names, the rate and its schedule, and the monitor, before the first training."""
        choose_monitor(components.data.task, self.monitor)
        if not math.isfinite(components.lr):
            raise UserError("the optimizer has no lr of its own to multiply. Give optimizer.lr.", field="lr_factor")
        rates = [
            planned_schedule(one, epochs=self.epochs).get("planned_rates", ())
            for one in (components, self._prepare(components))
        ]
        pairs = [(a, b) for a, b in zip(*rates, strict=True) if a is not None and b is not None]
        if not all(math.isclose(b, a * self.lr_factor, rel_tol=1e-6) for a, b in pairs):
            raise UserError(
                "the schedule sets rates of its own, which do not follow optimizer.lr. Use another one.",
                field="lr_factor",
            )
        self._make_network(components, None)

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        path = context.directory / CHECKPOINTS / checkpoints.BEST
        start = checkpoints.load(path, field="stages.finetune")
        weights = checkpoints.strip_prefix(start["state_dict"], "network.")
        digest = _digest(weights)
        first = next(outcome for outcome in reversed(earlier) if outcome.name == "train").metrics["history"]
        own_context = replace(
            context,
            directory=context.directory / FINETUNE,
            resume_from=_resumable(context, digest),
            log=_LaterEpochs(context.log, first),
        )
        outcome = super().__call__(self._prepare(components, weights, digest), own_context, earlier)
        return self._keep_better(outcome, components, start["pipeline"]["history"][-1], path, own_context)

    def train_as_worker(self, components: Components, context: RunContext, rank: ProcessRank) -> None:
        """Take part in the training of another process, which sends the weights to start from."""
        super().train_as_worker(self._prepare(components), context, rank)

    def _prepare(
        self, components: Components, weights: Mapping[str, Tensor] | None = None, digest: str = ""
    ) -> Components:
        """Return the components of the second training, from `weights`."""
        lr = components.lr * self.lr_factor
        return replace(
            components,
            seed=derive_seed(components.seed, SECOND),  # another order of the data than in the first epochs
            make_network=functools.partial(self._make_network, components, weights),
            make_optimizer=functools.partial(components.make_optimizer, lr=lr),
            lr=lr,
            schedule=components.schedule.scaled(self.lr_factor),
            weights={"head": "loaded", START: digest},
        )

    def _make_network(self, components: Components, weights: Mapping[str, Tensor] | None) -> nn.Module:
        network = components.make_network()
        unfreeze(network, frozen_names(components.config["model"]), self.unfreeze)
        if weights is not None:
            network.load_state_dict(weights)
        return network

    def _classifier(self, components: Components) -> Classifier:
        classifier = super()._classifier(components)
        classifier.checkpoint_extra[START] = (components.weights or {})[START]
        return classifier

    def _signals(self, components: Components, classifier: Classifier) -> dict[str, Any]:
        signals = super()._signals(components, classifier)
        ignored = [*signals["ignored_keys"], *({"init"} - {*signals["ignored_keys"]})]  # the weights are trained ones
        return signals | {"lr_factor": self.lr_factor, "ignored_keys": ignored}

    def _keep_better(
        self, outcome: Outcome, components: Components, start: Mapping[str, float], path: Path, context: RunContext
    ) -> Outcome:
        """Return the outcome with the start's score; let the best checkpoint be the start where no epoch is as good."""
        history = outcome.metrics["history"]
        if not history:
            return outcome
        examples, monitor = len(components.data.val), self._monitor(components)
        if monitor not in start:  # the first training was judged by another score
            monitor = choose_monitor(components.data.task, AUTO)
        before = dict(start) | {"epoch": -1.0}
        best = checkpoints.best_epoch(history, self._monitor(components), examples=examples)
        scores = {f"start_{name}": value for name, value in start.items() if name.startswith("val_")}
        metrics = outcome.metrics | scores | {"keeps_start": False}
        headline = f"{outcome.headline}; before {monitor.removeprefix('val_')} {start[monitor]:.4f}"
        if checkpoints.best_epoch([before, best], monitor, examples=examples) is before:
            checkpoints.copy(path, context.directory / CHECKPOINTS / checkpoints.BEST)
            own = {name: value for name, value in start.items() if name.startswith("val_")}
            metrics |= {"keeps_start": True, "best_epoch": -1} | own
            headline += ", which no epoch came up to, so the start is kept"
        return replace(outcome, metrics=metrics, headline=headline)


class _LaterEpochs(MultiLogger):
    """Gives the epochs of the second training to the loggers of a run, which have those of the first already."""

    def __init__(self, log: MultiLogger, first: Sequence[Mapping[str, float]]):
        super().__init__()
        self._log, self._first = log, first

    def log_training(self, history: Sequence[Mapping[str, float]], *_: Any) -> None:
        """Log the epochs, numbered on from the first training; its samples have no place beside those of the first."""
        epochs, steps = len(self._first), self._first[-1]["step"] if self._first else 0
        later = [{**row, "epoch": row["epoch"] + epochs, "step": row["step"] + steps} for row in history]
        self._log.log_training([*self._first, *later], None, None)


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Return a checksum of the weights, by which a second training is known to continue from the same start."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode() + tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _resumable(context: RunContext, digest: str) -> Path | None:
    """Return the checkpoint of the second training of the resumed run, if it began with the same weights."""
    if context.resume_from is None:
        return None
    path = context.resume_from.parents[1] / FINETUNE / CHECKPOINTS / checkpoints.LAST
    if not path.is_file() or checkpoints.load(path, field="resume")["pipeline"].get(START) != digest:
        return None
    return path
