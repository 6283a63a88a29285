"""The versions of the packages that decide what a run computes. No package is imported."""

from __future__ import annotations

import contextlib
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("staged-training-pipeline", "torch", "torchvision", "pytorch-lightning", "hydra-core")


def installed_versions() -> dict[str, str]:
    """Return the version of each of `PACKAGES` that is installed."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
