"""The picture of the README: someone who stands in a rendered film from its start, and leaves;
removed live, and as a film.

    python scripts/before_after.py pretrained_models/picture_memory_v1.pth -o docs/before_after.png

Axes: T frames, H W pixels.
"""

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from inpaint.evaluation.methods import open_model
from inpaint.hole_shapes import visiting_shape
from inpaint.runtime.options import SHOT
from nunif.image import save_png
from nunif.pictures import label, tile
from scene.world import render_scene

SIZE, NUM_FRAMES, FIRST = (240, 424), 120, 30  # the visitor stands there from frame FIRST on
SHOWN = (2, 40, 72)  # frames after it
SCENE, VISIT = 3, 4  # seeds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    words = parser.parse_args()
    frames = np.stack(
        [
            frame
            for frame, _ in islice(
                render_scene(SIZE[1], SIZE[0], NUM_FRAMES, seed=SCENE), FIRST, None
            )
        ]
    )
    holes = visiting_shape(NUM_FRAMES, SIZE, np.random.default_rng(VISIT))[FIRST:]
    visitor = np.where(holes[..., None], np.uint8((40, 34, 60)), frames)
    emptied = np.where(holes[..., None], np.uint8(0), frames)
    columns = {"the film": visitor}
    for name, look_ahead in (("live", 0), ("--look-ahead 8", 8), ("--look-ahead shot", SHOT)):
        columns[name] = open_model(words.model, device=torch.device("cpu"), look_ahead=look_ahead)(
            emptied, holes
        )
    rows = [[film[t] for film in columns.values()] for t in SHOWN]
    rows[0] = [label(picture, name) for picture, name in zip(rows[0], columns)]
    save_png(words.output, tile(rows))


if __name__ == "__main__":
    main()
