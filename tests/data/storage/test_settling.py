"""Sets of image files in memory, in a mapped file and decoded when needed: the same pixels, each file read once."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.config.compose import compose_config
from pipeline.config.to_dict import to_dict
from pipeline.data import Images, Splits, preprocessing, statistics
from pipeline.data.pixels import DecodedPixels, MappedPixels, StoredPixels, Unreadable
from pipeline.data.sources.image_files import ImageReader
from pipeline.data.storage import cache_files, room, settle, settling
from pipeline.errors import UserError
from pipeline.workflow.build import load_data

SETTLE = "pipeline.data.storage.settling"
CLASSES, PER_CLASS = 3, 20


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (tmp_path / "images" / f"class{label}").mkdir(parents=True)
        for i in range(PER_CLASS):
            pixels = random.integers(0, 200 + label, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"class{label}" / f"{i:02}.png")
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file is decoded."""
    counts: Counter[Path] = Counter()
    read = ImageReader.__call__

    def counted(reader: ImageReader, file: Path) -> Any:
        counts[file] += 1
        return read(reader, file)

    monkeypatch.setattr(ImageReader, "__call__", counted)
    return counts


@functools.cache
def composed(overrides: tuple[str, ...]) -> str:
    """Return the node `data` as JSON: composing takes longer than loading."""
    config = to_dict(compose_config(["data=image_folder", "data.path=FOLDER", "data.cache=PLACE", *overrides]))
    return json.dumps(config["data"])


def load(folder: Path, *overrides: str) -> Splits:
    place = next((word.removeprefix("data.cache=") for word in overrides if word.startswith("data.cache=")), "auto")
    others = tuple(word for word in overrides if not word.startswith("data.cache="))
    return load_data(json.loads(composed(others).replace("FOLDER", str(folder)).replace("PLACE", place)))


def map_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{SETTLE}._MAPPED_FROM", 0)


