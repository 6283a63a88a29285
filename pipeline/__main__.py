"""`python -m pipeline ...`: check what was typed, let Hydra compose it, run the stages, exit with the verdict.

A first word without `=` is a command (pipeline/commands/): `python -m pipeline explain dead_units`.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline.cli import command_name, exit_codes, run_command
from pipeline.cli.exit_codes import JobExitCode
from pipeline.cli.flags import FLAGS, HYDRA_FLAGS, print_versions
from pipeline.errors import Interrupted, UserError, did_you_mean

if TYPE_CHECKING:  # Hydra is loaded once it is known that something is to be composed
    from hydra.conf import HydraConf
    from omegaconf import DictConfig

    from pipeline.config.compose import Composition


def main() -> None:
    """The program. Exit codes: 0 passed, 1 crash, 2 the user's mistake, 3 a stage failed, 128 + n ended by signal n."""
    # imports make a million objects that stay; looking for garbage after every 700th takes a seventh of the start
    gc.set_threshold(50_000)
    arguments = sys.argv[1:]
    word = command_name(arguments)
    try:
        if word is not None:
            exit_codes.job_exit_codes.append(run_command(word, arguments[1:]))
        elif {"--help", "-h"} & set(arguments):
            exit_codes.job_exit_codes.append(run_command("help", arguments))
        elif "--version" in arguments:
            exit_codes.job_exit_codes.append(print_versions())
        else:
            _compose_and_run()
        sys.stdout.flush()
    except UserError as error:
        sys.exit(_print_error(error))
    except (Interrupted, KeyboardInterrupt) as stop:
        number = stop.signal if isinstance(stop, Interrupted) else 2
        print("stopped" if word else "stopped; go on with resume=auto", file=sys.stderr)
        sys.exit(128 + number)
    except BrokenPipeError:
        if not _stdout_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # which Python flushes at its end
        sys.exit(128 + signal.SIGPIPE)
    sys.exit(max(exit_codes.job_exit_codes, default=0))


def _stdout_closed() -> bool:
    """Whether whoever read our output has seen enough: `pipeline runs | head`. Other pipes break for other reasons."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _compose_and_run() -> None:
    import hydra
    from hydra.types import RunMode

    from pipeline.config.compose import CONF, compose, effective_overrides, register_resolvers, swept_keys
    from pipeline.runs.paths import check_name, check_working_folder, check_writable

    check_working_folder()
    # argparse gives up on overrides on both sides of a flag (`a=1 -m b=2`): flags first
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: "=" in word and not word.startswith("-"))
    arguments = _flags()
    typed = arguments.overrides
    sys.argv[1:] = [word for word in sys.argv[1:] if word not in typed] + effective_overrides(typed)
    if not (arguments.hydra_help or arguments.shell_completion):
        made = compose(arguments.overrides, config_dir=arguments.config_dir)
        config = made.config
        searching = bool(config.search.rounds) and not config.search.job
        if (keys := swept_keys(arguments.overrides)) and not (arguments.multirun or arguments.cfg or searching):
            raise UserError("takes one value; to sweep over several add --multirun.", field=keys[0])
        if searching and not (arguments.cfg or arguments.multirun):
            sys.argv[1:1] = ["--multirun"]  # a search is one
        if arguments.cfg == "job" and not arguments.package:
            return _print_config(config, resolve=arguments.resolve)
        if not (arguments.cfg or arguments.info):
            check_name(config.name)
            check_writable(Path(str(config.outputs)))
            if searching:
                _warm_up(config)
            elif not arguments.multirun and made.hydra.mode in (None, RunMode.RUN):
                return _run(made)
    os.environ["PIPELINE_SWEPT"] = ",".join(swept_keys(arguments.overrides))  # for jobs in other processes too
    register_resolvers()
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(_job)()


def _run(made: Composition) -> None:
    """The job, as Hydra's launchers start one. hydra.main would compose the same twice more, half of what comes before
    the first step beside imports."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.utils import run_and_report
    from hydra.core.utils import run_job
    from hydra.types import HydraContext

    config = made.with_hydra()
    context = HydraContext(config_loader=made.loader, callbacks=Callbacks())
    run_and_report(
        lambda: (
            run_job(
                task_function=_job,
                config=config,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
                hydra_context=context,
            ).return_value
        )
    )


def _warm_up(config: DictConfig) -> None:
    """A search's workers import torch while the rest is looked at."""
    from pipeline.config.plain import to_dict
    from pipeline.search.settings import read_settings, threads_per_worker, worker_count
    from pipeline.search.workers.pool import start_forkserver

    settings = read_settings(to_dict(config.search))
    if not settings.dry_run:
        start_forkserver(threads_per_worker(settings, worker_count(settings)))


class _Flags(ArgumentParser):
    """Hydra's flags; complaints about them are ours."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. --help lists what there is.")


def _flags() -> Namespace:
    """The command line as Hydra reads it."""
    from hydra._internal.utils import get_args_parser

    arguments, unknown = _Flags(parents=[get_args_parser()], add_help=False).parse_known_args()
    for flag in unknown:
        meant = did_you_mean(flag.partition("=")[0], [*FLAGS, *HYDRA_FLAGS])
        dashless = f" Options and keys have no dashes: {flag.lstrip('-').partition('=')[0]}=..."
        raise UserError(f"there is no flag {flag!r}.{meant or dashless} --help lists what there is.")
    for flag in ("config_name", "config_path", "experimental_rerun"):  # past what is checked here
        if getattr(arguments, flag):
            raise UserError(
                "the configuration is the program's own; --config-dir adds options of yours, experiment=FILE a recipe.",
                field=f"--{flag.replace('_', '-')}",
            )
    return arguments


def _print_config(config: DictConfig, *, resolve: bool) -> None:
    """What Hydra prints for `--cfg job`, without composing a second time."""
    from omegaconf import OmegaConf

    if resolve:
        OmegaConf.resolve(config)
    print(OmegaConf.to_yaml(config), end="")


def _job(config: DictConfig) -> JobExitCode:
    """One run. Its verdict is returned and not raised, so that one failed job does not end a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pipeline.workflow.runner import run

    job = HydraConfig.get()
    if config.search.job:
        from pipeline.search.run import work

        return JobExitCode(work(config))
    code = 1
    try:
        if job.mode == RunMode.MULTIRUN:
            _drop_evaluate_in_sweep(config, job)
        directory = Path(job.runtime.output_dir)
        folders = [source.path for source in job.runtime.config_sources if source.provider == "command-line"]
        code = run(
            config,
            overrides=list(job.overrides.task),
            directory=directory,
            config_dir=next(iter(folders), None),
        ).exit_code
    except UserError as error:
        code = _print_error(error)
    except Exception:
        if job.mode != RunMode.MULTIRUN:
            raise
        traceback.print_exc()
    return JobExitCode(code)


def _drop_evaluate_in_sweep(config: DictConfig, job: HydraConf) -> None:
    """Leave `evaluate` out of a sweep's jobs: whoever chooses by test scores has no test split left.

    A sweep over nothing but seeds chooses nothing.
    """
    from omegaconf import open_dict

    typed = {key for key in os.environ.get("PIPELINE_SWEPT", "").split(",") if key}
    keys = typed | set(job.sweeper.get("params") or {})
    only_seeds = keys <= {"seed"} and str(job.sweeper._target_).endswith("BasicSweeper")
    if "evaluate" in config.stages and not only_seeds:
        if len(config.stages) == 1:
            raise UserError("a sweep does not touch the test split; evaluate the one that you choose.", field="stage")
        with open_dict(config):
            del config.stages["evaluate"]


def _print_error(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
