"""Parts 1, 2, 4 and 5: what the benchmark of tests/bench/gpu.py measures, beside its targets."""

from __future__ import annotations

from typing import Any

from tests.bench.contestants import Case
from tests.bench.gpu_cases import (
    BARE,
    BARE_CHANNELS_LAST,
    CONVNET,
    CONVNET_1024,
    DETERMINISTIC,
    EAGER,
    GRAPH,
    GRAPH_COMPILED,
    GRAPH_FROM_HOST,
    LARGE_RESNET,
    MLP,
    RESNET,
)
from tests.gpu.row import NOT_RUN, REPORTED, Row, judge

PLAN: dict[Case, tuple[str, ...]] = {
    MLP: (BARE, EAGER, GRAPH),
    CONVNET: (BARE, BARE_CHANNELS_LAST, EAGER, GRAPH, GRAPH_FROM_HOST, DETERMINISTIC),
    CONVNET_1024: (BARE, BARE_CHANNELS_LAST, EAGER, GRAPH),
    RESNET: (BARE, BARE_CHANNELS_LAST, EAGER, GRAPH, GRAPH_COMPILED),
    LARGE_RESNET: (BARE, BARE_CHANNELS_LAST, GRAPH),
}
"""What is measured here: no templates, and compiled only where there is a target."""
TARGETS = ((MLP, GRAPH, 10.0), (CONVNET, GRAPH, 4.0), (RESNET, GRAPH, 1.3), (RESNET, GRAPH_COMPILED, 1.7))
"""Steps a second / those of the faster bare eager loop, at least."""
MIN_GRAPH, MIN_EAGER = 0.97, 0.95
"""The same for every network, with a graph and without."""
NO_COMPILER = "torch cannot compile here"


def rows(networks: dict[str, Any], *, is_gpu: bool) -> list[Row]:
    """Return the rows of a benchmark (`tests.bench.gpu.measure`). Without a GPU there is nothing to compare."""
    ratios = [
        *(_target(networks, case, name, least, is_gpu=is_gpu) for case, name, least in TARGETS),
        _least(networks, GRAPH, MIN_GRAPH, is_gpu=is_gpu),
        _least(networks, EAGER, MIN_EAGER, is_gpu=is_gpu),
    ]
    return [
        *ratios,
        _compared(2, "the cost of trainer.deterministic=true", networks, DETERMINISTIC, is_gpu=is_gpu),
        _compared(4, "the cost of trainer.images_on=host", networks, GRAPH_FROM_HOST, is_gpu=is_gpu),
        _all_trained(networks),
    ]


def _target(networks: dict[str, Any], case: Case, name: str, least: float, *, is_gpu: bool) -> Row:
    target = f"{case.name}: {name} / bare eager loop >= {least:g}"
    row = networks[case.name]["contestants"][name]
    if not is_gpu:
        return Row(1, target, "", NOT_RUN)
    if NO_COMPILER in row.get("failed", ""):
        return Row(1, target, NO_COMPILER, NOT_RUN)
    ratio = row.get("ratio_to_faster")
    if ratio is None:
        return judge(1, target, "failed", False, row.get("failed", "the bare loop failed"))
    low, high = row.get("quartiles", (ratio, ratio))
    measured = f"{ratio:.2f} ({row['steps_a_second']:,.0f} steps a second; to the plain loop {low:.2f} .. {high:.2f})"
    if row.get("graph_steps") is not None:
        measured += f", {row['graph_steps']} of {row['steps']} replayed"
    return judge(1, target, measured, ratio >= least)


def _least(networks: dict[str, Any], name: str, least: float, *, is_gpu: bool) -> Row:
    """Judge the network with the lowest ratio."""
    target = f"{name} / faster bare eager loop >= {least:g} for every network"
    if not is_gpu:
        return Row(1, target, "", NOT_RUN)
    found = {case: table["contestants"][name] for case, table in networks.items() if name in table["contestants"]}
    ratios = {case: row.get("ratio_to_faster") for case, row in found.items()}
    if missing := [case for case, ratio in ratios.items() if ratio is None]:
        detail = found[missing[0]].get("failed", "the bare loop failed")
        return judge(1, target, f"failed: {', '.join(missing)}", False, detail)
    case, ratio = min(ratios.items(), key=lambda pair: pair[1])
    return judge(1, target, f"{ratio:.2f} ({case})", ratio >= least)


def _compared(part: int, target: str, networks: dict[str, Any], name: str, *, is_gpu: bool) -> Row:
    """Report the steps a second of `name` / those of the same pipeline without it. The convnet is measured."""
    contestants = networks[CONVNET.name]["contestants"]
    with_it, without = (contestants[key].get("steps_a_second") for key in (name, GRAPH))
    target = f"{target}: steps a second / those without it, convnet"
    if not is_gpu:
        return Row(part, target, "", NOT_RUN)
    return Row(part, target, f"{with_it / without:.2f}" if with_it and without else "failed", REPORTED)


def _all_trained(networks: dict[str, Any]) -> Row:
    failed = {
        f"{case}, {name}": row["failed"]
        for case, table in networks.items()
        for name, row in table["contestants"].items()
        if "failed" in row and NO_COMPILER not in row["failed"]
    }
    count = sum(len(table["contestants"]) for table in networks.values())
    details = "\n".join(f"{name}:\n{detail}" for name, detail in failed.items())
    return judge(
        5, "the benchmark ran: every contestant trained", f"{count - len(failed)} of {count}", not failed, details
    )
