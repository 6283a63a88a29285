"""report.html: the page of one run, from its files alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.report.blocks import Block, Chart, Command, Section, StatTiles, Text
from pipeline.report.page import render_page
from pipeline.report.run_files import Run, outputs_dir_of, read_run
from pipeline.report.stage_sections import (
    about_section,
    callout,
    data_section,
    not_checked_list,
    problems_callout,
    stage_charts,
    stage_section,
)
from pipeline.report.stage_view import StageData, Tile, format_number, stage_view
from pipeline.runs.paths import write_text

REPORT = "report.html"
MAX_TOP_FINDINGS = 6
"""Findings at the top of the page; all are in the sections of their stages."""
MAX_EVIDENCE_TILES = 3
MAX_TOP_CHARTS = 2


def write_report(directory: Path) -> Path:
    """Write report.html into a run's directory from its other files, and return its path.

    Raise `FileNotFoundError` if there is no outcome.json, and `UnreadableFileError` if it cannot be read.
    """
    run = read_run(directory)
    home = os.path.relpath(outputs_dir_of(directory.resolve()) / "index.html", directory.resolve())
    write_text(directory / REPORT, run_page(run, home=home))
    return directory / REPORT


def run_page(run: Run, *, home: str = "") -> str:
    """Return the page of a run. `home` is a relative link to the page of all runs."""
    record = run.record
    seed = f", seed {record['seed']}" if run.is_configured else ""
    subtitle = f"{record['data']['name']}{seed}, {record['seconds']:.1f} s"
    subtitle += f"; {', '.join(map(str, record['tags']))}" if record["tags"] else ""
    charts = _top_charts(run)
    ids = {chart.id for chart in charts}
    stages = [stage_section(run, name, shown_above=ids) for name in run.stage_names]
    sections = [*_with_data(data_section(run), stages), about_section(run)]
    return render_page(
        title=f"{record['name']} / {run.id}",
        verdict=verdict(run),
        status="warning" if record["status"] == "passed" and _serious_findings(run) else record["status"],
        subtitle=subtitle,
        top=_top(run, charts),
        sections=[section for section in sections if section.blocks or section.status],
        home=home,
    )


def verdict(run: Run) -> str:
    """Return the result of the run in one or two sentences."""
    status, findings, score = run.record["status"], _serious_findings(run), _score(run)
    if status == "passed":
        plural = "s" if len(findings) > 1 else ""
        warned = f", with {len(findings)} warning{plural}: {_finding_name(findings[0])}" if findings else ""
        return f"Passed{warned}.{score}"
    if status == "failed":
        last = run.record["stages"][-1]["name"].capitalize()
        return f"{last} failed: {_finding_name(findings[0])}." if findings else f"{last} failed."
    during = f" during {run.current_stage}" if run.current_stage else ""
    more = " Continue with resume=auto." if run.is_configured else ""
    sentences = {"interrupted": f"Interrupted{during}.{more}", "error": f"Crashed{during}."}
    return sentences.get(status, f"Still running{during}, or killed.") + score


def _serious_findings(run: Run) -> list[Mapping[str, Any]]:
    """Return the warnings and failures, ranked."""
    return [finding for finding in run.findings if finding["severity"] != "info"]


def _finding_name(finding: Mapping[str, Any]) -> str:
    return finding["check"].replace("_", " ") + (f" in {finding['where']}" if finding["where"] else "")


def _score(run: Run) -> str:
    for name, split in (("test_accuracy", "Test"), ("val_accuracy", "Validation")):
        if run.metrics.get(name) is not None:
            return f" {split} accuracy {run.metrics[name]:.3f}."
    return ""


def _with_data(data: Section, stages: Sequence[Section]) -> list[Section]:
    """Return the section on the data before those of the stages; that of the stage `data` becomes part of it."""
    checked = next((stage for stage in stages if stage.title == data.title), None)
    if checked is None:
        return [data, *stages]
    whole = replace(checked, blocks=[*checked.blocks, *data.blocks], summary=f"{data.summary}; {checked.summary}")
    return [whole, *(stage for stage in stages if stage is not checked)]


def _top(run: Run, charts: list[Chart]) -> list[Block]:
    """Return what is seen first: large numbers, findings with their remedies, charts, and the command of the run."""
    findings = _serious_findings(run)
    tiles = [tile for name in run.stages if (tile := stage_view(name).headline_tile(StageData(name, run)))]
    if findings and not any(tile.status in ("failed", "warning") for tile in tiles):
        tiles += _evidence_tiles(findings[0])
    blocks: list[Block] = [*problems_callout(run), *([StatTiles(tiles)] if tiles else [])]
    for i, finding in enumerate(findings[:MAX_TOP_FINDINGS]):
        blocks.append(callout(finding, run.record["command"], has_command=i == 0))
    if len(findings) > MAX_TOP_FINDINGS:
        rest = len(findings) - MAX_TOP_FINDINGS
        blocks.append(Text(f"{rest} more findings are in the sections of their stages.", muted=True))
    blocks += charts if len(charts) > 1 else [replace(chart, wide=True) for chart in charts]
    return [*blocks, *not_checked_list(run), Command(run.record["command"], "this run")]


def _evidence_tiles(finding: Mapping[str, Any]) -> list[Tile]:
    """Return a tile for each number that a finding rests on, up to `MAX_EVIDENCE_TILES`."""
    status = "failed" if finding["severity"] == "failure" else "warning"
    tiles = [
        Tile(name.replace("_", " "), format_number(value), "", status) for name, value in finding["measured"].items()
    ]
    return tiles[:MAX_EVIDENCE_TILES]


def _top_charts(run: Run) -> list[Chart]:
    """Return charts of the stage that the first finding points to, or else of the one with the highest priority."""
    by_priority = sorted(run.stage_names, key=lambda name: -stage_view(name).chart_priority)
    candidates = [finding["stage"] for finding in _serious_findings(run)[:1]]
    candidates += [name for name in by_priority if stage_view(name).chart_priority > 0]
    for name in candidates:
        if charts := stage_charts(run, name):
            return charts[:MAX_TOP_CHARTS]
    return []
