"""Rows of data larger than memory: a small stand-in of each, and the real one of 3 GB."""

from __future__ import annotations

import functools
import resource
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.field.case import Trial, case, flat, passed, refused, want, want_no_crash, want_words
from tests.field.cases.folders import path_of
from tests.field.pictures import copy_many, write_classes

FOLDER = ("data=image_folder", "model=mlp", "model.width=16", "model.depth=1")
COUNTED = "opened.txt"


def count_opens(folder: Path, ending: str = ".png") -> None:
    """Write the name of each image file that the process opens into `folder`/opened.txt."""
    log = (folder / COUNTED).open("a", buffering=1)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(ending):
            log.write(f"{arguments[0]}\n")

    sys.addaudithook(hook)


def opened(folder: Path) -> int:
    """Return how many different image files were opened since the last call."""
    path = folder / COUNTED
    names = set(path.read_text().split()) if path.exists() else set()
    path.unlink(missing_ok=True)
    return len(names)


def say_little_memory(folder: Path, kilobytes: int) -> None:
    """Let the program read that only so much memory is free."""
    from pipeline.data.storage import room

    (folder / "meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable: {kilobytes} kB\n")
    room.MEMINFO = folder / "meminfo"


@case(41, "progress while reading, on a terminal", "a bar")
def progress(trial: Trial) -> str:
    random = np.random.default_rng(0)
    first = trial.folder / "first.png"
    Image.fromarray(random.integers(0, 256, (1300, 1300, 3), dtype=np.uint8)).save(first, compress_level=1)
    copy_many(first, [trial.folder / "big" / name / f"{i}.png" for name in ("a", "b") for i in range(60)])
    ended = trial.run(*FOLDER, path_of(trial.folder / "big"), "data.size=8", "stage=[sanity]", terminal=True)
    text = flat(ended.text)
    want("decoding images" in text and "/120" in text, f"no bar in {ended.seconds:.0f} s: {text[-200:]}")
    return f"a bar 'decoding images .../120' in {ended.seconds:.0f} s"


@case(42, "a second start of the same folder", "a cache: images are not decoded again")
def second_start(trial: Trial) -> str:
    folder = write_classes(trial.folder / "again", each=100)
    words = (*FOLDER, path_of(folder), "stage=[train]", "stages.train.epochs=1", f"data.cache={trial.folder}/kept")
    prepare = functools.partial(count_opens, trial.folder)
    passed(first := trial.run(*words, prepare=prepare))
    count = opened(trial.folder)
    passed(second := trial.run(*words, prepare=prepare))
    again = opened(trial.folder)
    want(count == 300 and again <= 1, f"opened {count} images, then {again}")  # the first one, for its size
    same = [ended.stages["train"]["metrics"]["val_loss"] for ended in (first, second)]
    want(same[0] == same[1], f"validation losses {same}")
    (folder / "brick" / "000.png").write_bytes((folder / "disc" / "000.png").read_bytes())
    passed(trial.run(*words, prepare=prepare))
    want(opened(trial.folder) == 300, "a changed file was not seen")
    return f"300 images opened, then {again}, the same loss; all again when a file has changed"


@case(43, "data.limit=20 of 600", "a quick look: reads about as many")
def limit(trial: Trial) -> str:
    folder = write_classes(trial.folder / "many", each=200)
    prepare = functools.partial(count_opens, trial.folder)
    words = ("data.limit=21", "data.batch_size=8", "stage=[data]")
    ended = trial.run(*FOLDER, path_of(folder), *words, prepare=prepare)
    want_no_crash(ended)
    count = opened(trial.folder)
    want(0 < count <= 40, f"{count} of 600 files were opened for 21 training images")
    return f"{count} of 600 files opened, {ended.record['data']['sizes']}"


@case(44, "images that do not fit into the memory", "mapped from a file, or refused with the numbers")
def little_memory(trial: Trial) -> str:
    folder = write_classes(trial.folder / "big", each=100)
    prepare = functools.partial(say_little_memory, trial.folder, 700)  # the images are 518 kB decoded
    words = (*FOLDER, path_of(folder), "stage=[sanity,train]", "stages.train.epochs=2")
    ended = trial.run(*words, "data.cache=auto", prepare=prepare)
    passed(ended, "300 images", "decoded once into", "mapped", "1 MB of memory")
    plain = trial.run(*words, "data.cache=memory")
    passed(plain)
    want(ended.stages["train"]["metrics"]["val_loss"] == plain.stages["train"]["metrics"]["val_loss"], "other losses")
    prepare = functools.partial(say_little_memory, trial.folder, 400)
    got = refused(
        trial.run(*words, "data.cache=memory", prepare=prepare), "data.cache", "300 images", "MB", "data.cache=auto"
    )
    return f"mapped, with the losses of memory; with data.cache=memory: {got[:70]}"


@case(45, "data.cache=off: decode when needed", "trains, to the same losses")
def streaming(trial: Trial) -> str:
    folder = write_classes(trial.folder / "streamed", each=60)
    words = (*FOLDER, path_of(folder), "stage=[sanity,overfit,train,evaluate]", "stages.train.epochs=2", "checks=off")
    losses = []
    for cache in ("memory", "off", str(trial.folder / "kept")):
        ended = trial.run(*words, f"data.cache={cache}")
        passed(ended)
        losses.append(ended.stages["train"]["metrics"]["val_loss"])
    want(len(set(losses)) == 1, f"losses {losses}")
    return f"memory, off and a folder: validation loss {losses[0]:.4f} each"


def limit_memory(gigabytes: float) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 1e9),) * 2)


@case(
    44,
    "20,000 x 224x224 = 3.0 GB decoded in 2 GB",
    "trains; starts again from the cache; a limit reads few files",
    slow=True,
)
def three_gigabytes(trial: Trial) -> str:
    random = np.random.default_rng(0)
    for number in range(20_000):
        path = trial.folder / "big3g" / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        small[:, :, number % 3] //= 1 + number % 4
        Image.fromarray(small).resize((224, 224), Image.Resampling.BILINEAR).save(path, quality=85)
    data = (*FOLDER, path_of(trial.folder / "big3g"))
    prepare = functools.partial(limit_memory, 2)
    words = (*data, "stage=[train]", "stages.train.epochs=1", f"data.cache={trial.folder}/kept")
    ended, again = trial.run(*words, prepare=prepare), trial.run(*words, prepare=prepare)
    for one in (ended, again):
        want(one.code in (0, 3) and "train" in one.stages, f"exit {one.code}: {flat(one.text)[-200:]}")
    want_words(ended.text, ("20,000 images", "GB decoded", "mapped"))
    start = again.seconds - again.stages["train"]["seconds"]
    count = functools.partial(count_opens, trial.folder, ".jpg")
    few = trial.run(*data, "stage=[data]", "data.limit=200", prepare=count)
    want(few.code in (0, 3), f"exit {few.code}: {flat(few.text)[-200:]}")
    read = opened(trial.folder)
    want(read < 300, f"{read} files were opened for 200")
    took = f"within RLIMIT_DATA of 2 GB in {ended.seconds:.0f} s, again {again.seconds:.0f} s ({start:.1f} s to start)"
    return f"{took}; data.limit=200 opens {read} files in {few.seconds:.1f} s"
