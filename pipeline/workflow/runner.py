"""One run from its configuration: directory, components, stages, report."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.config.compose import compose_config
from pipeline.config.override_keys import override_key
from pipeline.config.to_dict import to_dict
from pipeline.config.unused_options import refuse_unused_init, refuse_unused_options
from pipeline.errors import UserError
from pipeline.report.terminal import Terminal
from pipeline.runs.json_files import config_dir_flag, config_hash, read_outcome
from pipeline.runs.paths import new_run_id, update_latest_link, validate_name, validate_writable, write_text
from pipeline.validation import boolean
from pipeline.workflow.autofix import AutoFixer
from pipeline.workflow.components import Components, RunContext
from pipeline.workflow.execution import execute
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.workflow.process_setup import configure_process, silence_library_warnings
from pipeline.workflow.reporter import NullReporter, Reporter
from pipeline.workflow.result import RunResult
from pipeline.workflow.resume import find_resume_point

BATCH_SIZE_KEY = "data.batch_size"
WEIGHTS_KEY = "init.from"


def run(
    config: DictConfig,
    *,
    overrides: Sequence[str] = (),
    directory: Path | None = None,
    quiet: bool = False,
    config_dir: str | None = None,
    build: Callable[[DictConfig], Components] | None = None,
) -> RunResult:
    """Build what `config` describes, run its stages and write the report.

    `overrides` and `config_dir` are what `config` was composed from. `directory` is created; by default it is a new one
    under `<outputs>/<name>/`. `build` replaces `build_components`. Raises `UserError` where the configuration or the
    data is wrong; if no stage has run by then, nothing is left behind.
    """
    validate_name(config.name)
    fix, report = boolean("fix", config.get("fix", False)), boolean("report", config.get("report", True))
    outputs = Path(str(config.outputs))
    validate_writable(outputs)
    run_dir = directory or outputs / str(config.name) / new_run_id()
    reporter: Reporter = NullReporter() if quiet else Terminal(verbose=_verbosity(config))
    handler, latest = InterruptHandler(), outputs / "latest"
    previous_latest = latest.resolve() if latest.exists() else None
    try:
        configure_process()
        with handler.installed(), silence_library_warnings():
            from pipeline.workflow.build import build_components  # torch is imported here

            typed = [override_key(override) for override in overrides]
            refuse_unused_options(to_dict(config), typed)
            components = (build or build_components)(config)
            refuse_unused_init(components.config, typed, components.make_network)
            chooses_batch_size = OmegaConf.select(config, BATCH_SIZE_KEY) == "auto"
            typed_hash = config_hash(_as_typed(components.config) if chooses_batch_size else components.config)
            resume = find_resume_point(
                config.resume,
                outputs / str(config.name),
                typed_hash,
                run_dir,
                with_fixes=fix,
                with_batch_size=chooses_batch_size,
                config=components.config,
            )
            _prepare_run_dir(run_dir, config, overrides)
            if chooses_batch_size:  # the chosen size is part of the run from here on
                size = resume.batch_size or components.batch_size
                config, overrides = _with_batch_size(config, overrides, size)
                components = components if components.batch_size == size else build_components(config)
                _write_hydra_files(run_dir, config, overrides)
            if (weights_file := components.config["init"].get("from")) != OmegaConf.select(config, WEIGHTS_KEY):
                config, overrides = _with_weights_file(config, overrides, weights_file)
                _write_hydra_files(run_dir, config, overrides)
            update_latest_link(run_dir.resolve(), outputs.resolve())
            autofixer = None
            if fix:
                on_applied = functools.partial(_save_fixed_config, run_dir, overrides)
                rebuild = _make_rebuilder(config, overrides, config_dir)
                autofixer = AutoFixer(rebuild, on_applied=on_applied, fixes=resume.fixes)
                if autofixer.applied_overrides:
                    components = rebuild(autofixer.applied_overrides)
                    on_applied(components, autofixer.applied_overrides)
            reporter.on_run_start(components)
            if resume.note:
                reporter.on_note(resume.note)
            result = execute(
                components,
                RunContext(
                    run_dir,
                    resume.checkpoint,
                    overrides=tuple(overrides),
                    save_images=report,
                    interrupt_handler=handler,
                ),
                arguments=[*config_dir_flag(config_dir), *overrides],
                reporter=reporter,
                completed=resume.outcomes,
                autofixer=autofixer,
                config_hash_as_typed=typed_hash,
                write_report=_write_report if report else lambda directory: None,
            )
    except UserError:
        _remove_empty_run(run_dir, outputs)
        if previous_latest and not run_dir.exists():
            update_latest_link(previous_latest, outputs.resolve())
        raise
    finally:
        reporter.close()
    reporter.on_run_end(result)
    return result


def _verbosity(config: DictConfig) -> int:
    """Return `verbose`, or its default where the value is wrong, which `build_components` reports."""
    return int(config.verbose) if str(config.verbose).isdigit() else 1


def _as_typed(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with `data.batch_size=auto`, whatever size was chosen for it."""
    return plain | {"data": plain["data"] | {"batch_size": "auto"}}


