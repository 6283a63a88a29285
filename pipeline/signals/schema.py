"""The keys of signals.json: one `TypedDict` for each stage. This file is the only list of them.

A key is declared as `Annotated[type, unit, description]`. mypy holds the rules in `pipeline.checks` to these types, and
`make docs` writes docs/signals.md from the descriptions. A key that several stages have is declared once, in a
group that these stages inherit. Every key is optional: what was not measured is absent. This module imports no torch.

Losses are in nats, a share is a number from 0 to 1, a step is one optimizer update.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict, get_type_hints

Numbers = Sequence[float | None]
"""One number for each entry; null where it has no meaning."""
Rows = Sequence[Sequence[float | None]]
"""One row for each sampled step or epoch, one number for each layer."""


class InputMoments(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled images"]
    mean: Annotated[float, "input unit", "mean over all values"]
    std: Annotated[float, "input unit", "standard deviation over all values"]
    mean_error: Annotated[float, "input unit", "standard error of `mean`, because images are few"]
    std_error: Annotated[float, "input unit", "standard error of `std`, because images are few"]
    channel_mean: Annotated[Sequence[float], "(channels,)", "mean of each channel; absent beyond 64 channels"]
    channel_std: Annotated[Sequence[float], "(channels,)", "standard deviation of each channel; absent beyond 64"]


class Neighbours(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled examples: at most 2000 of `train`, 500 of `val` and of `test`"]
    nearest: Annotated[int, "number", "neighbours of each example in the training sample, at most 20"]
    agreement: Annotated[float, "share", "examples whose nearest neighbour has the same label"]
    chance: Annotated[float, "share", "`agreement` of labels that are drawn at random with the classes' frequencies"]
    vote_agreement: Annotated[float, "share", "neighbours, of all examples, that have the example's label"]
    clear: Annotated[float, "share", "clear examples: at least half of the neighbours have one label"]
    clear_labels: Annotated[
        Sequence[Sequence[int]],
        "(classes, classes), number",
        "clear examples: one row for each label of the neighbours' majority, one column for each label of the example "
        "itself; absent beyond 100 classes",
    ]
    pure_disagreement: Annotated[
        float, "share", "of the quarter of examples with the most unanimous neighbours: those that have another label"
    ]
    evenness: Annotated[
        float | None,
        "0 to 1",
        "how evenly the other labels around clear examples are distributed over the other classes: entropy / "
        "ln(classes - 1), mean over the classes; null for two classes",
    ]


class Data(TypedDict, total=False):
    features: Annotated[int, "number", "values of an image: channels x height x width"]
    value_bits: Annotated[
        float, "bits", "log2 of the number of different images that are possible, from at most 64 values that vary"
    ]
    inputs: Annotated[Mapping[str, InputMoments], "by split", "moments of a sample of preprocessed images"]
    constant_features: Annotated[float, "share", "stored values that are the same in every training image"]
    class_names: Annotated[Sequence[str], "(classes,)", "names in label order"]
    class_counts: Annotated[Mapping[str, Sequence[int]], "by split, (classes,)", "examples of each class"]
    duplicates: Annotated[
        Mapping[str, int], "by split `val`, `test`", "examples whose pixels equal those of a training example"
    ]
    neighbours: Annotated[
        Mapping[str, Neighbours],
        "by split",
        "labels of a sample beside those of its nearest training examples: Euclidean distance of stored pixels, images "
        "averaged down to at most 256 values, table columns standardized, no example its own neighbour",
    ]


class Activations(TypedDict, total=False):
    name: Annotated[Sequence[str], "(layers,)", "modules, in the order of the forward pass"]
    kind: Annotated[Sequence[str], "(layers,)", "activation function, such as `relu`"]
    units: Annotated[Sequence[int], "(layers,), number", "units or channels"]
    mean: Annotated[Numbers, "(layers,)", "mean over all values"]
    std: Annotated[Numbers, "(layers,)", "standard deviation over all values"]
    unit_std: Annotated[
        Numbers,
        "(layers,)",
        "root of the mean over units of the variance over examples and positions: what depends on the input",
    ]
    zero: Annotated[Numbers, "(layers,), share", "values that are 0"]
    saturated: Annotated[
        Numbers, "(layers,), share", "values within 2 % of the function's range from a bound; null if unbounded"
    ]
    positive: Annotated[Numbers, "(layers,), share", "values above 0"]
    dead: Annotated[
        Numbers, "(layers,), share", "units that are 0 for every example; null for functions that have no such units"
    ]


class Gradients(TypedDict, total=False):
    name: Annotated[Sequence[str], "(layers,)", "weights of two or more dimensions, in order"]
    rms: Annotated[Numbers, "(layers,)", "root mean square of the loss's gradient"]
    weight_rms: Annotated[Numbers, "(layers,)", "root mean square of the weight"]


class Histograms(TypedDict, total=False):
    name: Annotated[Sequence[str], "(layers,)", "modules, in the order of the forward pass"]
    kind: Annotated[Sequence[str], "(layers,)", "activation function"]
    low: Annotated[Numbers, "(layers,)", "lower end: the function's bound, or 4 standard deviations below the mean"]
    high: Annotated[Numbers, "(layers,)", "upper end; values beyond the ends are not counted"]
    zero: Annotated[Numbers, "(layers,), share", "values that are exactly 0"]
    counts: Annotated[Sequence[Sequence[int]], "(layers, 40), number", "all other values, in bins of equal width"]


class Epochs(TypedDict, total=False):
    epoch: Annotated[Numbers, "(epochs,)", "number of the epoch, from 0"]
    step: Annotated[Numbers, "(epochs,)", "steps made by its end"]
    lr: Annotated[Numbers, "(epochs,)", "learning rate at its end"]
    loss: Annotated[Numbers, "(epochs,), nats", "mean of the data loss, as trained"]
    penalty: Annotated[Numbers, "(epochs,), nats", "mean of the penalty"]
    accuracy: Annotated[Numbers, "(epochs,), share", "correct answers, as trained"]
    val_loss: Annotated[Numbers, "(epochs,), nats", "loss on the validation split"]
    val_accuracy: Annotated[Numbers, "(epochs,), share", "correct answers on the validation split"]
    probe_loss: Annotated[Numbers, "(epochs,), nats", "loss on the probe, which is evaluated like validation examples"]
    probe_accuracy: Annotated[Numbers, "(epochs,), share", "correct answers on the probe"]
    seconds: Annotated[Numbers, "(epochs,), seconds", "duration of the training so far"]


class SampledWeights(TypedDict, total=False):
    name: Annotated[Sequence[str], "(layers,)", "weights of two or more dimensions"]
    gradient: Annotated[Rows, "(samples, layers)", "L2 norm of the gradient"]
    weight: Annotated[Rows, "(samples, layers)", "L2 norm of the weight"]
    update: Annotated[Rows, "(samples, layers)", "L2 norm of the update; update / weight should be near 1e-3"]


class SampledActivations(TypedDict, total=False):
    name: Annotated[Sequence[str], "(layers,)", "modules, in the order of the forward pass"]
    kind: Annotated[Sequence[str], "(layers,)", "activation function"]
    mean: Annotated[Rows, "(samples, layers)", "as in `sanity.activations`, like the rows below"]
    std: Annotated[Rows, "(samples, layers)", "standard deviation over all values"]
    unit_std: Annotated[Rows, "(samples, layers)", "the part of `std` that depends on the input"]
    zero: Annotated[Rows, "(samples, layers), share", "values that are 0"]
    saturated: Annotated[Rows, "(samples, layers), share", "values near a bound"]
    positive: Annotated[Rows, "(samples, layers), share", "values above 0"]


class Samples(TypedDict, total=False):
    step: Annotated[Numbers, "(samples,)", "number of the sampled step, from 1"]
    lr: Annotated[Numbers, "(samples,)", "learning rate"]
    logit_std: Annotated[Numbers, "(samples,)", "standard deviation of the logits about their mean over classes"]
    gradient_noise: Annotated[
        Numbers, "(samples,)", "variance of a batch's gradient / its squared mean; null where not measured"
    ]
    gradient_ratio: Annotated[Numbers, "(samples,)", "gradient norm of the first weights / of the last"]
    weights: Annotated[SampledWeights, "table", "norms of each layer"]
    activations: Annotated[SampledActivations, "table", "statistics of each layer"]


class Units(TypedDict, total=False):
    epoch: Annotated[Numbers, "(probes,)", "epochs after which activations of the probe were recorded"]
    name: Annotated[Sequence[str], "(layers,)", "modules, in the order of the forward pass"]
    kind: Annotated[Sequence[str], "(layers,)", "activation function"]
    units: Annotated[Sequence[int], "(layers,), number", "units or channels"]
    dead: Annotated[Rows, "(probes, layers), share", "units that are 0 for every example of the probe"]
    saturated: Annotated[Rows, "(probes, layers), share", "values near a bound"]


class ClassSignals(TypedDict, total=False):
    """Signals of sanity, overfit and train."""

    classes: Annotated[int, "number", "classes"]
    nonfinite: Annotated[Sequence[str], "names", "places where a number was NaN or infinite"]


class ConfigSignals(TypedDict, total=False):
    """What was configured, for remedies; signals of sanity, overfit and train."""

    lr: Annotated[float, "", "configured learning rate"]
    l2: Annotated[float, "", "configured strength of the L2 penalty"]
    dropout: Annotated[float, "share", "configured dropout"]
    width: Annotated[Any, "number", "`model.width`; null where the model has none"]
    loss: Annotated[str, "class", "loss function"]
    optimizer: Annotated[str, "class", "optimizer"]
    batchnorm_layers: Annotated[int, "number", "batchnorm layers"]


class BatchSignals(TypedDict, total=False):
    """Signals of sanity and train."""

    batch_size: Annotated[int, "number", "examples of one step"]
    input_std: Annotated[float, "input unit", "standard deviation of the first preprocessed images, over all values"]
    histograms: Annotated[
        Histograms, "table", "values of each activation layer, normalized by the batch, without dropout; `report=true`"
    ]


class CurveSignals(TypedDict, total=False):
    """Signals of overfit and train."""

    losses: Annotated[Numbers, "(steps,), nats", "data loss of each step's batch, as trained"]
    accuracies: Annotated[Numbers, "(steps,), share", "correct answers of each step's batch, as trained"]
    nonfinite_step: Annotated[int | None, "step", "first step whose loss was not finite; in overfit counted from 0"]


class FirstLossSignals(TypedDict, total=False):
    """Signals of sanity and lr_range."""

    first_loss: Annotated[float, "nats", "data loss before the first step"]


class SanityOnly(TypedDict, total=False):
    examples: Annotated[int, "number", "training examples that are measured"]
    data: Annotated[Data, "table", "the images as they go into the network"]
    output_shape: Annotated[Sequence[int], "shape", "of the network's output for `examples` images"]
    expected_first_loss: Annotated[float | None, "nats", "`first_loss` of a guess; null where unknown"]
    logit_mean: Annotated[float, "logits", "mean of the first output"]
    logit_std: Annotated[float, "logits", "standard deviation of the first output about its mean over classes"]
    penalty: Annotated[float, "nats", "penalty of the initial weights"]
    penalty_factors: Annotated[Sequence[float], "(factors,)", "factors of the penalty that are compared"]
    penalized_losses: Annotated[Sequence[float], "(factors,), nats", "`first_loss` + factor x `penalty`"]
    zero_gradients: Annotated[Sequence[str], "names", "parameters without gradient, also after the short fit"]
    trainable_parameters: Annotated[int, "number", "parameters that require a gradient"]
    symmetric_layers: Annotated[Sequence[str], "names", "weights all of whose rows, and of their gradient, are equal"]
    weight_layers: Annotated[int, "number", "weights of two or more dimensions"]
    frozen_parameters: Annotated[Sequence[str], "names", "parameters with `requires_grad=False`"]
    shared_parameters: Annotated[Sequence[Sequence[str]], "names", "for each shared parameter all its names"]
    parameters: Annotated[int, "number", "parameters"]
    leaking_examples: Annotated[int, "number", "other examples of the batch on which the first one's loss depends"]
    leak_examples: Annotated[int, "number", "other examples of the batch"]
    leak_gradient: Annotated[float, "", "largest gradient of the first one's loss with respect to another example"]
    fit_loss: Annotated[float, "nats", "loss after a short fit on real inputs"]
    fit_loss_zeroed: Annotated[float, "nats", "loss after the same fit on inputs of zero"]
    fit_steps: Annotated[int, "step", "steps of the short fit"]
    fit_first_accuracy: Annotated[float, "share", "correct answers before the short fit on real inputs"]
    fit_accuracy: Annotated[float, "share", "correct answers after it"]
    precision: Annotated[str, "option", "`trainer.precision`, where it is below 32 bits"]
    reduced_pass_seconds: Annotated[float, "seconds", "shortest forward and backward pass in reduced precision"]
    full_pass_seconds: Annotated[float, "seconds", "the same in full precision"]
    perfect_probability_loss: Annotated[
        float, "nats", "loss of outputs that are 1 for the right class and 0 for the others"
    ]
    wrong_probability_loss: Annotated[float, "nats", "mean loss of outputs that are 1 for one of the wrong classes"]
    certain_loss: Annotated[float, "nats", "loss of outputs that are 1000 for the right class and 0 for the others"]
    update_direction: Annotated[
        float, "cosine", "of the gradient and the optimizer's first update without decay; -1 for gradient descent"
    ]
    doubled_loss_ratio: Annotated[
        float, "ratio", "loss of a batch given twice over / loss of the batch: 1 for a mean, 2 for a sum"
    ]
    output_operations: Annotated[
        Sequence[str], "words", "operations after the last weights, such as `softmax`; reshapes are left out"
    ]
    output_log_probabilities: Annotated[bool, "", "the exponentials of every output row sum to one"]
    output_sums_to_one: Annotated[bool, "", "every output row is non-negative and sums to one"]
    linear_pairs: Annotated[
        Sequence[Sequence[str]], "pairs of names", "neighbouring weight layers with only linear operations between them"
    ]
    weight_pairs: Annotated[int, "number", "pairs of neighbouring weight layers"]
    weight_operations: Annotated[int, "number", "operations with weights in one forward pass"]
    bias_before_batchnorm: Annotated[
        Sequence[str], "names", "weights of layers whose bias the next batchnorm subtracts again"
    ]
    activations: Annotated[Activations, "table", "first forward pass, each activation layer"]
    gradients: Annotated[Gradients, "table", "first backward pass, each weight layer"]


class OverfitOnly(TypedDict, total=False):
    overfit_reached: Annotated[bool, "", "the target was reached with every example correct"]
    overfit_steps: Annotated[int, "step", "step that reached the target, or the number of steps made"]
    overfit_first_loss: Annotated[float, "nats", "loss of the first step"]
    overfit_loss: Annotated[float, "nats", "loss of the last step"]
    overfit_best_loss: Annotated[float, "nats", "lowest loss"]
    overfit_wrong: Annotated[int, "number", "examples that are wrong in the last step"]
    overfit_examples: Annotated[int, "number", "examples of the subset"]
    overfit_target: Annotated[float, "nats", "loss that must be reached"]
    overfit_other_rate: Annotated[
        float, "", "first other learning rate that reached the target, where the configured one did not"
    ]
    overfit_other_steps: Annotated[int, "step", "step at which it did"]


class LrRangeOnly(TypedDict, total=False):
    proposed_lr: Annotated[float | None, "", "a tenth of the rate with the lowest loss; null if no loss fell"]
    best_loss: Annotated[float, "nats", "lowest smoothed loss"]
    highest_lr: Annotated[float, "", "upper end of the range, `stages.lr_range.high`"]


class TrainOnly(TypedDict, total=False):
    train_examples: Annotated[int, "number", "examples of the training split"]
    val_examples: Annotated[int, "number", "examples of the validation split"]
    probe_examples: Annotated[int, "number", "training examples of the probe at the last epoch"]
    steps_per_epoch: Annotated[int, "number", "steps of an epoch"]
    epochs_planned: Annotated[int, "number", "configured epochs"]
    schedule: Annotated[str, "class", "learning-rate schedule"]
    augmentation: Annotated[str, "class", "augmentation"]
    lower_rate: Annotated[Sequence[str], "overrides", "the remedy with a tenth of the learning rate"]
    chance_loss: Annotated[
        float | None, "nats", "of the best answer that ignores the image: for cross-entropy the classes' entropy"
    ]
    chance_accuracy: Annotated[float, "share", "frequency of the largest class in the training split"]
    steps_per_entry: Annotated[
        int, "number", "steps that one entry of `losses` and `accuracies` averages: 1 up to 10,000 steps"
    ]
    epochs: Annotated[Epochs, "table", "one entry for each whole epoch"]
    samples: Annotated[Samples, "table", "one entry for each sampled step"]
    units: Annotated[
        Units, "table", "units of each layer over the probe, after the last epoch and about every `every_n_steps` steps"
    ]
    eval_loss: Annotated[
        float, "nats", "loss on the probe at the end with batchnorm's running statistics; absent without batchnorm"
    ]
    batch_loss: Annotated[float, "nats", "the same with the statistics of the batch; dropout is off in both"]
    eval_accuracy: Annotated[float, "share", "correct answers with the running statistics"]
    batch_accuracy: Annotated[float, "share", "correct answers with the statistics of the batch"]
    exploded: Annotated[bool, "", "the run was stopped because its loss exploded"]
    exploded_cost: Annotated[float, "nats", "loss at which it was stopped"]
    exploded_step: Annotated[int, "step", "step at which it was stopped"]
    original_cost: Annotated[float, "nats", "loss of the first step"]
    break_factor: Annotated[float, "ratio", "`stages.train.break_factor`"]
    graph_steps: Annotated[int, "number", "steps of this process that were replayed as a CUDA graph; absent on the CPU"]
    graph_refused: Annotated[str, "words", "why the training step could not be captured as a CUDA graph"]
    streamed_bytes: Annotated[int, "bytes", "size of the images, where they stay in the host's memory"]
    nondeterministic_operations: Annotated[
        Sequence[str], "names", "operations without a deterministic form, with `trainer.deterministic=true`"
    ]
    interrupted_epoch: Annotated[bool, "", "the run was stopped within an epoch"]
    running: Annotated[bool, "", "the training is not over: checks of its end stay silent"]


class EnsembleSignals(TypedDict, total=False):
    ensemble_accuracy: Annotated[float, "share", "correct validation answers of the mean of the members' probabilities"]
    member_accuracies: Annotated[Sequence[float], "(members,), share", "correct validation answers of each member"]
    ensemble_examples: Annotated[int, "number", "examples of the validation split"]
    disagreement: Annotated[float, "share", "validation examples on which the members' answers differ"]
    members_broken: Annotated[int, "number", "members whose training failed; they are left out"]


class SanitySignals(ClassSignals, ConfigSignals, BatchSignals, FirstLossSignals, SanityOnly, total=False):
    pass


class OverfitSignals(ClassSignals, ConfigSignals, CurveSignals, OverfitOnly, total=False):
    pass


class LrRangeSignals(FirstLossSignals, LrRangeOnly, total=False):
    pass


class TrainSignals(ClassSignals, ConfigSignals, BatchSignals, CurveSignals, TrainOnly, total=False):
    pass


class Signals(SanitySignals, OverfitSignals, LrRangeSignals, TrainSignals, EnsembleSignals, total=False):
    """Signals of any stage: what a rule takes."""


STAGES: Mapping[str, type] = {
    "sanity": SanitySignals,
    "overfit": OverfitSignals,
    "lr_range": LrRangeSignals,
    "train": TrainSignals,
    "ensemble": EnsembleSignals,
}


def stages_with(key: str) -> tuple[str, ...]:
    """Return the stages that have the top-level key `key`, in the order of `STAGES`."""
    return tuple(stage for stage, schema in STAGES.items() if key in get_type_hints(schema))
