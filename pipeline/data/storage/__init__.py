"""Where the pixels of a data set are kept: in memory, in a cache file that is mapped, or in the user's files alone."""

from __future__ import annotations

from pipeline.data.storage.settling import settle

__all__ = ["settle"]
