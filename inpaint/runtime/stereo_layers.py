"""The other eye's view of a frame that was taken apart: each layer is moved by itself, so that
beside people the scene is seen that was found behind them.

    layers, disparity -> a disparity of each layer -> each moved -> laid over each other

Axes: H W pixels of the film, h w of the disparity, 3 = R G B.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from inpaint.runtime.stereo_views import Eye, forward_warp, view_of_eye
from nunif.errors import UserError
from nunif.video.film import Film
from nunif.video.reader import content_hash
from scene.layers.folder import read_meta
from scene.layers.formats import Layers, format_of, read_in_order
from scene.masks import smooth_fill

OPAQUE = 0.98  # of a layer: what is behind isn't seen
SURE = 0.9  # of a layer's alpha: the disparity there is its own
SEEN = 0.02  # of alpha: the disparity there may be a layer's
MARGIN = 2  # pixels of the disparity, whose edges are not quite those of the picture
FEWEST = 20  # of these pixels that a layer's disparity is taken from


def open_layers(folder: Path, film: Film) -> Iterator[Layers]:
    """The layers of every frame of a film, from the first on.

    Raises:
        UserError: there are none, or they are another film's.
    """
    meta = read_meta(folder)
    theirs = meta.get("source", {}).get("hash")
    if theirs is not None and film.path.is_file() and content_hash(film.path) != theirs:
        raise UserError(
            f"--layers {folder} are of another film than {film.path}: split that one, or name it "
            "with -i"
        )
    size = [film.info.height, film.info.width]
    if meta["size"] != size or len(meta["frames"]) != len(film):
        raise UserError(
            f"--layers {folder} has {len(meta['frames'])} frames of {meta['size'][1]}x"
            f"{meta['size'][0]}, and what is read of {film.path} {len(film)} of {size[1]}x"
            f"{size[0]}: split the film with the same --start, --end and --fps"
        )
    format_of(meta)  # a format that isn't known is better found now
    return read_in_order(folder, meta, film)


def disparities_of(
    disparity: np.ndarray, alphas: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The disparity of the scene behind all layers, and of each layer, going on beyond its edge.

    Args:
        disparity: (h, w) float32, of what is seen. alphas: (h, w) float32 in [0, 1] of each layer,
            the nearest first.
    Returns: (h, w) float32 each.
    """
    of_layers, open_to = [], np.ones_like(disparity)
    square = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    for alpha in alphas:
        core = (alpha * open_to > SURE).astype(np.uint8)
        inner = cv2.erode(core, square)
        core = inner if inner.sum() >= FEWEST else core
        core = core if core.sum() >= FEWEST else (alpha * open_to > SEEN).astype(np.uint8)
        of_layers.append(_spread(disparity, np.asarray(core) > 0))
        open_to = open_to * (1 - alpha)
    covered = cv2.dilate((1 - open_to > SEEN).astype(np.uint8), square)
    behind = disparity
    if covered.any():
        picture, hole = (torch.from_numpy(x)[None, None] for x in (disparity, _float(covered)))
        behind = np.where(covered > 0, smooth_fill(picture, hole)[0, 0].numpy(), disparity)
        for one, alpha in zip(of_layers, alphas):
            behind = np.where(alpha > SURE, np.minimum(behind, one), behind)
    return behind, of_layers


def _spread(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """At every place the value of the nearest pixel of a mask; all as they are without any."""
    if not mask.any():
        return values
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, values.dtype)
    by_label[labels[mask]] = values[mask]
    return by_label[labels]


def _float(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)


def alphas_at(layers: Layers, size: tuple[int, int]) -> list[np.ndarray]:
    """The alphas of layers at another size (h, w), float32 in [0, 1]."""
    return [
        cv2.resize(
            np.ascontiguousarray(layers.space.premultiplied(cover)[..., 3]),
            size[::-1],
            interpolation=cv2.INTER_AREA,
        )
        for cover in layers.covers
    ]


def view_of_layers(
    layers: Layers,
    kind: np.dtype,
    shift: Tensor,
    shifts: Sequence[Tensor],
    eye: Eye,
    *,
    hole_growth: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """What an eye sees of a frame in layers, and where it sees nothing; as `view_of_eye`.

    Layers are moved and laid over each other in the numbers in which they were split.

    Args:
        kind: of the film's pictures.
        shift: (H, W) of the scene. shifts: of each layer.
    """
    scene = layers.scene.astype(np.float32)
    result, hole = view_of_eye(scene, shift, eye, hole_growth=hole_growth)
    for cover, its in reversed(list(zip(layers.covers, shifts))):
        if not cover.alpha.any():
            continue
        picture = layers.space.premultiplied(cover)
        moved, gap = forward_warp(picture, its * eye.shift, near_to_right=eye.is_mirrored)
        seen, gaps = moved[..., 3], gap.numpy()
        if gaps.any():  # a part of the layer before another one: what is between is missing
            whole = [torch.from_numpy(x)[None, None] for x in (seen, _float(gaps))]
            gaps = gaps & (smooth_fill(*whole)[0, 0].numpy() > 0.5)
        result = moved[..., :3] + (1 - seen[..., None]) * result
        hole = hole & (seen < OPAQUE) | gaps
    picture = layers.space.sum_out(result, kind)
    picture[hole] = 0
    return picture, hole
