"""Flags that go with overrides. They are Hydra's; those that nobody types are left to --hydra-help."""

from __future__ import annotations

FLAGS = {
    "--help": "this page; --hydra-help: what else Hydra can do",
    "--cfg": "job: print every key with its value and run nothing",
    "--resolve": "with --cfg job: with ${...} worked out",
    "--multirun": "run every combination of values with commas (-m)",
    "--config-dir": "a folder of your own options, laid out as conf/ is: FOLDER/optimizer/slow.yaml",
    "--version": "versions of this program and of what it stands on",
}
HYDRA_FLAGS = ("--hydra-help", "--package", "--run", "--info")


def print_versions() -> int:
    """Of the program and of what decides a run's numbers."""
    from importlib.metadata import PackageNotFoundError, version

    for package in ("staged-training-pipeline", "torch", "torchvision", "pytorch-lightning", "hydra-core"):
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} is not installed")
    return 0
