"""The sweeper of `search=`. Hydra requires sweepers to be in this package; the search itself is in pipeline/search/."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StagedSearch(Sweeper):
    """Passes what was typed to `pipeline.search.run.run_search`, and ends the program with its exit code."""

    def __init__(self, params: dict[str, str]):
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Receive from Hydra what a launcher needs."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the search."""
        from pipeline.search.run import run_search

        params = [f"{key}={value}" for key, value in self.params.items()]
        raise SystemExit(run_search(self.config, [*params, *arguments], launch=self._launch))

    def _launch(self, jobs: list[list[str]], directory: str) -> None:
        """Run each list of overrides as a job of the configured launcher, and return when all have ended."""
        from hydra.core.plugins import Plugins
        from omegaconf import open_dict

        with open_dict(self.config):
            self.config.hydra.sweep.dir, self.config.hydra.sweep.subdir = directory, "jobs/${hydra.job.num}"
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
        )
        for result in launcher.launch(jobs, initial_job_idx=0):
            _ = result.return_value  # raises the exception of the job
