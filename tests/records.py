"""Tiny records for the tests."""

from pathlib import Path

import numpy as np

from nunif.records import write_record
from scene.world import render_scene


def make_records(
    folder: Path,
    count: int,
    *,
    frames: int = 14,
    size: int = 64,
    seed: int = 0,
    empty: bool = False,
) -> list[Path]:
    """Rendered clips with a bar as the hole that moves by a pixel per frame; with `empty`, without
    any hole."""
    paths = []
    for i in range(count):
        pictures = np.stack([frame for frame, _ in render_scene(size, size, frames, seed=seed + i)])
        holes = np.zeros((frames, size, size), bool)
        for t in range(0 if empty else frames):
            holes[t, 8:-8, 10 + t : 16 + t] = True
        paths.append(folder / f"t_Test_{seed + i:08x}_000000")
        write_record(paths[-1], {"C": pictures, "M": holes}, {"source": "rendered"})
    return paths


def make_dataset(folder: Path, *, train: int, eval: int, **sizes: int) -> Path:
    """So many records under train/ and eval/; sizes: of `make_records`."""
    make_records(folder / "train", train, seed=0, **sizes)
    make_records(folder / "eval", eval, seed=50, **sizes)
    return folder
