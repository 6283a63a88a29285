"""Who works on a search, and who of them is gone: signs of life in the storage, processes of this machine."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

HEARTBEAT_SECONDS = 5.0
"""Seconds between two signs of life."""
HEARTBEAT_TIMEOUT = 60.0
"""Without one for so long, an owner on another machine is gone. On this machine its process is looked for instead."""
_SIGN = "alive/"

Sign = dict[str, Any]
"""Host, pid, when the process began, and the time of the sign by its own clock."""


class WorkerIdentity:
    """Who takes trials: this process."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(6)
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.started_at = process_start_time(self.pid)

    def heartbeat_text(self) -> Sign:
        return {"host": self.host, "pid": self.pid, "since": self.started_at, "beat": time.time()}


class HeartbeatRegistry:
    """Of all who work on one study."""

    def __init__(self, storage: BaseStorage, study_id: int, me: WorkerIdentity):
        self.storage, self.study_id, self.me = storage, study_id, me
        self._heard: dict[str, tuple[float, float]] = {}
        self._beaten = 0.0

    def send(self, *, now: bool = False) -> None:
        """A sign of life, if one is due."""
        if now or time.monotonic() - self._beaten >= HEARTBEAT_SECONDS:
            self._beaten = time.monotonic()
            self.storage.set_study_user_attr(self.study_id, _SIGN + self.me.token, self.me.heartbeat_text())

    def remove(self) -> None:
        self.storage.set_study_user_attr(self.study_id, _SIGN + self.me.token, None)

    def all(self) -> dict[str, Sign]:
        """By token."""
        return _signs(self.storage.get_study_user_attrs(self.study_id))

    def alive_peers(self) -> list[Sign]:
        """Of those who live, without us."""
        return [sign for token, sign in self.all().items() if token != self.me.token and self.is_alive(token, sign)]

    def leader(self) -> str:
        """The token that is first by name of those who live, us among them."""
        return min(token for token, sign in self.all().items() if token == self.me.token or self.is_alive(token, sign))

    def is_alive(self, token: str, sign: Sign | None) -> bool:
        """On this machine, whether its process does; on another, whether its sign changed of late by our clock. An
        owner without a sign has just taken the row, or was killed before it could sign it."""
        if sign is not None and sign["host"] == self.me.host:
            return process_start_time(sign["pid"]) == sign["since"]
        beat = sign["beat"] if sign else 0.0
        before, since = self._heard.get(token, (None, 0.0))
        if beat != before:
            self._heard[token] = beat, time.monotonic()
            return True
        return time.monotonic() - since < HEARTBEAT_TIMEOUT


def alive_workers(storage: BaseStorage, search: str, me: WorkerIdentity) -> list[Sign]:
    """Signs of the other processes that work on any round of a search, by their clock: there is no time to listen."""
    found: list[Sign] = []
    for study in storage.get_all_studies():
        if study.study_name.rpartition(".")[0] == search:
            others = [sign for token, sign in _signs(study.user_attrs).items() if token != me.token]
            found += [sign for sign in others if _lives_by_its_clock(sign, me)]
    return found


def _lives_by_its_clock(sign: Sign, me: WorkerIdentity) -> bool:
    if sign["host"] == me.host:
        return process_start_time(sign["pid"]) == sign["since"]
    return abs(time.time() - sign["beat"]) < HEARTBEAT_TIMEOUT


def _signs(attributes: dict[str, Any]) -> dict[str, Sign]:
    return {key.removeprefix(_SIGN): sign for key, sign in attributes.items() if key.startswith(_SIGN) and sign}


def process_start_time(pid: int) -> str | None:
    """When a process began, so that a number that is given anew is told from the old one; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    try:  # without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"
