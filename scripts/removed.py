"""The picture of the README: somebody rendered walks through a drawn room, and is removed.

    python scripts/removed.py -o docs/removed.png

Axes: T frames, H W pixels.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from inpaint.runtime.apply import painted
from layers.commands import LAYERS
from nunif import cli
from nunif.image import save_png
from nunif.numbered import pictures_in
from nunif.pictures import label, tile
from nunif.video.clips import read_clip
from scene.people.clip import make_clip

SIZE, NUM_EMPTY, NUM_FRAMES, PERSON = (216, 384), 6, 24, 4  # the last: a seed
SHOWN = NUM_EMPTY + 14


def room() -> np.ndarray:
    """(H, W, 3) uint8: a wall with a window and a picture, and a floor of boards."""
    height, width = SIZE
    rows, columns = np.mgrid[0:height, 0:width]
    light = 205 - columns * 40 // width
    picture = np.stack([light, light - 8, light - 22], axis=2).astype(np.uint8)
    floor = rows > 0.74 * height
    boards = 150 - 18 * ((columns - width // 2) * height // (rows + 1) // 26 % 2)
    wood = np.stack([boards, boards - 44, boards - 80], axis=2).astype(np.uint8)
    picture[floor] = wood[floor]
    picture[(rows > 0.71 * height) & ~floor] = (232, 228, 218)
    for left, top, right, bottom, colour in (
        (30, 30, 120, 110, (235, 235, 230)), (36, 36, 72, 104, (150, 190, 225)),
        (78, 36, 114, 104, (150, 190, 225)), (270, 40, 340, 90, (90, 60, 40)),
        (275, 45, 335, 85, (60, 120, 110)), (275, 65, 335, 85, (190, 160, 90)),
        (160, 120, 232, 126, (100, 66, 40)), (166, 126, 172, 176, (86, 56, 34)),
        (220, 126, 226, 176, (86, 56, 34)), (186, 98, 206, 120, (60, 110, 70)),
    ):  # fmt: skip
        cv2.rectangle(picture, (left, top), (right, bottom), colour, -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    empty = np.stack([room()] * NUM_FRAMES)
    walking = make_clip(np.random.default_rng(PERSON), empty, num_people=1).planes["C"]
    film = np.concatenate([empty[:NUM_EMPTY], walking])
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "film", Path(folder) / "out"
        source.mkdir()
        for number, frame in enumerate(film):
            save_png(source / f"{number:04d}.png", frame)
        code = cli.run(LAYERS, ["remove", "-i", str(source), "-o", str(output)])
        assert code == 0 and len(pictures_in(output)) == len(film)
        out = read_clip(output, start=0, num_frames=len(film), size=None)
    before, after = film[SHOWN], out[SHOWN]
    shown = {
        "the film": before,
        "what was found": painted(before, (before != after).any(axis=2)),
        "removed": after,
    }
    save_png(words.output, tile([[label(view, name) for name, view in shown.items()]]))


if __name__ == "__main__":
    main()
