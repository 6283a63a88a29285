"""Searches as a user starts them, with real trainings in worker processes."""

from __future__ import annotations

import csv
import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

import pipeline
from pipeline.runs.json_files import read_outcome
from tests.search.shell import ROOT, TINY, Shell, ends_within, read_until, worker_pids
from tests.search.studies import count_states

LR = "optimizer.lr=tag(log,interval(1e-3,1e-1))"
ONE_ROUND = [*TINY, "search=coarse", "search.max_widenings=0", LR]
LONG = [*ONE_ROUND, "search.trials=30", "search.rounds.coarse.epochs=12"]
"""A search that takes long enough to be interrupted."""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "outputs")


def test_search_and_repeat(shell: Shell) -> None:
    """A search with a sanity check, two workers and a comparison; its best trial can be repeated as a run."""
    words = ["search.trials=4", "search.workers=2", "search.retrain_seeds=1", "stage=[sanity,train]"]
    search = shell.run_search(*(word for word in ONE_ROUND if word != "stage=[train]"), *words)
    assert search.finished
    assert count_states(search.trials) == {"complete": 4}
    written = {path.name for path in shell.directory.iterdir()}
    assert {"report.html", "trials.csv", "best.yaml", "final.json", "sanity", "trials"} <= written
    best = search.ranking()[0]
    record = read_outcome(shell.directory / best.directory)
    assert record is not None
    repeated = pipeline.run([*search.base, *best.overrides, f"outputs={shell.outputs}", "stage=[train]"], quiet=True)
    assert repeated.metrics["train"]["val_accuracy"] == pytest.approx(best.score)


@pytest.mark.slow
def test_number_of_workers_has_no_influence(tmp_path: Path) -> None:
    one, two = (
        Shell(tmp_path / str(n)).run_search(
            *ONE_ROUND, "search.trials=6", f"search.workers={n}", "activation=choice(relu,elu)"
        )
        for n in (1, 2)
    )
    for a, b in zip(one.trials, two.trials, strict=True):
        assert (a.number, a.params, a.state, a.score, a.scores) == (b.number, b.params, b.state, b.score, b.scores)
    assert len({trial.worker for trial in two.trials}) == 2
    assert {trial.params["activation"] for trial in two.trials} == {"relu", "elu"}


@pytest.mark.slow
def test_options_of_the_users_directory(shell: Shell, tmp_path: Path) -> None:
    """All commands name it with --config-dir."""
    options = tmp_path / "own" / "optimizer"
    options.mkdir(parents=True)
    (options / "mine.yaml").write_text((ROOT / "conf" / "optimizer" / "sgd.yaml").read_text())
    flag = f"--config-dir={tmp_path / 'own'}"
    words = ["optimizer=mine", "search.trials=2", "search.rounds.coarse.epochs=1", "stage=[sanity,train]"]
    search = shell.run_search(flag, *(word for word in ONE_ROUND if word != "stage=[train]"), *words)
    best = search.ranking()[0]
    records = [read_outcome(shell.directory / name) or {} for name in ("sanity", best.directory)]
    header = (shell.directory / "best.yaml").read_text().splitlines()
    use = next(line.lstrip("# ") for line in header if "experiment=" in line)
    for command in (search.command, *(record["command"] for record in records), use):
        assert shlex.split(command)[:4] == ["python", "-m", "pipeline", flag]
    overrides = yaml.safe_load((shell.directory / best.directory / ".hydra" / "overrides.yaml").read_text())
    assert overrides == [*search.base, *best.overrides]
    assert shell.run(*shlex.split(use)[3:], "stage=sanity").returncode == 0


