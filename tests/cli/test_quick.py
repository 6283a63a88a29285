"""What answers at once: everything that runs no stage. Without torch, nothing left behind, and in little time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 2.0
"""Times what Hydra alone needs to compose the menu: 0.35 s on one machine, 0.9 s on another."""
FAST = 0.5
"""Seconds, of which no machine needs to be asked."""
COMPOSE = """
from hydra import compose, initialize_config_dir
with initialize_config_dir({conf!r}, version_base="1.3"):
    compose("config")
"""
HEAVY = {"torch", "torchvision", "pytorch_lightning", "numpy", "optuna", "plotly"}


def run(*words: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Python with every import on standard error, and its processor time in seconds: other work on the machine
    stretches the wall's."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return done, seconds


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "  optimizer=\n"),
        (["help"], 0, "  optimizer=\n"),
        (["--version"], 0, "staged-training-pipeline "),
        (["explain"], 0, "dead_units "),
        (["explain", "dead_units"], 0, "## dead_units"),
        (["completion", "bash"], 0, "_pipeline_complete"),
        (["completion", "--answer", "pipeline optimizer=rms"], 0, "optimizer=rmsprop\n"),
        (["completion", "--answer", "pipeline optimizer=adam data=digits optimizer.b"], 0, "optimizer.betas=\n"),
        (["--cfg", "job"], 0, "batch_size: 64"),
        (["--cfg", "job", "optimizer=adam", "optimizer.lr=7", "data=digits"], 0, "lr: 7\n"),
        (["runs"], 0, "no runs in outputs"),
        (["runs", "--json"], 0, "[]"),
        (["runs", "--help"], 0, "--best"),
        (["completion", "--answer", "pipeline diagnose la"], 0, ""),
        (["diagnose", "latest"], 2, "there is no run 'latest'"),
        (["explian"], 2, "Did you mean 'explain'"),
        (["explain", "dead_unit"], 2, "Did you mean 'dead_units'"),
        (["--mutlirun"], 2, "Did you mean '--multirun'"),
        (["--seed=3"], 2, "have no dashes: seed=..."),
        (["--cfg", "jbo"], 2, "'jbo'"),
        (["optimizer=adm"], 2, "error: optimizer: there is no option 'adm'"),
        (["data=digits", "optimizer.lrr=1"], 2, "Did you mean 'optimizer.lr'"),
        (["name=a/b"], 2, "error: name: "),
        (["outputs=/proc/nowhere"], 2, "error: outputs: "),
        (["optimizer.lr=1,2"], 2, "--multirun"),
        (["hydra.nonsense=3"], 2, "'hydra.nonsense'"),
        (["--config-dir", "nowhere"], 2, "nowhere"),
        (["--config-name", "mine"], 2, "error: --config-name: the configuration is the program's own"),
        (["--experimental-rerun", "config.pickle"], 2, "error: --experimental-rerun: the configuration is"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_answers_that_need_no_torch_come_at_once(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    for _ in range(3):  # the processor is slower, too, while others use it
        done, seconds = run("-m", "pipeline", *arguments, folder=tmp_path)
        assert done.returncode == code
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert not HEAVY & imported(done)
        assert list(tmp_path.iterdir()) == []
        if seconds < FAST:
            return
        alone, composing = run("-c", COMPOSE.format(conf=str(ROOT / "conf")), folder=tmp_path)
        assert alone.returncode == 0
        if seconds < LIMIT * composing:
            return
    pytest.fail(f"{seconds:.2f} s, and Hydra alone takes {composing:.2f} s")


def test_what_is_only_read_needs_no_hydra(tmp_path: Path) -> None:
    for arguments in (["--help"], ["completion", "--answer", "pipeline data=dig"], ["--version"], ["runs"]):
        done, _ = run("-m", "pipeline", *arguments, folder=tmp_path)
        assert not {"hydra", "omegaconf"} & imported(done)


@pytest.mark.parametrize("words", [[], ["optimizer=adam", "optimizer.lr=0.5", "+optimizer.maximize=true", "tags=[a]"]])
def test_the_configuration_is_shown_as_hydra_shows_it(words: list[str], tmp_path: Path) -> None:
    for flags in (["--cfg", "job"], ["--cfg", "job", "--resolve"]):
        ours, _ = run("-m", "pipeline", *flags, *words, folder=tmp_path)
        hydras, _ = run("-m", "pipeline", *flags, "--package", "_global_", *words, folder=tmp_path)
        assert ours.stdout == hydras.stdout
        assert ours.returncode == hydras.returncode == 0


def test_a_folder_that_was_removed_meanwhile(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    command = f'rmdir "{here}"; exec {sys.executable} -m pipeline stage=sanity'
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=here, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "error: the folder you are in no longer exists; `cd` to one that does.\n"


@pytest.mark.parametrize("words", ["--cfg job", "completion bash", "--version", "explain"])
def test_a_reader_who_has_seen_enough_is_no_crash(words: str, tmp_path: Path) -> None:
    command = f"{sys.executable} -m pipeline {words} | true; exit ${{PIPESTATUS[0]}}"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=buffered | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""
