"""From a clip and its disparity to records: the holes of both views, and the crops with most of
them.

Axes: T frames, H W pixels, h w pixels of the disparity.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inpaint.clip_transforms import random_hard_tile
from inpaint.generate_plan import VIEWS, Outcome, RecordPlan
from inpaint.generate_views import Draws, pick_divergence
from inpaint.occlusion import drop_specks, find_hidden_in_both_views
from nunif.records import is_finished, write_record
from nunif.seed import generator_for
from scene.depth_models import ClipRejected
from scene.masks import close_pinpricks
from scene.planes import COLOUR, HOLE

# iw3: records with fewer than 300 hole pixels per 512x512 frame teach nothing
MIN_HOLE_SHARE = 300 / 512**2
SPECK_AREA = 40  # pixels; smaller holes are grain of the disparity
CROP_MARGIN = 16  # pixels around a crop that are looked at too when its holes are cleaned
NO_HOLE = "next to no hole"


@dataclass(frozen=True)
class Scene:
    """A clip as it is cropped: (T, H, W, 3) uint8, its draws, and its disparity once that is
    known."""

    number: int
    wanted: tuple[int, ...]  # numbers of the records that are to be made
    seconds: tuple[float, float]  # of the first and the last frame
    draws: Draws
    view: np.ndarray
    disparity: Tensor | ClipRejected | None = None


def write_scene(scene: Scene, plan: RecordPlan) -> Outcome:
    """Find the holes of a scene in both views and write the crops with the most of them."""
    outcome = Outcome(scene.number)
    if isinstance(scene.disparity, ClipRejected):
        outcome.skipped = dict.fromkeys(plan.numbers(scene.number), scene.disparity.reason)
        return outcome
    options, size = plan.options, plan.options.size
    width = scene.view.shape[2]
    divergence = pick_divergence(options.divergence_level, width, scene.draws.divergence)
    info = {
        "source": plan.source,
        "file_hash": plan.file_hash,
        **plan.color,
        "start_seconds": round(scene.seconds[0], 6),
        "end_seconds": round(scene.seconds[1], 6),
        "model_type": options.model_type,
        "divergence": divergence,
        "convergence": scene.draws.convergence,
        "mapping": scene.draws.mapping,
        "edge_dilation": scene.draws.edge_dilation,
        "rotation": scene.draws.angle,
        "view_size": scene.draws.view_size,
        "options": plan.recorded,
    }
    for view, (frames, holes) in enumerate(both_views(scene, divergence)):
        for crop in range(options.num_samples):
            number = plan.number(scene.number, view, crop)
            path = options.data_dir / plan.name(number)
            if number not in scene.wanted or is_finished(options.data_dir, plan.name(number), {}):
                continue
            rng = generator_for("crop", options.seed, plan.file_hash, scene.number, view, crop)
            top, left = random_hard_tile(holes, (size, size), rng)
            hole = clean_crop(holes, top, left, size)
            if hole.mean() < MIN_HOLE_SHARE:
                outcome.skipped[number] = NO_HOLE
                continue
            pictures = frames[:, top : top + size, left : left + size]
            planes = {COLOUR.letter: pictures, HOLE.letter: hole}
            write_record(path, planes, {**info, "view": VIEWS[view], "crop": [left, top]})
            outcome.made.append(number)
    return outcome


def clean_crop(holes: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """A square of the holes, closed of pin-pricks and without specks: (T, H, W) bool -> (T, size,
    size) bool.

    It is worked out with some margin, so that the edge of the crop is treated as the inside of the
    picture it is.
    """
    first_row, first_column = max(0, top - CROP_MARGIN), max(0, left - CROP_MARGIN)
    part = holes[:, first_row : top + size + CROP_MARGIN, first_column : left + size + CROP_MARGIN]
    clean = drop_specks(close_pinpricks(torch.from_numpy(part)).numpy(), min_area=SPECK_AREA)
    return clean[:, top - first_row :, left - first_column :][:, :size, :size]


def both_views(scene: Scene, divergence: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scene as it is and mirrored, each with the pixels that the other eye misses.

    Yields: frames (T, H, W, 3) uint8 and holes (T, H, W) bool. All holes stand to the right of
        their foreground.
    """
    assert isinstance(scene.disparity, Tensor)
    holes = torch.zeros((len(VIEWS), *scene.view.shape[:3]), dtype=torch.bool)
    for t, disparity in enumerate(scene.disparity):
        find_hidden_in_both_views(
            disparity,
            holes[:, t],
            size=scene.view.shape[1:3],
            divergence=divergence,
            convergence=scene.draws.convergence,
            mapping=scene.draws.mapping,
            edge_dilation=scene.draws.edge_dilation,
        )
    yield scene.view, holes[0].numpy()
    yield scene.view[:, :, ::-1], holes[1].numpy()
