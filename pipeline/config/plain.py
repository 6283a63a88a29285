"""A configuration as plain data."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import UserError


def to_dict(config: DictConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists, numbers and words, every interpolation resolved."""
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(
            str(error).strip().splitlines()[0], field=str(getattr(error, "full_key", "")) or None
        ) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
