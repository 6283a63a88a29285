"""Rows of options that a network does not take."""

from __future__ import annotations

from tests.field.case import Trial, case, passed, refused, want
from tests.field.cases.networks import DIGITS, MODULE


@case(115, "activation=, batchnorm=, dropout on a custom network", "refused; says which networks take it")
def custom(trial: Trial) -> str:
    trial.allow.add(f"{MODULE}.Normed")
    words = (*DIGITS, "model=custom", f"model._target_={MODULE}.Normed", "stage=[sanity]")
    got = ""
    options = ("activation=tanh", "batchnorm=none", "regularization=dropout", "regularization.dropout=0.3")
    for option in options:
        field = "regularization.dropout" if option.startswith("reg") else option.partition("=")[0]
        got = refused(trial.run(*words, option), f"error: {field}", "model=mlp", "block")
    got = refused(trial.run(*words, "init=he", "init.output_scale=0.5"), "init.output_scale", "output")
    search = trial.run(*words, "-m", "activation=relu,tanh")
    want(search.code == 2, f"a search over activation: exit {search.code}")
    passed(trial.run(*words))
    return f"{len(options) + 1} options and a search refused: {got[:70]}"


@case(116, "activation=tanh batchnorm=none on torchvision", "refused")
def torchvision(trial: Trial) -> str:
    words = (*DIGITS, "model=torchvision", "stage=[sanity]")
    refused(trial.run(*words, "batchnorm=none"), "error: batchnorm", "brings its own", "model=mlp")
    return refused(trial.run(*words, "activation=tanh", "batchnorm=none"), "error: activation", "brings its own")
