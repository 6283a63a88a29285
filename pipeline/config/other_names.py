"""Keys under the names that other programs have for them, so that who types one is told ours."""

from __future__ import annotations

from pipeline.errors import UserError

OURS = {
    "trainer.clip_norm": ("gradient_clip_val", "gradient_clip_norm", "grad_clip", "grad_clip_norm", "gradient_clip",
                          "clip_grad", "clip_grad_norm", "max_grad_norm", "max_norm", "clip_norm", "gradient_clipping"),
    "trainer.clip_value": ("clip_grad_value", "grad_clip_value", "clip_value"),
    "trainer.ema": ("ema", "ema_decay", "model_ema", "model_ema_decay", "weight_average", "swa"),
    "trainer.accumulate": ("accumulate_grad_batches", "gradient_accumulation_steps", "accum_iter", "grad_accum"),
    "stages.train.epochs": ("epochs", "max_epochs", "num_epochs", "num_train_epochs"),
    "stages.train.patience": ("patience", "early_stopping", "early_stopping_patience"),
    "data.batch_size": ("batch_size", "per_device_train_batch_size", "train_batch_size"),
    "optimizer.lr": ("lr", "learning_rate"),
    "schedule=warmup_cosine schedule.scheduler.warmup": (
        "warmup", "warmup_epochs", "warmup_steps", "warmup_ratio", "lr_scheduler"
    ),
    "data.sampling": ("balanced", "balance", "balanced_sampling", "class_balanced", "weighted_sampler", "oversample"),
    "loss.weight": ("class_weight", "class_weights", "pos_weight"),
    "augmentation=mixup": ("mixup", "mixup_alpha", "mixup_prob"),
    "augmentation=cutmix": ("cutmix", "cutmix_alpha"),
    "augmentation=randaugment": ("randaugment", "rand_augment", "auto_augment", "aa"),
    "augmentation=erasing": ("random_erasing", "random_erase", "reprob"),
}  # fmt: skip
"""Our key, or option, and the last parts of other names for it."""
_BY_NAME = {name: ours for ours, names in OURS.items() for name in names}


def refuse_foreign_key(key: str) -> None:
    """Raise `UserError` with our name of a key that does not exist and is known by its last part."""
    ours = _BY_NAME.get(key.rpartition(".")[2].lower())
    if ours and ours != key:
        raise UserError(f"there is no such key. Did you mean {ours!r}?", field=key)
