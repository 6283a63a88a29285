"""Hugging Face's Trainer on a tiny model that is made here, watched by a callback.

`python docs/examples/transformers_trainer.py`; it needs `pip install 'staged-training-pipeline[transformers]'`.
"""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import pipeline

WORDS, LENGTH = 60, 12


class Sentences(Dataset):
    """Sequences of words; the class is whether the first word is from the second half of the vocabulary."""

    def __init__(self, n: int, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.words = torch.randint(2, WORDS, (n, LENGTH), generator=generator)
        self.labels = (self.words[:, 0] >= WORDS // 2).long()

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def main(epochs: int = 4, out: str = "outputs/transformers") -> pipeline.Findings:
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=WORDS,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LENGTH,
            num_labels=2,
        )
    )
    train = Sentences(512, seed=0)

    # before training: a batch as the Trainer would make it; the model returns the loss itself
    batch = {"input_ids": train.words[:32], "labels": train.labels[:32]}
    pipeline.preflight(model, batch, optimizer=lambda p: torch.optim.AdamW(p, lr=1e-3)).raise_on("failure")

    watch = pipeline.HFWatch(classes=2, out=out)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                folder,
                num_train_epochs=epochs,
                per_device_train_batch_size=32,
                learning_rate=1e-3,
                report_to=[],
                eval_strategy="epoch",
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=train,
            eval_dataset=Sentences(256, seed=1),
            callbacks=[watch],
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
        )
        trainer.train()
    return watch.findings


if __name__ == "__main__":
    main()
