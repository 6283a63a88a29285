from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class TransparentImages(Rule):
    """Anti-pattern: drawings on a transparent ground that are composed onto a ground of their own colour.

    Fires as a note where image files are not opaque, since they are composed onto `data.background`. It is a warning
    where the drawings of more than `warning` of all images, and of at least `min_images`, hardly differ from that
    ground, and a failure above `failure`. The remedy is the ground on which fewest are lost.
    """

    check = "transparent_images"
    reads = ("data",)
    needs = ("data.transparency",)
    severities = ("failure", "warning", "info")
    why = (
        "The network sees colours and no opacity. A black drawing whose ground is transparent becomes black on black, "
        "unless another ground is put behind it."
    )
    source = "Porter and Duff 1984, Compositing digital images (the operator over)"
    remedies = ("data.background=...",)
    advice = "Put a ground behind the images on which every drawing can be seen, before opacity is dropped."
    code = "image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image.convert('RGBA')).convert('RGB')"
    explains = ("constant_features", "class_imbalance")

    warning: float
    failure: float
    min_images: int

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, at_most=1)
        integer("min_images", self.min_images, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        transparency = signals.get("data", {}).get("transparency")
        if not transparency:
            return None
        total, transparent = transparency["images"], transparency["transparent"]
        ground, lost = transparency["background"], transparency["lost"]
        measured = {"images": float(total), "transparent": float(transparent), "lost": float(lost[ground])}
        composed = f"{transparent} of {total} images have transparency"
        best = min(lost, key=lambda one: (lost[one], one != ground))
        if lost[ground] < self.min_images or lost[ground] <= self.warning * total:
            other = "white" if ground == "black" else "black"
            return self.finding(
                "info",
                measured=measured,
                expected="opaque images, or a ground on which all drawings can be seen",
                message=f"{composed}. They were composed onto {ground}; data.background={other} chooses another.",
                step=0,
                advice="",
                code="",
            )
        return self.finding(
            "failure" if lost[ground] > self.failure * total else "warning",
            measured=measured,
            expected=f"at most {self.warning:.0%} of the images with a drawing that the ground hides",
            message=f"{composed}, and the drawings of {lost[ground]} are lost: composed onto {ground}, they hardly "
            "differ from it.",
            remedy=(f"data.background={best}",) if lost[best] < lost[ground] else (),
            step=0,
        )
