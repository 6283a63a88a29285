"""Runs the program as a user does, each command in a process group of its own and never longer than its time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
LINES_SHOWN = 15
"""Last lines of an output that are shown where a command fails."""
TIMEOUT = 150.0
"""Seconds after which a command is ended."""
ALLOWED = "tests.gpu.networks.ReadsNumber,tests.gpu.networks.NeedsMemory"


@dataclass(frozen=True)
class Run:
    """A directory that the program has written."""

    directory: Path

    @property
    def outcome(self) -> dict[str, Any]:
        return json.loads((self.directory / "outcome.json").read_text())

    @property
    def overrides(self) -> list[str]:
        """Return the overrides as they are recorded; a multirun writes `False` for false."""
        return [str(override) for override in OmegaConf.load(self.directory / ".hydra" / "overrides.yaml")]

    def has(self, override: str) -> bool:
        """Return whether the run was started with `override`."""
        return override.lower() in [own.lower() for own in self.overrides]

    def metrics(self, stage: str) -> dict[str, Any]:
        """Return the metrics of a stage; {} where it did not run."""
        return next((done["metrics"] for done in self.outcome["stages"] if done["name"] == stage), {})

    def signals(self, stage: str) -> dict[str, Any]:
        """Return the signals of a stage; {} where it did not run."""
        path = self.directory / "signals.json"
        return json.loads(path.read_text()).get(stage, {}) if path.exists() else {}

    def bits(self) -> dict[str, Any]:
        """Return what must be the same to the last bit: weights, losses and history of the last checkpoint."""
        state = torch.load(self.directory / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
        training = state["pipeline"]
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in training["history"]]
        return {
            "weights": state["state_dict"],
            "losses": training["losses"],
            "accuracies": training["accuracies"],
            "history": history,
        }


@dataclass(frozen=True)
class Done:
    """How a command ended. A `code` of None: it was ended after its time."""

    code: int | None
    output: str
    seconds: float
    outputs: Path

    def runs(self) -> list[Run]:
        """Return the runs that the command has written, the oldest first."""
        return [Run(path.parent) for path in sorted(self.outputs.glob("run/**/outcome.json"))]

    @property
    def tail(self) -> str:
        """The last lines, with how it ended."""
        end = f"exit code {self.code}" if self.code is not None else f"ended after {self.seconds:.0f} s"
        return "\n".join([*self.output.splitlines()[-LINES_SHOWN:], f"({end})"])


class Command:
    """`python <arguments>` in the root of the checkout, started at once. Its output goes to a file in `folder`."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str]):
        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._started = folder / "output.txt", time.perf_counter()
        self.outputs = folder / "outputs"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=os.environ | environment, start_new_session=True,
            )  # fmt: skip

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout: float = TIMEOUT) -> Done:
        """Wait for the end, which comes after `timeout` seconds at the latest."""
        code = None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        seconds = time.perf_counter() - self._started
        return Done(code, self._log.read_text(errors="replace"), seconds, self.outputs)

    def kill(self) -> None:
        """Kill the process and those it has started (kill -9)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Machine:
    """Where the checks run: `device` is cuda or cpu, `folder` takes everything that is written."""

    def __init__(self, folder: Path, *, device: str, jobs: int, cores: int):
        self._folder, self.device, self.jobs = folder, device, jobs
        threads = {} if self.is_gpu else {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
        self._environment = {"PIPELINE_ALLOW": ALLOWED, "NO_COLOR": "1", "COLUMNS": "200", **threads}
        self._commands: list[Command] = []
        self.ended: list[Done] = []
        """All commands of the program that have ended."""

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def trainer(self) -> str:
        """The option of `trainer`."""
        return "gpu" if self.is_gpu else "cpu"

    def start(self, name: str, *overrides: str) -> Command:
        """Start `python -m pipeline` with overrides; the same `name` has the same folder of outputs."""
        folder = self._folder / name
        standard = [f"outputs={folder / 'outputs'}", f"trainer={self.trainer}", "verbose=0"]
        return self.start_python(folder, "-m", "pipeline", *overrides, *standard)

    def start_python(self, folder: Path, *arguments: str) -> Command:
        """Start Python itself with `arguments`."""
        command = Command(folder, *arguments, environment=self._environment)
        self._commands.append(command)
        return command

    def run(self, name: str, *overrides: str, timeout: float = TIMEOUT) -> Done:
        """Run `python -m pipeline` to its end."""
        return self.finish(self.start(name, *overrides), timeout)

    def run_python(self, name: str, *arguments: str) -> Done:
        """Run Python itself to its end."""
        return self.start_python(self._folder / name, *arguments).wait()

    def finish(self, command: Command, timeout: float = TIMEOUT) -> Done:
        """Wait for the end of a command."""
        done = command.wait(timeout)
        self.ended.append(done)
        return done

    def kill_all(self) -> None:
        """Kill what still runs, as after Ctrl-C."""
        for command in self._commands:
            if command.is_running():
                command.kill()


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Return the places where two nested structures of tensors and numbers differ in a bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return [f"{path}: other keys"]
        return [found for key in a for found in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} long"]
        return [found for i in range(len(a)) for found in differences(a[i], b[i], f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a} and {b}"]
