"""Rows of networks of the user's own."""

from __future__ import annotations

from tests.field.case import Trial, case, flat, passed, refused, want, want_no_crash, want_words
from tests.field.program import Ended

MODULE = "tests.field.networks"
DIGITS = ("data=digits", "data.limit=600")


def try_network(trial: Trial, name: str, *overrides: str) -> Ended:
    """Run the workflow on digits with one network of networks.py; without overrides all stages, for 3 epochs."""
    trial.allow.add(f"{MODULE}.{name}")
    overrides = overrides if any("stage=" in one for one in overrides) else ("stages.train.epochs=3", *overrides)
    return trial.run(*DIGITS, "model=custom", f"model._target_={MODULE}.{name}", *overrides)


@case(90, "timm.create_model as _target_", "gets what is given only; trains")
def timm_as_target(trial: Trial) -> str:
    trial.allow.add("timm.create_model")
    words = ("model=custom", "model._target_=timm.create_model", "+model.model_name=resnet18")
    words = (*words, "+model.num_classes=10", "+model.in_chans=1")
    ended = trial.run(*DIGITS, *words, "stage=[train]", "stages.train.epochs=1")
    want_no_crash(ended)
    want("train" in ended.stages, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    wrong = refused(trial.run(*DIGITS, *words, "+model.no_such=1", "stage=[train]"), "no_such", without=("block",))
    return f"{ended.stages['train']['headline'][:60]}; an unknown argument: {wrong[:60]}"


@case(91, "f(input_shape, classes, name, **kw) to timm", "gets no block")
def factory_with_kwargs(trial: Trial) -> str:
    ended = try_network(trial, "by_name", "+model.name=resnet18", "stage=[train]", "stages.train.epochs=1")
    want_no_crash(ended)
    want("train" in ended.stages, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    return ended.stages["train"]["headline"][:80]


@case(92, "sanity of a ResNet-18 on 8x8 digits", "ends in reasonable time")
def large_network(trial: Trial) -> str:
    ended = try_network(trial, "resnet18", "stage=[sanity]")
    want_no_crash(ended)
    want("sanity" in ended.stages, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    cost = ended.stages["sanity"]["seconds"]
    want(cost < 60, f"sanity took {cost:.0f} s")
    return f"sanity {ended.stages['sanity']['status']} in {cost:.0f} s on one thread"


@case(101, "frozen backbone and head", "no warning with model.frozen; the finding names that key")
def frozen(trial: Trial) -> str:
    by_hand = try_network(trial, "FrozenBody", "stage=[sanity]")
    want_no_crash(by_hand)
    if "frozen_weights" in by_hand.findings:
        want_words(str(by_hand.findings["frozen_weights"]), ("model.frozen",), without=("is a buffer",))
    meant = try_network(trial, "FrozenBody", "model.frozen=[body]", "checks=strict", "stage=[sanity]")
    passed(meant)
    want("frozen_weights" not in meant.findings, f"{meant.findings.get('frozen_weights')}")
    plain = try_network(trial, "Normed", "model.frozen=[body]", "checks=strict", "stage=[sanity]")
    passed(plain)
    return f"by hand: {list(by_hand.findings)}; with model.frozen=[body] checks=strict passes"


@case(104, "F.dropout(x, .5, True) drops in evaluation", "found")
def drops_always(trial: Trial) -> str:
    ended = try_network(trial, "DropsAlways", "stage=[sanity]")
    want_no_crash(ended)
    want("random_evaluation" in ended.findings, f"findings {list(ended.findings)}")
    return f"random_evaluation: {ended.findings['random_evaluation']['message'][:80]}"


@case(105, "LazyConv2d, LazyBatchNorm2d, LazyLinear", "all stages; predict loads it")
def lazy(trial: Trial) -> str:
    ended = try_network(trial, "Lazy")
    want_no_crash(ended)
    want(
        {"sanity", "overfit", "train", "evaluate"} <= set(ended.stages),
        f"{list(ended.stages)} {flat(ended.text)[-200:]}",
    )
    again = trial.command("evaluate", str(ended.directory), *("report=false", f"outputs={trial.folder}/again"))
    want_no_crash(again)
    want(again.code == 0, f"evaluate: {flat(again.text)[-200:]}")
    return ended.stages["evaluate"]["headline"][:80]


@case(107, "a complex parameter", "trains, or said")
def complex_parameter(trial: Trial) -> str:
    ended = try_network(trial, "Complex")
    want_no_crash(ended)
    if ended.code == 2:
        return refused(ended, "complex")
    want(
        {"sanity", "overfit", "train", "evaluate"} <= set(ended.stages),
        f"{list(ended.stages)} {flat(ended.text)[-200:]}",
    )
    want_no_crash(try_network(trial, "Complex", "optimizer=adam", "stage=[sanity,train]"))
    return ended.stages["evaluate"]["headline"][:80]


@case(108, "an LSTM over rows that does not fit its examples", "a failure, or a warning that names the rate")
def rows(trial: Trial) -> str:
    ended = try_network(trial, "Rows", "optimizer.lr=0.001")
    want_no_crash(ended)
    overfit = ended.stages["overfit"]
    if overfit["status"] == "passed":
        want(overfit["metrics"].get("accuracy", 1) > 0.99, f"overfit passed: {overfit['headline']}")
    found = {name: one for name, one in ended.findings.items() if one["severity"] != "info"}
    want(found, f"exit {ended.code} without a warning: {overfit['headline']}")
    remedies = [remedy for one in found.values() for remedy in one["remedy"]]
    want(any("optimizer.lr" in remedy for remedy in remedies), f"{list(found)} propose {remedies}")
    return f"overfit {overfit['status']} ({overfit['headline'][:40]}): {list(found)} try {remedies[0]}"


@case(111, "a cosine classifier, scale 16", "no remedy that cannot reach it")
def cosine(trial: Trial) -> str:
    ended = try_network(trial, "Cosine", "stage=[sanity]")
    want_no_crash(ended)
    for name, finding in ended.findings.items():
        want("output_scale" not in str(finding["remedy"]), f"{name}: {finding['remedy']}")
        want("init=he" not in str(finding["remedy"]), f"{name}: {finding['remedy']}")
    return f"{ {name: one['remedy'] for name, one in ended.findings.items()} }"


@case(112, "49 M parameters (mlp 5000-5000-4000)", "sanity in reasonable time")
def many_parameters(trial: Trial) -> str:
    ended = trial.run(*DIGITS, "model=mlp", "model.width=[5000,5000,4000]", "model.depth=3", "stage=[sanity]")
    want_no_crash(ended)
    want("sanity" in ended.stages, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    cost = ended.stages["sanity"]["seconds"]
    want(cost < 60, f"sanity took {cost:.0f} s")
    return f"sanity {ended.stages['sanity']['status']} in {cost:.0f} s on one thread"


@case(117, "a dictionary as a result; an error in forward", "model.output=logits; own frames, one sentence")
def odd_results(trial: Trial) -> str:
    got = refused_or_failed(try_network(trial, "InADictionary", "stage=[sanity]"))
    want_words(got, ("model.output", "logits"))
    passed(try_network(trial, "InADictionary", "model.output=logits", "stage=[sanity,train]", "stages.train.epochs=1"))
    raised = try_network(trial, "RaisesInForward", "stage=[sanity]")
    want("Traceback" not in raised.text, f"traceback: {flat(raised.text)[-200:]}")
    want(raised.code in (1, 2), f"exit {raised.code}")
    want_words(raised.text, ("networks.py:", "forward"))
    return f"{flat(got)[:60]}; {flat(raised.text)[:80]}"


def refused_or_failed(ended: Ended) -> str:
    """Return what was printed by a run that must not pass."""
    want_no_crash(ended)
    want(ended.code != 0, f"exit {ended.code}")
    return ended.text
