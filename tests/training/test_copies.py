"""How the copies of the program that a launcher started meet, and what they send each other."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from pipeline.errors import UserError
from pipeline.training.copies import Connection, Copies, connect, launched_copies, leading
from pipeline.training.device import ProcessRank
from pipeline.training.follower import follow
from pipeline.training.launcher import is_joint_training
from pipeline.training.workers import OVER, READY, LaunchedWorker, WorkerSpec
from tests.launches import (
    copy,
    free_port,
)


def test_copies_meet() -> None:
    """The others may come first, in any order; whoever else tries the port is turned away."""
    port, connections = free_port(), dict[int, Connection]()
    first = copy(port=port, has_agent_store=False)

    def join(rank: int) -> None:
        connections[rank] = connect(replace(first, rank=rank, local_rank=10 + rank), timeout=20)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in (2, 1)]
    for thread in threads:
        thread.start()
    with leading(first, timeout=20):
        assert is_joint_training()
        strangers = [Connection(socket.create_connection(("127.0.0.1", port))) for _ in range(4)]
        strangers[0].send("hello")
        strangers[1].send(["another launch", 1, 1])
        strangers[2].send([first.name, 0, 9])
        strangers[3].close()
        copies = launched_copies()
        assert copies is not None
        copies.wait_for_all()
        for thread in threads:
            thread.join()
        assert copies.local_ranks == {0: 0, 1: 11, 2: 12}
        for rank, connection in connections.items():
            copies.connections[rank].send({"rank": rank, "text": "x" * 200_000})
            copies.connections[rank].send("next")
            assert connection.receive(5)["rank"] == rank
            assert connection.receive(5) == "next"
            with pytest.raises(TimeoutError):
                connection.receive(0.01)
            sender = threading.Thread(target=connection.send, args=("y" * 20_000_000,))
            sender.start()
            time.sleep(0.1)  # longer than the time in which nothing was received
            assert len(copies.connections[rank].receive(20)) == 20_000_000
            sender.join()
    assert launched_copies() is None
    assert not is_joint_training()
    for connection in (*connections.values(), *strangers[:3]):
        with pytest.raises(EOFError):
            connection.receive(5)
        connection.send("nobody is there")
    for connection in (*connections.values(), *strangers):
        connection.close()


def test_copies_that_do_not_meet() -> None:
    process = copy(port=free_port(), has_agent_store=False)
    with pytest.raises(UserError):
        connect(replace(process, rank=1), timeout=0.3)
    with leading(process, timeout=0.3):
        copies = launched_copies()
        assert copies is not None
        with pytest.raises(RuntimeError, match="process 1 "):
            copies.wait_for_all()
        with pytest.raises(UserError) as refused, leading(process, timeout=0.3):
            pass
        assert str(process.port) in str(refused.value)


def test_the_port_of_torchrun() -> None:
    """torchrun listens at the port that it announces, and keeps what is said there for copies that it starts again."""
    from torch.distributed import TCPStore

    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    first = copy(port=agent.port)
    with leading(first, timeout=5):
        connection = connect(replace(first, rank=1), timeout=5)
        copies = launched_copies()
        assert isinstance(copies, Copies)
        other = connect(replace(first, rank=2), timeout=5)
        copies.wait_for_all()
    for closed in (connection, other):
        with pytest.raises(EOFError):
            closed.receive(5)
        closed.close()
    with pytest.raises(EOFError):  # the first copy has ended: nobody has to wait for it
        connect(replace(first, rank=1), timeout=30)
    with pytest.raises(UserError):  # and that of a new start has not begun
        connect(replace(first, rank=1, name="none/1"), timeout=0.5)


@pytest.fixture
def worker_and_copy() -> Iterator[tuple[LaunchedWorker, Connection]]:
    """Return a worker as the first copy sees it, and the other end of its connection."""
    here, there = (Connection(end) for end in socket.socketpair())
    copies = Copies(copy(), socket.socket(), timeout=0.3)
    copies.connections[1] = here
    yield LaunchedWorker(WorkerSpec({"seed": 1}, {"epochs": 2}, None, asdict(ProcessRank(rank=1))), copies), there
    copies.close()
    there.close()


def test_worker_of_another_copy(worker_and_copy: tuple[LaunchedWorker, Connection]) -> None:
    worker, other = worker_and_copy
    spec = other.receive(5)
    assert (spec["config"], spec["train"], spec["rank"]["rank"]) == ({"seed": 1}, {"epochs": 2}, 1)
    other.send(READY)
    worker.wait_until_ready()
    assert worker.failure() is None
    other.send({"code": 2, "text": "wrong"})
    assert [worker.failure() for _ in range(2)] == [(2, "wrong")] * 2
    worker.end()
    assert other.receive(5) == OVER


@pytest.mark.parametrize("fault", ["silence", "failure", "death"])
def test_worker_that_is_not_ready(fault: str, worker_and_copy: tuple[LaunchedWorker, Connection]) -> None:
    worker, other = worker_and_copy
    if fault == "failure":
        other.send({"code": 2, "text": "wrong"})
    elif fault == "death":
        other.close()
    with pytest.raises(RuntimeError):
        worker.wait_until_ready()
    failure = worker.failure()
    assert (failure and failure[0]) == {"silence": None, "failure": 2, "death": 1}[fault]


def test_another_copy_ends_with_the_first(capfd: pytest.CaptureFixture[str]) -> None:
    process = copy(port=free_port(), has_agent_store=False)

    def lead() -> None:
        with leading(process, timeout=20):
            copies = launched_copies()
            assert copies is not None
            other = connect(replace(process, rank=2), timeout=20)
            copies.wait_for_all()
            other.close()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=lead)
    thread.start()
    try:
        assert follow(replace(process, rank=1), timeout=20) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        thread.join()
    assert capfd.readouterr() == ("", "")
