"""model_card.md: what a trained network is for whoever uses it, from the files of its run alone.

The headings follow Mitchell et al. 2019, "Model cards for model reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.checks.not_checked import NotChecked, group_by_reason
from pipeline.report.intervals import wilson_interval
from pipeline.report.run_files import Run, read_run
from pipeline.runs.paths import write_text

MODEL_CARD = "model_card.md"
MAX_CLASSES = 50
"""Classes in the tables; of more, those with the lowest scores."""
MAX_CHECKS = 8
"""Checks of one reason that are named."""
FEW_TEST_EXAMPLES = 100
"""Test examples of a class below which its accuracy is uncertain by up to 10 percentage points either way."""
RECIPE = (
    *("model", "activation", "batchnorm", "init", "preprocessing", "augmentation", "loss", "regularization"),
    *("optimizer", "schedule"),
)
_FRACTIONS = {"classification": "accuracy", "multilabel": "exact_match"}  # shares of independent examples
_TASKS = {
    "classification": "One class of {n} for each input.",
    "multilabel": "Any number of {n} labels for each input.",
    "regression": "{n} number(s) for each input.",
}


def write_model_card(directory: Path) -> Path | None:
    """Write model_card.md into a run's directory, whole or not at all, and return its path.

    A run that has trained no network has no card: None. Raises `FileNotFoundError` if there is no
    outcome.json, and `UnreadableFileError` if it cannot be read.
    """
    run = read_run(directory)
    if "train" not in run.stages:
        return None
    write_text(directory / MODEL_CARD, model_card(run, read_config(directory)))
    return directory / MODEL_CARD


def read_config(directory: Path) -> Mapping[str, Any]:
    """Return the composed configuration of a run, or {} where it cannot be read."""
    import yaml

    try:
        text = (directory / ".hydra" / "config.yaml").read_text()
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def model_card(run: Run, config: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    record = run.record
    sections = {
        "": [f"# Model card: {_text(record['name'])}, {_text(run.id)}", *_summary(run)],
        "Data": _data(record["data"]),
        "Recipe": _recipe(record, config),
        "Metrics": _metrics(run),
        "Findings": _findings(run),
        "Limits": _limits(run),
        "How to use it": _usage(run, config),
    }
    parts: list[list[str]] = [[*([f"## {title}"] if title else []), *lines] for title, lines in sections.items()]
    return "\n\n".join(part for lines in parts for part in lines) + "\n"


def _summary(run: Run) -> list[str]:
    about = run.record["data"]
    task = _TASKS[about.get("task", "classification")].format(n=len(about["classes"]))
    return [f"{task} The run {run.record['status']}; the network was trained on {_text(about['name'])}."]


def _data(about: Mapping[str, Any]) -> list[str]:
    counts = about.get("class_counts") or {}
    lines = [", ".join(f"{size:,} {split}" for split, size in about["sizes"].items()) + " examples."]
    if counts:
        splits = list(counts)
        order = range(len(about["classes"]))
        shown = sorted(order, key=lambda i: counts[splits[0]][i])[:MAX_CLASSES] if len(order) > MAX_CLASSES else order
        lines.append(
            _table(["class", *splits], [[about["classes"][i], *(counts[s][i] for s in splits)] for i in shown])
        )
        if len(order) > MAX_CLASSES:
            lines.append(f"These are the {MAX_CLASSES} rarest of {len(order)} classes.")
    elif about["classes"]:
        lines.append(f"Targets: {', '.join(map(_text, about['classes']))}.")
    return [*lines, f"Fingerprint of shapes, pixels and labels: `{about['fingerprint']}`."]


def _recipe(record: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    rows: list[list[Any]] = [
        [group, describe_node(config[group])] for group in RECIPE if isinstance(config.get(group), Mapping)
    ]
    stages, data = config.get("stages") or {}, config.get("data") or {}
    if "train" in stages:
        rows.append(["epochs", stages["train"].get("epochs")])
    if "finetune" in stages:
        rows.append(["second training", describe_node(stages["finetune"])])
    rows += [["batch size", data.get("batch_size")], ["seed", record["seed"]]]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return [_table(["part", "choice"], rows), f"```\n{record['command']}\n```", f"Versions: {versions}."]


def describe_node(node: Mapping[str, Any]) -> str:
    """Return a node of the configuration in words: `SGD (lr 0.01, momentum 0.9)`."""
    name = str(node.get("_target_", "")).rpartition(".")[2]
    plain = {key: value for key, value in node.items() if not key.startswith("_") and not isinstance(value, Mapping)}
    inner = [describe_node(value) for value in node.values() if isinstance(value, Mapping) and "_target_" in value]
    values = [f"{key} {value}" for key, value in plain.items() if value is not None and not str(value).startswith("${")]
    arguments = ", ".join([*values, *inner])
    return f"{name} ({arguments})" if name and arguments else name or arguments


def _metrics(run: Run) -> list[str]:
    """Return the scores of both splits with 95 % intervals, and those of the classes."""
    sizes, rows = run.record["data"]["sizes"], []
    fraction = _FRACTIONS.get(run.record["data"].get("task", "classification"))
    for split, title in (("test", "test"), ("val", "validation")):
        for key, value in run.metrics.items():
            name = key.removeprefix(f"{split}_")
            if key.startswith(f"{split}_") and isinstance(value, (int, float)):
                interval = _interval(float(value), sizes[split]) if name == fraction else ""
                rows.append([title, name.replace("_", " "), f"{value:.4f}", interval, sizes[split]])
    lines = [_table(["split", "score", "value", "95 % interval", "examples"], rows)] if rows else []
    by_class = run.metrics.get("per_class_accuracy") or {}
    counts = (run.record["data"].get("class_counts") or {}).get("test", [])
    known = [(name, score, n) for (name, score), n in zip(by_class.items(), counts, strict=False) if score is not None]
    if known:
        worst = sorted(known, key=lambda row: row[1])[:MAX_CLASSES]
        table = [[name, f"{score:.3f}", _interval(score, n), n] for name, score, n in worst]
        headers = ["class", "accuracy", "95 % interval", "examples"]
        lines += ["Test accuracy of each class, the lowest first:", _table(headers, table)]
    lines.append("Intervals are Wilson's, for examples that are independent of each other.")
    return lines


def _interval(fraction: float, n: int) -> str:
    low, high = wilson_interval(fraction, n)
    return f"{low:.3f} to {high:.3f}"


def _findings(run: Run) -> list[str]:
    lines = []
    for finding in run.findings:
        where = f" in {_text(finding['where'])}" if finding["where"] else ""
        lines.append(f"- **{finding['severity']}** {finding['check']}{where}: {_text(finding['message'])}")
    record = run.record
    judged = f"{record['judged']} of {record['judged'] + len(record['not_checked'])} checks judged this run."
    return ["\n".join(lines) if lines else "No check found anything.", judged]


def _limits(run: Run) -> list[str]:
    return ["\n".join(f"- {sentence}" for sentence in _limit_sentences(run))]


def _limit_sentences(run: Run) -> Iterator[str]:
    record, counts = run.record, run.record["data"].get("class_counts") or {}
    yield (
        "The scores hold for inputs like those of the test split. Nothing was measured on data from elsewhere: "
        "`pipeline evaluate RUN data.path=OTHER` does that."
    )
    if "evaluate" not in run.stages:
        yield "The network was not evaluated on a test split: the validation score chose the epoch and is too high."
    elif run.metrics.get("val_accuracy") is not None:
        yield "The validation split chose the epoch, so its scores are too high; those on the test split are not."
    tested = zip(record["data"]["classes"], counts.get("test", []), strict=False)
    few = [name for name, n in tested if n < FEW_TEST_EXAMPLES]
    if few and "evaluate" in run.stages:
        named = ", ".join(map(_text, few[:10])) + (", ..." if len(few) > 10 else "")
        yield f"{len(few)} classes have fewer than {FEW_TEST_EXAMPLES} test examples and uncertain scores: {named}."
    if record["seed"] is not None:
        yield "It is one training with one seed; others would differ (`pipeline -m seed=0,1,2` measures by how much)."
    not_checked = group_by_reason([NotChecked(**entry) for entry in record["not_checked"]])
    for reason, checks in not_checked.items():
        more = ", ..." if len(checks) > MAX_CHECKS else ""
        yield f"{len(checks)} not checked, since {_text(reason)}: {', '.join(checks[:MAX_CHECKS])}{more}."


def _usage(run: Run, config: Mapping[str, Any]) -> list[str]:
    folder = f"{config.get('outputs', 'outputs')}/{run.record['name']}/{run.id}"
    method = "predict_values" if run.record["data"].get("task") == "regression" else "predict_classes"
    code = (
        f'import pipeline\n\npredictor = pipeline.load("{folder}")\nprint(predictor.{method}(["one.png", "two.png"]))'
    )
    return [f"```console\n$ pipeline predict {folder} INPUT ...\n```", f"```python\n{code}\n```"]


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines)


def _text(value: object) -> str:
    """Return text in which Markdown sees no markup and no end of a cell."""
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text
