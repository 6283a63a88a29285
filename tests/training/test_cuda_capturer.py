"""What a capture leaves behind when it fails, with stand-ins for torch.cuda: nothing here needs a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.training.step_graph import CudaCapturer

DEVICE = torch.device("cuda", 0)


class Generator:
    """Its state is a name; a capture that fails leaves it in the middle."""

    state = "before"

    def clone_state(self) -> str:
        return "clone"

    def graphsafe_set_state(self, state: str) -> None:
        self.state = state


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace what `CudaCapturer` uses of torch.cuda. `end_fails` lets the end of a capture fail, as in torch."""
    fake = SimpleNamespace(stream="main", generator=Generator(), end_fails=False, sync_mode=0, pools=[], modes=[])

    @contextmanager
    def stream(chosen: str) -> Iterator[None]:
        before, fake.stream = fake.stream, chosen
        try:
            yield
        finally:
            fake.stream = before

    class Graph:
        def __init__(self, graph: Any, pool: Any, capture_error_mode: str):
            fake.pools.append(pool)
            fake.modes.append((capture_error_mode, torch.is_autocast_cache_enabled()))

        def __enter__(self) -> None:
            fake.stream = "capture"

        def __exit__(self, *error: Any) -> None:
            if fake.end_fails:
                raise RuntimeError("operation failed due to a previous error during capture")
            fake.stream = "main"

    def set_mode(mode: Any) -> None:
        fake.sync_mode = mode

    side = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(pool=lambda: "pool", replay="replay"))
    monkeypatch.setattr(torch.cuda, "graph", Graph)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: side if fake.sync_mode is None else fake.stream)
    monkeypatch.setattr(torch.cuda, "default_generators", (fake.generator,))
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    return fake


def fail() -> None:
    raise ZeroDivisionError


def test_capture(cuda: SimpleNamespace) -> None:
    capturer = CudaCapturer(DEVICE)
    assert [capturer.capture(lambda: None), capturer.capture(lambda: None)] == ["replay", "replay"]
    assert cuda.pools == [None, "pool"]  # the graphs of a step share memory
    assert cuda.modes == [("thread_local", False)] * 2
    assert torch.is_autocast_cache_enabled()
    assert (cuda.stream, cuda.generator.state) == ("main", "before")


@pytest.mark.parametrize("end_fails", [False, True])
def test_a_failed_capture_leaves_nothing(cuda: SimpleNamespace, end_fails: bool) -> None:
    cuda.end_fails = end_fails
    with pytest.raises(ZeroDivisionError):  # the cause, not the error at the end of the capture
        CudaCapturer(DEVICE).capture(fail)
    assert (cuda.stream, cuda.generator.state) == ("main", "clone")
    assert torch.is_autocast_cache_enabled()


def test_the_end_alone_may_fail(cuda: SimpleNamespace) -> None:
    cuda.end_fails = True
    with pytest.raises(RuntimeError, match="during capture"):
        CudaCapturer(DEVICE).capture(lambda: None)
    assert (cuda.stream, cuda.generator.state) == ("main", "clone")


@pytest.mark.parametrize("strict", [False, True])
def test_warm_up(cuda: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, strict: bool) -> None:
    main = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    seen = []

    def step() -> None:
        with CudaCapturer(DEVICE).warm_up(strict=strict):
            seen.append((cuda.sync_mode, cuda.stream is main))
            fail()

    with pytest.raises(ZeroDivisionError):
        step()
    assert seen == [("error" if strict else 0, False)]
    assert (cuda.sync_mode, cuda.stream) == (0, "main")
