"""Write two data sets of other classes to a folder: five kinds of clothes with many images, five others with few.

python docs/examples/fine_tuning/make_data.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from pipeline.data.sources.embedded import fashion_mnist_5k


def main(folder: Path, few: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = fashion_mnist_5k()
    for name, classes, most in (("many.npz", range(5), None), ("few.npz", range(5, 10), few)):
        arrays = {"classes": np.array([source.classes[c] for c in classes])}
        for split, images, limit in (("train", source.train, most), ("test", source.test, None)):
            index = np.concatenate([np.flatnonzero(images.labels.numpy() == c)[:limit] for c in classes])
            arrays[f"x_{split}"] = images.pixels.numpy()[index]
            arrays[f"y_{split}"] = images.labels.numpy()[index] - classes[0]
        np.savez(folder / name, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
