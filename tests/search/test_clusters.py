"""The same search through Hydra's launchers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pipeline.overrides import CONF, composed, register_resolvers
from pipeline.recipes import offer

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "docs" / "clusters" / "slurm.yaml"


def test_the_recipe_for_slurm_composes() -> None:
    composed([f"experiment={SLURM}", "data=digits"])
    offer(str(SLURM))
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"experiment={SLURM}", "hydra.launcher.partition=cpu"], return_hydra_config=True)
    node = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert isinstance(node, dict)
    assert node["_target_"] == "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    assert (node["partition"], node["cpus_per_task"], node["array_parallelism"]) == ("cpu", 4, 16)
    assert config.search.threads == config.hydra.launcher.cpus_per_task
    assert instantiate(node | {"submitit_folder": "x", "name": "y"}).params["timeout_min"] == 240


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_the_launchers_are_allowed(name: str) -> None:
    composed(["data=digits", f"hydra/launcher={name}"])
