"""report.html: a run told as a page, from the files that it left."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.report.blocks import Block, Callout, Command, Section, StatTiles, Table, Text
from pipeline.report.page import render_page
from pipeline.report.run_files import Run, outputs_dir_of, read_run
from pipeline.report.stage_sections import STAGES, data_blocks, evidence_tiles, headline_tile, stage_charts
from pipeline.runs.paths import write_text

REPORT = "report.html"
FINDINGS = 6
"""Findings that are told at the top; all of them stand in their stages."""


def write_report(directory: Path) -> Path:
    """Make report.html in a run's directory anew, from what lies there. Raises `FileNotFoundError` where no run is."""
    run = read_run(directory)
    home = os.path.relpath(outputs_dir_of(directory.resolve()) / "index.html", directory.resolve())
    write_text(directory / REPORT, run_page(run, home=home))
    return directory / REPORT


def run_page(run: Run, *, home: str = "") -> str:
    """The page of a run."""
    record = run.record
    told = f"{record['data']['name']}, seed {record['seed']}, {record['seconds']:.1f} s"
    tags = f"; {', '.join(map(str, record['tags']))}" if record["tags"] else ""
    top, used = _top(run)
    sections = [Section("data", data_blocks(run), summary=_sizes(record))]
    sections += [_stage(run, name, used) for name in _every_stage(run)]
    sections.append(Section("run", _about(run)))
    return render_page(
        title=f"{record['name']} / {run.id}",
        verdict=verdict(run),
        status="warning" if record["status"] == "passed" and _warned(run) else record["status"],
        subtitle=told + tags,
        top=top,
        sections=[section for section in sections if section.blocks or section.status],
        home=home,
    )


def verdict(run: Run) -> str:
    """The run in one sentence."""
    record, findings = run.record, [f for f in run.findings if f["severity"] != "info"]
    score = _score(run)
    if record["status"] == "passed":
        warned = f", with {len(findings)} warning{'s' * (len(findings) > 1)}: {_name(findings[0])}" if findings else ""
        return f"Passed{warned}.{score}"
    if record["status"] == "failed":
        last = record["stages"][-1]["name"]
        return f"{last.capitalize()} failed: {_name(findings[0])}." if findings else f"{last.capitalize()} failed."
    during = next((name for name in run.planned if name not in run.stages), None)
    during = f" during {during}" if during else ""
    words = {"interrupted": f"Interrupted{during}; resume=auto goes on from here.", "error": f"Crashed{during}."}
    return words.get(record["status"], f"Still running{during}, or killed.") + score


def _warned(run: Run) -> bool:
    return any(finding["severity"] != "info" for finding in run.findings)


def _name(finding: Mapping[str, Any]) -> str:
    return finding["check"].replace("_", " ") + (f" in {finding['where']}" if finding["where"] else "")


def _score(run: Run) -> str:
    metrics = {name: stage["metrics"] for name, stage in run.stages.items()}
    if "evaluate" in metrics:
        return f" Test accuracy {metrics['evaluate']['test_accuracy']:.3f}."
    if metrics.get("train", {}).get("val_accuracy") is not None:
        return f" Validation accuracy {metrics['train']['val_accuracy']:.3f}."
    return ""


def _top(run: Run) -> tuple[list[Block], set[str]]:
    """What is seen first: numbers, what to do, and the charts that tell why. Also the names of those charts."""
    findings = [f for f in run.findings if f["severity"] != "info"]
    tiles = [
        one for name, stage in run.stages.items() if (one := headline_tile(name, stage, run.signals.get(name, {})))
    ]
    if findings and not any(one[3] in ("failed", "warning") for one in tiles):
        tiles += evidence_tiles(findings[0])[:3]
    blocks: list[Block] = [StatTiles(tiles)] if tiles else []
    blocks += [callout(finding, run.record["command"], first=i == 0) for i, finding in enumerate(findings[:FINDINGS])]
    if len(findings) > FINDINGS:
        blocks.append(Text(f"{len(findings) - FINDINGS} more findings stand in their stages.", muted=True))
    worst = findings[0]["stage"] if findings else None
    for name in [worst, "train", "lr_range", "overfit", "sanity"]:
        charts = stage_charts(name, run)[:2] if name else []
        if charts:
            break
    blocks += charts if len(charts) > 1 else [replace(chart, wide=True) for chart in charts]
    blocks.append(Command(run.record["command"], "this run"))
    return blocks, {chart.id for chart in charts}


def callout(finding: Mapping[str, Any], command: str, *, first: bool = True) -> Callout:
    """A finding with its evidence, and the command with its remedy."""
    where = f" in {finding['where']}" if finding["where"] else ""
    step = f" at step {finding['step']}" if finding["step"] is not None else ""
    lines = [("expected", finding["expected"]), ("why", finding["why"]), ("source", finding["source"])]
    remedy = shlex.join(finding["remedy"])
    commands = [Command(f"{command} {remedy}", "try")] if remedy and first else []
    if remedy and not first:
        lines.insert(2, ("try", remedy))
    return Callout(
        finding["severity"], f"{finding['stage']}: {finding['check']}{where}{step}", finding["message"], lines, commands
    )


def _every_stage(run: Run) -> list[str]:
    return list(dict.fromkeys([*run.planned, *run.stages, *(name for name in STAGES if name in run.signals)]))


def _stage(run: Run, name: str, used: set[str]) -> Section:
    stage = run.stages.get(name)
    charts: list[Block] = [
        chart for chart in stage_charts(name, run, whole=True) if getattr(chart, "id", "") not in used
    ]
    if stage is None:
        began = name in run.signals or name == next((n for n in run.planned if n not in run.stages), None)
        status = run.record["status"] if began and run.record["status"] not in ("passed", "failed") else "skipped"
        return Section(name, charts, status, "not finished" if status != "skipped" else "not reached")
    severities = {finding["severity"] for finding in stage["findings"]}
    status = "warning" if stage["status"] == "passed" and severities & {"warning", "failure"} else stage["status"]
    blocks = [callout(finding, run.record["command"]) for finding in stage["findings"]]
    return Section(name, [*blocks, *charts], status, f"{stage['headline']} ({stage['seconds']:.1f} s)")


def _about(run: Run) -> list[Block]:
    record = run.record
    rows: list[list[Any]] = [["command", record["command"]], ["configuration", record["config_hash"]]]
    rows += [["data", f"{record['data']['name']}, fingerprint {record['data']['fingerprint']}"]]
    rows += [["resumed from", record["resumed_from"]]] if record["resumed_from"] else []
    rows += [[name, number] for name, number in record["versions"].items()]
    blocks: list[Block] = [Table(["what", "this run"], rows, sortable=False)]
    if record["fixes"]:
        tried = [
            [f["check"], " ".join(f["remedy"]), "kept" if f["kept"] else "not kept", f["reason"]]
            for f in record["fixes"]
        ]
        blocks.insert(0, Table(["finding", "remedy", "", "why"], tried, caption="What fix=true tried"))
    return blocks


_KEPT = {True: "kept", False: "not kept"}


def _sizes(record: Mapping[str, Any]) -> str:
    sizes = ", ".join(f"{size:,} {split}" for split, size in record["data"]["sizes"].items())
    return f"{record['data']['name']}: {len(record['data']['classes'])} classes; {sizes}"
