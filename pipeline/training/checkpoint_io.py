"""Lets Lightning save and load checkpoints as the rest of the program does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import TorchCheckpointIO

from pipeline.training import checkpoints


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lets Lightning save and load with the functions of `checkpoints`.

    Its own way goes through $TMPDIR, from where the last move can be a copy, which a kill leaves half written.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoints.save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoints.load(Path(path), field="resume")
