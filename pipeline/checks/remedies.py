"""Whether a remedy is true for a run, and what an override means in code that this program did not configure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule


@dataclass(frozen=True)
class Change:
    """A change of somebody's code: one sentence, and one line of Python with torch's usual names."""

    advice: str
    code: str


_BLOCK = "block = nn.Sequential(nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units), nn.ReLU())"
_DECAY = 'for group in optimizer.param_groups: group["weight_decay"] = {}'
CHANGES = {
    "activation=leaky_relu": Change(
        "Use nn.LeakyReLU as the activation of the hidden layers.",
        "block = nn.Sequential(nn.Linear(inputs, units), nn.LeakyReLU(0.01))",
    ),
    "activation=relu": Change(
        "Use nn.ReLU as the activation of the hidden layers.",
        "block = nn.Sequential(nn.Linear(inputs, units), nn.ReLU())",
    ),
    "augmentation=none": Change(
        "Train on the images as they are, without augmentation.", "train_data.transform = evaluation_transform"
    ),
    "batchnorm=before_activation": Change(
        "Put batch normalization between each linear or convolutional layer and its activation.", _BLOCK
    ),
    "batchnorm.recompute=true": Change(
        "Compute batchnorm's running statistics over the whole training split once training is over.",
        "torch.optim.swa_utils.update_bn(train_loader, model)",
    ),
    "batchnorm.momentum": Change(
        "Set the momentum of the batchnorm layers to {value}.",
        "for layer in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)): "
        "layer.momentum = {value}",
    ),
    "data.batch_size": Change(
        "Use {value} examples in a batch.", "train_loader = DataLoader(train_data, batch_size={value}, shuffle=True)"
    ),
    "data.background": Change(
        "Put a {value} ground behind transparent images.",
        'image = Image.alpha_composite(Image.new("RGBA", image.size, "{value}"), image.convert("RGBA")).convert("RGB")',
    ),
    "data.fit=pad": Change(
        "Pad the shorter side of an image instead of cropping the longer one.",
        "image = ImageOps.pad(image, (size, size))",
    ),
    "data.sampling=balanced": Change(
        "Draw as many examples of each class in an epoch.",
        "sampler = torch.utils.data.WeightedRandomSampler(1 / counts[labels], len(labels))",
    ),
    "init=he": Change(
        "Draw the weights with He's initialization.",
        "for weight in (p for p in model.parameters() if p.dim() > 1): nn.init.kaiming_normal_(weight)",
    ),
    "init=xavier": Change(
        "Draw the weights with Xavier's initialization.",
        "for weight in (p for p in model.parameters() if p.dim() > 1): nn.init.xavier_normal_(weight)",
    ),
    "init.output_scale": Change(
        "Begin with small weights in the output layer: {value} / sqrt(inputs).",
        "nn.init.normal_(output_layer.weight, std={value} / output_layer.in_features**0.5)",
    ),
    "model.frozen": Change(
        "Freeze {value} as a whole: without gradients, and in evaluation mode after each call of train().",
        "part.requires_grad_(False).eval()",
    ),
    "model.width": Change("Make the hidden layers {value} units wide.", "hidden = nn.Linear(inputs, {value})"),
    "optimizer.lr": Change(
        "Set the learning rate to {value}.", 'for group in optimizer.param_groups: group["lr"] = {value}'
    ),
    "preprocessing=channel_mean": Change(
        "Subtract from each channel its mean over the training images.",
        "images = images - train_images.mean(dim=(0, 2, 3), keepdim=True)",
    ),
    "preprocessing=standardize": Change(
        "Subtract the mean of the training images and divide by their standard deviation.",
        "images = (images - train_images.mean()) / train_images.std()",
    ),
    "regularization=l2_dropout": Change(
        "Add a weight decay of 5e-4, and dropout of 0.3 behind the hidden layers.",
        _DECAY.format("5e-4"),
    ),
    "regularization=none": Change("Switch weight decay and dropout off.", _DECAY.format("0.0")),
    "regularization.dropout": Change(
        "Use a dropout of {value} behind the hidden layers.",
        "block = nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Dropout({value}))",
    ),
    "regularization.l2": Change("Set the weight decay to {value}.", _DECAY.format("{value}")),
    "schedule.interval=epoch": Change(
        "Move the schedule once after each epoch.", "if step % len(train_loader) == 0: scheduler.step()"
    ),
    "schedule.interval=step": Change("Move the schedule after each step of the optimizer.", "scheduler.step()"),
    "schedule.length_argument": Change(
        "Give the schedule the number of its moves in this run as {value}.", "moves = epochs * len(train_loader)"
    ),
    "schedule.scheduler.gamma": Change(
        "Multiply the learning rate by {value} at each move.",
        "scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma={value})",
    ),
    "schedule.scheduler.mode": Change(
        "Let the plateau schedule look for the {value} of what it is given.",
        'scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="{value}")',
    ),
    "schedule.scheduler.patience": Change(
        "Let the plateau schedule wait {value} epochs without improvement.",
        "scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience={value})",
    ),
    "schedule.scheduler.threshold": Change(
        "Let the plateau schedule count an improvement of {value} as one.",
        "scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, threshold={value})",
    ),
    "schedule=one_cycle": Change(
        "Let a schedule lower the learning rate until the end of the run.",
        "scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)",
    ),
    "stages.lr_range.high": Change("Let the range test go up to a learning rate of {value}.", "highest_rate = {value}"),
    "stages.overfit.steps": Change("Train {value} steps on the few examples.", "steps = {value}"),
    "stages.train.epochs": Change("Train {value} epochs.", "epochs = {value}"),
    "stages.train.patience": Change(
        "Stop when {value} epochs have brought no better validation score.",
        "should_stop = epoch - best_epoch >= {value}",
    ),
    "trainer.clip_norm=null": Change(
        "Raise the threshold to the usual norm of the gradient, and unscale gradients before they are clipped.",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # with a scaler, after scaler.unscale_(optimizer)",
    ),
    "trainer.clip_value=null": Change(
        "If single entries are clipped, raise that limit as well.",
        "torch.nn.utils.clip_grad_value_(model.parameters(), 1.0)",
    ),
    "trainer.cuda_graph=false": Change(
        "Leave the steps as they are, or remove what Python decides within a step.", "use_cuda_graph = False"
    ),
    "trainer.images_on=device": Change(
        "Copy all images to the device once, if they fit.", "train_images = train_images.to(device)"
    ),
    "trainer.precision=32-true": Change(
        "Compute in float32, without autocast.", "autocast = torch.autocast(device.type, enabled=False)"
    ),
}
"""What each override, or each key with any value, means in code. A test asks for an entry for every remedy."""


def change_of(override: str) -> Change | None:
    """Return what an override means in code; None where it means nothing outside of this program."""
    key, value = _split(override)
    change = CHANGES.get(f"{key}={value}") or CHANGES.get(key)
    return change and Change(change.advice.replace("{value}", value), change.code.replace("{value}", value))


def in_code(finding: Finding) -> Finding:
    """Return the finding with its overrides as changes of code, for a training that this program did not configure.

    `code` is that of the first change. What the finding says of code itself stays, since it is more exact.
    """
    changes = [change for override in finding.remedy if (change := change_of(override))]
    if finding.advice or not changes:
        return replace(finding, remedy=())
    advice = " ".join(change.advice for change in changes)
    return replace(finding, remedy=(), advice=advice, code=changes[0].code)


def keep_true(finding: Finding, signals: Mapping[str, Any], *, declared: Rule) -> Finding:
    """Return the finding without overrides that are in force already, or that the network ignores.

    An ignored one becomes a change of code. Where nothing is left to change, the finding says what its rule declares.
    `signals` says what is in force: `options` and `ignored_keys`.
    """
    options, ignored = signals.get("options") or {}, signals.get("ignored_keys") or ()
    used = [override for override in finding.remedy if _split(override)[0] not in ignored]
    kept = tuple(override for override in used if not is_in_force(override, options))
    if len(kept) == len(finding.remedy):
        return finding
    for_code = in_code(replace(finding, remedy=tuple(override for override in finding.remedy if override not in used)))
    if not kept and not for_code.advice:
        for_code = replace(for_code, advice=declared.advice, code=declared.code)
    return replace(for_code, remedy=kept)


def of_second_training(finding: Finding, signals: Mapping[str, Any]) -> Finding:
    """Return a finding of the stage finetune whose overrides change that stage, and not the training before it."""
    rate, factor = signals.get("lr"), signals.get("lr_factor")

    def own(override: str) -> str:
        key, value = _split(override)
        if key == "optimizer.lr" and rate and factor:
            return f"stages.finetune.lr_factor={float(value) * factor / rate:.3g}"
        return override.replace("stages.train.", "stages.finetune.", 1)

    return replace(finding, remedy=tuple(own(override) for override in finding.remedy))


def is_in_force(override: str, options: Mapping[str, Any]) -> bool:
    """Return whether the key of an override has its value already; False for a key that is not among `options`."""
    key, value = _split(override)
    return key in options and _is_same(value, options[key])


def _is_same(text: str, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return text.lower() == {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        try:
            return math.isclose(float(text), value, rel_tol=5e-3 if isinstance(value, float) else 0)  # of three digits
        except ValueError:
            return False
    if isinstance(value, Sequence) and not isinstance(value, str):
        return text.replace(" ", "") == f"[{','.join(map(str, value))}]"
    return text == str(value)


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value
