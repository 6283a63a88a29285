"""`runs diff A B`: the keys in which two runs were configured differently, and their results side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.parser import CommandParser
from pipeline.errors import PASSED, UserError
from pipeline.report.console import console
from pipeline.runs.index import resolve_run
from pipeline.runs.json_files import read_outcome

MIN_TABLE_WIDTH = 70
"""On a narrower terminal the two values are printed below their key."""
MISSING, PRESENT = "-", "chosen"
METRICS = ("first_loss", "overfit_steps", "val_accuracy", "val_loss", "test_accuracy", "test_loss")


def diff(args: Sequence[str]) -> int:
    """Print the keys in which two runs differ, and their results. Differences do not change the exit code."""
    parser = CommandParser("runs diff", "Compare two runs: folders, `latest`, names, or the ids that `runs` shows.")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
    parsed = parser.parse(args)
    pair = [resolve_run(reference, parsed.outputs) for reference in (parsed.a, parsed.b)]
    configs = config_diff(*(read_flat_config(directory) for directory in pair))
    results = metric_table(*(read_results(directory) for directory in pair))
    if parsed.json:
        runs = [str(directory) for directory in pair]
        print(json.dumps({"runs": runs, "configuration": configs, "results": results}, indent=1))
        return PASSED
    out = console()
    titles = [directory.resolve().relative_to(directory.resolve().parents[1]).as_posix() for directory in pair]
    _print_table(out, ["configuration", *titles], configs or {"no difference": ("", "")})
    _print_table(out, ["results", *titles], results)
    return PASSED


def read_flat_config(directory: Path) -> dict[str, str]:
    """Return every key of the run's composed configuration in dotted form, with its value as text.

    Raises `UserError` if the run has no readable configuration.
    """
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load((directory / ".hydra" / "config.yaml").read_text(), loader)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{str(directory)!r} has no readable .hydra/config.yaml. Only runs can be compared.") from error
    return dict(_flatten(content, ""))


def read_results(directory: Path) -> dict[str, Any]:
    """Return the run's status, seconds, first finding, and the scalar metrics of each stage.

    Raises `UserError` if the run has no readable record.
    """
    record = read_outcome(directory)
    if record is None:
        raise UserError(f"{str(directory)!r} has no readable outcome.json. Only runs can be compared.")
    finding = next((finding["check"] for finding in record.get("diagnosis", ())), None)
    results: dict[str, Any] = {"status": record["status"], "seconds": record["seconds"], "first finding": finding}
    for stage in record["stages"]:
        for metric in METRICS:
            if isinstance(stage["metrics"].get(metric), (int, float)):
                results[f"{stage['name']}: {metric}"] = stage["metrics"][metric]
    return results


def config_diff(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the keys whose values differ, with the values of both runs.

    A key that a run does not have is `MISSING` there. A whole node that only one run has, such as a stage, is one row
    with `PRESENT`.
    """
    rows = {}
    for key, (left, right) in metric_table(a, b, default=MISSING).items():
        if left == right:
            continue
        if MISSING in (left, right) and (node := _missing_node(key, b if right == MISSING else a)):
            left, right = (value if value == MISSING else PRESENT for value in (left, right))
            key = f"{node}.*"
        rows[key] = left, right
    return rows


def metric_table(a: dict[str, Any], b: dict[str, Any], *, default: Any = None) -> dict[str, tuple[Any, Any]]:
    """Return every key of `a` and `b` with both values; `default` is the value of a key that is not there."""
    return {key: (a.get(key, default), b.get(key, default)) for key in {**a, **b}}


def _missing_node(key: str, other: dict[str, str]) -> str:
    """Return the node of `key` (its first two parts, such as `stages.overfit`) if `other` has no key of it, else ""."""
    node = ".".join(key.split(".")[:2])
    return node if node != key and not any(name == node or name.startswith(f"{node}.") for name in other) else ""


def _flatten(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, inner in node.items():
            yield from _flatten(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, "null" if node is None else str(node).lower() if isinstance(node, bool) else str(node)


def _print_table(out: Console, titles: Sequence[str], rows: dict[str, tuple[Any, Any]]) -> None:
    """Print one row for each key: a table on a terminal, key and values below each other on a narrow one."""
    cells = [(key, *(_format(value) for value in pair)) for key, pair in rows.items()]
    lines = [tuple(titles), *cells]
    if out.soft_wrap:
        widths = [max(len(line[column]) for line in lines) for column in range(2)]
        for line in lines:
            out.print(Text(f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]}".rstrip()))
        return
    if out.width < MIN_TABLE_WIDTH:
        for key, *values in lines:
            out.print(Text(key, "bold"))
            out.print(Padding(Text("\n").join(map(Text, values)), (0, 0, 0, 2)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    out.print(table)


def _format(value: Any) -> str:
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
