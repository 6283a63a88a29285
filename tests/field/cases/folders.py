"""Rows of image folders as people have them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.workflow.build import load_data
from tests.field.case import Trial, case, flat, passed, refused, want, want_no_crash, want_words
from tests.field.pictures import SHAPES, clear_icon, coloured, spoil, write_classes, write_sixteen_bits

LOOK = ("data=image_folder", "stage=[data]", "data.batch_size=16")
"""Load and look at the data alone."""


def path_of(folder: object) -> str:
    return f"data.path={folder}"


@case(7, "16-bit RGB TIFF", "16 bits, or said")
def deep_colour(trial: Trial) -> str:
    random = np.random.default_rng(0)
    for kind, name in enumerate(SHAPES):
        (trial.folder / "rgb48" / name).mkdir(parents=True)
        for number in range(40):
            values = np.asarray(coloured(random, kind)).astype(int) * 257 + random.integers(0, 200, (24, 24, 3))
            write_sixteen_bits(trial.folder / "rgb48" / name / f"{number}.tif", np.clip(values, 0, 65535))
    ended = trial.run(*LOOK, path_of(trial.folder / "rgb48"))
    passed(ended)
    if ended.signals["data"]["data"]["files"].get("eight_bits", 0) == 120:
        want_words(ended.text, ("16 bits",))
        return "said of 120 files that 8 bits were read"
    data = load_data(to_dict(compose_config(["data=image_folder", path_of(trial.folder / "rgb48")]).data))
    levels = sum(len(images.pixels[:].unique()) for images in data.splits.values())
    want(data.scale == 1 / 65535 and levels > 2000, f"neither 16 bits nor said: scale {data.scale}, {levels} values")
    return f"16 bits kept: scale 1/65535, {levels} different values"


@case(11, "data.size=[32,48] of other shapes", "a rectangle; crop, pad or stretch")
def rectangle(trial: Trial) -> str:
    folder = write_classes(trial.folder / "wide", each=25, draw=lambda r, kind: coloured(r, kind, (60, 40)))
    for fit in ("crop", "pad", "stretch"):
        passed(trial.run(*LOOK, path_of(folder), "data.size=[32,48]", f"data.fit={fit}"), "3x32x48")
    bad = refused(trial.run(*LOOK, path_of(folder), "data.size=[32]"), "data.size")
    return f"3x32x48 each way; {bad[:60]}"


@case(12, "black glyphs on clear ground (RGBA)", "composed on a ground; passes")
def transparent(trial: Trial) -> str:
    folder = write_classes(trial.folder / "alpha", each=60, draw=clear_icon)
    ended = trial.run("data=image_folder", path_of(folder), "stage=[sanity,train]", "stages.train.epochs=2")
    passed(ended, without=("constant_features",))
    black = trial.run(*LOOK, path_of(folder), "data.background=black")
    want_no_crash(black)
    want("transparent_images" in black.findings, f"black on black is not found: {list(black.findings)}")
    remedy = black.findings["transparent_images"]
    want_words(str(remedy), ("data.background=white",))
    return f"{ended.stages['train']['headline'][:50]}; on black: transparent_images"


@case(13, ".DS_Store, Thumbs.db, ._x.png, .git, __MACOSX/", "passed over")
def leftovers(trial: Trial) -> str:
    folder = write_classes(trial.folder / "hidden")
    for name in (".DS_Store", "brick/Thumbs.db", "brick/._001.png", "disc/desktop.ini", ".git/HEAD", "labels.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\1not an image")
    write_classes(folder / "__MACOSX", each=2, draw=coloured, classes=("brick",))
    ended = trial.run(*LOOK, path_of(folder))
    passed(ended, "3 classes")
    want(sum(ended.record["data"]["sizes"].values()) == 120, f"{ended.record['data']['sizes']}")
    return f"3 classes, 120 images; {ended.signals['data']['data']['files']}"


@case(15, "brick/site1/ beside images of brick", "read, or said")
def nested(trial: Trial) -> str:
    folder = write_classes(trial.folder / "nested")
    write_classes(folder / "brick", each=30, classes=("site1",))
    ended = trial.run(*LOOK, path_of(folder))
    passed(ended)
    count = sum(counts[0] for counts in ended.record["data"]["class_counts"].values())
    want(count == 70, f"{count} of 70 images of the class were read")
    return "all 70 images of the class read"


@case(17, "files without ending in one class", "says that files were passed over")
def no_ending(trial: Trial) -> str:
    folder = write_classes(trial.folder / "noext", each=30)
    for path in (folder / "brick").iterdir():
        path.rename(path.with_suffix(""))
    return refused(trial.run(*LOOK, path_of(folder)), "brick", "30", "without|no ending", without=("renumber",))


@case(21, "on_error=skip with broken files", "left out, counted and listed in the record")
def skip_broken(trial: Trial) -> str:
    folder = write_classes(trial.folder / "broken")
    for number in (3, 5):
        spoil(folder / "disc" / f"{number:03}.png")
    refused(trial.run(*LOOK, path_of(folder)), "disc/003.png", "on_error=skip", "2")
    ended = trial.run(*LOOK, path_of(folder), "data.on_error=skip")
    passed(ended, "003.png")
    files = ended.signals["data"]["data"]["files"]
    want(files.get("unreadable") == 2, f"counted: {files}")
    want("005.png" in str(files.get("unreadable_names")), f"not listed: {files}")
    want(sum(ended.record["data"]["sizes"].values()) == 118, f"{ended.record['data']['sizes']}")
    return "refused with the names and the key; with skip 118 left, 2 counted and listed"


@case(22, ".pdf, .svg, .mpg, .hdf beside images", "passed over and said")
def foreign(trial: Trial) -> str:
    folder = write_classes(trial.folder / "foreign")
    for name in ("a.pdf", "b.mpg", "c.hdf", "d.svg"):
        (folder / "disc" / name).write_bytes(b"%PDF-1.4 nothing")
    ended = trial.run(*LOOK, path_of(folder))
    passed(ended, "4 ", "pdf")
    want(sum(ended.record["data"]["sizes"].values()) == 120, f"{ended.record['data']['sizes']}")
    return f"{ended.signals['data']['data']['files']['foreign']}"


@case(32, "a class missing in val", "said")
def missing_in_val(trial: Trial) -> str:
    for split in ("train", "val", "test"):
        write_classes(trial.folder / "tvt" / split, each=20, classes=SHAPES[: 2 if split == "val" else 3])
    ended = trial.run(*LOOK, path_of(trial.folder / "tvt"))
    want_no_crash(ended)
    want_words(ended.text, ("val", "star"))
    return next(line.strip() for line in ended.text.splitlines() if "star" in line)


@case(34, "Train/ + Test/, training/ + testing/", "did you mean train")
def split_names(trial: Trial) -> str:
    got = ""
    for train, test in (("Train", "Test"), ("training", "testing"), ("train", "validation")):
        for split in (train, test):
            write_classes(trial.folder / train / split, each=10)
        got = refused(trial.run(*LOOK, path_of(trial.folder / train)), "Did you mean", "'(train|val|test)'")
    return got


@case(35, "a test folder without class folders", "unlabelled images, 10 found; test is cut off")
def unlabelled_test(trial: Trial) -> str:
    write_classes(trial.folder / "flat" / "train")
    (trial.folder / "flat" / "test").mkdir()
    for number in range(10):
        Image.new("RGB", (24, 24), (number, 9, 9)).save(trial.folder / "flat" / "test" / f"{number}.png")
    ended = trial.run(*LOOK, path_of(trial.folder / "flat"))
    passed(ended, "10 ", "test", "label|class folder")
    want(ended.record["data"]["sizes"].get("test", 0) > 0, f"{ended.record['data']['sizes']}")
    return next(flat(line) for line in ended.text.splitlines() if "10 " in line)
