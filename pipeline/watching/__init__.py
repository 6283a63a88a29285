"""Checks for anybody's training loop: before it starts (`preflight`) and while it runs (`watch`).

Importing this room imports neither Hydra nor Lightning. Nothing here changes a model: weights, buffers, gradients,
modes and random numbers are left as they were found.
"""

from pipeline.watching.errors import PreflightError
from pipeline.watching.findings import Findings
from pipeline.watching.preflight import preflight
from pipeline.watching.watch import Watch

__all__ = ["Findings", "PreflightError", "Watch", "preflight"]
