"""The jobs that Hydra starts: one run of the stages each, or a share of a search."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from pipeline.cli.exit_codes import JobExitCode, print_error_of_user_code, print_user_error
from pipeline.errors import CRASHED, UserError, user_frames

SWEPT_KEYS = "PIPELINE_SWEPT"
"""Environment variable with the keys that a multirun sweeps over, for jobs in other processes."""


def run_multirun_job(config: DictConfig) -> JobExitCode:
    """Run one job of a multirun, in the process that a launcher has started for it.

    The exit code is returned and nothing is raised, so that a failed job does not end the others.
    """
    job = HydraConfig.get()
    config_dirs = [source.path for source in job.runtime.config_sources if source.provider == "command-line"]
    try:
        _drop_evaluate_in_sweep(config, job)
        return run_in_job_dir(config, job, config_dir=next(iter(config_dirs), None))
    except UserError as error:
        return JobExitCode(print_user_error(error))
    except Exception as error:  # noqa: BLE001 - a crash of one job, whose traceback is printed, does not end the others
        if not user_frames(error):
            traceback.print_exc()
            return JobExitCode(CRASHED)
        return JobExitCode(print_error_of_user_code(error))


def run_in_job_dir(config: DictConfig, job: HydraConf, *, config_dir: str | None) -> JobExitCode:
    """Run the stages in the directory that Hydra made for `job`, or help with a search that a launcher works on."""
    if config.search.job:
        from pipeline.search.run import join_search

        return JobExitCode(join_search(config, number=job.job.num))
    from pipeline.workflow.runner import run

    directory = Path(job.runtime.output_dir)
    result = run(config, overrides=list(job.overrides.task), directory=directory, config_dir=config_dir)
    return JobExitCode(result.exit_code)


def _drop_evaluate_in_sweep(config: DictConfig, job: HydraConf) -> None:
    """Remove the stage `evaluate` from the job of a sweep: whoever chooses by test scores has no test split left.

    A sweep over nothing but seeds chooses nothing and keeps it. Raises `UserError` if no other stage remains.
    """
    typed = {key for key in os.environ.get(SWEPT_KEYS, "").split(",") if key}
    keys = typed | set(job.sweeper.get("params") or {})
    only_seeds = keys <= {"seed"} and str(job.sweeper._target_).endswith("BasicSweeper")
    if "evaluate" in config.stages and not only_seeds:
        if len(config.stages) == 1:
            raise UserError(
                "a sweep does not use the test split. Evaluate the run that you choose afterwards.", field="stage"
            )
        with open_dict(config):
            del config.stages["evaluate"]
