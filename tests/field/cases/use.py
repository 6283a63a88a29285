"""Rows of the use of a trained network: predict, the predictor, export, evaluate elsewhere, the model card."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import pipeline
from tests.field.case import Trial, case, flat, passed, want, want_no_crash, want_words
from tests.field.pictures import SHAPES, spoil, write_classes

SMALL = ("model.width=8", "stages.train.epochs=4", "stage=[train,evaluate]", "data.batch_size=16")


def trained(trial: Trial, *more: str) -> Path:
    """Return the directory of a network that was trained on a folder of pictures."""
    folder = write_classes(trial.folder / "photos", each=60)
    ended = trial.run("data=image_folder", f"data.path={folder}", *SMALL, *more)
    want_no_crash(ended)
    return ended.directory


@case(93, "predict RUN FOLDER", "a table, top-k, a page; broken files are listed")
def predict(trial: Trial) -> str:
    run = trained(trial)
    folder = write_classes(trial.folder / "new", each=5)
    spoil(folder / "disc" / "001.png")
    ended = trial.command("predict", str(run), str(folder), "--out", "preds.csv", "--page", "page.html", "--top-k", "2")
    want_no_crash(ended)
    want(ended.code == 0, f"exit {ended.code}: {flat(ended.text)[-200:]}")
    want_words(ended.text, ("001.png",))
    with (trial.folder / "preds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["class"] == Path(row["input"]).parent.name for row in rows)
    want(len(rows) == 14 and right >= 12, f"{len(rows)} rows, {right} right")
    want((trial.folder / "page.html").stat().st_size > 2000, "no page")
    nothing = trial.command("predict", str(run), "nowhere")
    want(nothing.code == 2 and "Traceback" not in nothing.text, f"exit {nothing.code} for a folder that is not there")
    names = pipeline.load(run).predict_classes(str(folder / "brick" / "000.png"))
    return f"{right} of 14 right, the broken one listed; load(...).predict_classes(path): {names}"


@case(94, "the predictor on arrays, (H,W), wrong channels", "answers, or says what is expected")
def predictor(trial: Trial) -> str:
    loaded = pipeline.load(trained(trial))
    path = trial.folder / "photos" / "star" / "000.png"
    array = np.asarray(Image.open(path))
    inputs = (array, array.transpose(2, 0, 1), array[None], torch.from_numpy(array.transpose(2, 0, 1).copy())[None])
    answers = [loaded.probabilities(one) for one in (*inputs, Image.open(path), path, str(path), [path])]
    first = np.asarray(answers[0]).reshape(-1)
    for answer in answers:
        want(np.allclose(np.asarray(answer).reshape(-1), first, atol=1e-5), f"{answer} and {first}")
    text = ""
    for bad in (array[..., 0], array[..., :2], array[:10], array / 255.0, "nowhere.png"):
        try:
            loaded.probabilities(bad)
        except (ValueError, pipeline.errors.UserError) as error:  # type: ignore[attr-defined]
            text = str(error)
        else:
            want(False, f"accepted {getattr(bad, 'shape', bad)}")
    return f"8 kinds of inputs give the same; {text[:60]}"


@case(95, "files as in training: EXIF, size, grey, fit", "repeated from the record of the run")
def reading(trial: Trial) -> str:
    draw_folder = write_classes(trial.folder / "photos", each=60)
    words = (
        "data=image_folder",
        f"data.path={draw_folder}",
        "data.size=[16,20]",
        "data.fit=pad",
        "data.grayscale=true",
    )
    ended = trial.run(*words, *SMALL, "checks=off")
    want_no_crash(ended)
    loaded = pipeline.load(ended.directory)
    path = trial.folder / "photos" / "star" / "001.png"
    upright = Image.open(path)
    turned = trial.folder / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    a, b = (np.asarray(loaded.probabilities(one)).reshape(-1) for one in (path, turned))
    want(np.allclose(a, b, atol=1e-5), f"{a} upright, {b} turned by EXIF")
    answered = trial.command("predict", str(ended.directory), str(trial.folder / "photos" / "disc"), "--out", "p.csv")
    want(answered.code == 0, f"exit {answered.code}: {flat(answered.text)[-200:]}")
    with (trial.folder / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["class"] == "disc" for row in rows)
    return f"a turned photo gives the same; {right} of {len(rows)} discs in grey, padded"


@case(96, "export to onnx and torch.export", "checked against the original; any batch size")
def export(trial: Trial) -> str:
    import onnxruntime

    run = trained(trial)
    for form, name in (("onnx", "m.onnx"), ("torch.export", "m.pt2")):
        ended = trial.command("export", str(run), "--format", form, "--out", name)
        want_no_crash(ended)
        want(ended.code == 0, f"exit {ended.code}: {flat(ended.text)[-200:]}")
        want_words(ended.text, ("difference",))
    paths = sorted((trial.folder / "photos").rglob("*.png"))[:7]
    pixels = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in paths])
    session = onnxruntime.InferenceSession(str(trial.folder / "m.onnx"))
    original = np.asarray(pipeline.load(run).probabilities(pixels))
    onnx = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    program = torch.export.load(trial.folder / "m.pt2").module()(torch.from_numpy(pixels)).detach().numpy()
    worst = max(float(np.abs(one - original).max()) for one in (onnx, program))
    want(worst < 1e-4, f"differs by {worst}")
    return f"7 images differ by {worst:.1e} at most"


@case(97, "evaluate RUN data.path=OTHER; card RUN", "a run of its own; the card with intervals")
def elsewhere(trial: Trial) -> str:
    run = trained(trial)
    other = write_classes(trial.folder / "other", each=20)
    words = (f"outputs={trial.folder}/outputs", "report=false")
    ended = trial.command("evaluate", str(run), f"data.path={other}", *words)
    passed(ended)
    metrics = ended.stages["evaluate"]["metrics"]
    want(sum(ended.record["data"]["sizes"].values()) == 60, f"{ended.record['data']['sizes']}")
    (other / "star").rename(other / "comet")
    unknown = trial.command("evaluate", str(run), f"data.path={other}", *words)
    want(unknown.code == 2 and "comet" in unknown.text, f"exit {unknown.code}: {flat(unknown.text)[-200:]}")
    card = trial.command("card", str(run))
    want(card.code == 0, f"exit {card.code}: {flat(card.text)[-200:]}")
    want_words(card.text, ("95 %", *SHAPES, "limit"))
    return f"accuracy {metrics['test_accuracy']:.3f} on 60 others; a card of {len(card.text.split())} words"
