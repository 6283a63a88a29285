"""Convert a composed configuration to plain data. Importing this takes half the time of importing `compose`."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import UserError


def to_dict(config: DictConfig) -> dict[str, Any]:
    """Return the configuration as dictionaries, lists, numbers and strings, with every interpolation resolved.

    Raises `UserError` with the key whose interpolation cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(
            str(error).strip().splitlines()[0], field=str(getattr(error, "full_key", "")) or None
        ) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
