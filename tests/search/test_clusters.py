"""A search through Hydra's launchers, whose jobs join one study and run trials until none is left."""

from __future__ import annotations

import csv
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pipeline.config.compose import CONF, compose_config, register_resolvers
from pipeline.config.experiments import register_experiment_file

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "docs" / "clusters" / "slurm.yaml"
SEARCH = [
    *("search=[coarse,fine]", "search.trials=6", "search.max_widenings=0", "search.retrain_seeds=0"),
    *("search.workers=2", "search.threads=1", "search.rounds.coarse.epochs=1", "search.rounds.fine.epochs=1"),
    *("data=digits", "data.limit=200", "model=mlp", "model.width=8"),
]
Rows = list[tuple[str, ...]]


def run_search(outputs: Path, *overrides: str, path: str = "") -> Rows:
    """Run the search, and return what must not depend on who runs the trials.

    Warnings of ours or of the launcher are errors.
    """
    command = [sys.executable, "-m", "pipeline", *SEARCH, f"outputs={outputs}", *overrides]
    environment = os.environ | {"PATH": path + os.environ["PATH"], "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    (directory,) = (outputs / "run").glob("*")
    assert (directory / "best.yaml").exists()
    rows = csv.DictReader((directory / "trials.csv").read_text().splitlines())
    return [(row["trial"], row["state"], row["score"], row["overrides"]) for row in rows]


def count_jobs(outputs: Path) -> int:
    """Return how many jobs joined the study, by their heartbeats. A job that is late may find no trial left."""
    (journal,) = outputs.glob("run/*/journal.log")
    program = 1
    return len({*re.findall(r'"alive/(\w+)"', journal.read_text())}) - program


def test_recipe_for_slurm() -> None:
    compose_config([f"experiment={SLURM}", "search=coarse", "data=digits"])
    register_experiment_file(str(SLURM))
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        typed = [f"experiment={SLURM}", "search=[coarse,fine]", "hydra.launcher.partition=cpu"]
        config = compose("config", typed, return_hydra_config=True)
    node = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert isinstance(node, dict)
    assert node["_target_"] == "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    assert (node["partition"], node["cpus_per_task"], node["array_parallelism"]) == ("cpu", 4, 16)
    assert config.search.threads == config.hydra.launcher.cpus_per_task
    assert list(config.search.rounds) == ["coarse", "fine"]
    assert config.hydra.sweeper["_target_"].endswith(".StagedSearch")
    assert instantiate(node | {"submitit_folder": "x", "name": "y"}).params["timeout_min"] == 240


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_launcher_composes(name: str) -> None:
    compose_config(["data=digits", f"hydra/launcher={name}"])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Return the rows of the search by the program's own workers."""
    return run_search(tmp_path_factory.mktemp("own_workers"))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", pytest.param("submitit_local", marks=pytest.mark.nightly)])
def test_launcher_runs_the_same_trials(launcher: str, expected: Rows, tmp_path: Path) -> None:
    assert run_search(tmp_path, f"hydra/launcher={launcher}") == expected
    assert count_jobs(tmp_path) == 2
    assert not list(tmp_path.glob("run/2*"))  # the files of jobs are in the directory of the search


@pytest.mark.slow
@pytest.mark.nightly
def test_ctrl_c_with_a_launcher(tmp_path: Path) -> None:
    """The results of the jobs so far are written."""
    words = [*SEARCH, "search.trials=2000", f"outputs={tmp_path}", "hydra/launcher=joblib"]
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *words], cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 100
    while not list(tmp_path.glob("run/*/trials/*")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the program and its jobs
    assert process.wait(60) == 130
    (directory,) = (tmp_path / "run").glob("*")
    rows = csv.DictReader((directory / "trials.csv").read_text().splitlines())
    assert "complete" in {row["state"] for row in rows}
    assert '<header class="interrupted">' in (directory / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.nightly
def test_ray(expected: Rows, tmp_path: Path) -> None:
    """A cluster of this machine with two workers."""
    assert run_search(tmp_path, "hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2") == expected
    assert count_jobs(tmp_path) == 2


SBATCH = """#!/bin/sh
# Slurm's sbatch for one machine: the tasks of the array begin at once.
for script in "$@"; do :; done
range=$(sed -nE 's/^#SBATCH --array=([0-9]+)-([0-9]+).*/\\1 \\2/p' "$script")
for task in $(seq ${range:-0 0}); do
  SLURM_JOB_ID=70$task SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 \\
  SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_JOB_NODELIST=here SLURM_JOB_ID=7 \\
    sh "$script" > /dev/null 2>&1 &
done
echo Submitted batch job 7
"""
SRUN = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    --output|--error) shift 2 ;;
    -*) shift ;;
    *) break ;;
  esac
done
exec "$@"
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
echo '7_0|RUNNING|here'
echo '7_1|RUNNING|here'
"""


@pytest.mark.slow
@pytest.mark.nightly
def test_slurm(expected: Rows, tmp_path: Path) -> None:
    """With submitit's own scripts, and programs of Slurm's names that run them here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in [("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT)]:
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    recipe = [f"experiment={SLURM}", "hydra.launcher.partition=cpu", "hydra.launcher.cpus_per_task=1"]
    outputs = tmp_path / "outputs"
    assert run_search(outputs, *recipe, path=f"{programs}{os.pathsep}") == expected
    assert count_jobs(outputs) == 2
    (script,) = outputs.rglob("7_submission.sh")
    text = script.read_text()
    for option in ("--partition=cpu", "--cpus-per-task=1", "--mem=8GB", "--time=240", "--array=0-1%"):
        assert f"#SBATCH {option}" in text
