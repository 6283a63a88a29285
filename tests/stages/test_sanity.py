from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from pipeline.config.compose import compose_config
from pipeline.config.instantiate import instantiate
from pipeline.errors import UserError
from pipeline.model import CrossEntropy, Hinge, MeanSquaredError
from pipeline.model.factory import build_hidden_block, make_network_factory
from pipeline.signals.at_init import gradient_signals
from pipeline.stages.sanity import Sanity, output_shape_signals, penalty_signals
from pipeline.workflow.outcome import Outcome
from tests.small_run import MakeRun, SmallRun

CROSS_ENTROPY = CrossEntropy(label_smoothing=0.0)
CONF = Path(__file__).parents[2] / "conf"
ACTIVATIONS = sorted(file.stem for file in (CONF / "activation").glob("*.yaml"))


def sanity(**options: Any) -> Sanity:
    defaults = {"examples": 64, "fit_examples": 32, "fit_steps": 20, "fit_rounds": 6, "fit_lr": 0.002}
    return Sanity(**(defaults | {"penalty_factors": [1, 10, 100]} | options))


def run_with(small: SmallRun, make: Callable[[], nn.Module]) -> Outcome:
    """Run the stage on a network that has the same bits at each call."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return make()

    return sanity()(*small.replace(make_network=network), [])


def checks(outcome: Outcome) -> list[str]:
    return [finding.check for finding in outcome.findings]


class Net(nn.Module):
    """Two linear layers on 8 x 8 images; subclasses have a mistake."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 20), nn.Linear(20, 10)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.relu(self.first(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


# ------------------------------------------------------------------------------------------ healthy twins


def swapped(small: SmallRun, **nodes: Any) -> SmallRun:
    """Return the run with the network of another configuration, which is cheaper than building all of it."""
    config = small.components.config | nodes
    network = make_network_factory(
        config["model"],
        block=build_hidden_block(config),
        init=init_of(config),
        seed=0,
        preprocessing=small.components.preprocessing,
        classes=10,
        init_batch=None,
    )
    return small.replace(make_network=network, config=config)


@functools.cache
def option(group: str, name: str) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def init_of(config: Mapping[str, Any]) -> Any:
    """Return the init of a configuration, without the keys that say where other weights are."""
    return instantiate({key: value for key, value in config["init"].items() if key != "from"}, "init")


NETWORKS = {
    "mlp": {"model": "mlp", "width": 16, "depth": 2},
    "convnet": {"model": "convnet", "width": 4, "depth": 2},
}


def twin(small: SmallRun, network: str, activation: str, init: str, batchnorm: str) -> Outcome:
    size = dict(NETWORKS[network])
    model = option("model", str(size.pop("model"))) | size
    return sanity()(
        *swapped(
            small,
            model=model,
            activation=option("activation", activation),
            init=option("init", init),
            batchnorm=option("batchnorm", batchnorm),
        ),
        [],
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_healthy_networks(small_run: MakeRun, network: str, activation: str) -> None:
    """Every activation in either network gives no finding."""
    outcome = twin(small_run(), network, activation, "he", "before_activation")
    assert outcome.findings == ()
    assert outcome.passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("init", "batchnorm"),
    [("xavier", "before_activation"), ("he", "after_activation"), ("he", "none"), ("xavier", "none")],
)
def test_healthy_networks_other_init(small_run: MakeRun, init: str, batchnorm: str) -> None:
    alarms = {
        (network, activation): checks(outcome)
        for network in NETWORKS
        for activation in ACTIVATIONS
        if not (outcome := twin(small_run(), network, activation, init, batchnorm)).passed or outcome.findings
    }
    assert alarms == {}