@pytest.mark.slow
def test_second_process_takes_part(shell: Shell, tmp_path: Path) -> None:
    """With `search.join` only; without it, it is refused."""
    words = [*LONG, "search.trials=60", "search.workers=1", f"search.storage={tmp_path}/shared.log"]
    first = shell.start(*words)
    read_until(first, "trials/s")
    elsewhere = Shell(tmp_path / "elsewhere")
    helper = elsewhere.start(*words, "search.join=true")
    for refused in (shell.run(*words), elsewhere.run(*words)):
        assert refused.returncode == 2
        assert "search.join=true" in refused.stderr
    for process in (first, helper):
        process.communicate(timeout=240)
        assert process.returncode == 0
    search = shell.search()
    assert count_states(search.trials) == {"complete": 60}
    assert len({trial.worker.partition("-")[0] for trial in search.trials}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_and_resume(shell: Shell, number: signal.Signals) -> None:
    process = shell.start(*LONG)
    read_until(process, "trials/s")
    workers = worker_pids(process.pid)
    assert workers
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert all(ends_within(pid) for pid in workers)
    before = {trial.number: trial for trial in shell.search().trials if trial.state == "complete"}
    assert 0 < len(before) < 30
    assert "running" not in count_states(shell.search().trials)
    rows = csv.DictReader((shell.directory / "trials.csv").read_text().splitlines())
    assert {int(row["trial"]) for row in rows if row["state"] == "complete"} == before.keys()
    assert '<header class="interrupted">' in (shell.directory / "report.html").read_text()
    search = shell.run_search(*LONG)
    assert count_states(search.trials) == {"complete": 30}
    assert all(trial == before[trial.number] for trial in search.trials if trial.number in before)
    assert '<header class="interrupted">' not in (shell.directory / "report.html").read_text()


@pytest.mark.slow
def test_killed_worker_is_replaced(shell: Shell) -> None:
    process = shell.start(*LONG)
    read_until(process, "trials/s")
    os.kill(random.choice(worker_pids(process.pid)), signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "SIGKILL" in out
    assert count_states(shell.search().trials) == {"complete": 30}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_kills_at_random_moments(kills: int, tmp_path: Path) -> None:
    """No trial is lost or doubled, and all have the scores of an undisturbed search.

    One worker at most is killed alone: a trial whose worker dies twice is given up.
    """
    expected = Shell(tmp_path / "whole").run_search(*LONG)
    shell = Shell(tmp_path / "killed")
    rng = random.Random(0)
    killed_workers: list[int] = []
    for _ in range(kills):
        process = shell.start(*LONG)
        workers = _kill_at_a_random_moment(process, rng, killed_workers)
        process.communicate()
        assert all(ends_within(pid) for pid in workers), "workers outlive the program"
    search = shell.run_search(*LONG)
    assert count_states(search.trials) == {"complete": 30}
    assert [(t.number, t.params, t.score) for t in search.trials] == [
        (t.number, t.params, t.score) for t in expected.trials
    ]
    assert len(list(shell.directory.glob("trials/[0-9]*"))) == 30


def _kill_at_a_random_moment(
    process: subprocess.Popen[str], rng: random.Random, killed_workers: list[int]
) -> list[int]:
    """Kill the program, or once a worker and then the program, while it starts or works. Return the workers it had."""
    if rng.random() < 0.3:
        time.sleep(rng.uniform(0.5, 4))
    else:
        read_until(process, "trials of")
        time.sleep(rng.uniform(0, 2))
    workers = worker_pids(process.pid)
    if workers and not killed_workers and rng.random() < 0.4:
        killed_workers.append(rng.choice(workers))
        os.kill(killed_workers[0], signal.SIGKILL)
        time.sleep(rng.uniform(0, 0.5))
    process.kill()
    return workers


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_real_search_widens_to_the_good_rate(shell: Shell) -> None:
    rate, l2 = "optimizer.lr=tag(log,interval(1e-6,1e-5))", "regularization.l2=tag(log,interval(1e-6,1e-3))"
    search = shell.run_search("search=[coarse,fine]", "model=mlp", "data.limit=1000", "search.trials=12", rate, l2)
    changes = [c for search_round in search.rounds for c in search_round.moves if c.key == "optimizer.lr"]
    assert [change.edge for change in changes if change.kind == "widened"][:2] == ["high", "high"]
    best = search.ranking()[0]
    assert best.params["optimizer.lr"] > 3e-3  # type: ignore[operator]
    assert best.score is not None
    assert best.score > 0.7
    assert (shell.directory / "best.yaml").exists()
