"""Searches as a user starts them: the same trials whoever runs them, what breaks, what is refused, going on."""

from __future__ import annotations

import csv
import os
import random
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.runs.json_files import read_outcome, read_signals
from pipeline.search.records import Search
from tests.search.shell import ROOT, TINY, Shell

pytestmark = pytest.mark.slow
LR = "optimizer.lr=tag(log,interval(1e-3,1e-1))"
ONE = [*TINY, "search=coarse", "search.max_widenings=0", LR]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "outputs")


def states(search: Search) -> Counter:
    return Counter(trial.state for trial in search.trials)


def children(pid: int) -> list[int]:
    told = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(word) for word in told.stdout.split()]


def workers(pid: int) -> list[int]:
    """The processes below the workers' parent."""
    return [worker for parent in children(pid) for worker in children(parent)]


def ended(pid: int, within: float = 20.0) -> bool:
    """Whether a process ends; one that nobody asks for its exit code has ended too."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    return False


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError("".join(lines) + (process.stderr.read() if process.stderr else ""))


# ---------------------------------------------------------------- what a search is


def test_one_worker_and_two_give_the_same_trials(tmp_path: Path) -> None:
    one, two = (
        Shell(tmp_path / str(n)).searched(*ONE, "search.trials=6", f"search.workers={n}", "activation=choice(relu,elu)")
        for n in (1, 2)
    )
    for a, b in zip(one.trials, two.trials, strict=True):
        assert (a.number, a.params, a.state, a.score, a.scores) == (b.number, b.params, b.state, b.score, b.scores)
    assert len({trial.worker for trial in two.trials}) == 2
    assert {trial.params["activation"] for trial in two.trials} == {"relu", "elu"}


def test_a_trial_leaves_a_run_that_can_be_repeated_and_judged_again(shell: Shell) -> None:
    search = shell.searched(*ONE, "search.trials=3", "search.rounds.coarse.epochs=2")
    best = search.ranking()[0]
    folder = shell.folder / best.directory
    record = read_outcome(folder)
    assert record is not None
    assert [stage["name"] for stage in record["stages"]] == ["train"]
    assert read_signals(folder)
    assert sorted(p.name for p in folder.iterdir()) == [".hydra", "outcome.json", "signals.json"]
    assert shell.run("diagnose", str(folder)).returncode in (0, 2)  # 2: outputs= is nothing of diagnose's
    import pipeline

    words = [*search.base, *best.overrides, f"outputs={shell.outputs}", "stage=[train]"]
    again = pipeline.run(words, quiet=True)
    assert again.metrics["train"]["val_accuracy"] == pytest.approx(best.score)


def test_commands_name_the_folder_whose_options_they_need(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    (tmp_path / "own" / "optimizer" / "mine.yaml").write_text((ROOT / "conf" / "optimizer" / "sgd.yaml").read_text())
    flag = f"--config-dir={tmp_path / 'own'}"
    words = ["optimizer=mine", "search.trials=2", "search.rounds.coarse.epochs=1", "stage=[sanity,train]"]
    search = shell.searched(flag, *(word for word in ONE if word != "stage=[train]"), *words)
    best = search.ranking()[0]
    told = [read_outcome(shell.folder / folder) or {} for folder in ("sanity", best.directory)]
    header = (shell.folder / "best.yaml").read_text().splitlines()
    use = next(line.lstrip("# ") for line in header if "experiment=" in line)
    for command in (search.command, *(record["command"] for record in told), use):
        assert shlex.split(command)[:4] == ["python", "-m", "pipeline", flag]
    noted = yaml.safe_load((shell.folder / best.directory / ".hydra" / "overrides.yaml").read_text())
    assert noted == [*search.base, *best.overrides]
    assert shell.run(*shlex.split(use)[3:], "stage=sanity").returncode == 0


def test_what_breaks_and_crashes_is_told_and_the_search_goes_on(shell: Shell) -> None:
    rates = "optimizer.lr=0.01,500,-1"
    done = shell.run(*TINY, "search=coarse", "search.sampler=grid", "batchnorm=none", rates)
    assert done.returncode == 0, done.stderr
    search = shell.found()
    assert states(search) == {"complete": 1, "broken": 1, "crashed": 1}
    assert search.command.startswith("python -m pipeline outputs=")  # as it was typed
    by_rate = {trial.params["optimizer.lr"]: trial for trial in search.trials}
    assert "cost" in by_rate[500].reason
    assert "optimizer.lr" in by_rate[-1].reason
    assert "broken" in done.stdout
    assert "\x1b" not in done.stdout


def test_fail_fast_ends_the_search(shell: Shell) -> None:
    done = shell.run(*TINY, "search=coarse", "search.sampler=grid", "optimizer.lr=-1,-2,0.01", "search.fail_fast=true")
    assert done.returncode == 1
    assert "fail_fast" in done.stderr
    assert (shell.folder / "report.html").exists()


def test_sanity_comes_before_the_first_trial(shell: Shell) -> None:
    done = shell.run(*ONE, "stage=[sanity,train]", "init=zeros")
    assert done.returncode == 3
    assert "symmetric_units" in done.stdout
    assert not list(shell.folder.glob("trials/*"))


def test_the_pruner_is_fed_by_the_running_trial(shell: Shell) -> None:
    rates = "optimizer.lr=0.1,0.1,0.1,0.1,0.1,0.1,0.00001"
    words = ["search.pruner=median", "search.rounds.coarse.epochs=6", "search.sampler=random", "search.trials=24"]
    search = shell.searched(*TINY, "search=coarse", "optimizer.lr=choice(0.1,0.00001)", *words)
    pruned = [trial for trial in search.trials if trial.state == "pruned"]
    assert pruned, rates
    assert all("hopeless" in trial.reason and len(trial.scores) < 6 for trial in pruned)


def test_samplers_side_by_side(shell: Shell) -> None:
    search = shell.searched(*ONE, "search.compare_samplers=[random,grid]", "search.trials=4")
    assert Counter(trial.sampler for trial in search.trials) == {"random": 4, "grid": 4}


@pytest.mark.parametrize(
    "how", ["search.sampler=tpe", "search.sampler=gp", "search.sampler=quasi_random", "search.pruner=hyperband"]
)
def test_every_sampler_and_pruner_takes_a_space_whose_keys_depend_on_options(shell: Shell, how: str) -> None:
    words = [
        "optimizer=choice(sgd,momentum)", "optimizer.momentum=interval(0.5,0.95)", "search.trials=12",
        "search.rounds.coarse.epochs=3", "search.rounds.fine.epochs=4", "search.max_widenings=0",
    ]  # fmt: skip
    search = shell.searched(*TINY, "search=[coarse,fine]", LR, *words, how)
    assert len(search.trials) == 24
    assert {t.round for t in search.trials} == {0, 1}
    assert states(search).keys() <= {"complete", "pruned", "broken"}
    assert states(search)["complete"] >= 1
    assert ("pruned" in states(search)) == ("pruner" in how)
    assert all(("optimizer.momentum" in t.params) == (t.params["optimizer"] == "momentum") for t in search.trials)
    assert {t.params["optimizer"] for t in search.trials if t.round == 0} == {"sgd", "momentum"}


# ---------------------------------------------------------------- whose search it is


def test_another_space_is_another_folder_and_not_the_same_study(shell: Shell) -> None:
    shell.searched(*ONE, "search.trials=2", "search.study=mine", f"search.storage={shell.outputs}/all.log")
    other = shell.run(*ONE, "search.trials=3", "search.study=mine", f"search.storage={shell.outputs}/all.log")
    assert other.returncode == 2
    assert "another search's" in other.stderr


def test_a_second_process_takes_part_on_purpose_only(shell: Shell, tmp_path: Path) -> None:
    words = [*ONE, "search.trials=600", "search.workers=1", f"search.storage={tmp_path}/shared.log"]
    first = shell.begun(*words)
    lines_until(first, "trials/s")
    elsewhere = Shell(tmp_path / "elsewhere")
    helper = elsewhere.begun(*words, "search.join=true")
    refused = shell.run(*words)
    assert refused.returncode == 2
    assert "join" in refused.stderr
    assert elsewhere.run(*words).returncode == 2  # another folder
    for process in (first, helper):
        process.communicate(timeout=240)
        assert process.returncode == 0
    search = shell.found()
    assert states(search) == {"complete": 600}
    assert len({trial.worker.partition("-")[0] for trial in search.trials}) == 2


# ---------------------------------------------------------------- stopping and going on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_the_same_command_goes_on(shell: Shell, number: signal.Signals) -> None:
    process = shell.begun(*ONE, "search.trials=150")
    lines_until(process, "trials/s")
    below = workers(process.pid)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert all(ended(pid) for pid in below)
    before = {trial.number: trial for trial in shell.found().trials if trial.state == "complete"}
    assert 0 < len(before) < 150
    assert "running" not in states(shell.found())
    rows = csv.DictReader((shell.folder / "trials.csv").read_text().splitlines())
    assert {int(row["trial"]) for row in rows if row["state"] == "complete"} == before.keys()
    assert f"Interrupted: the same command goes on. {len(before)} of 150" in (shell.folder / "report.html").read_text()
    assert (shell.folder / "best.yaml").exists()
    search = shell.searched(*ONE, "search.trials=150")
    assert states(search) == {"complete": 150}
    assert all(trial == before[trial.number] for trial in search.trials if trial.number in before)
    assert "Interrupted" not in (shell.folder / "report.html").read_text()


def test_results_are_there_though_the_best_two_were_not_trained_again(shell: Shell) -> None:
    words = [*ONE, "search.trials=2", "search.retrain_seeds=50", "search.rounds.coarse.epochs=50"]
    process = shell.begun(*words)
    lines_until(process, "once more")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert states(shell.found()) == {"complete": 2}
    left = {path.name for path in shell.folder.iterdir()}
    assert {"report.html", "trials.csv", "best.yaml"} <= left
    assert "final.json" not in left


def test_a_worker_that_is_killed_is_replaced_and_its_trial_runs_again(shell: Shell) -> None:
    process = shell.begun(*ONE, "search.trials=150")
    lines_until(process, "trials/s")
    os.kill(random.choice(workers(process.pid)), signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "runs again: its worker was ended by SIGKILL" in out
    assert states(shell.found()) == {"complete": 150}


@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    whole = Shell(tmp_path / "whole").searched(*ONE, "search.trials=150")
    shell = Shell(tmp_path / "killed")
    chance = random.Random(0)
    for _ in range(10):
        process = shell.begun(*ONE, "search.trials=150")
        below = _killed_at_a_random_moment(process, chance)
        process.communicate()
        assert all(ended(pid) for pid in below), "workers outlive the program"
    search = shell.searched(*ONE, "search.trials=150")
    assert states(search) == {"complete": 150}
    assert [(t.number, t.params, t.score) for t in search.trials] == [
        (t.number, t.params, t.score) for t in whole.trials
    ]
    assert len(list(shell.folder.glob("trials/[0-9]*"))) == 150


def _killed_at_a_random_moment(process: subprocess.Popen[str], chance: random.Random) -> list[int]:
    """Kill the program, or a worker and then the program, while it starts or works; returns the workers there were."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0.5, 4))
    else:
        lines_until(process, "trials of")
        time.sleep(chance.uniform(0, 2))
    below = workers(process.pid)
    if below and chance.random() < 0.4:
        os.kill(chance.choice(below), signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.5))
    process.kill()
    return below


