"""The sections of a run's page: the data, each stage with its findings, table and charts, and the run itself."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.checks.not_checked import NotChecked, group_by_reason
from pipeline.report.blocks import Block, Callout, Chart, Command, Folded, Section, Table
from pipeline.report.expected_values import expected_table
from pipeline.report.figures import data
from pipeline.report.run_files import Run
from pipeline.report.stage_view import StageData, stage_view
from pipeline.report.terminal import OUTPUTS


def data_section(run: Run) -> Section:
    """Return the section on the data."""
    about = run.record["data"]
    classes, images = about["classes"], run.images.get("sanity") or run.images.get("data", {})
    names, (one, several) = _names_of_strata(about), OUTPUTS[about.get("task", "classification")]
    blocks: list[Block | None] = [
        data.examples(images, names),
        *data.pca_scatter(images, names),
        data.class_counts(classes, about["class_counts"]) if classes and about["class_counts"] else None,
        data.mean(images),
    ]
    sizes = ", ".join(f"{size:,} {split}" for split, size in about["sizes"].items())
    summary = f"{about['name']}: {f'{len(classes)} {several if len(classes) > 1 else one}; ' if classes else ''}{sizes}"
    return Section("data", [block for block in blocks if block is not None], summary=summary)


def _names_of_strata(about: Mapping[str, Any]) -> list[str]:
    """Return names for groups of examples: classes; the rarest label, or none; tenths of the first target."""
    task = about.get("task", "classification")
    if task == "regression":
        return [f"{about['classes'][0]}, {tenth} of 10" for tenth in range(1, 11)]
    return [*about["classes"], *(["none"] if task == "multilabel" else [])]


def stage_section(run: Run, name: str, *, shown_above: Collection[str] = ()) -> Section:
    """Return the section of a stage, also of one that was not reached. `shown_above` are ids of charts to leave out."""
    stage, view = StageData(name, run), stage_view(name)
    blocks: list[Block] = [callout(finding, run.record["command"]) for finding in stage.findings]
    if stage.entry and stage.signals:
        severities = {finding["check"]: finding["severity"] for finding in stage.findings}
        table = expected_table(view.expected_values(stage.signals), severities)
        blocks += [table] if table else []
    blocks += [block for block in view.charts(stage) if block is not None and _id(block) not in shown_above]
    status = _status(stage)
    if stage.entry is None:
        return Section(name, blocks, status, "not reached" if status == "skipped" else "not finished")
    return Section(name, blocks, status, f"{stage.entry['headline']} ({stage.entry['seconds']:.1f} s)")


def stage_charts(run: Run, name: str) -> list[Chart]:
    """Return the charts of a stage, the most telling first."""
    return [block for block in stage_view(name).charts(StageData(name, run)) if isinstance(block, Chart)]


def callout(finding: Mapping[str, Any], command: str, *, has_command: bool = True) -> Callout:
    """Return a finding with its evidence and its cure: the command or the overrides alone, and the change of code."""
    where = f" in {finding['where']}" if finding["where"] else ""
    step = f" at step {finding['step']}" if finding["step"] is not None else ""
    lines = [("expected", finding["expected"]), ("why", finding["why"]), ("source", finding["source"])]
    remedy = shlex.join(finding["remedy"])
    commands = [Command(f"{command} {remedy}", "try")] if remedy and has_command else []
    if remedy and not has_command:
        lines.insert(2, ("try", remedy))
    if advice := finding.get("advice"):
        lines.insert(2, ("change", advice))
    if code := finding.get("code"):
        commands.append(Command(code, "code"))
    stages = ", ".join([finding["stage"], *finding.get("also_in", ())])
    title = f"{stages}: {finding['check']}{where}{step}"
    return Callout(finding["severity"], title, finding["message"], lines, commands)


def about_section(run: Run) -> Section:
    """Return the section on the run: command, configuration, versions, and the remedies that were tried."""
    record = run.record
    rows: list[list[Any]] = [["command", record["command"]]]
    if run.is_configured:
        rows += [["configuration", record["config_hash"]]]
        unused = record.get("unused_options")
        rows += [["not used by this network", ", ".join(unused)]] if unused else []
        rows += [["data", f"{record['data']['name']}, fingerprint {record['data']['fingerprint']}"]]
    rows += [["resumed from", record["resumed_from"]]] if record["resumed_from"] else []
    rows += [[package, version] for package, version in record["versions"].items()]
    blocks: list[Block] = [Table(["what", "this run"], rows, sortable=False)]
    if record["fixes"]:
        fixes = [
            [fix["check"], " ".join(fix["remedy"]), "kept" if fix["kept"] else "not kept", fix["reason"]]
            for fix in record["fixes"]
        ]
        caption = "Remedies that fix=true tried"
        blocks.insert(0, Table(["finding", "remedy", "result", "reason"], fixes, caption=caption))
    return Section("run", blocks)


def problems_callout(run: Run) -> list[Block]:
    """Return a note on the files that cannot be read, or []."""
    if not run.problems:
        return []
    return [Callout("warning", "This page is incomplete", " ".join(run.problems))]


def not_checked_list(run: Run) -> list[Block]:
    """Return the checks that could not judge the run, folded, or []."""
    entries = [NotChecked(**entry) for entry in run.record.get("not_checked", ())]
    if not entries:
        return []
    judged = run.record["judged"]
    lines = [(reason, ", ".join(checks)) for reason, checks in group_by_reason(entries).items()]
    return [Folded(f"{judged} of {judged + len(entries)} checks judged; the others could not", lines)]


def _status(stage: StageData) -> str:
    """Return the status of a stage for the page, one of `STATUSES`."""
    if stage.entry is None:
        has_begun = stage.name in stage.run.signals or stage.name == stage.run.current_stage
        run_status = stage.run.record["status"]
        return run_status if has_begun and run_status not in ("passed", "failed") else "skipped"
    severities = {finding["severity"] for finding in stage.findings}
    has_warning = stage.entry["status"] == "passed" and severities & {"warning", "failure"}
    return "warning" if has_warning else stage.entry["status"]


def _id(block: Block) -> str:
    return getattr(block, "id", "")
