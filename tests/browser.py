"""A real browser for the tests of pages: headless Chromium, and what it noticed while it showed a page."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 60
"""Seconds; other work on the machine may slow the browser down."""


class Browser:
    """Headless Chromium. `open` waits until all charts are drawn."""

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, file: Path, *, width: int = 1280, height: int = 1000, dark: bool = False) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.set_dark(dark)
        self.console_messages()  # of the page before
        self.requests()
        self.driver.get(file.as_uri())
        self.wait(lambda: self.evaluate("document.documentElement.dataset.drawn") == "yes")

    def set_dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def evaluate(self, expression: str) -> Any:
        return self.driver.execute_script(f"return {expression}")

    def run(self, script: str) -> None:
        self.driver.execute_script(script)

    def wait(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, self.console_messages()
            time.sleep(0.05)

    def hover(self, selector: str, until: Callable[[], Any]) -> None:
        """Move the mouse over an element until a condition holds."""
        from selenium.webdriver import ActionChains

        element = self.driver.find_element("css selector", selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        offsets = itertools.cycle((2, -2))

        def move() -> Any:
            ActionChains(self.driver).move_to_element_with_offset(element, next(offsets), 0).perform()
            return until()

        self.wait(move)

    def click(self, selector: str) -> None:
        self.driver.execute_script("document.querySelector(arguments[0]).click()", selector)

    def console_messages(self) -> list[str]:
        """Return errors and warnings of the console since the last call, refused requests among them."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """Return the addresses requested since the last call, except those inside the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith(("data:", "blob:"))]


@contextlib.contextmanager
def start_browser() -> Iterator[Browser]:
    """Start Chromium, or skip the test where it is not installed."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
