"""tests/gpu/check.sh without a GPU: a dry run of all its steps, and what it makes of numbers and of trouble."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench import gpu, gpu_sweep
from tests.bench.gpu_cases import (
    BARE,
    BARE_CHANNELS_LAST,
    CONVNET,
    EAGER,
    GRAPH,
    GRAPH_COMPILED,
    MLP,
    RESNET,
    USUAL_TEMPLATE,
)
from tests.bench.gpu_process import OTHERS, ContestantFailed
from tests.gpu import check, speed
from tests.gpu.commands import ROOT, Command, Machine, differences
from tests.gpu.row import MISSED, NOT_RUN, OK, Row, exit_code


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two minutes of two quiet cores
def test_dry_run(tmp_path: Path) -> None:
    """Every step runs on the CPU; what needs a GPU is neither right nor wrong."""
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["tests/gpu/check.sh", "--device", "cpu", "--json", str(tmp_path / "check.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "check.json").read_text())
    assert {row["part"] for row in record["rows"]} == {1, 2, 4, 5}
    assert [row for row in record["rows"] if row["state"] == MISSED] == []
    not_run = [row["target"] for row in record["rows"] if row["state"] == NOT_RUN]
    assert len(not_run) == len(speed.TARGETS) + 6
    tables = {name: table["contestants"] for name, table in record["networks"].items()}
    assert {name: set(table) for name, table in tables.items()} == {c.name: set(n) for c, n in speed.PLAN.items()}


@pytest.mark.slow
def test_without_gpu_nothing_is_claimed() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = subprocess.run(["tests/gpu/check.sh"], cwd=ROOT, env=os.environ | {"PYTHON": sys.executable})
    assert done.returncode == 2


@pytest.mark.slow
def test_contestant_that_fails(tmp_path: Path) -> None:
    """Its error is told, and others train on in a new process."""
    with gpu.Contest(tmp_path, trainer="cpu", is_dry=True) as contest:
        table = contest.measure(MLP, [BARE, "no such contestant", USUAL_TEMPLATE], seconds=0)["contestants"]
    assert "KeyError" in table["no such contestant"]["failed"]
    assert table[BARE]["ratio"] == 1
    assert table[USUAL_TEMPLATE]["steps_a_second"] > 0


@pytest.mark.slow
def test_contestant_that_does_not_answer(tmp_path: Path) -> None:
    with gpu.Contest(tmp_path, trainer="cpu", is_dry=True) as contest, pytest.raises(ContestantFailed):
        contest._processes[OTHERS].train({}, timeout=0.1)


def test_ratios_are_those_of_a_round() -> None:
    """A machine that is twice as fast in the second round changes no ratio."""
    seconds = {BARE: [4.0, 2.0], BARE_CHANNELS_LAST: [2.0, 4.0], GRAPH: [1.0, 0.5]}
    answers = {name: [{"seconds_a_step": value} for value in values] for name, values in seconds.items()}
    row = gpu.summarize(GRAPH, answers, BARE)
    assert row["ratio"] == 4
    assert row["quartiles"] == [4, 4]
    assert row["ratio_to_faster"] == 3  # 2 / 1 and 2 / 0.5
    assert "ratio" not in gpu.summarize(GRAPH, answers | {BARE: []}, BARE)


def test_break_even() -> None:
    def rows(*gains: float | None) -> list[dict[str, Any]]:
        return [{"batch": 32 * 4**i, "gain": gain} for i, gain in enumerate(gains)]

    assert "batch 128 " in gpu_sweep.find_break_even(rows(3.0, 1.04, 1.0))
    assert "batch 32 " in gpu_sweep.find_break_even(rows(1.0, 1.0))
    assert "batch 512 " in gpu_sweep.find_break_even(rows(1.0, 1.2, 1.0))  # noise in the first
    assert "every batch" in gpu_sweep.find_break_even(rows(3.0, 1.05))
    assert gpu_sweep.find_break_even(rows(None)) == "not measured"


def networks() -> dict[str, Any]:
    """Return the numbers of a benchmark in which every contestant is 20 times as fast as the bare loop."""
    tables: dict[str, Any] = {}
    for case, names in speed.PLAN.items():
        tables[case.name] = {"contestants": {}}
        for name in names:
            row = {"steps_a_second": 100.0, "ratio_to_faster": 20.0, "quartiles": [19.0, 21.0]}
            tables[case.name]["contestants"][name] = row | {"steps": 10, "graph_steps": 9}
    return tables


@pytest.mark.parametrize(
    ("case", "name", "ratio", "missed"),
    [
        (MLP, GRAPH, 10.0, 0),
        (MLP, GRAPH, 9.9, 1),
        (CONVNET, GRAPH, 3.9, 1),
        (RESNET, GRAPH, 0.96, 2),  # its own target, and that of every network
        (RESNET, GRAPH_COMPILED, 1.6, 1),
        (CONVNET, EAGER, 0.94, 1),
        (CONVNET, EAGER, 0.95, 0),
    ],
)
def test_targets(case: Any, name: str, ratio: float, missed: int) -> None:
    tables = networks()
    tables[case.name]["contestants"][name]["ratio_to_faster"] = ratio
    rows = speed.rows(tables, is_gpu=True)
    assert sum(row.state == MISSED for row in rows) == missed
    assert exit_code(rows) == (missed > 0)
    assert not {OK, MISSED} & {row.state for row in speed.rows(tables, is_gpu=False) if row.part == 1}


def test_contestant_without_numbers() -> None:
    """It misses its targets, and the row of the benchmark says so, too; without a compiler there is none to miss."""
    tables = networks()
    tables[MLP.name]["contestants"][GRAPH] = {"failed": "CUDA error"}
    rows = [row for row in speed.rows(tables, is_gpu=True) if row.state == MISSED]
    assert [row.part for row in rows] == [1, 1, 5]
    assert all("CUDA error" in row.detail for row in rows)
    tables = networks()
    tables[RESNET.name]["contestants"][GRAPH_COMPILED] = {"failed": f"compile: {speed.NO_COMPILER} (no g++)"}
    states = [row.state for row in speed.rows(tables, is_gpu=True)]
    assert states.count(NOT_RUN) == 1
    assert MISSED not in states


def test_command_that_hangs(tmp_path: Path) -> None:
    """It is ended after its time, with what it has started."""
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    done = Command(tmp_path, "-c", code, environment={}).wait(timeout=1.5)
    assert done.code is None
    assert "ended after" in done.tail
    child = int(done.output)
    for _ in range(100):  # until init has collected it
        if not _is_alive(child):
            return
        time.sleep(0.02)
    raise AssertionError("the child of the command still runs")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/status")
    return not (status.exists() and "State:\tZ" in status.read_text())


def test_item_that_breaks(tmp_path: Path) -> None:
    """An error in the check itself is a missed row, and the others still run."""

    def broken(machine: Machine) -> list[Row]:
        raise RuntimeError("no such file")

    machine = Machine(tmp_path, device="cpu", jobs=1, cores=1)
    rows = check.run_item(check.Item(4, "memory", broken), machine)
    assert [(row.part, row.state) for row in rows] == [(4, MISSED)]
    assert "no such file" in rows[0].detail


def test_differences() -> None:
    a = {"weights": {"w": torch.ones(2)}, "history": [{"loss": 0.5}]}
    assert differences(a, {"weights": {"w": torch.ones(2)}, "history": [{"loss": 0.5}]}) == []
    assert differences(a, {"weights": {"w": torch.tensor([1, 1 + 1e-7])}, "history": [{"loss": 0.5}]}) == ["/weights/w"]
    assert len(differences(a, {"weights": {}, "history": []})) == 2
