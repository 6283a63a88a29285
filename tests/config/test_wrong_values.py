"""A wrong value is refused under the key with which it was typed."""

from __future__ import annotations

import copy

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pipeline.errors import UserError
from pipeline.workflow.build import build_components

VALUES = {
    "+optimizer.lrr=1": "optimizer.lrr",
    "optimizer.lr=abc": "optimizer.lr",
    "optimizer.lr=": "optimizer.lr",
    "optimizer.lr=nan": "optimizer.lr",
    "optimizer._target_=torch.load": "optimizer._target_",
    "optimizer._partial_=false": "optimizer",
    "optimizer.lr=${sed}": "optimizer.lr",
    "+activation.inplce=true": "activation.inplce",
    "activation._partial_=false": "activation",
    "model.width=0": "model.width",
    "model.depth=1.5": "model.depth",
    "+model.widht=3": "model.widht",
    "init.bias=x": "init.bias",
    "batchnorm.momentum=2": "batchnorm.momentum",
    "batchnorm.recompute=1": "batchnorm.recompute",
    "regularization.l2=-1": "regularization.l2",
    "regularization.dropout=1": "regularization.dropout",
    "loss.label_smoothing=1.5": "loss.label_smoothing",
    "schedule.interval=steps": "schedule.interval",
    "data.batch_size=-3": "data.batch_size",
    "data.batch_size=2000": "data.batch_size",
    "data.limit=0": "data.limit",
    "data.validation=1.5": "data.validation",
    "data.split_seed=x": "data.split_seed",
    "seed=-1": "seed",
    "seed=1e400": "seed",
    "name=a/b": "name",
    "verbose=3": "verbose",
    "trainer.precision=16": "trainer.precision",
    "trainer.devices=9999": "trainer.devices",
    "checks.fail_on=error": "checks.fail_on",
    "checks.rules.initial_loss.warning=-1": "checks.rules.initial_loss.warning",
    "stages.train.epochs=0": "stages.train.epochs",
    "stages.overfit.examples=5000": "stages.overfit.examples",
    # a value where a mapping is needed
    "stages=3": "stages",
    "stages.train=3": "stages.train",
    "checks.rules=none": "checks.rules",
    "init.weight=he": "init.weight",
    "schedule.scheduler=cosine": "schedule.scheduler",
    "data.source=3": "data.source",
    "tags=3": "tags",
}


def test_fields(digits: DictConfig) -> None:
    """The field of the error is the key, or a key below it."""
    for typed, field in VALUES.items():
        config = copy.deepcopy(digits)
        override = OverridesParser.create().parse_override(typed)
        OmegaConf.update(config, override.key_or_group, override.value(), force_add=True)
        with pytest.raises(UserError) as error:
            build_components(config)
        assert str(error.value.field).startswith(field), typed
