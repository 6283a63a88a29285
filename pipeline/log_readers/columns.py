"""What a column means, by the words of its name: `train/loss_epoch`, `eval_accuracy`, `lr-AdamW`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.errors import UserError, did_you_mean

SPLITS = {
    "train": "train", "training": "train", "tr": "train", "val": "val", "valid": "val", "validation": "val",
    "eval": "val", "evaluation": "val", "dev": "val", "test": "test", "probe": "probe",
}  # fmt: skip
QUANTITIES = {
    "loss": "loss", "nll": "loss", "acc": "accuracy", "accuracy": "accuracy", "lr": "lr", "gradnorm": "grad_norm",
    "step": "step", "steps": "step", "iteration": "step", "iterations": "step", "iter": "step", "batch": "step",
    "epoch": "epoch", "epochs": "epoch", "seconds": "seconds", "time": "seconds", "elapsed": "seconds",
    "runtime": "seconds",
}  # fmt: skip
PHRASES = {"learning rate": "lr", "grad norm": "gradnorm", "gradient norm": "gradnorm", "cross entropy": "xent"}
"""Two words that mean one."""
LEVELS = {"step": "step", "batch": "step", "iter": "step", "epoch": "epoch"}
"""Words behind a loss or an accuracy that say what one number covers."""
DECORATION = frozenset(
    {"total", "mean", "avg", "average", "running", "xent", "ce", "metrics", "metric", "performance", "categorical"}
    | {"sparse", "binary", "multiclass", "top", "top1", "1", "trainer", "global", "log", "scalars", "wall", "s", "sec"}
    | {"number", "no", "num", "current", "index", "idx"}
)
"""Words that leave the meaning as it is. Any other one, as in `box_loss`, makes it another quantity."""
ROLES = (
    *("step", "epoch", "seconds", "lr", "grad_norm", "loss", "accuracy", "val_loss", "val_accuracy"),
    *("probe_loss", "probe_accuracy"),
)
"""What the signals are made of."""


class Meaning(NamedTuple):
    """The role of a column, and whether one number covers a `step` or an `epoch`; "" where the name does not say."""

    role: str
    level: str = ""


def meaning_of(name: str) -> Meaning | None:
    """Return what the column means; None where it is none of `ROLES`."""
    words = _words(name)
    if words[:1] == ["lr"] or words[:2] == ["train", "lr"]:
        return Meaning("lr")  # lr-AdamW/pg1: a group of the optimizer
    level, split = "", ""
    if any(QUANTITIES.get(word) in ("loss", "accuracy") for word in words):
        level = next((LEVELS[word] for word in words if word in LEVELS), "")
        words = [word for word in words if word not in LEVELS]
    quantity = ""
    for word in words:
        if word in SPLITS and not split:
            split = SPLITS[word]
        elif word in QUANTITIES and not quantity:
            quantity = QUANTITIES[word]
        elif word not in DECORATION:
            return None
    if quantity not in ("loss", "accuracy"):
        return Meaning(quantity) if quantity and split in ("", "train") else None
    if split in ("val", "probe"):
        return Meaning(f"{split}_{quantity}", level)
    return Meaning(quantity, level) if split != "test" else None


def map_columns(names: Iterable[str], typed: Mapping[str, str]) -> dict[str, Meaning]:
    """Return the meaning of each column that has one. `typed` maps roles to columns, and goes before names.

    Raises `UserError` for a role or a column that does not exist.
    """
    names = list(names)
    for role, name in typed.items():
        if role not in ROLES:
            hint = did_you_mean(role, ROLES)
            message = f"{role!r} is no meaning of a column.{hint} Choose one of {', '.join(ROLES)}."
            raise UserError(message, field="--column")
        if name not in names:
            hint = did_you_mean(name, names)
            raise UserError(f"the log has no column {name!r}.{hint} It has {', '.join(names[:20])}.", field="--column")
    meanings = {name: Meaning(role) for role, name in typed.items()}
    for name in names:
        meaning = meaning_of(name)
        if name not in meanings and meaning is not None and meaning.role not in typed:
            meanings[name] = meaning
    return meanings


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case: `train/epochLoss` has three."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    text = " ".join(re.findall(r"[a-z]+|\d+", spaced.lower().replace("top1", "top 1")))
    for phrase, word in PHRASES.items():
        text = text.replace(phrase, word)
    return text.split()
