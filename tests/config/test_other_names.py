"""Keys that other programs have are answered with ours, which exist."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from pipeline.config.compose import compose_config
from pipeline.config.options import CONF
from pipeline.config.other_names import OURS
from pipeline.errors import UserError


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("trainer.gradient_clip_val=1", "trainer.clip_norm"),
        ("optimizer.ema=0.99", "trainer.ema"),
        ("trainer.max_epochs=3", "stages.train.epochs"),
        ("learning_rate=0.1", "optimizer.lr"),
        ("schedule.warmup=0.1", "schedule=warmup_cosine schedule.scheduler.warmup"),
        ("++optimizer_.max_grad_norm=1", "trainer.clip_norm"),
    ],
)
def test_our_name(typed: str, ours: str) -> None:
    with pytest.raises(UserError) as error:
        compose_config([typed])
    assert error.value.field == typed.partition("=")[0].lstrip("+")
    assert f"'{ours}'" in error.value.message


def test_our_names_exist() -> None:
    config, warmup = compose_config([]), compose_config(["schedule=warmup_cosine"])
    for ours in " ".join(OURS).split():
        group, _, option = ours.partition("=")
        if option:
            assert (CONF / group / f"{option}.yaml").exists()
        else:
            node, _, last = ours.rpartition(".")
            assert last in OmegaConf.select(warmup if node == "schedule.scheduler" else config, node)