# ---------------------------------------------------------------- done when


@pytest.mark.timeout(900)
def test_a_range_without_the_good_rate_is_widened_until_it_is_found(shell: Shell) -> None:
    rate, l2 = "optimizer.lr=tag(log,interval(1e-6,1e-5))", "regularization.l2=tag(log,interval(1e-6,1e-3))"
    search = shell.searched("search=[coarse,fine]", "model=mlp", "data.limit=1000", "search.trials=12", rate, l2)
    moves = [move for round in search.rounds for move in round.moves if move.key == "optimizer.lr"]
    assert [move.edge for move in moves if move.kind == "widened"][:2] == ["high", "high"]
    best = search.ranking()[0]
    assert best.params["optimizer.lr"] > 3e-3  # type: ignore[operator]
    assert best.score is not None
    assert best.score > 0.7
    assert (shell.folder / "best.yaml").exists()


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a data base of our own, in a folder that is gone afterwards."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    programs, folder = found[-1].parent, Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's own are for one user
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    if user:
        shutil.chown(folder, "postgres")
    port = str(random.randint(20_000, 60_000))
    data = str(folder / "data")

    def run(program: str, *words: str) -> None:
        subprocess.run(
            [*user, str(programs / program), *words], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60
        )

    run("initdb", "-D", data, "-A", "trust", "-U", "me")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", port, "-U", "me", "trials")
        yield f"postgresql://me@127.0.0.1:{port}/trials"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_two_processes_share_a_data_base_without_losing_or_doubling_a_trial(tmp_path: Path, postgres: str) -> None:
    words = [*ONE, "search.trials=120", "search.workers=1", f"search.storage={postgres}", "search.join=true"]
    shells = [Shell(tmp_path / name) for name in ("here", "there")]
    processes = [shell.begun(*words) for shell in shells]
    for process in processes:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    one, other = (shell.found() for shell in shells)
    assert states(one) == states(other) == {"complete": 120}
    assert [t.score for t in one.trials] == [t.score for t in other.trials]
    assert len({trial.worker.partition("-")[0] for trial in one.trials}) == 2
    folders = [path.name for shell in shells for path in shell.folder.glob("trials/[0-9]*")]
    assert sorted(folders) == sorted(f"{trial.number:04d}" for trial in one.trials)
