"""The sweeper of `search=`: the shell that Hydra requires to live under this name. All else is in pipeline/search/."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StagedSearch(Sweeper):
    """Hands what was typed to `pipeline.search.run`, which ends the program with its exit code."""

    def __init__(self, params: dict[str, str]):
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from pipeline.search.run import search

        params = [f"{key}={value}" for key, value in self.params.items()]
        raise SystemExit(search(self.config, [*params, *arguments], launch=self._launch))

    def _launch(self, jobs: list[list[str]], directory: str) -> None:
        """Run each list of overrides as a job of the configured launcher; returns when all have ended."""
        from hydra.core.plugins import Plugins
        from omegaconf import open_dict

        with open_dict(self.config):
            self.config.hydra.sweep.dir, self.config.hydra.sweep.subdir = directory, "jobs/${hydra.job.num}"
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
        for result in launcher.launch(jobs, initial_job_idx=0):
            _ = result.return_value  # raises what the job raised
