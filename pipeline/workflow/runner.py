"""One run from its configuration: directory, parts, stages, and what is said about it."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.config.compose import compose_config
from pipeline.errors import UserError
from pipeline.report.terminal import Terminal
from pipeline.runs.json_files import config_dir_flag, config_hash, read_outcome
from pipeline.runs.paths import check_name, check_writable, new_run_id, update_latest_link, write_text
from pipeline.validation import boolean
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.workflow.resume import find_resume_point
from pipeline.workflow.sequence import Reporter, RunResult, run_stages

SIZE = "data.batch_size"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def run(
    config: DictConfig,
    *,
    overrides: Sequence[str] = (),
    directory: Path | None = None,
    quiet: bool = False,
    config_dir: str | None = None,
) -> RunResult:
    """Assemble and run. `directory` is made when None; a `UserError` before the first stage leaves nothing behind.

    `overrides` and `config_dir` are what `config` was composed from.
    """
    check_name(config.name)
    fix, report = boolean("fix", config.get("fix", False)), boolean("report", config.get("report", True))
    outputs = Path(str(config.outputs))
    check_writable(outputs)
    folder = directory or outputs / str(config.name) / new_run_id()
    stopper, latest = InterruptHandler(), outputs / "latest"
    before = latest.resolve() if latest.exists() else None
    teller: Any = Reporter() if quiet else Terminal(verbose=int(config.verbose) if str(config.verbose).isdigit() else 1)
    try:
        tune_glibc_malloc()
        with stopper.installed(), silence_library_warnings():
            from pipeline.workflow.build import build_components, with_directory

            parts = build_components(config)
            auto = OmegaConf.select(config, SIZE) == "auto"
            typed_hash = config_hash(_with_auto(parts.config) if auto else parts.config)
            old = find_resume_point(config.resume, outputs / str(config.name), typed_hash, folder, fix=fix, auto=auto)
            _prepare_run_dir(folder, config, overrides)
            if auto:  # what was chosen is part of the run from here on
                config, overrides = _fix_batch_size(config, overrides, old.batch_size or parts.batch_size)
                parts = parts if parts.batch_size == config.data.batch_size else build_components(config)
                _write_hydra(folder, config, overrides)
            update_latest_link(folder.resolve(), outputs.resolve())
            parts = with_directory(parts, folder, stopper=stopper)
            mender = None
            if fix:
                note = functools.partial(_save_fixed_config, folder, overrides)
                mender = AutoFixer(_make_rebuilder(parts, config, overrides, config_dir), note=note, fixes=old.fixes)
                if mender.applied_overrides:
                    parts = mender.rebuild(mender.applied_overrides)
                    note(parts, mender.applied_overrides)
            parts = with_directory(parts, folder, resume=old.checkpoint)
            if isinstance(teller, Terminal):
                teller.run_begins(parts)
            result = run_stages(
                parts,
                arguments=[*config_dir_flag(config_dir), *overrides],
                reporter=teller,
                completed=old.outcomes,
                autofixer=mender,
                config_hash_as_typed=typed_hash,
                report=_report if report else None,
            )
    except UserError:
        _remove_empty_run(folder, outputs)
        if before and not folder.exists():
            update_latest_link(before, outputs.resolve())
        raise
    finally:
        if isinstance(teller, Terminal):
            teller.close()
    if isinstance(teller, Terminal):
        teller.run_ends(result)
    return result


def _with_auto(plain: dict[str, Any]) -> dict[str, Any]:
    """As it was typed, whatever was chosen for it."""
    return plain | {"data": plain["data"] | {"batch_size": "auto"}}


def _fix_batch_size(config: DictConfig, overrides: Sequence[str], size: int) -> tuple[DictConfig, list[str]]:
    """The configuration and its overrides with the batch size that `auto` stands for."""
    config = copy.deepcopy(config)
    OmegaConf.update(config, SIZE, size)
    others = [word for word in overrides if word.lstrip("+").partition("=")[0] != SIZE]
    return config, [*others, f"{SIZE}={size}"]


def _report(folder: Path) -> None:
    """report.html, however the run ended. What goes wrong with a page is told, and takes nothing from the run."""
    from pipeline.report.run_page import write_report

    try:
        write_report(folder)
    except Exception as error:  # noqa: BLE001 - whatever a page trips over, the run is finished
        print(f"report.html could not be written: {type(error).__name__}: {error}", file=sys.stderr)


def _make_rebuilder(
    parts: Components, config: DictConfig, overrides: Sequence[str], config_dir: str | None
) -> Callable[[Sequence[str]], Components]:
    """A function that gives the parts of the run's command with more overrides appended."""

    def recompose(more: Sequence[str]) -> Components:
        from pipeline.workflow.build import build_components, with_directory

        mended = compose_config([*overrides, *more], config_dir=config_dir)
        with open_dict(mended):
            for name in [name for name in mended.stages if name not in config.stages]:
                del mended.stages[name]  # which a sweep leaves out
        return with_directory(build_components(mended), parts.directory, stopper=parts.stopper)

    return recompose


def _prepare_run_dir(folder: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    """The folder with `.hydra/`, also where Hydra itself did not make it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".hydra" / "config.yaml").exists():
        _write_hydra(folder, config, overrides)


def _save_fixed_config(folder: Path, overrides: Sequence[str], parts: Components, kept: Sequence[str]) -> None:
    """`.hydra/` of a run that remedies have changed says what the run is now."""
    _write_hydra(folder, OmegaConf.create(parts.config), [*overrides, *kept])


def _write_hydra(folder: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    write_text(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(config))
    write_text(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))


def _remove_empty_run(folder: Path, outputs: Path) -> None:
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


def tune_glibc_malloc() -> None:
    """Let glibc keep freed blocks, since the next step asks for the same ones: 10 % of a convolutional step on the CPU
    went into pages that were given back and fetched again (docs/LOG.md). Without glibc nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the highest value that glibc takes
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def silence_library_warnings() -> Iterator[None]:
    """Without Lightning's greetings, and without warnings that a user of this pipeline cannot act on."""
    names = ("pytorch_lightning", "lightning_fabric", "lightning", "pytorch_lightning.utilities.rank_zero",
             "lightning_fabric.utilities.distributed", "torch.utils.cpp_extension")  # fmt: skip
    before = {name: logging.getLogger(name).level for name in names}
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")  # Lightning's own switch for its maybes
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore",
                module=r"(pytorch_lightning|lightning_fabric|torch|tensorboard|mlflow|wandb|sqlalchemy)(\..*)?",
            )
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
