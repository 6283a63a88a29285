"""`runs diff A B`: what differs between two runs' configurations, and what they came to."""

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
from pipeline.errors import UserError
from pipeline.report.console import console
from pipeline.runs.index import resolve_run
from pipeline.runs.json_files import read_outcome

NARROW = 70
"""Columns below which the two values stand below their key."""
MISSING, PRESENT = "-", "chosen"


def diff(words: Sequence[str]) -> int:
    """Print the keys in which two runs differ, and their results side by side. 0 also where nothing differs."""
    parser = CommandParser("runs diff", "Compare two runs: folders, `latest`, names, or the letters that `runs` shows.")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder in which runs are kept")
    asked = parser.parse(words)
    pair = [resolve_run(word, asked.outputs) for word in (asked.a, asked.b)]
    configs = config_diff(*(configuration(folder) for folder in pair))
    results = metric_table(*(result(folder) for folder in pair))
    if asked.json:
        runs = [str(folder) for folder in pair]
        print(json.dumps({"runs": runs, "configuration": configs, "results": results}, indent=1))
        return 0
    out = console()
    heads = [folder.resolve().relative_to(folder.resolve().parents[1]).as_posix() for folder in pair]
    _table(out, "configuration", heads, configs or {"no difference": ("", "")})
    _table(out, "results", heads, results)
    return 0


def configuration(folder: Path) -> dict[str, str]:
    """Every key of a run's composed configuration in dotted form, as text."""
    try:
        content = yaml.load(
            (folder / ".hydra" / "config.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{str(folder)!r} has no readable .hydra/config.yaml: only runs can be compared.") from error
    return dict(_flat(content, ""))


def _flat(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, inner in node.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, "null" if node is None else str(node).lower() if isinstance(node, bool) else str(node)


def result(folder: Path) -> dict[str, Any]:
    """Verdict, time, the first finding, and each stage's plain numbers."""
    record = read_outcome(folder)
    if record is None:
        raise UserError(f"{str(folder)!r} has no readable outcome.json: only runs can be compared.")
    first = next((finding["check"] for finding in record.get("diagnosis", ())), None)
    found: dict[str, Any] = {"status": record["status"], "seconds": record["seconds"], "first finding": first}
    for stage in record["stages"]:
        for name in ("first_loss", "overfit_steps", "val_accuracy", "val_loss", "test_accuracy", "test_loss"):
            if isinstance(stage["metrics"].get(name), (int, float)):
                found[f"{stage['name']}: {name}"] = stage["metrics"][name]
    return found


def config_diff(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Keys whose values differ, with both; `-` where a run does not have the key. A stage that only one run has is one
    row."""
    pairs = {key: (a.get(key, MISSING), b.get(key, MISSING)) for key in [*a, *(key for key in b if key not in a)]}
    found = {}
    for key, (left, right) in pairs.items():
        if left == right:
            continue
        if MISSING in (left, right) and (whole := _missing(key, b if right == MISSING else a)):
            left, right = (left if left == MISSING else PRESENT), (right if right == MISSING else PRESENT)
            key = f"{whole}.*"
        found[key] = left, right
    return found


def _missing(key: str, other: dict[str, str]) -> str:
    """The node two dots deep, such as `stages.overfit`, of which the other run has nothing."""
    node = ".".join(key.split(".")[:2])
    return node if node != key and not any(one.startswith(f"{node}.") or one == node for one in other) else ""


def metric_table(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (a.get(key), b.get(key)) for key in [*a, *(key for key in b if key not in a)]}


def _table(out: Console, title: str, heads: Sequence[str], rows: dict[str, tuple[Any, Any]]) -> None:
    cells = [(key, *(_cell(value) for value in pair)) for key, pair in rows.items()]
    lines = [(title, *heads), *cells]
    if out.soft_wrap:
        widths = [max(len(line[place]) for line in lines) for place in range(2)]
        for line in lines:
            out.print(Text(f"{line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}  {line[2]}".rstrip()))
        return
    if out.width < NARROW:
        for key, *values in lines:
            out.print(Text(key, "bold"))
            out.print(Padding(Text("\n").join(map(Text, values)), (0, 0, 0, 2)))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for head in lines[0]:
        table.add_column(head, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
