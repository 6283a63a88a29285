"""One run from its configuration: directory, parts, stages, and what is said about it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shlex
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pipeline.errors import UserError
from pipeline.parts import Outcome
from pipeline.record import read_outcome, read_signals
from pipeline.report.terminal import Terminal
from pipeline.rundir import check_name, check_writable, new_run_id, point_latest, write_text
from pipeline.stopping import Stopper
from pipeline.workflow import RunResult, Teller, config_hash, read_outcomes, run_stages

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
UNFINISHED = ("running", "interrupted", "error")


def run_config(
    config: DictConfig, *, overrides: Sequence[str] = (), directory: Path | None = None, quiet: bool = False
) -> RunResult:
    """Assemble and run. `directory` is made when None; a `UserError` before the first stage leaves nothing behind."""
    check_name(config.name)
    outputs = Path(str(config.outputs))
    check_writable(outputs)
    folder = directory or outputs / str(config.name) / new_run_id()
    stopper = Stopper()
    teller: Any = Teller() if quiet else Terminal(verbose=int(config.verbose) if str(config.verbose).isdigit() else 1)
    try:
        _keep_freed_memory()
        with stopper.listening(), _quiet_libraries():
            from pipeline.assemble import assemble, with_directory

            parts = assemble(config)
            resume, earlier = find_resumable(config.resume, outputs / str(config.name), parts.config, folder)
            _prepare(folder, config, overrides)
            point_latest(folder.resolve(), outputs.resolve())
            parts = with_directory(parts, folder, resume=resume, stopper=stopper)
            if isinstance(teller, Terminal):
                teller.run_begins(parts)
            result = run_stages(parts, command=command_line(overrides), teller=teller, earlier=earlier)
    except UserError:
        _discard(folder, outputs)
        raise
    finally:
        if isinstance(teller, Terminal):
            teller.close()
    if isinstance(teller, Terminal):
        teller.run_ends(result)
    return result


def command_line(overrides: Sequence[str]) -> str:
    """The command that repeats the run."""
    return shlex.join(["python", "-m", "pipeline", *overrides])


def find_resumable(
    wish: object, runs: Path, config: dict[str, Any], own: Path
) -> tuple[Path | None, tuple[Outcome, ...]]:
    """The checkpoint to go on from and the stages that had passed, as the key `resume` says.

    `auto`: the newest run in `runs` with the same configuration (but for resume, verbose, name, tags and outputs) that
    did not finish; none is no error, so that a job script may always say `resume=auto`. Otherwise a run's folder.
    """
    if wish is None:
        return None, ()
    if wish != "auto":
        record = read_outcome(Path(str(wish)))
        if record is None:
            raise UserError(f"{str(wish)!r} is no run's folder (it has no readable outcome.json).", field="resume")
        if record["config_hash"] != config_hash(config):
            raise UserError(
                f"{str(wish)!r} was run with another configuration; give the options it was run with: "
                f"{record['command']}",
                field="resume",
            )
        return _state_of(Path(str(wish)), record)
    for folder in sorted(runs.glob("*"), reverse=True):
        record = read_outcome(folder)
        if folder != own and record and record["config_hash"] == config_hash(config) and record["status"] in UNFINISHED:
            return _state_of(folder, record)
    return None, ()


def _state_of(folder: Path, record: dict[str, Any]) -> tuple[Path | None, tuple[Outcome, ...]]:
    checkpoint = folder / "checkpoints" / "last.ckpt"
    told = read_outcomes(record, read_signals(folder))
    earlier = tuple(outcome for outcome in told if outcome.name != "train" and outcome.passed)
    return (checkpoint if checkpoint.exists() else None), earlier


def _prepare(folder: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    """The folder with `.hydra/`, also where Hydra itself did not make it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".hydra" / "config.yaml").exists():
        write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config))
        write_text(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))


def _discard(folder: Path, outputs: Path) -> None:
    """Remove what a run left in which no stage ended, and folders above it that are empty then."""
    record = read_outcome(folder)
    if record and record["stages"]:
        return
    shutil.rmtree(folder, ignore_errors=True)
    if (outputs / "latest").is_symlink() and not (outputs / "latest").exists():
        (outputs / "latest").unlink()
    with contextlib.suppress(OSError, ValueError):
        inside = folder.resolve().relative_to(outputs.resolve())
        for parent in folder.resolve().parents[: len(inside.parts)]:
            parent.rmdir()


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks, since the next step asks for the same ones: 10 % of a convolutional step on the CPU
    went into pages that were given back and fetched again (docs/LOG.md). Without glibc nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the highest value that glibc takes
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Without Lightning's greetings, and without warnings that a user of this pipeline cannot act on."""
    names = ("pytorch_lightning", "lightning_fabric", "lightning", "pytorch_lightning.utilities.rank_zero")
    before = {name: logging.getLogger(name).level for name in names}
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")  # Lightning's own switch for its maybes
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch)(\..*)?")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
