"""Whole searches in this process, from the typed command to the results, with scores in closed form."""

from __future__ import annotations

import copy
import functools
import json
import math
import os
import signal
from collections import Counter
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from pipeline.checks import Finding
from pipeline.cli.jobs import run_in_job_dir
from pipeline.config.compose import compose, compose_config
from pipeline.errors import CRASHED, FAILED, PASSED, SIGNALLED, USER_ERROR, UserError
from pipeline.search import run
from pipeline.search.records import Search, read_search
from pipeline.search.run import run_search
from pipeline.search.space import trial_configs
from pipeline.search.workers.forkserver import THREAD_VARIABLES, start_forkserver
from pipeline.search.workers.gpus import GpuShare, group_gpus
from pipeline.search.workers.task import Task
from pipeline.workflow.outcome import Outcome
from tests.search.fake_pool import BEST_RATE, EXAMPLES, Death, FakePool, train
from tests.search.shell import TINY
from tests.search.studies import count_states

RATE = "optimizer.lr=tag(log,interval(1e-3,1e-1))"


@functools.cache
def _compose_once(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    return compose_config(overrides, config_dir=config_dir)


def _compose_copy(overrides: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    return copy.deepcopy(_compose_once(tuple(overrides), config_dir))


class SearchHere:
    """Runs searches in this process, with outputs in a directory of the test."""

    def __init__(self, outputs: Path, monkeypatch: pytest.MonkeyPatch):
        self.outputs, self.monkeypatch = outputs, monkeypatch
        self.pool = FakePool()
        self.gpus: list[str] = []
        """The GPUs of the machine."""
        self.opened: list[Sequence[GpuShare]] = []
        """For each pool of workers the share of each in the GPUs."""

    def run(self, *overrides: str, pool: FakePool | None = None, launch: Any = None) -> int:
        """Run a search and return its exit code; `pool` runs its trials."""
        self.pool = pool or FakePool()
        self.monkeypatch.setattr(run, "WorkerPool", self._open_pool)
        self.monkeypatch.setattr(run, "list_gpus", lambda trainer, threads: group_gpus(self.gpus, trainer["devices"]))
        typed = [*TINY, "verbose=0", f"outputs={self.outputs}", *overrides]
        return run_search(compose(typed).with_hydra(), typed, launch=launch)

    def _open_pool(self, n: int, *, threads: int, gpus: Sequence[GpuShare]) -> FakePool:
        assert len(gpus) == (n if self.gpus else 0)
        self.opened.append(gpus)
        return self.pool

    @property
    def directory(self) -> Path:
        (directory,) = self.outputs.glob("run/search_*")
        return directory

    def search(self) -> Search:
        return read_search(self.directory)

    def files(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchHere:
    """Composing the configuration of trials is not the subject, and is done once for all tests."""
    monkeypatch.setattr(trial_configs, "compose_config", _compose_copy)
    return SearchHere(tmp_path / "outputs", monkeypatch)


def test_search_finds_the_best_rate(here: SearchHere) -> None:
    """Its rate lies above the typed range, which is widened and then narrowed."""
    rate = "optimizer.lr=tag(log,interval(1e-5,1e-3))"
    assert here.run("search=[coarse,fine]", "search.trials=12", "search.retrain_seeds=3", rate) == PASSED
    search = here.search()
    assert search.finished
    assert search.examples == EXAMPLES
    changes = [(search_round.name, change.kind) for search_round in search.rounds for change in search_round.moves]
    assert changes == [("coarse", "widened"), ("coarse", "widened"), ("fine", "narrowed")]
    best = search.ranking()[0]
    assert 0.01 < best.params["optimizer.lr"] < 0.1  # type: ignore[operator]
    assert [t.number for t in search.trials] == list(range(len(search.trials)))
    final = json.loads((here.directory / "final.json").read_text())
    assert final["verdict"] in ("better", "within_noise")
    assert {"report.html", "trials.csv", "best.yaml", "final.json", "search.json"} <= here.files()
    assert (here.outputs / "latest").resolve() == here.directory


def test_same_command_runs_no_trial_again(here: SearchHere) -> None:
    words = ["search=coarse", "search.trials=4", RATE]
    assert here.run(*words) == PASSED
    first = here.search()
    assert here.run(*words) == PASSED
    assert here.pool.tasks == []
    assert here.search().trials == first.trials


def test_interrupt_and_resume(here: SearchHere) -> None:
    """The results so far are written, and the same command runs the remaining trials."""
    words = ["search=coarse", "search.trials=12", "search.max_widenings=0", RATE]

    def interrupt_at_the_fifth(task: Task) -> dict[str, Any]:
        if len(here.pool.tasks) == 5:
            signal.raise_signal(signal.SIGTERM)
        return train(task)

    assert here.run(*words, pool=FakePool(interrupt_at_the_fifth)) == SIGNALLED + signal.SIGTERM
    before = here.search()
    states = count_states(before.trials)
    assert not before.finished
    assert 0 < states["complete"] < 12
    assert states["running"] == 0
    assert {"report.html", "trials.csv", "best.yaml"} <= here.files()
    assert here.run(*words) == PASSED
    after = here.search()
    assert len(here.pool.tasks) == 12 - states["complete"]
    assert count_states(after.trials) == {"complete": 12}
    assert [t.params for t in after.trials] == [t.params for t in before.trials]
    assert all(t in after.trials for t in before.trials if t.state == "complete")


def test_interrupt_while_retraining(here: SearchHere) -> None:
    """The results of the search are written without a comparison."""

    class Interrupted(FakePool):
        def map(self, tasks: Any) -> list[Any]:
            if not tasks[0].is_sanity_check:
                signal.raise_signal(signal.SIGINT)
            return super().map(tasks)

    assert here.run("search=coarse", "search.trials=3", "search.retrain_seeds=2", RATE, pool=Interrupted()) == 130
    assert count_states(here.search().trials) == {"complete": 3}
    assert {"report.html", "trials.csv", "best.yaml"} <= here.files()
    assert "final.json" not in here.files()


def test_broken_and_crashed_trials(here: SearchHere) -> None:
    assert here.run("search=coarse", "search.sampler=grid", "optimizer.lr=0.01,500,-1") == PASSED
    state_of = {trial.params["optimizer.lr"]: trial.state for trial in here.search().trials}
    assert state_of == {0.01: "complete", 500: "broken", -1: "crashed"}
    assert all(trial.reason for trial in here.search().trials if trial.state != "complete")


def test_no_complete_trial(here: SearchHere) -> None:
    assert here.run("search=coarse", "search.sampler=grid", "optimizer.lr=500,600", "search.max_widenings=0") == FAILED
    assert "best.yaml" not in here.files()


@pytest.mark.parametrize(("rate", "exit_code"), [(500, FAILED), (-1, CRASHED)])
def test_fail_fast(rate: float, exit_code: int, here: SearchHere) -> None:
    words = ["search=coarse", "search.sampler=grid", f"optimizer.lr=0.01,{rate},0.02", "search.fail_fast=true"]
    assert here.run(*words, pool=FakePool(n=1)) == exit_code
    assert "report.html" in here.files()
    assert not here.search().finished


@pytest.mark.parametrize(("deaths", "state"), [(1, "complete"), (2, "killed")])
def test_death_of_a_worker(deaths: int, state: str, here: SearchHere) -> None:
    """Its trial runs again, once."""
    killed: Counter[str] = Counter()

    def die(task: Task) -> dict[str, Any] | Death:
        name = task.directory.name if task.directory else ""
        if name == "0001" and killed[name] < deaths:
            killed[name] += 1
            return Death()
        return train(task)

    assert here.run("search=coarse", "search.trials=4", "search.max_widenings=0", RATE, pool=FakePool(die)) == PASSED
    assert [t.state for t in here.search().trials] == ["complete", state, "complete", "complete"]


def test_pruner(here: SearchHere) -> None:
    words = ["search.pruner=median", "search.trials=24", "search.rounds.coarse.epochs=6", "search.max_widenings=0"]
    assert here.run("search=coarse", RATE, *words) == PASSED
    search = here.search()
    pruned = [trial for trial in search.trials if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.scores) < 6 for trial in pruned)
    assert search.ranking()[0].params["optimizer.lr"] == max(
        (t.params["optimizer.lr"] for t in search.trials), key=lambda rate: -abs(math.log10(rate / BEST_RATE))
    )


def test_compared_samplers(here: SearchHere) -> None:
    assert here.run("search=coarse", "search.compare_samplers=[random,grid]", "search.trials=4", RATE) == PASSED
    first_round = [trial for trial in here.search().trials if trial.round == 0]
    assert Counter(trial.sampler for trial in first_round) == {"random": 4, "grid": 4}


def test_failed_sanity_check(here: SearchHere, capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("symmetric_units", "failure", {}, expected="", message="", why="", remedy=(), source="")
    outcome = Outcome("sanity", passed=False, seconds=0.1, headline="", metrics={}, findings=(finding,))
    sanity = {"stage": outcome.to_dict(), "examples": EXAMPLES}
    assert here.run("search=coarse", RATE, pool=FakePool(sanity=sanity)) == FAILED
    assert here.pool.tasks == []
    assert "symmetric_units" in capsys.readouterr().out


def test_wrong_configuration(here: SearchHere) -> None:
    """Nothing is left of a search that could not begin; one that has begun before is kept."""
    error = UserError("no such file", field="data.path")
    assert here.run("search=coarse", RATE, pool=FakePool(sanity=error)) == USER_ERROR
    assert not list(here.outputs.glob("run/*"))


def test_dry_run(here: SearchHere, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search.compare_samplers=[random,tpe]", "search.trials=3", "search.dry_run=true"]
    assert here.run("search=coarse", *words, RATE) == PASSED
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("=")[0] for line in lines[:3]] == ["optimizer.lr"] * 3
    assert lines[3].startswith("# tpe")
    assert len(lines) == 4
    assert not here.outputs.exists()


def test_launched_jobs(here: SearchHere) -> None:
    """Jobs of a launcher run the same trials as the workers of the program."""
    words = ["search=[coarse,fine]", "search.trials=5", "search.max_widenings=1", RATE]
    assert here.run(*words) == PASSED
    expected = here.search()
    other = SearchHere(here.outputs.with_name("launched"), here.monkeypatch)
    exit_codes = []

    def launch(jobs: list[list[str]], directory: str) -> None:
        assert Path(directory) == other.directory
        for number, overrides in enumerate(jobs):
            config = compose([*overrides, f"hydra.job.num={number}"]).with_hydra()
            exit_codes.append(run_in_job_dir(config, config.hydra, config_dir=None).code)

    other.gpus = ["0", "1"]
    assert other.run(*words, "hydra/launcher=joblib", "search.workers=2", launch=launch) == PASSED
    assert other.opened == [[GpuShare("0", 1)], [GpuShare("0", 1)], [GpuShare("1", 1)]]  # the program, and two jobs
    assert exit_codes == [PASSED, PASSED]
    search = other.search()
    assert [(t.params, t.score, t.round) for t in search.trials] == [
        (t.params, t.score, t.round) for t in expected.trials
    ]
    assert search.finished


@pytest.mark.parametrize(
    ("overrides", "visible", "memory"),
    [
        ([], ["0", "1", "0", "1"], 1 / 2),
        (["search.workers=3"], ["0", "1", "0"], 1 / 2),
        (["search.workers=2"], ["0", "1"], 1),
        (["trainer.devices=2"], ["0,1", "0,1"], 1 / 2),
    ],
)
def test_gpus_of_the_workers(overrides: list[str], visible: list[str], memory: float, here: SearchHere) -> None:
    here.gpus = ["0", "1"]
    here.monkeypatch.setattr("pipeline.search.settings.available_cores", lambda: 16)
    assert here.run("search=coarse", "search.trials=2", "search.max_widenings=0", RATE, *overrides) == PASSED
    assert here.opened == [[GpuShare(gpus, memory) for gpus in visible]]


@pytest.mark.parametrize("pool", [FakePool(), FakePool(sanity=UserError("no such file", field="data.path"))])
def test_parent_of_the_workers_ends(pool: FakePool, here: SearchHere) -> None:
    """Else it holds the program's output open for seconds. Another search can start one anew."""
    for name in THREAD_VARIABLES:
        here.monkeypatch.setenv(name, "1")
    here.monkeypatch.setattr("pipeline.search.workers.forkserver.PRELOADED", [])
    for _ in range(2):
        start_forkserver(1)
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        here.run("search=coarse", "search.trials=1", "search.max_widenings=0", RATE, pool=pool)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
