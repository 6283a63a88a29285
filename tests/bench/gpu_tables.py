"""The numbers of tests/bench/gpu.py and gpu_sweep.py as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def describe(card: dict[str, Any], versions: dict[str, str]) -> str:
    """Return one line with what a figure needs: the card, its driver and the versions."""
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    if not card:
        return f"no GPU, a dry run on the CPU; {packages}"
    return (
        f"{card['card']} ({card['memory_gb']:.0f} GB, {card['used_gb']:.1f} GB in use), driver {card['driver']}, "
        f"CUDA {card['cuda']}; {packages}"
    )


def contest_tables(numbers: dict[str, Any]) -> RenderableType:
    """Return a table for each network."""
    networks = [_contest_table(name, table) for name, table in numbers["networks"].items()]
    return Group(Text(numbers["machine"]), *networks)


def _contest_table(name: str, numbers: dict[str, Any]) -> Table:
    title = f"{name}: {numbers['steps']} steps an epoch, {numbers['rounds']} rounds"
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for heading in ("steps a second", "/ bare", "quartiles", "/ faster bare", "whole stage"):
        table.add_column(heading, justify="right")
    for contestant, row in numbers["contestants"].items():
        table.add_row(contestant, *_cells(row))
    notes = [f"{contestant}: {note}" for contestant, row in numbers["contestants"].items() if (note := _note(row))]
    table.caption = "\n".join(notes)
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    if "failed" in row:
        return ["failed", "", "", "", ""]
    low, high = row.get("quartiles", (None, None))
    return [
        _number(row["steps_a_second"], ".0f"),
        _number(row.get("ratio"), ".2f"),
        f"{low:.2f} .. {high:.2f}" if low else "",
        _number(row.get("ratio_to_faster"), ".2f"),
        _number(row["stage_steps_a_second"], ".0f"),
    ]


def _note(row: dict[str, Any]) -> str:
    """Return how many steps of a contestant were replayed, why none was, or how it failed."""
    if "failed" in row:
        return row["failed"].splitlines()[-1] if row["failed"] else "failed"
    if row.get("graph_refused"):
        return f"no graph: {row['graph_refused']}"
    return f"{row['graph_steps']} of {row['steps']} steps replayed" if row.get("graph_steps") is not None else ""


def _number(value: float | None, format_spec: str) -> str:
    return "" if value is None else f"{value:{format_spec}}"


def sweep_markdown(numbers: dict[str, Any]) -> str:
    """Return the sweep as Markdown, for docs/speed.md."""
    headings = ["network", "batch", *numbers["kinds"], "graph / eager"]
    lines = [numbers["machine"], "", f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in numbers["rows"]:
        cells = [_number(row["steps_a_second"].get(kind), ",.0f") or "failed" for kind in numbers["kinds"]]
        lines.append(f"| {row['network']} | {row['batch']} | {' | '.join(cells)} | {_number(row['gain'], '.2f')} |")
    lines += ["", *(f"- {network}: {text}" for network, text in numbers["break_even"].items())]
    return "\n".join(lines)
