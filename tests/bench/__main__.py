"""`make bench`: what looking inside the network costs. Pairs of trainings in one process, signals on and off in turn.

Prints the ratio of seconds (on / off) of the train stage, median of pairs with quartiles; writes outputs/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from rich.console import Console
from rich.table import Table

import pipeline
from pipeline.workflow import versions

CASES = {
    "MLP 100-100, batch 64": ["model=mlp", "stages.train.epochs=12"],
    "MLP 512-512, batch 128": ["model=mlp", "model.width=512", "data.batch_size=128", "stages.train.epochs=12"],
    "convnet (the default)": [],
}


def seconds(overrides: list[str], outputs: str) -> float:
    result = pipeline.run([f"outputs={outputs}", "stage=train", "checks=off", *overrides], quiet=True)
    return result.outcomes[0].seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs for each case (default 5)")
    parser.add_argument("--only", default="", metavar="WORD", help="cases with this word in their name: MLP, convnet")
    parser.add_argument("--json", type=Path, default=Path("outputs/bench.json"))
    options = parser.parse_args()
    table = Table("signals on / off", "median", "quartiles", "off: seconds")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in CASES.items():
            if options.only.lower() not in name.lower():
                continue
            seconds([*overrides, "stages.train.epochs=1"], folder)  # imports, caches
            pairs = []
            for i in range(options.rounds):
                order = ("default", "off") if i % 2 else ("off", "default")
                took = {signals: seconds([*overrides, f"signals={signals}"], folder) for signals in order}
                pairs.append((took["default"], took["off"]))
            ratios = [on / off for on, off in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            off = statistics.median(off for _, off in pairs)
            found[name] = {"ratio": middle, "quartiles": [low, high], "seconds_off": off, "pairs": pairs}
            table.add_row(name, f"{middle:.3f}", f"{low:.3f} .. {high:.3f}", f"{off:.2f}")
    Console().print(table)
    about = {"versions": versions(), "processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(about | {"signals": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
