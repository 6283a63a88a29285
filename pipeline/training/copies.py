"""How the copies of this program that a launcher started find the first one, and what they send each other.

Each of the others keeps a connection to the first, over which both send lines of JSON. It is to them what standard
input and output are to a process that the first has started itself. Since the system closes it however a process ends,
each end learns at once that the other has gone.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.errors import UserError
from pipeline.training.launcher import LaunchedProcess, joint_training

HELLO_TIMEOUT = 5.0
"""Seconds until a copy has said which one it is. Anything else in the network may try the port too."""
RETRY_SECONDS = 0.2
STRANGERS = 100
"""Connections of others that may wait at the port while no copy is kept from it."""


class Connection:
    """One end of the connection between two copies."""

    def __init__(self, connected: socket.socket):
        self._socket, self._received = connected, b""

    def send(self, message: Any) -> None:
        """Send `message`. Where the other copy has ended nothing happens: `receive` says so."""
        with contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float | None = None) -> Any:
        """Return the next message. Raises `EOFError` if the other copy has ended, `TimeoutError` after `timeout` s."""
        while b"\n" not in self._received:
            self._socket.settimeout(timeout)
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                raise
            except OSError as error:  # it was killed
                raise EOFError from error
            finally:
                self._socket.settimeout(None)
            if not data:
                raise EOFError
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        self._socket.close()


class Copies:
    """The other copies, as the first one sees them."""

    def __init__(self, process: LaunchedProcess, server: socket.socket, timeout: float):
        self.process, self.timeout = process, timeout
        self.connections: dict[int, Connection] = {}
        self.local_ranks = {process.rank: process.local_rank}
        self._server = server

    def wait_for_all(self) -> None:
        """Return once every copy is connected. Raises `RuntimeError` where one does not come within `timeout` s."""
        deadline = time.monotonic() + self.timeout
        while missing := {*range(self.process.world_size)} - self.local_ranks.keys():
            self._server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection = Connection(self._server.accept()[0])
            except TimeoutError:
                raise RuntimeError(
                    f"process {min(missing)} of the training did not come within {self.timeout:g} s (trainer.timeout)"
                ) from None
            self._welcome(connection)

    def _welcome(self, connection: Connection) -> None:
        """Keep the connection if it is that of a copy, and close it if it is not."""
        try:
            name, rank, local_rank = connection.receive(HELLO_TIMEOUT)
        except (EOFError, TimeoutError, ValueError, TypeError):
            connection.close()
            return
        if name != self.process.name or rank in self.local_ranks:
            connection.close()
            return
        self.connections[rank], self.local_ranks[rank] = connection, local_rank

    def close(self) -> None:
        """End the other copies."""
        self._server.close()
        for connection in self.connections.values():
            connection.close()


_copies: Copies | None = None


@contextmanager
def leading(process: LaunchedProcess, *, timeout: float) -> Iterator[None]:
    """Let the other copies take part in the trainings of this one, the first, while the block runs; they end with it.

    Raises `UserError` where the port at which they meet is in use.
    """
    global _copies
    _copies = Copies(process, _listen(process, timeout), timeout)
    try:
        with joint_training():
            yield
    finally:
        _copies.close()
        _copies = None


def launched_copies() -> Copies | None:
    """Return the other copies; None where this process starts the others of a training itself."""
    return _copies


def connect(process: LaunchedProcess, *, timeout: float) -> Connection:
    """Return the connection to the first copy, which may start later than this one.

    Raises `EOFError` where it has ended already, `UserError` where it cannot be reached within `timeout` s.
    """
    deadline = time.monotonic() + timeout
    store = _agent_store(process, timeout) if process.has_agent_store else None
    while True:
        try:
            if store is None or store.check(["port"]):
                port = int(store.get("port")) if store else process.port
                connection = Connection(socket.create_connection((process.address, port), HELLO_TIMEOUT))
                connection.send([process.name, process.rank, process.local_rank])
                return connection
        except OSError as error:
            if store and isinstance(error, ConnectionRefusedError):  # it had opened the port
                raise EOFError from error
        if time.monotonic() > deadline:
            raise UserError(
                f"copy {process.rank} of this program did not reach the first one at {process.address} within "
                f"{timeout:g} s (trainer.timeout). Did {process.launcher} start it, and can this machine connect to it?"
            )
        time.sleep(RETRY_SECONDS)


def _listen(process: LaunchedProcess, timeout: float) -> socket.socket:
    """Open the port at which the copies meet: that of the launcher, or a free one where torchrun itself uses it."""
    port = 0 if process.has_agent_store else process.port
    is_dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual else socket.AF_INET
    try:
        backlog = process.world_size + STRANGERS
        server = socket.create_server(("", port), family=family, backlog=backlog, dualstack_ipv6=is_dual)
    except OSError as error:
        raise UserError(
            f"the copies of this program meet at port {port} of {process.address}, which cannot be opened "
            f"({error.strerror}). Choose another: MASTER_PORT in the environment of {process.launcher}."
        ) from error
    if process.has_agent_store:
        _agent_store(process, timeout).set("port", str(server.getsockname()[1]))
    return server


def _agent_store(process: LaunchedProcess, timeout: float) -> Any:
    """Return what torchrun serves to its copies: words by names, which are kept when it starts the copies again."""
    from torch.distributed import PrefixStore, TCPStore

    patience = datetime.timedelta(seconds=timeout)
    store = TCPStore(process.address, process.port, is_master=False, wait_for_workers=False, timeout=patience)
    return PrefixStore(f"pipeline/{process.name}", store)
