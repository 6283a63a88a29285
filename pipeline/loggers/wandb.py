"""The logger `wandb`: Weights & Biases, offline by default, so that nothing leaves the machine before `wandb sync`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline import validation
from pipeline.errors import UserError
from pipeline.loggers.base import LoggedRun, Logger, Writer
from pipeline.loggers.hyperparameters import flatten_config
from pipeline.validation import require_package

if TYPE_CHECKING:
    from numpy import ndarray

STEP = "trainer/global_step"
"""Metric that holds the step: the name that Lightning's logger gives it."""


@dataclass(frozen=True)
class WandB(Logger):
    """Writes <run>/logs/wandb. A resumed run continues under the same id, so `wandb sync` joins both parts."""

    quiet_modules: ClassVar[tuple[str, ...]] = ("wandb",)

    mode: Literal["offline", "online"]
    project: str
    entity: str | None
    histograms: bool

    def __post_init__(self) -> None:
        validation.one_of("mode", self.mode, ("offline", "online"))
        validation.boolean("histograms", self.histograms)
        require_package("wandb", extra="loggers")

    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        """Begin a run of Weights & Biases, or continue the one whose id is in `state`."""
        return _WandBWriter(run, state, self)


class _WandBWriter(Writer):
    def __init__(self, run: LoggedRun, state: Mapping[str, Any] | None, options: WandB):
        import wandb
        from pytorch_lightning.loggers import WandbLogger

        super().__init__(state)
        self.histograms = options.histograms
        run.logs.mkdir(parents=True, exist_ok=True)
        try:
            self.run = wandb.init(
                name=run.title,
                project=str(options.project),
                entity=options.entity,
                dir=str(run.logs),
                mode=options.mode,
                id=self.state.get("id"),
                resume="allow",
                reinit="create_new",  # a notebook's own run stays open
                config=flatten_config(run.config),
                tags=[str(tag) for tag in run.config.get("tags", ())],
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            raise UserError(f"Weights & Biases cannot begin a run: {error}", field="logger.wandb.mode") from error
        self.state["id"] = self.run.id
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)
        self.logger = WandbLogger(experiment=self.run)

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(values, step=step)

    def log_histogram(self, name: str, counts: ndarray, edges: ndarray, step: int) -> None:
        import wandb

        self.run.log({name: wandb.Histogram(np_histogram=(counts, edges)), STEP: step})

    def log_image(self, name: str, pixels: ndarray, step: int) -> None:
        self.logger.log_image(name, [pixels], step)

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        self.run.summary.update({**scores, "status": status})
        self.run.finish(exit_code=int(status not in ("passed", "superseded")))
