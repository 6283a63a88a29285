"""`diagnose PATH`: evaluate the checks of a finished run, or of another program's log. Nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from pipeline.checks.not_checked import group_by_reason
from pipeline.checks.remedies import in_code
from pipeline.cli.baseline import Compared, compare, of_run
from pipeline.cli.diagnosis import Diagnosis
from pipeline.cli.judge_log import UNKNOWN, diagnose_log
from pipeline.cli.junit import junit_xml
from pipeline.cli.parser import CommandParser, positive_int
from pipeline.cli.rejudge import checks_for_log, checks_for_run, rejudge
from pipeline.cli.sarif import sarif_json
from pipeline.errors import NOT_JUDGED, UserError
from pipeline.log_readers import LogFacts
from pipeline.report.terminal import Terminal
from pipeline.runs.index import resolve_run
from pipeline.runs.json_files import OUTCOME, SIGNALS, read_outcome, read_signals, to_json
from pipeline.runs.paths import write_text

OUTPUTS = Path("outputs")
FACTS = ("classes", "steps_per_epoch", "train_examples", "val_examples")
EPILOG = (
    "Exit codes: 0 passed, 2 wrong input, 3 failed, 4 not judged: the log has no loss, or too few for a verdict. "
    "docs/diagnose.md describes the kinds of logs, the columns that are read, and the comparison with a baseline."
)


def diagnose(args: Sequence[str]) -> int:
    """Evaluate the checks of the run or the log `args[0]`, print the findings, and return the exit code.

    The thresholds of a run are those that it recorded, changed by overrides such as `checks=strict`. Raises `UserError`
    for a path that is neither, and for arguments that are not keys of `checks`.
    """
    parsed = _parser().parse(args, intermixed=True)
    facts = LogFacts(**{name: getattr(parsed, name) for name in FACTS})
    typed = dict(_split_column(text) for text in parsed.column)
    diagnosis, compared = _diagnose(_locate(parsed.path), parsed.overrides, facts, typed)
    if parsed.baseline is not None:
        _, good = _diagnose(_locate(parsed.baseline), (), facts, typed)
        diagnosis = compare(diagnosis, compared, good, fail_on=checks_for_log(parsed.overrides).fail_on)
    if parsed.sarif:
        write_text(parsed.sarif, sarif_json(diagnosis))
    if parsed.junit:
        write_text(parsed.junit, junit_xml(diagnosis))
    if parsed.json:
        print(json.dumps(json.loads(to_json(diagnosis.to_dict())), indent=1))
    else:
        _print(diagnosis, verbose=parsed.verbose)
    return diagnosis.exit_code


def _parser() -> CommandParser:
    parser = CommandParser("diagnose", "Evaluate the checks of a finished run, or of a log that another program wrote.")
    parser.epilog = EPILOG
    add = parser.add_argument
    add("path", metavar="PATH", help="a run (folder, name, id, `latest`), or a log: TensorBoard, trainer_state.json, "
        "metrics.csv, run-*.wandb, a table, or a folder with one of them")  # fmt: skip
    add("overrides", nargs="*", metavar="checks...=...", help="thresholds: checks=strict, checks.rules.CHECK.KEY=VALUE")
    add("--baseline", metavar="GOOD", help="a good run or log; findings say where PATH is worse")
    add("--classes", type=positive_int, metavar="N", help="classes, for a log of a classifier")
    add("--steps-per-epoch", type=positive_int, metavar="N", help="steps of an epoch, for a log that counts epochs")
    add("--train-examples", type=positive_int, metavar="N", help="examples of the training split")
    add("--val-examples", type=positive_int, metavar="N", help="examples of the validation split")
    add("--column", action="append", default=[], metavar="ROLE=NAME", help="read column NAME as loss, val_loss, "
        "accuracy, val_accuracy, lr, grad_norm, step, epoch or seconds; may be repeated")  # fmt: skip
    add("--sarif", type=Path, metavar="FILE", help="write the findings as SARIF 2.1.0")
    add("--junit", type=Path, metavar="FILE", help="write the checks as JUnit XML")
    add("--json", action="store_true", help="print JSON")
    add("-v", "--verbose", action="store_true", help="list every check that could not judge, and why")
    return parser


def _locate(reference: str) -> Path:
    """Return the path itself if there is one, else the run that is meant."""
    return Path(reference) if Path(reference).exists() else resolve_run(reference, OUTPUTS)


def _split_column(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals:
        raise UserError(f"{text!r} has no '='. Write --column ROLE=NAME, such as --column loss=cost.", field="--column")
    return role, name


def _diagnose(
    path: Path, overrides: Sequence[str], facts: LogFacts, typed: dict[str, str]
) -> tuple[Diagnosis, Compared]:
    """Return the verdict on a run or a log alone, and what is compared of it with another one."""
    if path.is_dir() and any((path / name).exists() for name in (OUTCOME, SIGNALS, ".hydra")):
        return _diagnose_run(path, overrides)
    diagnosis, reading = diagnose_log(path, checks_for_log(overrides), facts, typed)
    return diagnosis, Compared(str(reading.path), reading.signals)


def _diagnose_run(directory: Path, overrides: Sequence[str]) -> tuple[Diagnosis, Compared]:
    record, signals = read_outcome(directory), read_signals(directory)
    if record is None or signals is None:
        missing = OUTCOME if record is None else SIGNALS
        raise UserError(f"{str(directory)!r} is not a run's directory: it has no readable {missing}.")
    has_config = (directory / ".hydra").exists()  # `pipeline.watch` writes a run without a configuration
    checks = checks_for_run(directory, overrides) if has_config else checks_for_log(overrides)
    stages = rejudge(record, signals, checks)
    if not has_config:  # overrides mean nothing to the loop
        stages = tuple(replace(stage, findings=tuple(map(in_code, stage.findings))) for stage in stages)
    not_checked = checks.not_checked(signals)
    unmet = {entry.check for entry in not_checked}
    diagnosis = Diagnosis(
        path=directory,
        kind="run",
        stages=stages,
        findings=checks.diagnose([finding for stage in stages for finding in stage.findings]),
        judged=[name for name in checks.rules if name not in unmet],
        not_checked=not_checked,
        fail_on=checks.fail_on,
        explains=checks.explains,
        can_judge=bool(stages),
    )
    return diagnosis, of_run(directory, signals)


def _print(diagnosis: Diagnosis, *, verbose: bool) -> None:
    terminal = Terminal(verbose=2 if verbose else 1)
    for line in diagnosis.read:
        terminal.console.print(Text(f"read      {line}", "dim"))
    for stage in diagnosis.stages:
        if diagnosis.exit_code == NOT_JUDGED and not stage.findings:
            terminal.console.print(Text(f"{stage.name:<9} not judged: {stage.headline}"))
        else:
            terminal.on_stage_end(stage)
    terminal.summary(diagnosis.findings)
    if diagnosis.not_checked:
        total = len(diagnosis.judged) + len(diagnosis.not_checked)
        terminal.console.print(Text(f"{len(diagnosis.judged)} of {total} checks judged", "dim"))
        for reason, checks in group_by_reason(diagnosis.not_checked).items():
            if verbose or reason in UNKNOWN.values():
                terminal.console.print(Text(f"  not checked, {reason}: {', '.join(checks)}", "dim"))
    terminal.verdict(diagnosis.status, diagnosis.path.resolve())