class SlowInReducedPrecision(Net):
    """Waits where it computes in reduced precision."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            time.sleep(0.05)
        return super().forward(x)


def test_slow_reduced_precision(small_run: MakeRun) -> None:
    reduced, full = (
        run_with(small_run(f"trainer.precision={p}"), SlowInReducedPrecision) for p in ("bf16-mixed", "32-true")
    )
    assert checks(reduced) == ["slow_precision"]
    assert reduced.signals["precision"] == "bf16-mixed"
    assert reduced.passed
    assert not full.findings
    assert "full_pass_seconds" not in full.signals


def test_healthy_handwritten_network(small_run: MakeRun) -> None:
    assert run_with(small_run(), Net).findings == ()


def test_batchnorm_is_no_batch_leak(small_run: MakeRun) -> None:
    def normalized() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))

    outcome = run_with(small_run(), normalized)
    assert checks(outcome) in ([], ["redundant_bias"])  # an info
    assert outcome.metrics["leaking_examples"] == 0


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(CROSS_ENTROPY, math.log(10)), (Hinge(margin=1.0), 9.0), (Hinge(margin=0.5), 4.5), (MeanSquaredError(), 0.1)],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_first_loss_is_that_of_chance(small_run: MakeRun, network: str, loss: Any, expected: float) -> None:
    size = dict(NETWORKS[network])
    small = swapped(small_run(), model=option("model", str(size.pop("model"))) | size)
    outcome = sanity()(*small.replace(loss=loss), [])
    assert outcome.metrics["expected_first_loss"] == pytest.approx(expected)
    assert outcome.metrics["first_loss"] == pytest.approx(expected, rel=0.2)
    assert outcome.findings == ()


def test_sanity_changes_nothing(small_run: MakeRun) -> None:
    """The network's initial bits stay, and a second call measures the same."""
    small = small_run("regularization=dropout")
    before = small.components.make_network().state_dict()
    first, second = sanity()(*small, []), sanity()(*small, [])
    after = small.components.make_network().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert first.metrics == second.metrics


# ------------------------------------------------------------------------------------------ broken networks


@pytest.mark.parametrize("batchnorm", ["none", "before_activation"])
@pytest.mark.parametrize("network", NETWORKS)
def test_zero_weights(small_run: MakeRun, network: str, batchnorm: str) -> None:
    outcome = twin(small_run(), network, "relu", "zeros", batchnorm)
    assert not outcome.passed
    assert checks(outcome) == ["symmetric_units"]
    assert outcome.metrics["first_loss"] == pytest.approx(math.log(10))


def test_constant_weights(small_run: MakeRun) -> None:
    def constant() -> nn.Module:
        network = Net()
        nn.init.constant_(network.first.weight, 0.05)
        nn.init.zeros_(network.first.bias)
        nn.init.constant_(network.last.weight, 0.05)
        return network

    outcome = run_with(small_run(), constant)
    assert checks(outcome) == ["symmetric_units"]
    assert outcome.findings[0].where == "first.weight"


def test_zero_output_layer_is_healthy(small_run: MakeRun) -> None:
    def zero_output() -> nn.Module:
        network = Net()
        nn.init.zeros_(network.last.weight)
        return network

    assert run_with(small_run(), zero_output).findings == ()


