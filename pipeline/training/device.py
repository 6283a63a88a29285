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
from pipeline.training.clipping import GradientClipping
from pipeline.training.launcher import AGENT_STORE, is_joint_training, launched_process
from pipeline.workflow.process_setup import available_cores, cache_entry_points

if TYPE_CHECKING:
    import pytorch_lightning as pl

TORCH_NAMES = {"gpu": "cuda", "mps": "mps", "cpu": "cpu"}
"""What torch calls the device of each kind of accelerator."""
AUTO = "auto"
AMP_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""What passes are computed in, by `trainer.precision`; None: in the type of the weights."""
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
    clip_norm: float | None
    clip_value: float | None
    ema: float | None

    def __post_init__(self) -> None:
        validation.one_of("accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps"))
        validation.one_of("precision", str(self.precision), (AUTO, *AMP_DTYPES))
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
        GradientClipping(self.clip_norm, self.clip_value)
        if self.ema is not None:
            validation.number("ema", self.ema, above=0, below=1)
        accelerators = count_accelerators()
        if self.accelerator != "auto" and self.accelerator not in accelerators:
            raise UserError(
                f"this machine has no {self.accelerator}, only {', '.join(accelerators)}. Try trainer=auto.",
                field="accelerator",
            )
        self._validate_devices(accelerators[self.kind])
        if self.cuda_graph is True and self.kind != "gpu":
            raise UserError(f"a CUDA graph needs a GPU, and this run uses {self.kind}. Try auto.", field="cuda_graph")
        if self.sync_batchnorm and self.kind != "gpu":
            raise UserError(
                f"torch has synchronized batchnorm for gpu only, not for {self.kind}. Try batchnorm=none, or false: "
                "each process then normalizes by its own share of the batch.",
                field="sync_batchnorm",
            )

    def _validate_devices(self, available: int) -> None:
        """Raise `UserError` unless each process gets a device, `available` of which this machine has."""
        process = launched_process()
        if process is None or self.devices == 1:
            validation.integer(
                "devices",
                self.devices,
                at_least=1,
                at_most=available,
                hint=f"This machine has {available} for trainer.accelerator={self.accelerator}.",
            )
        else:
            process.validate_devices(self.devices, is_joint_training=is_joint_training())
            process.validate_machine(available)

    @property
    def kind(self) -> str:
        """The accelerator in use: gpu, mps or cpu. `auto` is the fastest that this machine has."""
        return self.accelerator if self.accelerator != "auto" else next(iter(count_accelerators()))

    @property
    def device(self) -> torch.device:
        return torch.device(TORCH_NAMES[self.kind])

    @property
    def chunk_size(self) -> int:
        """The number of optimizer steps in one step of Lightning.

        `auto` is 10 on the CPU. A GPU computes while Lightning's own 0.5 ms pass, so that it gets more at once.
        """
        if isinstance(self.steps_per_call, str):
            return GPU_CHUNK_SIZE if self.kind == "gpu" else CHUNK_SIZE
        return self.steps_per_call

    @property
    def clipping(self) -> GradientClipping:
        """What gradients are limited to before each update."""
        return GradientClipping(self.clip_norm, self.clip_value)

    @property
    def amp_dtype(self) -> torch.dtype | None:
        """The type that passes are computed in, or None for float32."""
        return AMP_DTYPES[self.number_format]

    @property
    def number_format(self) -> str:
        """The precision in use: `auto` is bf16-mixed on a GPU that computes with such numbers, and else 32-true."""
        if self.precision != AUTO:
            return self.precision
        return "bf16-mixed" if self.kind == "gpu" and has_bf16() else "32-true"

    @property
    def may_emulate_precision(self) -> bool:
        """Whether passes are in reduced precision and the device may lack instructions for it.

        A GPU that has them needs no stopwatch: a small network's eager pass would show the launches of casts.
        """
        return self.amp_dtype is not None and not (self.kind == "gpu" and has_bf16())

    def autocast(self) -> Any:
        """Return the context manager in which Lightning runs a pass at this precision."""
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def make_trainer(self, *, rank: ProcessRank | None = None, **options: Any) -> pl.Trainer:
        """Return a Lightning trainer without anything that `options` do not ask for.

        It trains on one device, unless `rank` is one of several processes.
        """
        import pytorch_lightning as pl

        cache_entry_points()
        rank = rank or ProcessRank()
        is_alone = rank.world_size == 1
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
            devices=[self.gpu_index(rank)] if self.kind == "gpu" and not is_alone else 1,
            num_nodes=rank.world_size,
            precision=self.number_format,  # type: ignore[arg-type]  # a str; Lightning lists each word
            strategy="auto" if is_alone else self._make_ddp_strategy(),
            sync_batchnorm=self.sync_batchnorm and not is_alone,
            # always ours: Lightning would take the variables of a launcher for its own
            plugins=[*options.pop("plugins", ()), rank.lightning_environment()],
            **(defaults | options),
        )

    def gpu_index(self, rank: ProcessRank) -> int:
        """Return the number of the process's own GPU. srun may show each process no other one: then that is 0."""
        return rank.local_rank if rank.local_rank < count_accelerators()["gpu"] else 0

    def select_gpu(self, rank: ProcessRank) -> None:
        """Let `device` mean the process's own GPU from here on."""
        if self.kind == "gpu":
            torch.cuda.set_device(self.gpu_index(rank))

    def _make_ddp_strategy(self) -> Any:
        """Let torch's DDP average gradients. The classifier shares running statistics itself, once an epoch."""
        from pytorch_lightning.strategies import DDPStrategy

        os.environ.pop(AGENT_STORE, None)  # torchrun does not serve the port at which this training meets
        return DDPStrategy(
            timeout=datetime.timedelta(seconds=self.timeout),
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )


@dataclass(frozen=True)
class ProcessRank:
    """Which of the `world_size` processes of a training this one is, and the address at which they meet."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Its number among the processes on its machine."""
    address: str = "127.0.0.1"
    port: int = 0

    def lightning_environment(self) -> Any:
        """Return the same for Lightning. It starts no processes, since all of them run already.

        Each process passes for a machine of one device: then Lightning asks for no equal numbers on all machines.
        """
        from lightning_fabric.plugins.environments import LightningEnvironment

        process = self

        class Environment(LightningEnvironment):
            creates_processes_externally = True
            main_address = process.address
            main_port = process.port

            def local_rank(self) -> int:
                return 0

            def node_rank(self) -> int:
                return process.rank

            def teardown(self) -> None:
                """Keep WORLD_SIZE in the environment, which Lightning would remove."""

        return Environment()


@functools.cache
def has_bf16() -> bool:
    """Return whether the GPU has instructions for bfloat16. torch emulates them where it has not."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


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
