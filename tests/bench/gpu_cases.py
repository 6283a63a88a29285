"""The networks and the contestants of tests/bench/gpu.py."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.contestants import Case

BARE = "bare loop"
BARE_CHANNELS_LAST = "bare loop, channels_last"
BARE_COMPILED = "bare loop, compiled"
USUAL_TEMPLATE = "usual template"
BEST_TEMPLATE = "usual template, at its best"
EAGER = "pipeline, eager"
COMPILED = "pipeline, compiled"
GRAPH = "pipeline, graph"
GRAPH_COMPILED = "pipeline, graph, compiled"
GRAPH_FROM_HOST = "pipeline, graph, images in the host's memory"
DETERMINISTIC = "pipeline, graph, deterministic"

PIPELINES = {
    EAGER: ("trainer.cuda_graph=false",),
    COMPILED: ("trainer.cuda_graph=false", "compile=true"),
    GRAPH: ("trainer.cuda_graph=true",),
    GRAPH_COMPILED: ("trainer.cuda_graph=true", "compile=true"),
    GRAPH_FROM_HOST: ("trainer.cuda_graph=true", "trainer.images_on=host"),
    DETERMINISTIC: ("trainer.cuda_graph=true", "trainer.deterministic=true"),
}
"""Contestants that are the pipeline, and what is set for them."""

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
BF16 = "trainer.precision=bf16-mixed"
RESNET18 = ("model=custom", "model._target_=tests.bench.networks.resnet18")
IMAGES = 54_000
"""Training images: as many as Fashion-MNIST leaves when a tenth is for validation."""


def make_case(name: str, batch: int, *overrides: str, shape: tuple[int, int, int] = GREY, train: int = IMAGES) -> Case:
    return Case(f"{name}, batch {batch}", overrides, train=train, epochs=1, bare_epochs=1, batch=batch, shape=shape)


MLP = make_case("MLP 784-100-100-10", 128, "model=mlp")
CONVNET = make_case("convnet", 128, "model=convnet")
CONVNET_1024 = make_case("convnet in bf16", 1024, "model=convnet", BF16)
RESNET = make_case("ResNet-18 in bf16", 512, *RESNET18, BF16, shape=COLOUR)
LARGE_RESNET = make_case("ResNet-18", 1024, *RESNET18, shape=COLOUR)

_BARE_LOOPS = (BARE, BARE_CHANNELS_LAST, BARE_COMPILED)
_TEMPLATES = (USUAL_TEMPLATE, BEST_TEMPLATE)
_PIPELINES = (EAGER, GRAPH, GRAPH_COMPILED)
CONTEST = {
    MLP: (BARE, BARE_COMPILED, *_TEMPLATES, *_PIPELINES),
    CONVNET: (*_BARE_LOOPS, *_TEMPLATES, *_PIPELINES),
    CONVNET_1024: (*_BARE_LOOPS, *_PIPELINES),
    RESNET: (*_BARE_LOOPS, *_PIPELINES),
}
"""What `make bench` compares on a GPU: network -> contestants."""


def shrink(case: Case) -> Case:
    """Return the case with so few and so small images that a CPU needs a second, under the same name."""
    overrides = (*case.overrides, "+model.blocks=1") if RESNET18[1] in case.overrides else case.overrides
    return replace(case, overrides=overrides, train=32, batch=16, shape=(case.shape[0], 8, 8))
