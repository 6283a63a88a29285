"""Answers that need no run come at once: without torch, in little time, and without leaving files behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
FAST = 0.5
"""Seconds of processor time that are quick on any machine."""
LIMIT = 2.0
"""Otherwise: times what Hydra alone needs to compose conf/, which is 0.35 s on one machine and 0.9 s on another."""
COMPOSE = """
from hydra import compose, initialize_config_dir
with initialize_config_dir({conf!r}, version_base="1.3"):
    compose("config")
"""
HEAVY = {"torch", "torchvision", "pytorch_lightning", "numpy", "optuna", "plotly"}
ANSWER = """
import contextlib, io, json, sys
from pipeline.__main__ import main
answers = []
for arguments in json.load(sys.stdin):
    sys.argv, text = ["pipeline", *arguments], io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            answers.append([end.code, text.getvalue()])
print(json.dumps([answers, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
"""Answers many command lines in one process, and prints exit codes, outputs, and what was imported."""


def run(*arguments: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run Python with every import on standard error. Return it with its processor time in seconds."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, cwd=folder, env=ENVIRONMENT
    )
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return done, seconds


def imported(done: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}


def answers(lines: list[list[str]], folder: Path) -> tuple[list[tuple[int, str]], set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", ANSWER], input=json.dumps(lines), capture_output=True, text=True, cwd=folder,
        env=ENVIRONMENT, check=True,
    )  # fmt: skip
    pairs, modules = json.loads(done.stdout)
    return [(code, text) for code, text in pairs], set(modules)


HYDRA = {"hydra", "omegaconf"}
STARTS: list[tuple[list[str], int, str, set[str]]] = [
    (["--help"], 0, "  optimizer=\n", HYDRA),
    (["--version"], 0, "staged-training-pipeline ", HYDRA),
    (["runs"], 0, "no runs in outputs", HYDRA),
    (["completion", "--answer", "pipeline data=dig"], 0, "data=digits\n", HYDRA),
    (["completion", "--answer", "pipeline optimizer=adam optimizer.b"], 0, "optimizer.betas=\n", set()),
    (["explain", "dead_units"], 0, "dead_units", set()),
    (["--cfg", "job", "optimizer.lr=7"], 0, "lr: 7\n", set()),
    (["optimizer=adm"], 2, "error: optimizer: ", set()),
]


@pytest.mark.parametrize(("arguments", "code", "word", "absent"), STARTS, ids=[" ".join(start[0]) for start in STARTS])
def test_start(arguments: list[str], code: int, word: str, absent: set[str], tmp_path: Path) -> None:
    for _ in range(3):  # the processor itself is slower, too, while others use it
        done, seconds = run("-m", "pipeline", *arguments, folder=tmp_path)
        assert done.returncode == code
        assert word in done.stdout + done.stderr
        assert not (HEAVY | absent) & imported(done)
        assert list(tmp_path.iterdir()) == []
        if seconds < FAST:
            return
        alone, composing = run("-c", COMPOSE.format(conf=str(ROOT / "conf")), folder=tmp_path)
        assert alone.returncode == 0
        if seconds < LIMIT * composing:
            return
    pytest.fail(f"{seconds:.2f} s, and Hydra alone takes {composing:.2f} s")


def test_answers(tmp_path: Path) -> None:
    """Each line gets its exit code and a telling word, and none of them loads torch or leaves a file."""
    expected = [
        (["help"], 0, "  optimizer=\n"),
        (["explain"], 0, "dead_units "),
        (["completion", "bash"], 0, "_pipeline_complete"),
        (["runs", "--json"], 0, "[]"),
        (["runs", "--help"], 0, "--best"),
        (["completion", "--answer", "pipeline diagnose la"], 0, ""),
        (["diagnose", "latest"], 2, "'latest'"),
        (["explian"], 2, "'explain'"),
        (["explain", "dead_unit"], 2, "'dead_units'"),
        (["--mutlirun"], 2, "'--multirun'"),
        (["--seed=3"], 2, "seed=..."),
        (["--cfg", "jbo"], 2, "'jbo'"),
        (["data=digits", "optimizer.lrr=1"], 2, "'optimizer.lr'"),
        (["signals.every=5"], 2, "error: signals.every: "),
        (["name=a/b"], 2, "error: name: "),
        (["outputs=/proc/nowhere"], 2, "error: outputs: "),
        (["optimizer.lr=1,2"], 2, "--multirun"),
        (["hydra.nonsense=3"], 2, "'hydra.nonsense'"),
        (["--config-dir", "nowhere"], 2, "nowhere"),
        (["--config-name", "mine"], 2, "error: --config-name: "),
        (["--experimental-rerun", "config.pickle"], 2, "error: --experimental-rerun: "),
    ]
    given, modules = answers([arguments for arguments, _, _ in expected], tmp_path)
    for (arguments, code, word), (given_code, text) in zip(expected, given, strict=True):
        assert (given_code, word in text, "Traceback" in text) == (code, True, False), (arguments, text)
    assert not HEAVY & modules
    assert list(tmp_path.iterdir()) == []


def test_config_is_that_of_hydra(tmp_path: Path) -> None:
    """`--cfg job` prints what Hydra prints; with a package, Hydra prints it itself."""
    overrides = ["optimizer=adam", "optimizer.lr=0.5", "+optimizer.maximize=true", "tags=[a]"]
    flags = [["--cfg", "job"], ["--cfg", "job", "--resolve"]]
    packages = [[], ["--package", "_global_"]]
    lines = [[*flag, *package, *overrides] for flag in flags for package in packages]
    given, _ = answers(lines, tmp_path)
    assert [code for code, _ in given] == [0] * len(lines)
    for ours, hydras in zip(given[::2], given[1::2], strict=True):
        assert ours == hydras


def test_removed_working_folder(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    command = f'rmdir "{here}"; exec {sys.executable} -m pipeline stage=sanity'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=here, env=ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", ["--cfg job", "--version"])
def test_closed_pipe(words: str, tmp_path: Path) -> None:
    """A reader that has seen enough is no crash: `pipeline runs | head`."""
    command = f"{sys.executable} -m pipeline {words} | true; exit ${{PIPESTATUS[0]}}"
    buffered = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=buffered)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""
