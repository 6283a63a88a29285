"""One composition for the tests that check overrides against it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from pipeline.config.check_overrides import check_key, check_option
from pipeline.config.compose import Composition, compose, compose_config
from pipeline.config.overrides import parse_overrides
from pipeline.errors import UserError


@pytest.fixture(scope="session")
def composition() -> Composition:
    """The default configuration. Composing takes 0.3 s, so it is shared: do not change it."""
    return compose([])


@pytest.fixture(scope="session")
def digits() -> DictConfig:
    """The default configuration with a small data set on the CPU. It is shared: do not change it."""
    return compose_config(["data=digits", "trainer=cpu"])


@pytest.fixture(scope="session")
def refused(composition: Composition) -> Callable[[str], UserError]:
    """Return a function that returns the error of an override, which is checked against the default configuration."""

    def check(text: str) -> None:
        (override,) = parse_overrides([text])
        if override.key_or_group in composition.loader.list_groups(""):
            check_option(override, composition.loader)
        else:
            check_key(override, composition.config, composition.loader)

    def error_of(text: str) -> UserError:
        with pytest.raises(UserError) as error:
            check(text)
        return error.value

    return error_of
