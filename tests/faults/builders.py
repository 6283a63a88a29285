"""The registry of what makes data: `BUILDERS` of arrays and `FOLDER_BUILDERS` of image files.

A builder returns arrays by name: `x_train` and `y_train`, and where the mistake is between splits, `x_val` and so on;
a builder of a folder returns images by their path in it. Both depend on their arguments alone, not on the run's seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Arrays = dict[str, Array]
Files = dict[str, Image.Image]
BUILDERS: dict[str, Callable[..., Arrays]] = {}
FOLDER_BUILDERS: dict[str, Callable[..., Files]] = {}


def builder(function: Callable[..., Arrays]) -> Callable[..., Arrays]:
    BUILDERS[function.__name__] = function
    return function


def folder_builder(function: Callable[..., Files]) -> Callable[..., Files]:
    FOLDER_BUILDERS[function.__name__] = function
    return function


def generator() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(20))
