from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals

_NAMED = 3  # classes named in a message


@dataclass(frozen=True)
class MissingClass:
    """Anti-pattern: a split without a single example of a class, whose accuracy then says nothing of that class.

    Rule: every class occurs in the validation split, and in the test split where there is one. (A class without
    training examples is refused before anything is measured.)
    """

    explains: ClassVar[tuple[str, ...]] = ()

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        names = data["class_names"]
        absent = {
            split: [names[label] for label, count in enumerate(counts) if not count]
            for split, counts in data["class_counts"].items()
            if split != "train"
        }
        absent = {split: missing for split, missing in absent.items() if missing}
        if not absent:
            return None
        worst = max(absent, key=lambda split: len(absent[split]))
        told = "; ".join(f"{split}: {_listed(missing)}" for split, missing in absent.items())
        return Finding(
            check="missing_class",
            severity="warning",
            measured={"missing": float(len(absent[worst])), "classes": float(len(names))},
            expected="examples of every class in every split",
            message=f"{len(absent[worst])} of {len(names)} classes have no example in the {worst} split ({told}).",
            why="Nothing is known of how well a class is recognized of which no example is asked; a class that is in "
            "training only was often renamed, renumbered or cut off by a sorted split.",
            remedy=(),
            source="Karpathy, A Recipe for Training Neural Networks (become one with the data)",
            where=worst,
            step=0,
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more