def _with_batch_size(config: DictConfig, overrides: Sequence[str], size: int) -> tuple[DictConfig, list[str]]:
    """Return the configuration and its overrides with `size` in the place of `auto`."""
    config = copy.deepcopy(config)
    OmegaConf.update(config, BATCH_SIZE_KEY, size)
    others = [override for override in overrides if override_key(override) != BATCH_SIZE_KEY]
    return config, [*others, f"{BATCH_SIZE_KEY}={size}"]


def _with_weights_file(config: DictConfig, overrides: Sequence[str], path: str) -> tuple[DictConfig, list[str]]:
    """Return the configuration and its overrides with the file that was read: `outputs/latest` will be another one."""
    config = copy.deepcopy(config)
    OmegaConf.update(config, WEIGHTS_KEY, path)
    others = [override for override in overrides if override_key(override) != WEIGHTS_KEY]
    quoted = path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return config, [*others, f"{WEIGHTS_KEY}={quoted}"]


def _write_report(run_dir: Path) -> None:
    """Write report.html and model_card.md, however the run ended.

    An error of a page is printed and takes nothing from the run.
    """
    from pipeline.report.model_card import MODEL_CARD, write_model_card
    from pipeline.report.run_page import REPORT, write_report

    for name, write in ((REPORT, write_report), (MODEL_CARD, write_model_card)):
        try:
            write(run_dir)
        except Exception as error:  # noqa: BLE001 - whatever a page stumbles over, the run is finished
            print(f"{name} could not be written: {type(error).__name__}: {error}", file=sys.stderr)


def _make_rebuilder(
    config: DictConfig, overrides: Sequence[str], config_dir: str | None
) -> Callable[[Sequence[str]], Components]:
    """Return a function that builds the components of the run's command with more overrides appended."""

    def rebuild(more: Sequence[str]) -> Components:
        from pipeline.workflow.build import build_components

        changed = compose_config([*overrides, *more], config_dir=config_dir)
        with open_dict(changed):
            for name in [name for name in changed.stages if name not in config.stages]:
                del changed.stages[name]  # a stage that a sweep leaves out
        return build_components(changed)

    return rebuild


def _prepare_run_dir(run_dir: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    """Create the run's directory with `.hydra/`, also where Hydra itself did not."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / ".hydra" / "config.yaml").exists():
        _write_hydra_files(run_dir, config, overrides)


def _save_fixed_config(run_dir: Path, overrides: Sequence[str], components: Components, applied: Sequence[str]) -> None:
    """Let `.hydra/` say what the run is now that remedies have changed it."""
    _write_hydra_files(run_dir, OmegaConf.create(components.config), [*overrides, *applied])


def _write_hydra_files(run_dir: Path, config: DictConfig, overrides: Sequence[str]) -> None:
    write_text(run_dir / ".hydra" / "config.yaml", OmegaConf.to_yaml(config))
    write_text(run_dir / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))


def _remove_empty_run(run_dir: Path, outputs: Path) -> None:
    """Remove the directory of a run in which no stage or epoch ended, and the folders above it that are empty then."""
    record = read_outcome(run_dir)
    if (record and record["stages"]) or any((run_dir / "checkpoints").glob("*.ckpt")):
        return
    shutil.rmtree(run_dir, ignore_errors=True)
    if (outputs / "latest").is_symlink() and not (outputs / "latest").exists():
        (outputs / "latest").unlink()
    with contextlib.suppress(OSError, ValueError):
        inside = run_dir.resolve().relative_to(outputs.resolve())
        for parent in run_dir.resolve().parents[: len(inside.parts)]:
            parent.rmdir()
