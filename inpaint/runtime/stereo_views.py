"""The other eye's view of a frame, and its holes.

    frame, shift -> warped to the other eye, with holes -> (filled by the model)

Axes: H W pixels. Pictures are (H, W, 3) uint8 or uint16 RGB; a hole is True where nothing of the
    frame is seen.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from scene.masks import close_pinpricks, dilate_sideways

_ONE = 1 << 14  # source columns are compared as int32 in units of a 16384th of a pixel
_MAX_WIDTH = 1 << 15  # of cv2.remap; an int32 would do for twice that
_EMPTY = -1


@dataclass(frozen=True)
class Eye:
    """An eye whose view has to be made.

    shift: of its pixels to the right, as a multiple of `inpaint.occlusion.shift_of_view`; what is
        near moves to the right in the left eye, and to the left in the right eye.
    """

    shift: float

    @property
    def is_mirrored(self) -> bool:
        """Its holes stand to the left of what is near. The model knows only holes to the right: see
        `turn`."""
        return self.shift > 0


# By the eye or eyes that are made: (left, right). None is the frame as it is. Between both eyes
# lies the divergence.
VIEWS: dict[str, tuple[Eye | None, Eye | None]] = {
    "right": (None, Eye(-2.0)),
    "left": (Eye(2.0), None),
    "both": (Eye(1.0), Eye(-1.0)),
}


def turn(picture: np.ndarray, eye: Eye) -> np.ndarray:
    """Mirror a picture (H, W, 3) or a hole (H, W) of an eye for the model, or back, if the eye
    wants it."""
    return np.ascontiguousarray(picture[:, ::-1]) if eye.is_mirrored else picture


def view_of_eye(
    frame: np.ndarray, shift: Tensor, eye: Eye, *, hole_growth: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What an eye sees of a frame, and where it sees nothing.

    Args:
        frame: (H, W, 3) uint8, uint16 or float32.
        shift: (H, W) float32, of `inpaint.occlusion.shift_of_view`, larger = nearer.
        hole_growth: pixels by which holes grow away from what is near, over the rim that soft edges
            leave there.
    Returns: the picture and its hole (H, W) bool; neither is mirrored.
    """
    picture, hole = forward_warp(frame, shift * eye.shift, near_to_right=eye.is_mirrored)
    if (
        hole.any()
    ):  # the model is trained on closed holes; small ones stay, since nothing is there to be seen
        hole = close_pinpricks(hole[None])[0]
        sides = {"left": hole_growth} if eye.is_mirrored else {"right": hole_growth}
        hole = dilate_sideways(hole, **sides)
    return picture, hole.numpy()


def forward_warp(
    frame: np.ndarray, shift: Tensor, *, near_to_right: bool
) -> tuple[np.ndarray, Tensor]:
    """Move every pixel of a frame along its row, the nearer in front.

    Args:
        frame: (H, W, 3) uint8, uint16 or float32.
        shift: (H, W) float32, pixels to the right.
        near_to_right: what is nearer has the larger shift (a left eye), or else the smaller one (a
            right eye).
    Returns: the picture, 0 in holes, and the holes (H, W) bool.
    """
    if not shift.any():
        return frame.copy(), torch.zeros(shift.shape, dtype=torch.bool)
    columns, hole = source_columns(shift, near_to_right=near_to_right)
    rows = np.repeat(np.arange(len(frame), dtype=np.float32)[:, None], frame.shape[1], axis=1)
    picture = cv2.remap(
        frame, columns.numpy(), rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    picture[hole.numpy()] = 0
    return picture, hole


def source_columns(shift: Tensor, *, near_to_right: bool) -> tuple[Tensor, Tensor]:
    """Where in its row each pixel of the warped picture comes from.

    Pixel x of a row goes to u(x) = x + shift(x). Two neighbours belong to one surface, and what
    lies between them is interpolated, while their shifts differ by less than a pixel: more on one
        side is a fold (the criterion of
    `inpaint.occlusion.hidden`), and on the other side a gap, which is a hole. Of several surfaces
    that reach a target t the nearest is seen. Say near moves to the left: then it is the one of the
    largest x, as it came the longest way, t = x - (-shift). So one maximum over source columns
    settles it, whatever the order of writing.

    A surface's first and last pixel reach half a pixel further, to the nearest target, as does a
    pixel with no neighbour
    on its surface: thin things in front do not get lost.

    Args: see `forward_warp`.
    Returns: columns (H, W) float32, between the two pixels to interpolate, 0 in holes; holes (H, W)
        bool.
    """
    height, width = shift.shape
    assert width <= _MAX_WIDTH, width
    if near_to_right:
        columns, hole = source_columns(-shift.flip(-1), near_to_right=False)
        return (width - 1 - columns).flip(-1).where(~hole.flip(-1), 0), hole.flip(-1)

    column = torch.arange(width)
    best = _Nearest(height, width)

    # The first whole target in [u(x), u(x + 1)): `lead` pixels from u(x), of `step` pixels
    whole = shift[:, :-1].ceil()
    lead, step = whole - shift[:, :-1], 1 + shift.diff(dim=-1)  # (H, W - 1)
    joined = (step > 0) & (step < 2)
    target = column[:-1] + whole.long()
    part = (lead / step.clamp(min=1e-6)).clamp(max=1).mul(_ONE).round().to(torch.int32)
    best.offer(target, best.row_start, column[:-1] * _ONE + part, joined & (lead < step))

    # The second one, which only stretched surfaces have
    y, x = (joined & (lead + 1 < step)).nonzero(as_tuple=True)
    source = x * _ONE + ((lead[y, x] + 1) / step[y, x] * _ONE).round().long()
    best.offer(target[y, x] + 1, best.row_start[y, 0], source, torch.ones_like(x, dtype=torch.bool))

    # The target nearest to each end of a surface, where it lies outside the surface
    edge = torch.zeros(height, 1, dtype=torch.bool)
    # (H, W), whether a pixel has such a neighbour
    left, right = torch.cat([edge, joined], dim=-1), torch.cat([joined, edge], dim=-1)
    y, x = (~(left & right)).nonzero(as_tuple=True)
    left, right, ends = left[y, x], right[y, x], shift[y, x]
    whole = (ends - 0.5).ceil()
    outside = (~left | (whole >= ends)) & (~right | (whole <= ends))
    best.offer(x + whole.long(), best.row_start[y, 0], x * _ONE, outside)

    sources = best.sources.view(height, width)
    return sources.clamp(min=0) / _ONE, sources == _EMPTY


class _Nearest:
    """The source column of every target, in units of 1 / _ONE, as far as they were offered: the
    largest, which is the nearest.

    row_start: (H, 1), where each row begins. sources: (H * W,) int32.
    """

    def __init__(self, height: int, width: int) -> None:
        self._width = width
        self.row_start = torch.arange(0, height * width, width)[:, None]
        self.sources = torch.full((height * width,), _EMPTY, dtype=torch.int32)

    def offer(self, target: Tensor, row_start: Tensor, source: Tensor, valid: Tensor) -> None:
        """Take `source` for the `target` columns where it is nearer. All shapes broadcast."""
        inside = valid & (target >= 0) & (target < self._width)
        source = source.where(inside, _EMPTY).to(torch.int32)
        index = target.clamp(0, self._width - 1) + row_start
        self.sources.scatter_reduce_(0, index.flatten(), source.flatten(), "amax")