def test_unused_layer(small_run: MakeRun) -> None:
    class Unused(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(3, 3)

    outcome = run_with(small_run(), Unused)
    assert checks(outcome) == ["unreachable_parameters"]
    assert outcome.metrics["zero_gradients"] == ["spare.weight", "spare.bias"]


def test_detached_layer(small_run: MakeRun) -> None:
    class Detached(Net):
        def hidden(self, x: Tensor) -> Tensor:
            return super().hidden(x).detach()

    outcome = run_with(small_run(), Detached)
    assert checks(outcome) == ["unreachable_parameters"]
    assert outcome.metrics["zero_gradients"] == ["first.weight", "first.bias"]


def test_detached_output(small_run: MakeRun) -> None:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    outcome = run_with(small_run(), Cut)
    assert checks(outcome)[0] == "unreachable_parameters"
    assert len(outcome.metrics["zero_gradients"]) == 4


def test_zero_residual_branch_is_reachable(small_run: MakeRun) -> None:
    """A branch whose last layer starts at zero has no gradient inside until the first steps."""

    class Branch(Net):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(20, 20), nn.Linear(20, 20)
            nn.init.zeros_(self.outer.weight)
            nn.init.zeros_(self.outer.bias)

        def hidden(self, x: Tensor) -> Tensor:
            h = super().hidden(x)
            return h + self.outer(torch.relu(self.inner(h)))

    small = small_run()
    inputs, labels = (
        small.components.preprocessing(small.components.data.train.pixels[:64]),
        small.components.data.train.labels[:64],
    )
    at_init = gradient_signals(Branch(), CROSS_ENTROPY, inputs, labels)
    assert at_init["zero_gradients"] == ["inner.weight", "inner.bias"], "the branch should begin without a gradient"
    assert run_with(small, Branch).findings == ()


class SoftmaxOverBatch(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(0)


class CentredOverBatch(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class WrongView(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1).t().reshape(len(x), -1))


@pytest.mark.parametrize("leaky", [SoftmaxOverBatch, CentredOverBatch, WrongView])
def test_batch_leak(small_run: MakeRun, leaky: type[Net]) -> None:
    outcome = run_with(small_run(), leaky)
    assert not outcome.passed
    assert "batch_leak" in checks(outcome)


class Constant(nn.Module):
    """Learns the class frequencies and ignores the images."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


class Zeroed(Net):
    """Ignores the images too, but has a path from the input: of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(0 * x)


class DetachedInput(Net):
    """Uses the images without a gradient for them, which nothing needs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach())


@pytest.mark.parametrize("blind", [Constant, Zeroed])
def test_input_ignored(small_run: MakeRun, blind: type[nn.Module]) -> None:
    outcome = run_with(small_run(), blind)
    assert not outcome.passed
    assert "input_ignored" in checks(outcome)
    assert outcome.metrics["fit_loss"] == pytest.approx(outcome.metrics["fit_loss_zeroed"])


def test_detached_input_is_healthy(small_run: MakeRun) -> None:
    assert run_with(small_run(), DetachedInput).findings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nonfinite_weight(small_run: MakeRun, value: float) -> None:
    def poisoned() -> nn.Module:
        network = Net()
        with torch.no_grad():
            network.first.weight[3, 4] = value
        return network

    outcome = run_with(small_run("regularization=l2"), poisoned)
    assert not outcome.passed
    assert checks(outcome) == ["nonfinite"]


@pytest.mark.parametrize("outputs", [1, 2, 11])
def test_wrong_output_count(small_run: MakeRun, outputs: int) -> None:
    outcome = run_with(small_run(), lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)))
    assert not outcome.passed
    assert checks(outcome) == ["wrong_output_count"]
    assert outcome.findings[0].measured == {"outputs": outputs, "classes": 10}


def test_wrong_output_dimensions(small_run: MakeRun) -> None:
    """Outputs of one and of three dimensions are wrong as well."""

    class Squeezed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 0]

    class Extra(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[..., None]

    assert checks(run_with(small_run(), Squeezed)) == ["wrong_output_count"]
    assert checks(run_with(small_run(), Extra)) == ["wrong_output_count"]


@pytest.mark.parametrize("network", NETWORKS)
def test_large_weights(small_run: MakeRun, network: str) -> None:
    outcome = twin(small_run(), network, "relu", "large_gaussian", "none")
    assert not outcome.passed
    finding = next(f for f in outcome.findings if f.check == "initial_loss")
    assert finding.severity == "failure"
    assert finding.measured["first_loss"] > 2 * math.log(10)
    assert finding.measured["logit_std"] > 1
    assert finding.remedy[0] == "init=he"


def test_network_that_cannot_run(small_run: MakeRun) -> None:
    with pytest.raises(UserError, match=r"\(64, 1, 8, 8\)") as caught:
        run_with(small_run(), lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 10)))
    assert caught.value.field == "model"


def test_network_must_return_tensor(small_run: MakeRun) -> None:
    class Pair(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x), x

    with pytest.raises(UserError, match="tuple") as caught:
        run_with(small_run(), Pair)
    assert caught.value.field == "model"


# ------------------------------------------------------------------------------------------ single measurements


def test_output_shape() -> None:
    assert output_shape_signals(nn.Flatten(), torch.zeros(5, 2, 3)) == {"output_shape": [5, 6]}


class ChangesInput(nn.Flatten):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.sub_(1))


class ChangesNumberFormat(nn.Flatten):
    def forward(self, input: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return super().forward(input)


class ReturnsParts(nn.Flatten):
    def forward(self, input: Tensor) -> Any:
        return {"logits": super().forward(input), "loss": None}


@pytest.mark.parametrize("network", [ChangesInput(), ChangesNumberFormat(), ReturnsParts()])
def test_networks_that_cannot_be_measured(network: nn.Module) -> None:
    with pytest.raises(UserError) as error:
        output_shape_signals(network, torch.zeros(5, 2, 3))
    assert error.value.field == "model"
    assert torch.get_default_dtype() == torch.float32
    assert ("model.output=logits" in error.value.message) == isinstance(network, ReturnsParts)


def test_penalty_signals() -> None:
    network = nn.Linear(3, 2)
    squares = float(network.weight.detach().square().sum())
    measured = penalty_signals(network, 2.0, 0.1, [1, 10, 100])
    assert measured["penalty"] == pytest.approx(0.05 * squares)
    assert measured["penalized_losses"] == pytest.approx([2 + 0.05 * squares * factor for factor in (1, 10, 100)])
    assert penalty_signals(network, 2.0, 0.0, [1, 10, 100]) == {"penalty": 0.0}


def test_fits_end_when_real_inputs_are_ahead(small_run: MakeRun) -> None:
    ahead = run_with(small_run("model.width=64"), Net).metrics
    assert ahead["fit_steps"] < 120
    assert ahead["fit_loss"] < 0.9 * ahead["fit_loss_zeroed"]
    assert run_with(small_run(), Zeroed).metrics["fit_steps"] == 120


# ------------------------------------------------------------------------------------------ regularization, fields


def test_dropout_is_off(small_run: MakeRun) -> None:
    with_dropout = sanity()(*small_run("regularization=dropout"), []).metrics
    without = sanity()(*small_run("regularization=none"), []).metrics
    assert with_dropout.pop("dropout") == 0.3
    assert without.pop("dropout") == 0.0
    assert with_dropout == without


def test_penalty_factors(small_run: MakeRun) -> None:
    outcome = sanity()(*small_run("regularization=l2"), [])
    first, ten, hundred = outcome.metrics["penalized_losses"]
    assert first < ten < hundred
    assert (hundred - outcome.metrics["first_loss"]) == pytest.approx(100 * outcome.metrics["penalty"])
    assert "penalized_losses" not in sanity()(*small_run("regularization=none"), []).metrics


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("examples", 1),
        ("fit_examples", 1),
        ("fit_examples", 65),
        ("fit_steps", 0),
        ("fit_rounds", 0),
        ("fit_lr", 0),
        ("penalty_factors", [1, -1]),
    ],
)
def test_wrong_fields_are_named(field: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        sanity(**{field: value})
    assert caught.value.field == field


def test_progress_never_goes_back(small_run: MakeRun) -> None:
    seen: list[float] = []
    totals: set[float] = set()

    def progress(done: float, total: float, **_: float) -> None:
        seen.append(done)
        totals.add(total)

    sanity()(*small_run(progress=progress), [])
    assert seen == sorted(seen)
    assert totals == {4}
    assert 2 < seen[-1] <= 4


def test_default_options_build(small_run: MakeRun) -> None:
    assert isinstance(small_run().components.stages["sanity"], Sanity)
    assert compose_config(["stage=sanity"]).stages.sanity.examples >= 2
