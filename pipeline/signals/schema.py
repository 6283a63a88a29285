"""The keys of signals.json: one `TypedDict` for each stage. This file is the only list of them.

A key is declared as `Annotated[type, unit, description]`. mypy holds the rules in `pipeline.checks` to these types, and
`make docs` writes docs/signals.md from the descriptions. A key that several stages have is declared once, in a
group that these stages inherit. Every key is optional: what was not measured is absent. This module imports no torch.

Losses are in nats, a share is a number from 0 to 1, a step is one optimizer update.
"""

import functools
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
    channel_mean_error: Annotated[Sequence[float], "(channels,)", "standard errors of `channel_mean`"]
    channel_std_error: Annotated[Sequence[float], "(channels,)", "standard errors of `channel_std`"]


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


class Files(TypedDict, total=False):
    images: Annotated[int, "number", "image files in class folders"]
    hidden: Annotated[int, "number", "hidden files and folders, and those that operating systems leave behind"]
    foreign: Annotated[Mapping[str, int], "by ending", "files that have no ending of an image, and were passed over"]
    unlabelled: Annotated[
        Mapping[str, int], "by folder", "images that lie directly in the folder and in no class folder; passed over"
    ]
    unreadable: Annotated[int, "number", "image files that could not be read, and were left out by `data.on_error`"]
    unreadable_names: Annotated[Sequence[str], "(files,)", "these files with the reasons, at most 100"]
    first_frame: Annotated[int, "number", "image files of several pictures, of which the first was read"]
    eight_bits: Annotated[int, "number", "image files with colours of 16 bits that were read with 8"]
    enlarged: Annotated[int, "number", "image files of less than a quarter of the height or width of `data.size`"]


class Transparency(TypedDict, total=False):
    images: Annotated[int, "number", "image files that were read"]
    transparent: Annotated[int, "number", "of these, files in which some pixel is not opaque"]
    background: Annotated[str, "option", "`data.background`, the ground onto which they were composed"]
    lost: Annotated[
        Mapping[str, int],
        "by ground",
        "transparent images whose drawing would hardly differ from that ground: `background`, white, black and 128; "
        "they keep less than a twentieth of the spread of their opacity",
    ]


