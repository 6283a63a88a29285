from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class StreamedImages(Rule):
    """Anti-pattern: images that do not fit into the device's memory, so that each step's are copied there.

    Fires when the training images stay in the host's memory: they need more than half of what was free on the device,
    or `trainer.images_on=host` says so. It is `info`: the copies run ahead of the steps, and the results are the same.
    """

    check = "streamed_images"
    reads = ("streamed_bytes",)
    needs = ("streamed_bytes|epochs_planned",)
    severities = ("info",)
    why = "Where a step takes less time than the copy of its images, the device waits for them."
    source = "PCI Express 4.0 specification: 16 lanes carry 32 GB a second, 200 thousand images of 3 x 224 x 224 bytes"
    remedies = ("trainer.images_on=device",)
    advice = "Copy each batch ahead of its step, from pinned memory."
    code = "batch = batch.pin_memory().to(device, non_blocking=True)"

    def __call__(self, signals: Signals) -> Finding | None:
        size = signals.get("streamed_bytes")
        if not size:
            return None
        shown = f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
        return self.finding(
            "info",
            measured={"streamed_bytes": float(size)},
            expected="images on the device, where they fit",
            message=f"The images ({shown}) stay in the host's memory; those of the next steps are copied "
            "while a step runs.",
            remedy=self.remedies,
        )
