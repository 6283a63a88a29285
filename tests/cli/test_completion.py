"""Tab completion, by itself and in real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli import COMMANDS
from pipeline.cli.completion import complete_line, print_completion
from pipeline.config.options import groups
from pipeline.errors import UserError

ROOT = Path(__file__).parents[2]
BREAKS = " \t\n\"'><=;|&(:"


EXPECTED: list[tuple[str, set[str]]] = [
    ("pipeline diag", {"diagnose"}),
    ("pipeline optimizer=ad", {"optimizer=adagrad", "optimizer=adam", "optimizer=adamw"}),
    ("pipeline +optimizer=rms", {"+optimizer=rmsprop"}),
    ("pipeline seed=3 optim", {"optimizer=", "optimizer."}),
    ("pipeline optimizer=adam optimizer.b", {"optimizer.betas="}),
    ("pipeline optimizer.b", set()),
    ("pipeline optimizer=adam,ada", {"optimizer=adam,adagrad", "optimizer=adam,adamw"}),
    ("pipeline stages.tr", {"stages.train."}),
    ("pipeline ++stages.train.ep", {"++stages.train.epochs="}),
    ("pipeline checks.rules.dead_units.wa", {"checks.rules.dead_units.warning="}),
    ("pipeline checks.fail_on=", {f"checks.fail_on={word}" for word in ("failure", "warning", "never")}),
    ("pipeline fix=", {"fix=true", "fix=false"}),
    ("pipeline verbose=", {"verbose=0", "verbose=1", "verbose=2"}),
    ("pipeline resume=a", {"resume=auto"}),
    ("pipeline search.sam", {"search.sampler="}),
    ("pipeline search.sampler=q", {"search.sampler=quasi_random"}),
    ("pipeline 'logger=[csv,ten", {"logger=[csv,tensorboard,", "logger=[csv,tensorboard]"}),
    ("pipeline diagnose latest checks=st", {"checks=strict"}),
    ("pipeline diagnose latest checks.rules.dead_units.wa", {"checks.rules.dead_units.warning="}),
    ("pipeline 'stage=[sanity,o", {"stage=[sanity,overfit,", "stage=[sanity,overfit]"}),
    ("pipeline 'stage=[sanity,sa", set()),
    ("pipeline explain dead", {"dead_units"}),
    ("pipeline explain dead_units ", set()),
    ("pipeline completion z", {"zsh"}),
    ("pipeline --mul", {"--multirun"}),
    ("pipeline --cfg ", {"job"}),
    ("pipeline optimizr=adam mod", {"model=", "model."}),
    ("pipeline expl\\ain dea", {"dead_units"}),
    ("pipeline runs d", {"diff"}),
    ("pipeline runs diff --", {"--json"}),
]


def complete(line: str, wordbreaks: str = "") -> list[str]:
    return complete_line(line, COMMANDS, wordbreaks=wordbreaks)


def test_completions() -> None:
    assert {line: set(complete(line)) for line, _ in EXPECTED} == dict(EXPECTED)


def test_list() -> None:
    """A list offers the options that are not in it yet."""
    assert set(complete("pipeline stage=[overfit,")) == {
        f"stage=[overfit,{option.name}" for option in groups()["stage"].options if option.name != "overfit"
    }
    for group in ("stage", "logger", "search"):
        assert f"{group}=[" in complete(f"pipeline {group}=")
    assert "optimizer=[" not in complete("pipeline optimizer=")


def test_first_word() -> None:
    offered = complete("pipeline ")
    assert {"explain", "diagnose", "data=", "data.", "seed=", "stages."} <= set(offered)
    assert len(offered) == len(set(offered))
    assert "explain" not in complete("pipeline seed=1 ")


def test_wordbreaks() -> None:
    """bash replaces only what is behind its word breaks."""
    assert complete("pipeline optimizer=rms", BREAKS) == ["rmsprop"]
    assert complete("pipeline 'optimizer=rms", BREAKS) == ["optimizer=rmsprop"]
    assert complete("pipeline optimizer=rms", BREAKS.replace("=", "")) == ["optimizer=rmsprop"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The shell can read the script that is printed for it."""
    assert print_completion([shell], COMMANDS) == 0
    script = capsys.readouterr().out
    assert f'eval "$(pipeline completion {shell})"' in script
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=script, text=True, check=True)


def test_unknown_shell() -> None:
    with pytest.raises(UserError, match="'bash'"):
        print_completion(["bsh"], COMMANDS)


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, argv: list[str], start: str, folder: Path):
        pid, self.terminal = pty.fork()
        if pid == 0:  # the child becomes the shell
            os.chdir(folder)
            here = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PS1": "$ ", "TERM": "dumb"}
            os.execve(argv[0], argv, os.environ | here)
        self.pid = pid
        self.type(start + "; echo re''ady\n", until="ready")

    def type(self, keys: str, *, until: str) -> str:
        os.write(self.terminal, keys.encode())
        seen, end = "", time.monotonic() + 20
        while until not in seen and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                seen += os.read(self.terminal, 65536).decode(errors="replace").replace("\a", "")
        return seen

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


STARTS = {
    "bash": (["--norc", "--noprofile", "-i"], 'bind "set bell-style none"; eval "$(pipeline completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(pipeline completion zsh)"'),
}


@pytest.fixture(params=STARTS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    program = shutil.which(request.param)
    if not program:
        pytest.skip(f"no {request.param} on this machine")
    (tmp_path / "my_folder").mkdir()
    console_script = tmp_path / "pipeline"
    console_script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    console_script.chmod(0o755)
    flags, start = STARTS[request.param]
    shell = Shell([program, *flags], start, tmp_path)
    yield shell
    shell.close()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("pipeline expl\t", "pipeline explain "),
        ("pipeline optimizer=mom\t", "pipeline optimizer=momentum "),
        ("pipeline optimizer=adam optimizer.be\t", "pipeline optimizer=adam optimizer.betas="),
        ("pipeline 'stage=[sanity,over\t", "pipeline 'stage=[sanity,overfit"),
        ("pipeline explain dead\t", "pipeline explain dead_units "),
        ("pipeline data.path=my_fo\t", "pipeline data.path=my_folder/"),
    ],
)
def test_real_shell(shell: Shell, typed: str, line: str) -> None:
    assert line in shell.type(typed, until=line)