class Crop(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled training images that are not square"]
    cut: Annotated[float, "share", "mean part of these images that the crop cuts away"]
    chance: Annotated[float, "share", "examples of the largest class"]
    whole_accuracy: Annotated[
        float,
        "share",
        "examples whose class the other whole images tell, squeezed to the size of the crop: by nearest neighbours of "
        "the same proportions or by a linear classifier, whichever is right more often",
    ]
    crop_accuracy: Annotated[float, "share", "the same for the crops"]
    whole_only: Annotated[int, "number", "examples that are right as whole images and wrong as crops"]
    crop_only: Annotated[int, "number", "examples that are wrong as whole images and right as crops"]


class Augmented(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled training images that the augmentation changed"]
    nearest: Annotated[int, "number", "neighbours of each image, at the best of small shifts"]
    chance: Annotated[float, "share", "agreement of labels that are drawn at random with the classes' frequencies"]
    agreement: Annotated[
        float,
        "share",
        "neighbours of the varied images, among varied and unvaried images of other examples, that have their class",
    ]
    unvaried_agreement: Annotated[float, "share", "the same for the same images unvaried, among unvaried images alone"]
    class_examples: Annotated[Sequence[int], "(classes,), number", "of `examples`, by class; absent beyond 100 classes"]
    called: Annotated[
        Rows, "(classes, classes), share", "varied images of one class (row) that unvaried images call another (column)"
    ]
    unvaried_called: Annotated[Rows, "(classes, classes), share", "the same for unvaried images"]
    gap_closed: Annotated[
        Rows,
        "(classes, classes), share",
        "of the distance between one class (row) and another (column), the part by which varied images are nearer to "
        "the other, and the other to them: 1 if they lie among its images; null where the classes overlap",
    ]


class ChannelOrder(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled images of the split"]
    order: Annotated[
        Sequence[int], "(channels,)", "best order other than the right one: channel i holds training's channel order[i]"
    ]
    share: Annotated[float, "share", "images in that order that fit best"]
    unchanged_distance: Annotated[
        float, "chi-squared", "distance of colours from training, class by class, if all channels are where they belong"
    ]
    distance: Annotated[float, "chi-squared", "the same if `share` of the images have their channels in `order`"]
    expected_distance: Annotated[float, "chi-squared", "mean of the distance of images of the same kind"]


class Layout(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled images"]
    shape: Annotated[Sequence[int], "(3,)", "channels, height, width"]
    roughness: Annotated[
        float,
        "variance",
        "half the mean squared difference of neighbouring pixels, in the direction that has more of it, over the "
        "variance within an image: 1 for noise, near 0 for smooth images",
    ]
    reading: Annotated[
        Sequence[str],
        "(2,)",
        "the other reading with the least roughness: values are listed in the order of the first axes and taken for "
        "the second, as in [CHW, HWC]",
    ]
    reread_roughness: Annotated[float, "variance", "`roughness` in that reading"]
    smoother: Annotated[float, "share", "images whose neighbours are more alike in that reading"]
    channel_correlation: Annotated[float, "-1 to 1", "mean correlation of two channels within an image"]


class NearCopies(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled images of the split, at most 100"]
    train_share: Annotated[float, "share", "training images that they are compared with"]
    usual_rank: Annotated[int, "number", "rank of the training images that count as independent"]
    decay: Annotated[
        float,
        "exponent",
        "growth of what is not in common with the rank, as a power of it: 2 / the number of dimensions of the images",
    ]
    unlike: Annotated[
        Sequence[float],
        "(close,), share",
        "1 - correlation of the details of an image and of the most similar training image, in their overlap; of the "
        "images where that is at most a quarter of `usually_unlike`",
    ]
    usually_unlike: Annotated[Sequence[float], "(close,), share", "the same for training images of the usual rank"]
    faint_agreement: Annotated[
        Sequence[float], "(close,), -1 to 1", "agreement of the signs of the fainter half of the finest details"
    ]
    detailed: Annotated[Sequence[float], "(close,), share", "pixels of the overlap that have any detail in both"]
    pairs: Annotated[
        Sequence[Sequence[int]], "(close, 2)", "number of the image in its split, of the similar one in training"
    ]


class Turn(TypedDict, total=False):
    examples: Annotated[int, "number", "sampled images of the split"]
    turn: Annotated[str, "words", "of turns by quarters and mirrorings, the one that makes labels agree most"]
    agreement: Annotated[float, "share", "images with the label of the nearest training image, as they are"]
    turned_agreement: Annotated[float, "share", "the same after that turn"]
    turned_only: Annotated[int, "number", "images whose label agrees only after it"]
    unturned_only: Annotated[int, "number", "images whose label agrees only as they are"]
    nearer: Annotated[float, "share", "images that are nearer to a training image after it"]


class Repeats(TypedDict, total=False):
    """Images that are equal to the byte."""

    train: Annotated[Sequence[int], "(classes,), number", "training examples that equal another training example"]
    images: Annotated[Sequence[int], "(classes,), number", "examples of all splits"]
    pairs: Annotated[Sequence[int], "(classes,), number", "pairs of equal ones among these"]
    triples: Annotated[Sequence[int], "(classes,), number", "triples of equal ones among these"]


class Data(TypedDict, total=False):
    features: Annotated[int, "number", "values of an image: channels x height x width"]
    value_bits: Annotated[
        float, "bits", "log2 of the number of different images that are possible, from at most 64 values that vary"
    ]
    inputs: Annotated[Mapping[str, InputMoments], "by split", "moments of a sample of preprocessed images"]
    constant_features: Annotated[float, "share", "stored values that are the same in every training image"]
    blank: Annotated[Mapping[str, int], "by split", "images of which every channel has one value; none of a table"]
    class_names: Annotated[Sequence[str], "(classes,)", "names in label order"]
    class_counts: Annotated[Mapping[str, Sequence[int]], "by split, (classes,)", "examples of each class"]
    duplicates: Annotated[
        Mapping[str, int], "by split `val`, `test`", "examples whose pixels equal those of a training example"
    ]
    repeats: Annotated[Repeats, "table", "how often images of a class equal each other"]
    near_copies: Annotated[
        Mapping[str, NearCopies],
        "by split `val`, `test`",
        "a sample of images that are not in `duplicates` beside the most similar training images, shifted, mirrored or "
        "turned; empty for tables, images below 12 pixels and fewer than 200 training images",
    ]
    channel_orders: Annotated[
        Mapping[str, ChannelOrder],
        "by split `val`, `test`",
        "how the colours of stored images fit those of training, as they are and with their channels reordered; empty "
        "unless there are 2 to 4 channels",
    ]
    layouts: Annotated[
        Mapping[str, Layout],
        "by split",
        "how alike neighbouring pixels of stored images are, as they are and in another order of height, width and "
        "channels; empty where there is no other order",
    ]
    neighbours: Annotated[
        Mapping[str, Neighbours],
        "by split",
        "labels of a sample beside those of its nearest training examples: Euclidean distance of stored pixels, images "
        "averaged down to at most 256 values, table columns standardized, no example its own neighbour",
    ]
    turns: Annotated[
        Mapping[str, Turn],
        "by split `val`, `test`",
        "labels of a sample beside those of the nearest training images, as images are and turned by quarters or "
        "mirrored; empty for tables",
    ]
    notes: Annotated[Sequence[str], "sentences", "what reading the data decided by itself or passed over"]
    files: Annotated[Files, "table", "files of a folder of images: what was read, and what was not"]
    transparency: Annotated[Transparency, "table", "image files that are not opaque; absent where all are"]
    crop: Annotated[Crop, "table", "what `data.size` cuts away; absent where the images are square"]
    shared_groups: Annotated[
        Mapping[str, int], "by split `val`, `test`", "examples whose group has training examples; absent without groups"
    ]
    augmented: Annotated[Augmented, "table", "what the augmentation does to classes; absent without augmentation"]


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
    r2: Annotated[Numbers, "(epochs,)", "1 - mean squared error of targets of variance 1; in place of accuracy"]
    val_r2: Annotated[Numbers, "(epochs,)", "the same on the validation split"]
    probe_r2: Annotated[Numbers, "(epochs,)", "the same on the probe"]
    val_balanced_accuracy: Annotated[Numbers, "(epochs,), share", "mean recall of the classes, if it is monitored"]
    val_f1: Annotated[Numbers, "(epochs,), share", "mean F1 of the classes or labels, if it is monitored"]
    val_precision: Annotated[Numbers, "(epochs,), share", "mean precision, if it is monitored"]
    val_recall: Annotated[Numbers, "(epochs,), share", "mean recall, if it is monitored"]
    val_auc: Annotated[Numbers, "(epochs,), share", "mean area under the ROC curve, if it is monitored"]
    val_exact_match: Annotated[Numbers, "(epochs,), share", "examples with every label right, if it is monitored"]
    val_mae: Annotated[Numbers, "(epochs,)", "mean absolute error in the targets' units, if it is monitored"]
    val_rmse: Annotated[Numbers, "(epochs,)", "root of the mean squared error, if it is monitored"]
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
    gradient_norm: Annotated[Numbers, "(samples,)", "L2 norm of the whole gradient, in a log of another program"]
    applied_gradient: Annotated[
        Numbers,
        "(samples,)",
        "norm of the weights' gradients as the optimizer gets them / after the backward pass: 1 "
        "where nothing clips or scales them; null where not measured",
    ]
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

    classes: Annotated[int, "number", "classes; labels or targets, where `task` says so"]
    task: Annotated[str, "", "multilabel | regression; absent where each example has one class"]
    nonfinite: Annotated[Sequence[str], "names", "places where a number was NaN or infinite"]


class OptionSignals(TypedDict, total=False):
    """What is in force, so that no remedy proposes it again; signals of sanity, overfit, lr_range and train."""

    options: Annotated[
        Mapping[str, Any], "by key", "the configuration's options and values: `init` is `he`, `optimizer.lr` is 0.01"
    ]
    ignored_keys: Annotated[Sequence[str], "keys", "keys of the configuration that this network does not use"]


class ConfigSignals(OptionSignals, total=False):
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


class ValidationSignals(TypedDict, total=False):
    """Signals of train and evaluate."""

    val_examples: Annotated[int, "number", "examples of the validation split"]


class ScheduleSignals(TypedDict, total=False):
    """The learning-rate schedule, moved in advance; signals of sanity and train."""

    schedule: Annotated[str, "class", "learning-rate schedule"]
    schedule_moves: Annotated[int, "number", "moves of the schedule in the whole run"]
    schedule_other_moves: Annotated[
        int, "number", "moves if it moved after each epoch instead of each step, or the other way round"
    ]
    schedule_length: Annotated[int, "number", "moves that the schedule was built for; absent where it does not say"]
    schedule_argument: Annotated[str, "name", "argument of the schedule that says so, such as `T_max`"]
    schedule_error: Annotated[str, "words", "why the schedule breaks down before the end of the run"]
    schedule_error_move: Annotated[int, "number", "move at which it does, from 1"]
    planned_rates: Annotated[
        Numbers,
        "(moves,)",
        "highest learning rate of the groups between the moves, at most 1000 evenly spaced ones; absent for a plateau "
        "schedule",
    ]
    schedule_mode: Annotated[str, "option", "`min` or `max`, what a plateau schedule takes for better"]
    schedule_monitor: Annotated[str, "name", "value that a plateau schedule is given, such as `val_loss`"]
    schedule_patience: Annotated[int, "epochs", "epochs without improvement that a plateau schedule tolerates"]
    schedule_threshold: Annotated[float, "share", "improvements below it do not count for a plateau schedule"]


class FirstLossSignals(TypedDict, total=False):
    """Signals of sanity and lr_range."""

    first_loss: Annotated[float, "nats", "data loss before the first step"]


class WiringSignals(TypedDict, total=False):
    """Whether what is computed is what is trained; signals of sanity, and of train in a watched loop."""

    unregistered_parameters: Annotated[
        Sequence[str], "names", "what gets a gradient and is no registered parameter: its attribute, or its shape"
    ]
    loss_parameters: Annotated[
        Sequence[str], "names", "parameters of the loss that get a gradient and that the optimizer does not have"
    ]
    optimizer_missing: Annotated[Sequence[str], "names", "trainable parameters that the optimizer does not have"]
    optimizer_foreign: Annotated[
        int, "number", "tensors of the optimizer that are no parameter of the network or the loss"
    ]
    gradients_kept: Annotated[Sequence[str], "names", "parameters whose gradient is still there after `zero_grad`"]
    gradients_lost: Annotated[
        Sequence[str], "names", "parameters that the optimizer updates as if their gradient were zero"
    ]
    update_direction: Annotated[
        float,
        "cosine",
        "of the gradient and the optimizer's first update without decay; -1 for gradient descent; in a watched loop of "
        "the first measured update, absent where decay or noise has a part in it",
    ]


class SanityOnly(TypedDict, total=False):
    ignored_options: Annotated[
        Sequence[str], "key=value", "what the command asks for although the network does not use it"
    ]
    examples: Annotated[int, "number", "training examples that are measured"]
    data: Annotated[Data, "table", "the images as they go into the network"]
    output_shape: Annotated[Sequence[int], "shape", "of the network's output for `examples` images"]
    expected_first_loss: Annotated[float | None, "nats", "`first_loss` of a guess; null where unknown"]
    logit_mean: Annotated[float, "logits", "mean of the first output"]
    logit_std: Annotated[float, "logits", "standard deviation of the first output about its mean over classes"]
    penalty: Annotated[float, "nats", "penalty of the initial weights"]
    penalty_factors: Annotated[Sequence[float], "(factors,)", "factors of the penalty that are compared"]
    penalized_losses: Annotated[Sequence[float], "(factors,), nats", "`first_loss` + factor x `penalty`"]
    zero_gradients: Annotated[
        Sequence[str], "names", "parameters without gradient, also for parts of the batch and after the short fit"
    ]
    output_requires_grad: Annotated[bool, "", "autograd has a path from the output to some parameter"]
    loss_requires_grad: Annotated[bool, "", "autograd has a path from the loss to some parameter"]
    trainable_parameters: Annotated[int, "number", "parameters that require a gradient"]
    symmetric_layers: Annotated[Sequence[str], "names", "weights all of whose rows, and of their gradient, are equal"]
    weight_layers: Annotated[int, "number", "weights of two or more dimensions"]
    frozen_parameters: Annotated[Sequence[str], "names", "parameters with `requires_grad=False`"]
    shared_parameters: Annotated[Sequence[Sequence[str]], "names", "for each shared parameter all its names"]
    declared_frozen: Annotated[Sequence[str], "names", "of `frozen_parameters`, those that `model.frozen` names"]
    frozen_prefixes: Annotated[
        Sequence[str], "names", "fewest modules and parameters that cover exactly the frozen parameters"
    ]
    frozen_inside: Annotated[
        Sequence[str],
        "names",
        "frozen parameters with trained layers before them, or with trained parameters in the same layer",
    ]
    trained_share: Annotated[float, "share", "numbers in parameters that are trainable"]
    moving_statistics: Annotated[
        Sequence[str], "names", "batchnorms in frozen parts whose running statistics change in training mode"
    ]
    parameters: Annotated[int, "number", "parameters"]
    leaking_examples: Annotated[int, "number", "other examples of the batch on which the first one's loss depends"]
    leak_examples: Annotated[int, "number", "other examples of the batch"]
    leak_gradient: Annotated[float, "", "largest gradient of the first one's loss with respect to another example"]
    fit_loss: Annotated[float, "nats", "loss after a short fit on real inputs"]
    fit_loss_zeroed: Annotated[float, "nats", "loss after the same fit on inputs of zero"]
    fit_steps: Annotated[int, "step", "steps of the short fit"]
    fit_operations: Annotated[float, "operations", "floating point operations of one step of the short fit, about"]
    fit_most_steps: Annotated[int, "step", "steps after which the short fit ends in any case"]
    fit_first_accuracy: Annotated[float, "share", "correct answers before the short fit on real inputs"]
    fit_accuracy: Annotated[float, "share", "correct answers after it"]
    precision: Annotated[str, "option", "`trainer.precision`, where it is below 32 bits"]
    reduced_pass_seconds: Annotated[float, "seconds", "shortest forward and backward pass in reduced precision"]
    full_pass_seconds: Annotated[float, "seconds", "the same in full precision"]
    perfect_probability_loss: Annotated[
        float, "nats", "loss of outputs that are 1 for the right class and 0 for the others"
    ]
    labels_are_best_outputs: Annotated[
        bool, "", "labels that are real numbers: the loss has its minimum where the outputs equal the labels"
    ]
    label_range: Annotated[list[float], "2", "the smallest and the largest of labels that are real numbers"]
    wrong_probability_loss: Annotated[float, "nats", "mean loss of outputs that are 1 for one of the wrong classes"]
    certain_loss: Annotated[float, "nats", "loss of outputs that are 1000 for the right class and 0 for the others"]
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
    pairing_ratio: Annotated[
        float,
        "ratio",
        "on synthetic outputs, largest change of the loss by permuted labels / by other labels: 0 for a loss that does "
        "not see which label belongs to which example; absent where labels or outputs do not change the loss",
    ]
    loss_mixing: Annotated[
        float,
        "sine",
        "largest angle by which the loss's gradient for one example turns when the outputs of other examples change; 0 "
        "for any function of the losses of single examples",
    ]
    compared_axes: Annotated[
        Sequence[int],
        "axes of the output",
        "along which only differences or ratios of outputs change the loss, like the axis of a softmax; 0 are examples",
    ]
    class_axis: Annotated[int, "axis of the output", "of the classes, where the labels are classes"]
    rewarded_labels: Annotated[
        str,
        "words",
        "label that the loss rewards in an output: `own`, `next class`, `previous class`, `next example`, `previous "
        "example`, `another example`, `every class`, or `other` where it is none of these",
    ]
    loss_broadcasts: Annotated[
        Sequence[str], "words", "operations of the loss that combine (N, 1) with (N,) and so make N x N pairs"
    ]
    synthetic_loss: Annotated[float, "nats", "loss of a few synthetic outputs"]
    single_loss: Annotated[float, "nats", "mean loss of the same outputs, given one at a time"]
    tripled_loss_ratio: Annotated[float, "ratio", "loss of a batch given three times over / loss of the batch"]
    evaluation_spread: Annotated[
        float,
        "ratio",
        "largest difference of two passes in evaluation mode with other random numbers / standard deviation of the "
        "outputs",
    ]
    repeated_spread: Annotated[
        float, "ratio", "the same for two passes with equal random numbers: what depends on the passes before"
    ]
    evaluation_rounding: Annotated[float, "", "relative rounding error of the outputs' number format"]
    random_operations: Annotated[
        Sequence[str], "words", "operations that draw random numbers in evaluation mode, with their module"
    ]
    changed_buffers: Annotated[Sequence[str], "names", "buffers that a pass in evaluation mode changes"]
    training_in_evaluation: Annotated[
        Sequence[str], "words", "modules that stay in training mode after `network.eval()`, with their class"
    ]
    evaluation_in_training: Annotated[
        Sequence[str],
        "words",
        "modules that stay in evaluation mode after `network.train()` although their parameters are trained",
    ]
    unused_statistics: Annotated[
        Sequence[str], "words", "of these, batchnorm layers whose running statistics are still 0 and 1, and dropout"
    ]
    leaking_operation: Annotated[str, "words", "first operation that mixes the examples of a batch, with its module"]
    leaks_by_design: Annotated[
        bool, "", "batchnorm layers that were built without running statistics are all that mixes the examples"
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
    probe_examples: Annotated[int, "number", "training examples of the probe at the last epoch"]
    steps_per_epoch: Annotated[int, "number", "steps of an epoch"]
    epochs_planned: Annotated[int, "number", "configured epochs"]
    augmentation: Annotated[str, "class", "augmentation"]
    updates_made: Annotated[int, "number", "steps of the optimizer of a watched loop"]
    mode_modules: Annotated[Sequence[str], "names", "dropout and batchnorm of a watched loop's network"]
    steps_in_evaluation_mode: Annotated[float, "share", "passes of a watched loop's steps made in evaluation mode"]
    loss_direction: Annotated[
        float,
        "cosine",
        "of the gradients that the loss and the cross-entropy have at the outputs of a watched loop's classifier; -1 "
        "for a loss that is turned around",
    ]
    evaluations_in_training_mode: Annotated[
        float, "share", "passes of a watched loop without gradients, outside of its steps, made in training mode"
    ]
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
    eval_r2: Annotated[float, "", "of regression, in place of `eval_accuracy`"]
    batch_r2: Annotated[float, "", "of regression, in place of `batch_accuracy`"]
    exploded: Annotated[bool, "", "the run was stopped because its loss exploded"]
    exploded_cost: Annotated[float, "nats", "loss at which it was stopped"]
    exploded_step: Annotated[int, "step", "step at which it was stopped"]
    original_cost: Annotated[float, "nats", "loss of the first step, or of the first ones that have 16 examples"]
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
    ensemble_r2: Annotated[float, "", "of numbers in place of it: R2 of the mean of the members' outputs"]
    member_r2: Annotated[Sequence[float], "(members,)", "R2 of each member on the validation split"]
    ensemble_examples: Annotated[int, "number", "examples of the validation split"]
    disagreement: Annotated[float, "share", "validation examples on which the members' answers differ"]
    members_broken: Annotated[int, "number", "members whose training failed; they are left out"]


class EvaluateOnly(TypedDict, total=False):
    test_accuracy: Annotated[float, "share", "correct answers on the test split"]
    test_r2: Annotated[float, "", "1 - mean squared error on the test split, of targets of variance 1 in training"]
    val_r2: Annotated[float, "", "the same on the validation split"]
    test_loss: Annotated[float, "nats", "loss on the test split"]
    test_examples: Annotated[int, "number", "examples of the test split"]
    test_class_counts: Annotated[Sequence[int], "(classes,), number", "examples of each class in the test split"]
    test_class_accuracy: Annotated[Numbers, "(classes,), share", "correct answers of each class; null without examples"]
    val_accuracy: Annotated[
        float,
        "share",
        "correct answers of the same checkpoint on the validation split; absent where it was trained on other splits",
    ]
    val_class_counts: Annotated[Sequence[int], "(classes,), number", "examples of each class in the validation split"]
    val_class_accuracy: Annotated[Numbers, "(classes,), share", "as `test_class_accuracy`, on the validation split"]
    epochs_compared: Annotated[int, "number", "epochs of which the checkpoint is the best by the validation split"]


class DataSignals(TypedDict, total=False):
    data: Annotated[Data, "table", "the images and labels"]


class SanitySignals(
    ClassSignals, ConfigSignals, BatchSignals, ScheduleSignals, FirstLossSignals, WiringSignals, SanityOnly, total=False
):
    pass


class OverfitSignals(ClassSignals, ConfigSignals, CurveSignals, OverfitOnly, total=False):
    pass


class LrRangeSignals(OptionSignals, FirstLossSignals, LrRangeOnly, total=False):
    pass


class TrainSignals(
    ClassSignals,
    WiringSignals,
    ConfigSignals,
    BatchSignals,
    ScheduleSignals,
    CurveSignals,
    ValidationSignals,
    TrainOnly,
    total=False,
):
    pass


class FinetuneOnly(TypedDict, total=False):
    lr_factor: Annotated[float, "ratio", "`stages.finetune.lr_factor`: `lr` of the second training over `optimizer.lr`"]


class FinetuneSignals(TrainSignals, FinetuneOnly, total=False):
    pass


class EvaluateSignals(ValidationSignals, EvaluateOnly, total=False):
    pass


class Signals(
    SanitySignals,
    OverfitSignals,
    LrRangeSignals,
    TrainSignals,
    FinetuneSignals,
    EnsembleSignals,
    EvaluateSignals,
    total=False,
):
    """Signals of any stage: what a rule takes."""


STAGES: Mapping[str, type] = {
    "data": DataSignals,
    "sanity": SanitySignals,
    "overfit": OverfitSignals,
    "lr_range": LrRangeSignals,
    "train": TrainSignals,
    "finetune": FinetuneSignals,
    "ensemble": EnsembleSignals,
    "evaluate": EvaluateSignals,
}


@functools.cache
def stages_with(key: str) -> tuple[str, ...]:
    """Return the stages that have the top-level key `key`, in the order of `STAGES`.

    What finetune has from train is named as train's.
    """
    stages = tuple(stage for stage, schema in STAGES.items() if key in get_type_hints(schema))
    return tuple(stage for stage in stages if stage != "finetune" or "train" not in stages)
