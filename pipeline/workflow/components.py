"""What a stage works with: `Components` say what is trained, `RunContext` says how this run goes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import nn
from torch.optim import Optimizer

from pipeline.checks import CheckSuite, Finding
from pipeline.data import Augmentation, Preprocessing, Splits
from pipeline.loggers import Logger, MultiLogger
from pipeline.model import Loss
from pipeline.signals.recorder import RecorderConfig
from pipeline.training.device import DeviceConfig
from pipeline.training.progress import Progress
from pipeline.training.schedule import Schedule
from pipeline.workflow.interrupt import InterruptHandler
from pipeline.workflow.outcome import Outcome


class Stage(ABC):
    """One step of the workflow."""

    key_metric: ClassVar[str | None] = None
    """The metric (or signal) by which two runs of the stage are compared: losses in nats, accuracy as a fraction."""
    is_fixable: ClassVar[bool] = True
    """Whether `fix=true` may try remedies where the stage fails."""
    needs_network: ClassVar[bool] = True
    """Whether the stage looks at the network and the loss at all."""
    fixes_warnings: ClassVar[bool] = False
    """Whether `fix=true` tries remedies for warnings too."""
    logged_metrics: ClassVar[tuple[str, ...] | None] = None
    """The metrics that loggers get when the stage ends; None: all numbers among them."""

    @abstractmethod
    def __call__(self, components: Components, context: RunContext, earlier: Sequence[Outcome]) -> Outcome:
        """Run the stage. `earlier` are the outcomes of the stages before it in this run."""

    def check_order(self, earlier: Sequence[str]) -> None:  # noqa: B027 - most stages need no other
        """Raise `UserError` where the stage needs another one that is not among the `earlier` ones."""

    def check_components(self, components: Components) -> None:  # noqa: B027 - most stages need no other
        """Raise `UserError` where the stage cannot run with what the configuration describes, before any stage runs."""


@dataclass(frozen=True)
class Components:
    """Everything that is built from the configuration. Built once, never changed, and equal in every process.

    `make_network()` returns a new network with the same initial bits at each call; `make_network(seed)` those of
    another seed.
    """

    name: str
    seed: int
    data: Splits
    batch_size: int
    preprocessing: Preprocessing
    augmentation: Augmentation
    make_network: Callable[..., nn.Module]
    channels_last: bool
    loss: Loss
    make_optimizer: Callable[..., Optimizer]
    lr: float
    schedule: Schedule
    l2: float
    sampling: str
    """How often an epoch visits each example: `pipeline.data.sampling`."""
    recompute_batchnorm: bool
    compile: bool
    """Whether the training's passes are compiled."""
    checks: CheckSuite
    recorder_config: RecorderConfig | None
    """How much is recorded while training; None: losses and accuracies only."""
    device_config: DeviceConfig
    stages: Mapping[str, Stage]
    loggers: Mapping[str, Logger]
    """The loggers that were chosen, by name; `RunContext.log` holds those that are open."""
    config: dict[str, Any]
    """The composed configuration as plain data, for the checkpoint."""
    layer_decay: float | None = None
    """The learning rate of a layer divided by that of the layer after it; None: all have the same."""
    weights: Mapping[str, Any] | None = None
    """The file that networks take their first weights from, and what of it fits (`WeightLoader.report`), if any."""

    @property
    def step_size(self) -> int:
        """Examples in one optimizer step, over all processes and accumulated minibatches."""
        return self.batch_size * self.device_config.accumulate


@dataclass(frozen=True)
class RunContext:
    """Where this run writes, where it continues from, and who listens to it."""

    directory: Path = Path()
    resume_from: Path | None = None
    """A checkpoint to continue from."""
    is_trial: bool = False
    """Whether this is one of many trials of a search: it saves no checkpoints and reports no findings as it trains."""
    overrides: Sequence[str] = ()
    """What the command sets, as it was typed."""
    save_images: bool = False
    """Whether stages keep images, and what else only a report shows."""
    interrupt_handler: InterruptHandler = field(default_factory=InterruptHandler)
    progress: Progress = lambda done, total, *, unit="steps", **numbers: None
    on_finding: Callable[[Finding], None] = lambda finding: None
    """Called with a finding that holds already while its stage runs."""
    on_epoch_end: Callable[[dict[str, float]], None] = lambda row: None
    """Called after each epoch of a training with its row of the history; may raise to end the training."""
    log: MultiLogger = field(default_factory=MultiLogger)
