"""From the command line to jobs: read the flags, compose the configuration, and start one job or many.

Hydra's private names are used only here and in `pipeline.config.compose`.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from hydra import version as hydra_version
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import _run_hydra, get_args_parser, run_and_report
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from pipeline.cli.exit_codes import JobExitCode, job_exit_codes, print_error_of_user_code, print_user_error
from pipeline.cli.jobs import SWEPT_KEYS, run_in_job_dir, run_multirun_job
from pipeline.config.compose import CONF, Composition, compose, register_resolvers
from pipeline.config.instantiate import call_with_path
from pipeline.config.override_keys import effective_overrides
from pipeline.config.overrides import swept_keys
from pipeline.config.to_dict import to_dict
from pipeline.errors import PASSED, UserError, did_you_mean
from pipeline.runs.paths import validate_name, validate_working_folder, validate_writable
from pipeline.training.copies import leading
from pipeline.training.follower import follow
from pipeline.training.launcher import copy_of_run
from pipeline.validation import number


def launch(arguments: Sequence[str]) -> int:
    """Run what the flags and overrides `arguments` describe, and return the highest exit code of all jobs.

    Raises `UserError` for a mistake that is found before a job starts.
    """
    validate_working_folder()
    flags = parse_flags(arguments)
    if flags.hydra_help or flags.shell_completion:
        return _start_hydra(flags)
    composition = compose(flags.overrides, config_dir=flags.config_dir)
    config = composition.config
    is_search = bool(config.search.rounds) and not config.search.job
    if (keys := swept_keys(flags.overrides)) and not (flags.multirun or flags.cfg or is_search):
        raise UserError("takes one value; to sweep over several add --multirun.", field=keys[0])
    if flags.cfg == "job" and not flags.package:
        return _print_config(config, resolve=flags.resolve)
    if flags.cfg or flags.info:
        return _start_hydra(flags)
    is_multirun = is_search or flags.multirun or composition.hydra.mode == RunMode.MULTIRUN
    process = call_with_path(copy_of_run, "trainer", config.trainer.devices, is_single_run=not is_multirun)
    timeout = number("trainer.timeout", config.trainer.timeout, above=0) if process else 0
    if process and process.rank > 0:
        return follow(process, timeout=timeout)
    validate_name(config.name)
    validate_writable(Path(str(config.outputs)))
    if is_search:
        _start_search_workers(config)
        flags.multirun = True  # a search is a sweeper of Hydra
    if is_multirun:
        return _start_hydra(flags)
    with leading(process, timeout=timeout) if process else nullcontext():
        return _run_one_job(composition, config_dir=flags.config_dir)


def parse_flags(arguments: Sequence[str]) -> Namespace:
    """Return Hydra's flags, with the overrides that are in effect. Raises `UserError` for an unknown flag."""
    # argparse does not accept overrides on both sides of a flag (`a=1 -m b=2`): sort the flags to the front
    flags_first = sorted(arguments, key=lambda argument: "=" in argument and not argument.startswith("-"))
    flags, unknown = _FlagParser(parents=[get_args_parser()], add_help=False).parse_known_args(flags_first)
    for flag in unknown:
        from pipeline.cli.help import FLAGS, HYDRA_FLAGS

        closest = did_you_mean(flag.partition("=")[0], [*FLAGS, *HYDRA_FLAGS])
        dashless = f" Options and keys have no dashes: {flag.lstrip('-').partition('=')[0]}=..."
        raise UserError(f"there is no flag {flag!r}.{closest or dashless} --help lists all flags.")
    for name in ("config_name", "config_path", "experimental_rerun"):  # they would go around all checks
        if getattr(flags, name):
            raise UserError(
                "the configuration is that of the program. --config-dir adds your own options, experiment=FILE changes "
                "many defaults at once.",
                field=f"--{name.replace('_', '-')}",
            )
    flags.overrides = effective_overrides(flags.overrides)
    return flags


class _FlagParser(ArgumentParser):
    """Hydra's flags, with a `UserError` for a mistake."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. --help lists all flags.")


def _run_one_job(composition: Composition, *, config_dir: str | None) -> int:
    """Run one job in this process, in the directory that Hydra makes for it.

    `hydra.main` would compose the configuration twice more, which takes half of the time before the first step, imports
    apart.
    """

    def task(config: DictConfig) -> JobExitCode:
        try:
            return run_in_job_dir(config, HydraConfig.get(), config_dir=config_dir)
        except UserError as error:
            return JobExitCode(print_user_error(error))
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything; other errors are raised again
            return JobExitCode(print_error_of_user_code(error))

    context = HydraContext(config_loader=composition.loader, callbacks=Callbacks())
    run_and_report(
        lambda: (
            run_job(
                task_function=task,
                config=composition.with_hydra(),
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
                hydra_context=context,
            ).return_value
        )
    )
    return max(job_exit_codes, default=PASSED)


def _start_hydra(flags: Namespace) -> int:
    """Let Hydra do what it does alone: a multirun, a search, --info, --cfg hydra, --hydra-help."""
    os.environ[SWEPT_KEYS] = ",".join(swept_keys(flags.overrides))
    register_resolvers()
    hydra_version.setbase("1.3")
    _run_hydra(
        args=flags,
        args_parser=get_args_parser(),
        task_function=run_multirun_job,
        config_path=str(CONF),
        config_name="config",
    )
    return max(job_exit_codes, default=PASSED)


def _print_config(config: DictConfig, *, resolve: bool) -> int:
    """Print what Hydra prints for `--cfg job`, without composing a second time."""
    if resolve:
        OmegaConf.resolve(config)
    print(OmegaConf.to_yaml(config), end="")
    return PASSED


def _start_search_workers(config: DictConfig) -> None:
    """Let the workers of a search import torch while this process plans the search."""
    from pipeline.search.settings import read_settings, threads_per_worker, worker_count
    from pipeline.search.workers.forkserver import start_forkserver

    settings = read_settings(to_dict(config.search))
    if not settings.dry_run:
        start_forkserver(threads_per_worker(settings, worker_count(settings)))
