"""Which processes work on a search: heartbeats in the storage, and the processes of this host."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from pipeline.search.study.storage import Storage

HEARTBEAT_SECONDS = 5.0
"""Seconds between two heartbeats."""
HEARTBEAT_TIMEOUT = 60.0
"""A process of another host counts as gone when its heartbeat has not changed for so many seconds. On this host the
table of processes decides."""
_KEY_PREFIX = "alive/"

Heartbeat = dict[str, Any]
"""Keys: `host`, `pid`, `since` (start time of the process), `beat` (time of the heartbeat by the sender's clock)."""


class WorkerIdentity:
    """The identity of this process among those that work on a search."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(6)
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.started_at = process_start_time(self.pid)

    def make_heartbeat(self) -> Heartbeat:
        """Return a heartbeat of the present moment."""
        return {"host": self.host, "pid": self.pid, "since": self.started_at, "beat": time.time()}


class HeartbeatRegistry:
    """The heartbeats of all processes that work on one study."""

    def __init__(self, storage: Storage, study_id: int, identity: WorkerIdentity):
        self.storage, self.study_id, self.identity = storage, study_id, identity
        self._last_changes: dict[str, tuple[float, float]] = {}
        """Maps each token to the last heartbeat seen and to the time, by our clock, at which it appeared."""
        self._last_sent = 0.0

    def send(self, *, now: bool = False) -> None:
        """Send a heartbeat if one is due, or at once (`now`)."""
        if now or time.monotonic() - self._last_sent >= HEARTBEAT_SECONDS:
            self._last_sent = time.monotonic()
            key = _KEY_PREFIX + self.identity.token
            self.storage.set_study_user_attr(self.study_id, key, self.identity.make_heartbeat())

    def remove(self) -> None:
        """Remove our heartbeat."""
        self.storage.set_study_user_attr(self.study_id, _KEY_PREFIX + self.identity.token, None)

    def all(self) -> dict[str, Heartbeat]:
        """Return all heartbeats by token."""
        return _heartbeats(self.storage.get_study_user_attrs(self.study_id))

    def alive_peers(self) -> list[Heartbeat]:
        """Return the heartbeats of the other processes that are alive."""
        peers = {token: beat for token, beat in self.all().items() if token != self.identity.token}
        return [beat for token, beat in peers.items() if self.is_alive(token, beat)]

    def leader(self) -> str:
        """Return the least token among the processes that are alive, ours included."""
        return min(
            token for token, beat in self.all().items() if token == self.identity.token or self.is_alive(token, beat)
        )

    def is_alive(self, token: str, heartbeat: Heartbeat | None) -> bool:
        """Return whether the process is alive.

        On this host: whether the process exists. On other hosts: whether its heartbeat changed within
        `HEARTBEAT_TIMEOUT`, by our clock. A process without a heartbeat has just claimed a trial, or was killed before
        it could send one; it counts as alive until the timeout.
        """
        if heartbeat is not None and heartbeat["host"] == self.identity.host:
            return process_start_time(heartbeat["pid"]) == heartbeat["since"]
        beat = heartbeat["beat"] if heartbeat else 0.0
        last_beat, changed_at = self._last_changes.get(token, (None, 0.0))
        if beat != last_beat:
            self._last_changes[token] = beat, time.monotonic()
            return True
        return time.monotonic() - changed_at < HEARTBEAT_TIMEOUT


def alive_workers(storage: Storage, search: str, identity: WorkerIdentity) -> list[Heartbeat]:
    """Return the heartbeats of the other processes that work on any round of the search `search`.

    Their own clocks decide, since there is no time to wait for a change.
    """
    alive: list[Heartbeat] = []
    for study in storage.get_all_studies():
        if study.study_name.rpartition(".")[0] == search:
            peers = [beat for token, beat in _heartbeats(study.user_attrs).items() if token != identity.token]
            alive += [beat for beat in peers if _is_alive_by_its_clock(beat, identity)]
    return alive


def _is_alive_by_its_clock(heartbeat: Heartbeat, identity: WorkerIdentity) -> bool:
    if heartbeat["host"] == identity.host:
        return process_start_time(heartbeat["pid"]) == heartbeat["since"]
    return abs(time.time() - heartbeat["beat"]) < HEARTBEAT_TIMEOUT


def _heartbeats(attributes: dict[str, Any]) -> dict[str, Heartbeat]:
    return {
        key.removeprefix(_KEY_PREFIX): beat for key, beat in attributes.items() if key.startswith(_KEY_PREFIX) and beat
    }


def process_start_time(pid: int) -> str | None:
    """Return when the process started, or None if there is none.

    The start time tells a process from a later one with the same number. Without /proc it is always the same text.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