def test_every_way_gives_the_same_pixels(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = load(folder)
    assert isinstance(memory.train.pixels, Tensor)
    map_everything(monkeypatch)
    mapped, decoded = load(folder, f"data.cache={tmp_path / 'cache'}"), load(folder, "data.cache=off")
    assert isinstance(mapped.train.pixels, MappedPixels)
    assert isinstance(decoded.train.pixels, DecodedPixels)
    for name, images in memory.splits.items():
        for other in (mapped, decoded):
            assert torch.equal(other.splits[name].pixels[:], images.pixels)
            assert torch.equal(other.splits[name].labels, images.labels)
    assert mapped.fingerprint() == decoded.fingerprint()
    assert load(folder, "data.split_seed=1", "data.cache=off").fingerprint() != decoded.fingerprint()


def test_a_second_start_reads_no_file(folder: Path, tmp_path: Path, reads: Counter[Path]) -> None:
    cache = f"data.cache={tmp_path / 'cache'}"
    first = load(folder, cache, "data.size=[4,4]")
    assert sum(reads.values()) == 1 + CLASSES * PER_CLASS + len(first.train)
    reads.clear()
    second = load(folder, cache, "data.size=[4,4]", "data.split_seed=5", "data.validation=0.2")
    assert sum(reads.values()) <= 1 + len(second.train)  # the first, and the sample of the signal `crop`
    reads.clear()
    again = load(folder, cache, "data.size=[4,4]")
    assert sum(reads.values()) == 1  # for the shape
    assert torch.equal(again.train.pixels[:], first.train.pixels[:])
    assert again.loading == first.loading


def test_small_sets_leave_no_file(folder: Path, own_cache: Path) -> None:
    load(folder)
    assert not own_cache.exists()


def test_larger_sets_are_found_again(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"{SETTLE}._CACHED_FROM", CLASSES * PER_CLASS)
    data = load(folder)
    assert isinstance(data.train.pixels, Tensor)
    assert "60 images" in capsys.readouterr().err
    assert len(list(own_cache.glob("*/images/*/pixels.npy"))) == 1
    load(folder)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", ["touch", "content", "name", "size"])
def test_changed_files_are_read_again(folder: Path, tmp_path: Path, reads: Counter[Path], change: str) -> None:
    cache = f"data.cache={tmp_path / 'cache'}"
    before = load(folder, cache)
    file = folder / "class1" / "03.png"
    if change == "touch":
        file.touch()
    elif change == "content":
        Image.new("RGB", (8, 6), "red").save(file)
    elif change == "name":
        file.rename(file.with_name("99.png"))
    reads.clear()
    after = load(folder, cache, *(["data.size=5"] if change == "size" else []))
    assert sum(reads.values()) >= CLASSES * PER_CLASS
    assert (after.fingerprint() != before.fingerprint()) == (change != "touch")


def test_a_limit_reads_few_files(folder: Path, reads: Counter[Path]) -> None:
    data = load(folder, "data.limit=12")
    assert data.sizes == {"train": 12, "val": 3, "test": 3}
    assert len(reads) <= 12 + 3 + 3 + 1
    assert load(folder, "data.limit=48").sizes == {"train": 48, "val": 6, "test": 6}


def test_official_splits_are_not_limited(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    folder.rename(tmp_path / "all" / "train")
    for label in range(CLASSES):
        (tmp_path / "all" / "test" / f"class{label}").mkdir(parents=True)
        for file in sorted((tmp_path / "all" / "train" / f"class{label}").iterdir())[:6]:
            file.rename(tmp_path / "all" / "test" / f"class{label}" / file.name)
    sizes = load(tmp_path / "all", "data.limit=6").sizes
    assert sizes["test"] == 6 * CLASSES
    assert sizes["val"] == CLASSES


@pytest.mark.parametrize("cache", ["memory", "off", "folder"])
def test_skipped_files(folder: Path, tmp_path: Path, cache: str) -> None:
    for name in ("00.png", "07.png"):
        (folder / "class2" / name).write_bytes((folder / "class2" / name).read_bytes()[:60])
    place = tmp_path / "cache" if cache == "folder" else cache
    with pytest.raises(UserError) as caught:
        load(folder, f"data.cache={place}")
    assert caught.value.field == "data.path"
    assert "class2/00.png" in caught.value.message
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
    for _ in range(2):  # decoded, and from the file
        data = load(folder, f"data.cache={place}", "data.on_error=skip")
        assert sum(data.sizes.values()) == CLASSES * PER_CLASS - 2
        counts = [sum(data.class_counts()[name][label] for name in data.splits) for label in range(CLASSES)]
        assert counts == [PER_CLASS, PER_CLASS, PER_CLASS - 2]
        assert int(data.train.pixels[:].flatten(1).amax(1).min()) > 0  # none is empty
        assert data.loading["files"]["unreadable"] == 2


@pytest.mark.parametrize("cache", ["memory", "off", "folder"])
def test_sixteen_bits_turn_up_late(folder: Path, tmp_path: Path, cache: str) -> None:
    deep = np.full((6, 8), 40_000, np.uint16)
    Image.fromarray(deep).save(folder / "class2" / "19.png")
    data = load(folder, f"data.cache={tmp_path / 'cache' if cache == 'folder' else cache}")
    pixels = torch.cat([images.pixels[:] for images in data.splits.values()])
    assert pixels.dtype == torch.int32
    assert data.scale == 1 / 65535
    assert (pixels == 40_000).flatten(1).all(1).sum() == 1
    assert (pixels % 257 == 0).flatten(1).all(1).sum() == CLASSES * PER_CLASS - 1
    assert load(folder, "data.scale=0.5").scale == 0.5


def test_sizes_must_agree(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "class0" / "05.png")
    with pytest.raises(UserError, match=r"class0/05\.png \(9 x 9\)") as caught:
        load(folder)
    assert caught.value.field == "data.path"


def test_what_does_not_fit_is_said_first(
    folder: Path, tmp_path: Path, reads: Counter[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{SETTLE}.free_memory", lambda: 1000)
    with pytest.raises(UserError) as caught:
        load(folder, "data.cache=memory")
    assert caught.value.field == "data.cache"
    assert isinstance(load(folder).train.pixels, MappedPixels)
    monkeypatch.setattr(f"{SETTLE}.free_disk", lambda folder: 1000)
    reads.clear()
    with pytest.raises(UserError) as caught:
        load(folder, f"data.cache={tmp_path / 'other'}")
    assert caught.value.field == "data.cache"
    assert len(reads) == 1
    (tmp_path / "xdg").rename(tmp_path / "gone")
    assert isinstance(load(folder).train.pixels, DecodedPixels)


@pytest.mark.parametrize("value", [None, 3, "", " ", True, ["memory"]])
def test_values_that_are_no_place(value: Any) -> None:
    with pytest.raises(UserError) as caught:
        settled(MappedPixels(np.zeros((6, 1, 2, 2), np.uint8)), value)
    assert caught.value.field == "cache"


def test_a_file_is_no_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        load(folder, f"data.cache={tmp_path / 'file'}")
    assert caught.value.field == "data.cache"


def settled(pixels: StoredPixels, cache: str = "memory") -> Splits:
    third = len(pixels) // 3
    labels = torch.arange(len(pixels)) % 2
    parts = [Images(pixels.select(index), labels[index]) for index in torch.arange(3 * third).split(third)]
    return settle(Splits("made", *parts, classes=("a", "b"), scale=1.0), cache=cache)


def test_functions_without_a_key_are_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).random((12, 1, 4, 4), dtype=np.float32)
    pixels = DecodedPixels(array.__getitem__, array.shape, torch.float32)
    monkeypatch.setattr(settling, "free_memory", lambda: 10)
    assert isinstance(settled(pixels, "auto").train.pixels, DecodedPixels)
    with pytest.raises(UserError) as caught:
        settled(pixels, str(tmp_path / "cache"))
    assert caught.value.field == "cache"
    with_key = DecodedPixels(array.__getitem__, array.shape, torch.float32, key="random")
    assert torch.equal(settled(with_key, str(tmp_path / "cache")).val.pixels[:], torch.from_numpy(array[4:8]))
    assert cache_files.open_cached(next((tmp_path / "cache").iterdir())) is not None


def test_rows_that_may_not_be_left_out() -> None:
    def decode(row: int) -> np.ndarray:
        if row == 5:
            raise Unreadable("broken")
        return np.zeros((1, 2, 2), np.uint8)

    with pytest.raises(UserError, match="broken") as caught:
        settled(DecodedPixels(decode, (9, 1, 2, 2), torch.uint8))
    assert caught.value.field == "path"
    assert "on_error" not in caught.value.message  # which this set has no key for
    assert settled(DecodedPixels(decode, (9, 1, 2, 2), torch.uint8, on_error="skip")).sizes["val"] == 2


@pytest.mark.parametrize("fit", ["none", "mean_image", "channel_mean", "standardize", "pca", "whiten"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_statistics_pass_once(fit: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They equal those of pixels in memory: to the bit where sums are exact."""
    monkeypatch.setattr(statistics, "_CHUNK", 1200)  # 20 images
    array = np.random.default_rng(0).integers(0, 256 if dtype == np.uint8 else 65536, (500, 3, 5, 4)).astype(dtype)
    counts: Counter[int] = Counter()

    def decode(row: int) -> np.ndarray:
        counts[row] += 1
        return array[row]

    stored = DecodedPixels(decode, array.shape, torch.from_numpy(array).dtype, threads=1)
    options = {"pca": {"components": None}, "whiten": {"epsilon": 1e-3}}.get(fit, {})
    make = getattr(preprocessing, fit)
    state = make(stored, scale=0.5, **options).state_dict()
    # products are summed about the mean of the first images, which are read for that beforehand
    assert counts.total() <= 500 * (1 if fit in ("mean_image", "channel_mean", "standardize") else 2)
    expected = make(torch.from_numpy(array), scale=0.5, **options).state_dict()
    for name, tensor in expected.items():
        if fit in ("pca", "whiten"):
            torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max()))
        else:
            assert torch.equal(state[name], tensor)


def test_sums_of_parts_add_up() -> None:
    pixels = torch.randint(-300, 70_000, (90, 2, 3, 3), dtype=torch.int32)
    parts = [statistics.IntegerSums.of(part) for part in pixels.split([1, 40, 49])]
    first, *others = [part for part in parts if part is not None]
    total = first
    for part in others:
        total = total + part
    assert total == statistics.IntegerSums.of(pixels)
    assert statistics.IntegerSums.of(pixels * 2) is None


def test_free_memory_is_within_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of both versions of control groups; caches of files count as free."""
    own = tmp_path / "own"
    for version, controllers in (("v2", ""), ("v1", "memory")):
        group = tmp_path / version / controllers / "jobs" / "this"
        group.mkdir(parents=True)
        names = room._V1 if controllers else room._V2
        for name, value in zip(names, (1000, 900), strict=False):
            (group / name).write_text(f"{value}\n")
        (group / "memory.stat").write_text(f"anon 600\n{names[2]} 300\n")
        (group.parent / names[0]).write_text("max\n")
        own.write_text(f"4:{controllers}:/jobs/this\n1:cpu:/other\n")
        monkeypatch.setattr(room, "CGROUPS", tmp_path / version)
        monkeypatch.setattr(room, "OWN_CGROUPS", own)
        assert room.free_memory() == 400
