"""Packages that only some options need: the extras of pyproject.toml."""

from __future__ import annotations

from importlib.util import find_spec

from pipeline.errors import UserError


def require(package: str, *, extra: str, field: str = "") -> None:
    """Raises `UserError` where `package` is not installed, with the command that installs it. Imports nothing.

    `field` is the key that asked for it; by default the whole node that is being built.
    """
    if find_spec(package) is None:
        raise UserError(
            f"needs the package {package}. Install it: pip install 'staged-training-pipeline[{extra}]'", field=field
        )
