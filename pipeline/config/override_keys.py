"""The keys of overrides, read from their text. No Hydra is needed."""

from __future__ import annotations

from collections.abc import Sequence


def override_key(override: str) -> str:
    """Return the key that `override` sets, adds or removes.

    It is `optimizer.lr` for `optimizer.lr=0.1`, `+optimizer.lr=0.1`, `++optimizer.lr=0.1` and `~optimizer.lr`, and
    `optimizer` for `optimizer@package=adam`.
    """
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def effective_overrides(overrides: Sequence[str]) -> list[str]:
    """Return `overrides` without those that a later override of the same key, or of a node above it, replaces.

    A remedy can so be appended to any command: in `init=small_gaussian init.weight.std=0 init=he` only the last one is
    in effect, since the second is about an option that is no longer chosen.
    """
    keys = [override_key(override) for override in overrides]
    last = {key: index for index, key in enumerate(keys) if keys.count(key) > 1}

    def is_replaced(index: int) -> bool:
        return any(index < later and f"{keys[index]}.".startswith(f"{key}.") for key, later in last.items())

    return [override for index, override in enumerate(overrides) if not is_replaced(index)]
