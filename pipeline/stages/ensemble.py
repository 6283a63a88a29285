"""Several networks together: the mean of their probabilities is right more often than most of them alone."""

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
from pipeline.errors import UserError
from pipeline.training import checkpoints
from pipeline.training.ensemble_members import load_member, probabilities
from pipeline.workflow.components import Components, MultiLogger, Outcome, all_findings

FIELD = "stages.ensemble.checkpoints"


@dataclass(frozen=True)
class Ensemble:
    """p(x) = (1 / M) sum over members m of softmax(logits_m(x)), on the validation split.

    The members are the run's own training and `members` - 1 more that differ from it in the seed alone: of the initial
    weights, the order of the data, augmentation and dropout. Or the networks of `checkpoints`, of any architecture, as
    long as they were trained on the same split. The test split is not touched.
    """

    members: int
    checkpoints: Sequence[str]

    def __post_init__(self) -> None:
        validation.integer("members", self.members, at_least=2)
        if isinstance(self.checkpoints, str) or not isinstance(self.checkpoints, Sequence):
            raise UserError(f"{self.checkpoints!r} is not a list of paths such as [a,b].", field="checkpoints")
        if len(self.checkpoints) == 1:
            raise UserError("one alone is no ensemble; give two and more.", field="checkpoints")

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome:
        started = time.perf_counter()
        places = [Path(str(place)) for place in self.checkpoints] or self._trained(parts, earlier)
        members = [load_member(place, parts, field=FIELD) for place in places]
        broken = 0 if self.checkpoints else self.members - len(members)
        signals: dict[str, Any] = {"members_broken": broken}
        loss = None
        if len(members) > 1:
            each = probabilities(members, parts, parts.data.val)
            labels = parts.data.val.labels.cpu()
            signals |= _measured(each, labels)
            loss = float(torch.nn.functional.nll_loss(each.mean(0).clamp_min(1e-12).log(), labels))
        findings = parts.checks.evaluate(signals, stage="ensemble", earlier=all_findings(earlier))
        return Outcome(
            name="ensemble",
            passed=not parts.checks.has_failure(findings) and len(members) > 1,
            seconds=time.perf_counter() - started,
            headline=_headline(signals),
            metrics=signals | {"ensemble_log_loss": loss, "checkpoints": [str(member.path) for member in members]},
            findings=tuple(findings),
            signals=signals,
        )

    def _trained(self, parts: Components, earlier: Sequence[Outcome]) -> list[Path]:
        """Folders of the run itself and of the trainings that it makes here, without those that failed."""
        train = parts.stages["train"]
        places = [parts.directory]
        for seed in range(parts.seed + 1, parts.seed + self.members):
            member = _reseeded(parts, seed)
            if train(member, earlier).passed:
                places.append(member.directory)
        return places


def _reseeded(parts: Components, seed: int) -> Components:
    """The same training with another seed, in a folder of its own; it goes on where an interrupted run left it."""
    name = Path("members", f"seed_{seed}")
    resume = parts.resume.parents[1] / name / "checkpoints" / checkpoints.LAST if parts.resume else None
    return replace(
        parts,
        seed=seed,
        make_network=functools.partial(parts.make_network, seed),
        config=parts.config | {"seed": seed},
        directory=parts.directory / name,
        resume=resume if resume is not None and resume.exists() else None,
        on_finding=lambda finding: None,
        log=MultiLogger(),
    )


def _measured(each: Tensor, labels: Tensor) -> dict[str, Any]:
    """From probabilities (members, N, classes) and labels (N)."""
    answers = each.argmax(2)
    return {
        "ensemble_accuracy": float((each.mean(0).argmax(1) == labels).float().mean()),
        "member_accuracies": [float((own == labels).float().mean()) for own in answers],
        "ensemble_examples": len(labels),
        "disagreement": float((answers != answers[0]).any(0).float().mean()),
    }


def _headline(signals: dict[str, Any]) -> str:
    broken = f"trainings that failed: {signals['members_broken']}" if signals["members_broken"] else ""
    if "ensemble_accuracy" not in signals:
        return f"fewer than two members: {broken}"
    own = signals["member_accuracies"]
    return (
        f"validation accuracy {signals['ensemble_accuracy']:.4f}, {len(own)} members {statistics.fmean(own):.4f} on "
        f"average, the best {max(own):.4f}" + (f"; {broken}" if broken else "")
    )
