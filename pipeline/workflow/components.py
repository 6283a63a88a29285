"""Everything a run is made of, typed, built once from the configuration and never changed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from pipeline import validation
from pipeline.checks import CheckSuite, Finding
from pipeline.data import Augmentation, Preprocessing, Splits
from pipeline.errors import UserError
from pipeline.loggers import Logger, MultiLogger
from pipeline.model import Loss
from pipeline.signals import RecorderConfig
from pipeline.training.schedule import Schedule
from pipeline.workflow.interrupt import InterruptHandler

if TYPE_CHECKING:
    import pytorch_lightning as pl


@dataclass(frozen=True)
class Outcome:
    """What a stage leaves: the entries of `stages` in outcome.json."""

    name: str
    passed: bool
    seconds: float
    headline: str
    """One line: the stage's result in words and numbers."""
    metrics: dict[str, Any]
    """Plain numbers, words, lists and dictionaries."""
    findings: tuple[Finding, ...] = ()
    signals: dict[str, Any] | None = None
    """Everything the checks saw, for signals.json."""
    images: Mapping[str, Any] | None = field(default=None, compare=False)
    """Small arrays to look at, for pictures.npz."""
    memory: dict[str, float | None] | None = None
    """Its peak (`pipeline.workflow.memory`), in MB: `process_mb`, and `device_mb` where the device has memory of its own."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": "passed" if self.passed else "failed",
            "seconds": round(self.seconds, 3),
            "headline": self.headline,
            "memory": self.memory,
            "metrics": self.metrics,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def all_findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    """All findings of some stages, in order."""
    return [finding for outcome in outcomes for finding in outcome.findings]


class Progress(Protocol):
    """Where a stage says how far it is, in what unit (empty: in parts of no rate), and the newest numbers."""

    def __call__(self, done: float, total: float, *, unit: str = "steps", **numbers: float) -> None: ...


class Stage(Protocol):
    """One step of the workflow: looks at the parts and at what earlier stages left, and leaves an outcome."""

    def __call__(self, parts: Components, earlier: Sequence[Outcome]) -> Outcome: ...


@dataclass(frozen=True)
class DeviceConfig:
    """The device and how Lightning uses it."""

    accelerator: str
    devices: int
    precision: str
    strategy: str
    sync_batchnorm: bool
    timeout: float
    accumulate: int
    steps_per_call: int
    channels_last: bool

    def __post_init__(self) -> None:
        validation.one_of("accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        validation.one_of("precision", str(self.precision), ("32-true", "bf16-mixed", "16-mixed"))
        validation.one_of("strategy", self.strategy, ("auto", "ddp"))
        validation.boolean("sync_batchnorm", self.sync_batchnorm)
        validation.number("timeout", self.timeout, above=0)
        validation.integer("accumulate", self.accumulate, at_least=1)
        validation.integer("steps_per_call", self.steps_per_call, at_least=1)
        validation.boolean("channels_last", self.channels_last)
        found = _accelerators()
        if self.accelerator != "auto" and self.accelerator not in found:
            raise UserError(
                f"no {self.accelerator} was found here; found: {', '.join(found)}. Try trainer=auto.",
                field="accelerator",
            )
        available = found[self._chosen]
        validation.integer(
            "devices",
            self.devices,
            at_least=1,
            at_most=available,
            hint=f"This machine has {available} for trainer.accelerator={self.accelerator}.",
        )
        if self.devices > 1 and _one_of_many():
            raise UserError(
                "this is one of several copies that torchrun or srun started, and each would start processes of its "
                "own. Start the program once (srun --ntasks=1): it starts the others itself.",
                field="devices",
            )
        if self.sync_batchnorm and self._chosen != "gpu":
            raise UserError(
                f"torch has no synchronized batchnorm for {self._chosen}, only for gpu. Try batchnorm=none, or false: "
                "each process then normalizes by its own share of the batch.",
                field="sync_batchnorm",
            )

    @property
    def _chosen(self) -> str:
        found = _accelerators()
        return self.accelerator if self.accelerator != "auto" else next(iter(found))

    @property
    def device(self) -> torch.device:
        return torch.device({"gpu": "cuda", "mps": "mps", "cpu": "cpu"}[self._chosen])

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """What passes are computed in, where that is not float32."""
        return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)

    def autocast(self) -> Any:
        """As Lightning runs a pass at this precision."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def trainer(self, *, place: ProcessRank | None = None, **options: Any) -> pl.Trainer:
        """A Lightning trainer without anything that was not asked for; on one device, unless it has its `place` among
        several processes."""
        import pytorch_lightning as pl

        _read_entry_points_once()
        alone = place is None or place.world_size == 1
        quiet: dict[str, Any] = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # the classifier deals out each batch
        }
        return pl.Trainer(
            accelerator=self._chosen,
            devices=1 if alone else self.devices,
            precision=self.precision,  # type: ignore[arg-type]
            strategy="auto" if place is None or alone else self._ddp(place),
            sync_batchnorm=self.sync_batchnorm and not alone,
            **(quiet | options),
        )

    def _ddp(self, place: ProcessRank) -> Any:
        """Gradients are averaged by torch's DDP; running statistics are left to the classifier, once an epoch."""
        import datetime

        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(
            cluster_environment=place.lightning_environment(),
            timeout=datetime.timedelta(seconds=self.timeout),
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


@dataclass(frozen=True)
class ProcessRank:
    """Which of the `world` processes of a training this one is, and where they meet."""

    rank: int = 0
    world_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    def lightning_environment(self) -> Any:
        """The same for Lightning: all processes are there already."""
        from lightning_fabric.plugins.environments import LightningEnvironment

        place = self

        class Environment(LightningEnvironment):
            creates_processes_externally = True
            main_address = place.address
            main_port = place.port

            def local_rank(self) -> int:
                return place.rank

        return Environment()


@dataclass(frozen=True)
class Components:
    """What the stages work with. `network()` gives a fresh network with the same initial bits each
    time, `network(seed)` that of another seed."""

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
    recompute_batchnorm: bool
    compile: bool
    """Whether the training's passes are compiled."""
    checks: CheckSuite
    recorder_config: RecorderConfig | None
    """How much is recorded while training; None: losses and accuracies only."""
    device_config: DeviceConfig
    stages: Mapping[str, Stage]
    loggers: Mapping[str, Logger]
    """Logs that were chosen, by name; `log` is what is open of them."""
    config: dict[str, Any]
    """The composed configuration as plain data, for the checkpoint."""
    save_images: bool = False
    """Whether stages leave pictures, and what else only a report shows."""
    directory: Path = Path()
    resume: Path | None = None
    """A checkpoint to go on from."""
    is_trial: bool = False
    """One of many of a search: leaves no checkpoints, and nobody listens to it while it trains."""
    on_epoch_end: Callable[[dict[str, float]], None] = lambda row: None
    """Called after each epoch of a training with its row of the history; may raise to end it."""
    stopper: InterruptHandler = field(default_factory=InterruptHandler)
    progress: Progress = lambda done, total, *, unit="steps", **numbers: None
    on_finding: Callable[[Finding], None] = lambda finding: None
    """Where a stage tells a finding that holds already while it runs."""
    log: MultiLogger = field(default_factory=MultiLogger)

    @property
    def step_size(self) -> int:
        """Examples in one optimizer step, over all processes and accumulated minibatches."""
        return self.batch_size * self.device_config.accumulate


@functools.cache
def _read_entry_points_once() -> None:
    """Each Trainer reads the entry points of every installed package, for callbacks that register themselves so: 30 to
    50 ms for each stage and each trial of a search. What is installed does not change while a process runs."""
    from lightning_fabric.utilities import registry

    setattr(registry, "entry_points", functools.cache(registry.entry_points))  # noqa: B010 - mypy knows a function


def _one_of_many() -> bool:
    """Whether a launcher has started this program several times: torchrun, or srun, whose first copy cannot know."""
    import os

    copies, place = os.environ.get("WORLD_SIZE", ""), os.environ.get("SLURM_PROCID", "")
    return (copies.isdigit() and int(copies) > 1) or (place.isdigit() and int(place) > 0)


@functools.cache
def _accelerators() -> dict[str, int]:
    """Kinds of device found here, fastest first, with their number. CPU processes are limited to the cores."""
    import os

    found = {}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        found["mps"] = 1
    found["cpu"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return found
