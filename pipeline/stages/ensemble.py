"""Averages the probabilities of several networks, which is right more often than most of them alone."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import validation
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.errors import UserError
from pipeline.loggers import MultiLogger
from pipeline.model.task import SCORES, from_probabilities, score_examples
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member, member_probabilities
from pipeline.workflow.components import Components, RunContext, Stage
from pipeline.workflow.outcome import Outcome, all_findings

FIELD = "stages.ensemble.checkpoints"
TRAININGS = ("train", "finetune")


@dataclass(frozen=True)
class Ensemble(Stage):
    """p(x) = (1 / M) sum over members m of softmax(logits_m(x)), on the validation split.

    The members are the run's own training and `members` - 1 more that differ from it in the seed alone: of the initial
    weights, the order of the data, augmentation and dropout. With `checkpoints` they are the networks of those files or
    run directories, of any architecture, as long as they were trained on the same split. The test split is not touched.
    """

    logged_metrics = ("ensemble_accuracy",)

    members: int
    checkpoints: Sequence[str]

    def __post_init__(self) -> None:
        validation.integer("members", self.members, at_least=2)
        if isinstance(self.checkpoints, str) or not isinstance(self.checkpoints, Sequence):
            raise UserError(f"expected a list of paths such as [a,b], got {self.checkpoints!r}.", field="checkpoints")
        if len(self.checkpoints) == 1:
            raise UserError("one network is no ensemble; give two or more.", field="checkpoints")

    def check_order(self, earlier: Sequence[str]) -> None:
        if not self.checkpoints and "train" not in earlier:
            raise UserError(
                "no training comes before: stage=[train,ensemble], or give the directories of trained runs here.",
                field="checkpoints",
            )

    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        device, data = components.device_config.device, components.data
        paths = [Path(str(path)) for path in self.checkpoints] or self._train_members(components, context, earlier)
        fingerprint = data.fingerprint()
        members = [load_member(path, fingerprint=fingerprint, device=device, field=FIELD) for path in paths]
        broken = 0 if self.checkpoints else self.members - len(members)
        signals: dict[str, Any] = {"members_broken": broken}
        loss = None
        if len(members) > 1:
            probabilities = member_probabilities(
                members,
                data.val,
                augmentation=components.augmentation,
                device=device,
                progress=context.progress,
                task=data.task,
            )
            labels = data.val.labels.cpu()
            signals |= ensemble_signals(probabilities, labels, task=data.task)
            loss = _log_loss(data.task, from_probabilities(data.task, probabilities.mean(0)), labels)
        findings = components.checks.evaluate(signals, stage="ensemble", earlier=all_findings(earlier))
        return Outcome(
            name="ensemble",
            passed=not components.checks.has_failure(findings) and len(members) > 1,
            seconds=time.perf_counter() - started,
            headline=_headline(signals, SCORES[data.task]),
            metrics=signals | {"ensemble_log_loss": loss, "checkpoints": [str(member.path) for member in members]},
            findings=tuple(findings),
            signals=signals,
        )

    def _train_members(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> list[Path]:
        """Train the other members. Return the directories of the run and of the trainings that passed."""
        trainings = [outcome.name for outcome in earlier if outcome.name in TRAININGS]
        directories = [context.directory]
        for seed in range(components.seed + 1, components.seed + self.members):
            member, member_context, outcomes = _with_seed(components, seed), _member_context(context, seed), [*earlier]
            for name in trainings:
                outcomes.append(components.stages[name](member, member_context, outcomes))
                if not outcomes[-1].passed:
                    break
            else:
                directories.append(member_context.directory)
        return directories


def _with_seed(components: Components, seed: int) -> Components:
    """Return the components of the same training with another seed."""
    return replace(
        components,
        seed=seed,
        make_network=functools.partial(components.make_network, seed),
        config=components.config | {"seed": seed},
    )


def _member_context(context: RunContext, seed: int) -> RunContext:
    """Return the context of a member: a directory of its own, and the checkpoint that an interrupted run left there."""
    name = Path("members", f"seed_{seed}")
    resume = context.resume_from and context.resume_from.parents[1] / name / "checkpoints" / checkpoints.LAST
    return replace(
        context,
        directory=context.directory / name,
        resume_from=resume if resume is not None and resume.exists() else None,
        on_finding=lambda finding: None,
        log=MultiLogger(),
    )


def ensemble_signals(probabilities: Tensor, labels: Tensor, *, task: str = CLASSIFICATION) -> dict[str, Any]:
    """Compute the signals from probabilities (members, N, classes) and labels (N,), or (N, L), of several labels.

    Of regression they are R2: `ensemble_r2` and `member_r2`.
    """
    members = [from_probabilities(task, one) for one in probabilities]
    together = from_probabilities(task, probabilities.mean(0))
    score = float(score_examples(task, together, labels).float().mean())
    scores = [float(score_examples(task, member, labels).float().mean()) for member in members]
    if task == REGRESSION:
        return {"ensemble_r2": score, "member_r2": scores, "ensemble_examples": len(labels)}
    answers = probabilities > 0.5 if task == MULTILABEL else probabilities.argmax(2, keepdim=True)
    return {
        "ensemble_accuracy": score,
        "member_accuracies": scores,
        "ensemble_examples": len(labels),
        "disagreement": float((answers != answers[0]).any(0).any(1).float().mean()),
    }


def _log_loss(task: str, outputs: Tensor, labels: Tensor) -> float | None:
    """Return the mean cross-entropy in nats; None in regression."""
    if task == REGRESSION:
        return None
    if task == MULTILABEL:
        return float(torch.nn.functional.binary_cross_entropy_with_logits(outputs, labels))
    return float(torch.nn.functional.nll_loss(outputs, labels))


def _headline(signals: dict[str, Any], score: str) -> str:
    broken = f"trainings that failed: {signals['members_broken']}" if signals["members_broken"] else ""
    together = signals.get(f"ensemble_{score}")
    if together is None:
        return f"fewer than two members: {broken}"
    scores = signals["member_r2" if score == "r2" else "member_accuracies"]
    return (
        f"validation {score} {together:.4f}, {len(scores)} members "
        f"{statistics.fmean(scores):.4f} on average, the best {max(scores):.4f}" + (f"; {broken}" if broken else "")
    )
