"""Whether the drawing of an image that is not opaque can still be seen on a ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in grey (ITU-R BT.601)
_LOST = 0.05  # spread on the ground / spread of the opacity; a drawing of black on white has 1


def lost_drawings(image: np.ndarray, grounds: Sequence[tuple[int, int, int]], *, grayscale: bool) -> list[bool]:
    """Return for each ground (red, green, blue) whether the drawing in `image` (H, W, 4) hardly differs from it.

    On a ground g a pixel of colour c and opacity a becomes a c + (1 - a) g. The drawing is lost where the standard
    deviation of these values (of the channel that varies most, or of grey with `grayscale`) is below a twentieth of
    that of the opacity. An image of one opacity everywhere has no drawing that a ground could hide.
    """
    opacity = image[..., 3:] / 255
    spread = float(opacity.std())
    if not spread:
        return [False] * len(grounds)
    composed = [opacity * image[..., :3] + (1 - opacity) * np.array(ground) for ground in grounds]
    if grayscale:
        composed = [values @ _LUMA[:, None] for values in composed]
    return [bool(values.std((0, 1)).max() < _LOST * 255 * spread) for values in composed]
