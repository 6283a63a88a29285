"""A real browser for pages, and what it noticed while it showed them."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WAIT = 60
"""Seconds; other work on the machine may slow the browser down."""


class Browser:
    """Headless Chromium. `open` waits until all charts are drawn."""

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, file: Path, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        phone = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        self.dark(dark)
        self.noticed()  # of the page before
        self.requests()
        self.driver.get(file.as_uri())
        self.wait(lambda: self.ask("document.documentElement.dataset.drawn") == "yes")

    def dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def ask(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    def wait(self, holds: Callable[[], Any]) -> None:
        until = time.monotonic() + WAIT
        while not holds():
            assert time.monotonic() < until, self.noticed()
            time.sleep(0.05)

    def hover(self, selector: str, until: Callable[[], Any]) -> None:
        """Move the mouse over an element until something holds, as a hand does."""
        from selenium.webdriver import ActionChains

        place = self.driver.find_element("css selector", selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", place)
        steps = itertools.cycle((2, -2))

        def moved() -> Any:
            ActionChains(self.driver).move_to_element_with_offset(place, next(steps), 0).perform()
            return until()

        self.wait(moved)

    def click(self, selector: str) -> None:
        self.driver.execute_script("document.querySelector(arguments[0]).click()", selector)

    def noticed(self) -> list[str]:
        """Errors and warnings of the console since the last call, refused requests among them."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, but those inside the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith(("data:", "blob:"))]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(started)
    finally:
        started.quit()


EVIL = "</script><script>window.injected=1</script><img src=x onerror=window.injected=1>"
TINY = ("model=mlp", "model.width=16", "model.depth=2", "trainer=cpu", "data.batch_size=32")


def run_in(outputs: Path, *overrides: str) -> Any:
    import pipeline

    return pipeline.run([*TINY, f"outputs={outputs}", *overrides], quiet=True)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Small real runs: one that passed, with classes whose names are markup; zero weights; a rate that explodes."""
    folder = tmp_path_factory.mktemp("runs")
    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    images = (generator.random((240, 12, 12, 1)) * 60 + 90 * labels[:, None, None, None]).astype(np.uint8)
    classes = np.array([EVIL, "<b>bold</b>", "plain & simple"])
    np.savez(folder / "mine.npz", x_train=images, y_train=labels, classes=classes)
    outputs, data = folder / "outputs", ("data=npz", f"data.path={folder / 'mine.npz'}")
    return {
        "passed": run_in(outputs, *data, "name=passed", f"tags=['{EVIL}']", "stages.train.epochs=5", "checks=off"),
        "zeros": run_in(outputs, "data=digits", "name=zeros", "init=zeros"),
        "exploded": run_in(outputs, "data=digits", "name=exploded", "optimizer.lr=1000", "stage=[train]"),
    }
