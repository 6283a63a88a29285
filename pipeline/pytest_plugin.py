"""The pytest plugin: the fixture `training_checks`. It loads torch when a test uses it, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pipeline.watching.findings import Findings


@pytest.fixture
def training_checks() -> Callable[..., Findings]:
    """Return `pipeline.preflight` without its output: `training_checks(MyNet(), batch=(x, y), loss=f).ok()`.

    `ok()` fails the test with all findings if one is a failure; `ok("warning")` if one is a warning;
    `ok(allow=["frozen_weights"])` accepts a check by name.
    """

    def check(model: Any, batch: Any, **arguments: Any) -> Findings:
        from pipeline import preflight

        return preflight(model, batch, **arguments, quiet=True)

    return check
