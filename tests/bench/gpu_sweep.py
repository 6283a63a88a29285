"""When a CUDA graph helps: the pipeline eager, compiled and with a graph, over networks, widths and batches.

A graph saves the time to launch kernels. The wider a network and the larger a batch, the more of it the kernels'
own work hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.bench import gpu
from tests.bench.contestants import Case
from tests.bench.gpu_cases import (
    BF16,
    COLOUR,
    COMPILED,
    EAGER,
    GRAPH,
    GRAPH_COMPILED,
    GREY,
    RESNET18,
    make_case,
)

NETWORKS: dict[str, tuple[tuple[str, ...], tuple[int, int, int], tuple[int, ...]]] = {
    "MLP 100-100": (("model=mlp",), GREY, (32, 128, 512, 2048, 8192)),
    "MLP 2000-2000": (("model=mlp", "model.width=2000"), GREY, (32, 128, 512, 2048, 8192)),
    "convnet, 16 channels": (("model=convnet",), GREY, (32, 128, 512, 2048)),
    "convnet, 64 channels": (("model=convnet", "model.width=64"), GREY, (32, 128, 512, 2048)),
    "ResNet-8, 16 channels": (("model=resnet",), COLOUR, (32, 128, 512, 2048)),
    "ResNet-18 in bf16": ((*RESNET18, BF16), COLOUR, (32, 128, 512)),
}
"""Network -> its overrides, the shape of the images and the batches."""
KINDS = {EAGER: "eager", COMPILED: "compiled", GRAPH: "graph", GRAPH_COMPILED: "graph, compiled"}
MIN_GAIN = 1.05
"""Steps a second with a graph / eager from which a graph is worth mentioning."""


def measure(*, seconds: float, trainer: str, is_dry: bool = False, compiled: bool = True) -> dict[str, Any]:
    """Return `rows` (steps a second of each kind, and graph / eager) and the `break_even` of each network."""
    kinds = {name: kind for name, kind in KINDS.items() if compiled or "compiled" not in kind}
    cases: dict[Case, str] = {}
    for network, (overrides, shape, batches) in NETWORKS.items():
        for batch in batches[:1] if is_dry else batches:
            cases[make_case(network, batch, *overrides, shape=shape)] = network
    plan: dict[Case, Sequence[str]] = {case: tuple(kinds) for case in cases}
    tables = gpu.measure(plan, seconds=seconds, trainer=trainer, is_dry=is_dry, base=EAGER)
    rows = [_row(network, case, tables[case.name]["contestants"]) for case, network in cases.items()]
    break_even = {network: find_break_even([row for row in rows if row["network"] == network]) for network in NETWORKS}
    return {"rows": rows, "kinds": list(kinds.values()), "break_even": break_even, "tables": tables}


def _row(network: str, case: Case, table: dict[str, Any]) -> dict[str, Any]:
    speeds = {KINDS[name]: row["steps_a_second"] for name, row in table.items() if "failed" not in row}
    return {"network": network, "batch": case.batch, "steps_a_second": speeds, "gain": table[GRAPH].get("ratio")}


def find_break_even(rows: list[dict[str, Any]]) -> str:
    """Return the smallest batch from which on a graph gains less than `MIN_GAIN` at every batch measured."""
    measured = [row for row in rows if row["gain"] is not None]
    if not measured:
        return "not measured"
    helped = [i for i, row in enumerate(measured) if row["gain"] >= MIN_GAIN]
    without = measured[helped[-1] + 1 :] if helped else measured
    percent = f"{100 * (MIN_GAIN - 1):.0f} %"
    if not without:
        return f"a graph gains {percent} or more at every batch that was measured"
    return f"from batch {without[0]['batch']} on a graph gains less than {percent}"
