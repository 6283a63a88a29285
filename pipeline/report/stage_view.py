"""How a stage is shown on a page and in tables: by `pipeline/report/stages/<stage>.py`, or by default.

Such a module may define any of the functions of `StageView`, and `CHART_PRIORITY`. What it does not define, or a stage
without a module, is shown by default: the first number as a tile, all numbers as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config.instantiate import find_submodule
from pipeline.report.blocks import Block, Cell, Table
from pipeline.runs.paths import FINETUNE

if TYPE_CHECKING:
    from pipeline.report.run_files import Run

Signals = Mapping[str, Any]
Metrics = Mapping[str, Any]


class Tile(NamedTuple):
    """A large number at the top of a page."""

    name: str
    value: str
    note: str
    status: str


class ExpectedValue(NamedTuple):
    """A measured value beside the one that is expected."""

    what: str
    measured: str
    expected: str
    holds: bool | None
    """Whether the expectation holds by the numbers alone; None if numbers alone cannot tell."""
    checks: tuple[str, ...]
    """The checks that judge the value."""


@dataclass(frozen=True)
class StageData:
    """What a run's files hold of one stage."""

    name: str
    run: Run

    @property
    def entry(self) -> Mapping[str, Any] | None:
        """The entry of outcome.json; None while the stage has not ended."""
        return self.run.stages.get(self.name)

    @property
    def metrics(self) -> Metrics:
        """The metrics of the ended stage, or {}."""
        return self.entry["metrics"] if self.entry else {}

    @property
    def findings(self) -> Sequence[Mapping[str, Any]]:
        """The findings of the ended stage, or []."""
        return self.entry["findings"] if self.entry else []

    @property
    def signals(self) -> Signals:
        """The signals of the stage, or {}."""
        return self.run.signals.get(self.name, {})

    @property
    def images(self) -> Mapping[str, Any]:
        """The arrays that the stage kept for the page, or {}."""
        return self.run.images.get(self.name, {})

    @property
    def is_last_training(self) -> bool:
        """Whether the run's network is from this training: no second one followed it."""
        return self.name == FINETUNE or FINETUNE not in self.run.stages

    @property
    def tile_status(self) -> str:
        """The status of a tile: failed, warning or passed."""
        if self.entry and self.entry["status"] != "passed":
            return "failed"
        return "warning" if any(finding["severity"] != "info" for finding in self.findings) else "passed"

    def has_finding(self, *checks: str) -> bool:
        """Return whether one of `checks` has a finding of any severity."""
        return any(finding["check"] in checks for finding in self.findings)


@dataclass(frozen=True)
class StageView:
    """The functions that show a stage."""

    headline_tile: Callable[[StageData], Tile | None]
    """Return the number of the stage for the top of the page. Called for ended stages."""
    expected_values: Callable[[Signals], Sequence[ExpectedValue]]
    """Return the rows of measured against expected. Called for ended stages with signals."""
    charts: Callable[[StageData], Sequence[Block | None]]
    """Return charts and other blocks, the most telling first. The stage may not have ended."""
    metric_rows: Callable[[Metrics], dict[str, float]]
    """Return the numbers by which two runs of the stage are compared."""
    chart_priority: int = 0
    """The stage with the highest priority shows its charts at the top, unless a finding points to another one; those
    of a stage with 0 are shown there only for a finding."""


def stage_view(name: str) -> StageView:
    """Return the view of the stage `name`, found by that name."""
    module = find_submodule("pipeline.report.stages", name)
    return StageView(
        headline_tile=getattr(module, "headline_tile", _first_number),
        expected_values=getattr(module, "expected_values", lambda signals: []),
        charts=getattr(module, "charts", _metric_table),
        metric_rows=getattr(module, "metric_rows", numbers),
        chart_priority=getattr(module, "CHART_PRIORITY", 0),
    )


def numbers(metrics: Metrics, *keys: str) -> dict[str, float]:
    """Return the numbers among `metrics`: those of `keys` in order, or all without keys."""
    names = keys or tuple(metrics)
    return {name: metrics[name] for name in names if _is_number(metrics.get(name))}


def format_number(value: Any) -> str:
    """Return four significant digits. Numbers that JSON does not have are strings in outcome.json and stay so."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _first_number(stage: StageData) -> Tile | None:
    for name, value in numbers(stage.metrics).items():
        return Tile(name.replace("_", " "), format_number(value), "", stage.tile_status)
    return None


def _metric_table(stage: StageData) -> list[Block | None]:
    rows: list[list[Cell]] = [[name.replace("_", " "), value] for name, value in numbers(stage.metrics).items()]
    return [Table(["metric", "value"], rows, wide=False)] if rows else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
