"""The device that a run computes on, and which of several processes this one is."""

from __future__ import annotations

import datetime
import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pipeline import validation
from pipeline.errors import UserError
from pipeline.workflow.process_setup import available_cores, cache_entry_points

if TYPE_CHECKING:
    import pytorch_lightning as pl

CHUNK_SIZE, GPU_CHUNK_SIZE = 10, 50
"""Optimizer steps in one step of Lightning, which takes 0.4 to 2 ms by itself; a small step on a GPU takes 0.1 ms."""


@dataclass(frozen=True)
class DeviceConfig:
    """The device that a run computes on, and how Lightning uses it; the keys of `trainer`."""

    accelerator: str
    devices: int
    precision: str
    strategy: str
    sync_batchnorm: bool
    timeout: float
    accumulate: int
    steps_per_call: int | str
    channels_last: bool
    cuda_graph: bool | str
    deterministic: bool
    images_on: str

    def __post_init__(self) -> None:
        validation.one_of("accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        validation.one_of("precision", str(self.precision), ("32-true", "bf16-mixed", "16-mixed"))
        validation.one_of("strategy", self.strategy, ("auto", "ddp"))
        validation.boolean("sync_batchnorm", self.sync_batchnorm)
        validation.number("timeout", self.timeout, above=0)
        validation.integer("accumulate", self.accumulate, at_least=1)
        if self.steps_per_call != "auto":
            validation.integer("steps_per_call", self.steps_per_call, at_least=1)
        validation.boolean("channels_last", self.channels_last)
        if self.cuda_graph != "auto":
            validation.boolean("cuda_graph", self.cuda_graph)
        validation.boolean("deterministic", self.deterministic)
        validation.one_of("images_on", self.images_on, ("auto", "device", "host"))
        accelerators = count_accelerators()
        if self.accelerator != "auto" and self.accelerator not in accelerators:
            raise UserError(
                f"this machine has no {self.accelerator}, only {', '.join(accelerators)}. Try trainer=auto.",
                field="accelerator",
            )
        available = accelerators[self.kind]
        validation.integer(
            "devices",
            self.devices,
            at_least=1,
            at_most=available,
            hint=f"This machine has {available} for trainer.accelerator={self.accelerator}.",
        )
        if self.devices > 1 and _is_one_of_several_copies():
            raise UserError(
                "torchrun or srun started several copies of this program, and each would start processes of its own. "
                "Start the program once (srun --ntasks=1): it starts the others itself.",
                field="devices",
            )
        if self.cuda_graph is True and self.kind != "gpu":
            raise UserError(f"a CUDA graph needs a GPU, and this run uses {self.kind}. Try auto.", field="cuda_graph")
        if self.sync_batchnorm and self.kind != "gpu":
            raise UserError(
                f"torch has synchronized batchnorm for gpu only, not for {self.kind}. Try batchnorm=none, or false: "
                "each process then normalizes by its own share of the batch.",
                field="sync_batchnorm",
            )

    @property
    def kind(self) -> str:
        """The accelerator in use: gpu, mps or cpu. `auto` is the fastest that this machine has."""
        return self.accelerator if self.accelerator != "auto" else next(iter(count_accelerators()))

    @property
    def device(self) -> torch.device:
        return torch.device({"gpu": "cuda", "mps": "mps", "cpu": "cpu"}[self.kind])

    @property
    def chunk_size(self) -> int:
        """The number of optimizer steps in one step of Lightning.

        `auto` is 10 on the CPU. A GPU computes while Lightning's own 0.5 ms pass, so that it gets more at once.
        """
        if isinstance(self.steps_per_call, str):
            return GPU_CHUNK_SIZE if self.kind == "gpu" else CHUNK_SIZE
        return self.steps_per_call

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The type that passes are computed in, or None for float32."""
        return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)

    def autocast(self) -> Any:
        """Return the context manager in which Lightning runs a pass at this precision."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def make_trainer(self, *, rank: ProcessRank | None = None, **options: Any) -> pl.Trainer:
        """Return a Lightning trainer without anything that `options` do not ask for.

        It trains on one device, unless `rank` is one of several processes.
        """
        import pytorch_lightning as pl

        cache_entry_points()
        is_alone = rank is None or rank.world_size == 1
        defaults: dict[str, Any] = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # the classifier deals out each batch
        }
        return pl.Trainer(
            accelerator=self.kind,
            devices=1 if is_alone else self.devices,
            precision=self.precision,  # type: ignore[arg-type]
            strategy="auto" if rank is None or is_alone else self._make_ddp_strategy(rank),
            sync_batchnorm=self.sync_batchnorm and not is_alone,
            **(defaults | options),
        )

    def _make_ddp_strategy(self, rank: ProcessRank) -> Any:
        """Let torch's DDP average gradients. The classifier shares running statistics itself, once an epoch."""
        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(
            cluster_environment=rank.lightning_environment(),
            timeout=datetime.timedelta(seconds=self.timeout),
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


@dataclass(frozen=True)
class ProcessRank:
    """Which of the `world_size` processes of a training this one is, and the address at which they meet."""

    rank: int = 0
    world_size: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    def lightning_environment(self) -> Any:
        """Return the same for Lightning. It starts no processes, since all of them run already."""
        from lightning_fabric.plugins.environments import LightningEnvironment

        process = self

        class Environment(LightningEnvironment):
            creates_processes_externally = True
            main_address = process.address
            main_port = process.port

            def local_rank(self) -> int:
                return process.rank

        return Environment()


def _is_one_of_several_copies() -> bool:
    """Return whether torchrun or srun started this program several times. srun's first copy cannot know."""
    copies, task = os.environ.get("WORLD_SIZE", ""), os.environ.get("SLURM_PROCID", "")
    return (copies.isdigit() and int(copies) > 1) or (task.isdigit() and int(task) > 0)


@functools.cache
def count_accelerators() -> dict[str, int]:
    """Return how many devices of each kind this machine has, the fastest kind first. For cpu: usable cores."""
    counts = {}
    if torch.cuda.is_available():
        counts["gpu"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        counts["mps"] = 1
    counts["cpu"] = available_cores()
    return counts
