"""Clips to be filled: videos or folders of pictures, and the holes in them.

Axes: T frames, H W pixels. Frames are (T, H, W, 3) uint8, holes (T, H, W) bool, True = missing.
"""

import logging
from pathlib import Path

import cv2
import numpy as np
import torch

from inpaint.hole_shapes import moving_shape, strokes, visiting_shape
from inpaint.occlusion import drop_specks, hidden, shift_in_pixels, shift_of_view
from inpaint.options_evaluate import LONG
from nunif.errors import UserError
from nunif.files import tell_if_dangling
from nunif.image import read_rgb
from nunif.numbered import (
    as_read,
    by_number,
    check_alone,
    check_exists,
    has_number,
    numbered_pictures,
    pictures_in,
    refuse_unread,
)
from nunif.runtime.mask_source import Paired, open_masks
from nunif.seed import generator_for
from nunif.video.film import tell_of_pictures, telling_of_videos_below
from nunif.video.reader import VIDEO_SUFFIXES, BrokenVideo, VideoReader
from scene.depth import create_estimator
from scene.depth_models import MOTION_PARALLAX, ClipRejected

logger = logging.getLogger(__name__)

DIVERGENCE, CONVERGENCE = 5.0, 0.5  # of the occlusion strips, as iw3 counts
CUTOUTS = 3  # things that strips stand beside where a clip's own depth can't be had
MIN_STRIPS = 0.005  # of the picture; with less there is too little to score
MIN_SPECK = 16  # pixels


class BadClip(Exception):
    """A clip that can't be used; the text says why."""


def list_clips(path: Path) -> list[Path]:
    """The clips that a path stands for: itself if it is a video or a folder of pictures, else those
    in the folder.

    Raises:
        UserError: there is none.
    """
    check_exists(path, f"-i {path}")
    if path.is_file():
        check_alone(path, f"-i {path}")
    if path.is_file() or _pictures(path):
        return [path]
    with telling_of_videos_below(path, f"-i {path}"):
        entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
        for entry in entries:
            tell_if_dangling(entry)
        clips = [p for p in entries if _is_video(p) or (p.is_dir() and _pictures(p))]
        if not clips:
            refuse_unread(path, f"-i {path}")
            raise UserError(
                f"-i {path} holds no video, no folder of pictures and no record: check the path"
            )
        return clips


def read_clip(
    path: Path,
    *,
    start: int,
    num_frames: int,
    size: tuple[int, int] | None,
    deinterlace: bool = False,
) -> np.ndarray:
    """Up to `num_frames` frames from number `start` on, at `size` (H, W) or their own. Raises
    BadClip."""
    try:
        if path.is_dir():
            if deinterlace:
                tell_of_pictures(path)
            try:
                numbered_pictures(path, name=str(path), even_steps=True)
            except UserError as problem:
                logger.warning("%s: its pictures are taken in the order of their names", problem)
            frames = [read_rgb(file) for file in _pictures(path)[start : start + num_frames]]
        else:
            with VideoReader(path, deinterlace=deinterlace) as video:
                stop = min(start + num_frames, len(video))
                frames = [frame.rgb for frame in video.read(min(start, stop), stop)]
    except (UserError, BrokenVideo, ValueError, OSError) as error:
        raise BadClip(str(error)) from error
    if len(frames) < 2:
        raise BadClip(f"{len(frames)} frames from --start {start} on, and a clip has 2 or more")
    if len({frame.shape for frame in frames}) > 1:
        raise BadClip("its pictures differ in size")
    if size is not None and frames[0].shape[:2] != size:
        frames = [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
    return np.stack(frames)


def read_masks(
    folder: Path,
    clip: Path,
    *,
    start: int,
    num_frames: int,
    size: tuple[int, int],
    objects: tuple[int, ...] = (),
    large_holes: bool = False,
    deinterlace: bool = False,
) -> np.ndarray:
    """The masks of a clip: what in `folder` has its name, a video, a folder of pictures, or one
    picture for all frames.

    They are read and paired with the frames as `apply` does it; pictures with pictures by number.
    Scaled to `size` (H, W) by the nearest pixel, from the clip's own size or any with the same
    aspect.

    Raises:
        BadClip: there are none, they don't fit or can't be read, have another aspect, or mark
            nothing.
    """
    found = [path for path in sorted(folder.iterdir()) if clip_name(path) == clip_name(clip)]
    if len(found) != 1:
        raise BadClip(f"--masks {folder} has {len(found)} masks of that name, and it must be one")
    (path,) = found
    try:
        frames, own_size = _paired_frames(clip, deinterlace=deinterlace)
        with open_masks(
            path,
            frames,
            name=f"--masks {path}",
            start=start,
            stop=start + num_frames,
            objects=objects,
            invert=None,
            large_holes=large_holes,
            deinterlace=deinterlace,
        ) as masks:
            resized = [_resized(mask, size, path=path, own_size=own_size) for mask in masks]
    except (UserError, BrokenVideo, ValueError, OSError) as error:
        raise BadClip(f"its masks can't be used: {error}") from error
    if not np.any(resized):
        raise BadClip(f"--masks {path} marks nothing as missing: white is missing")
    return np.stack(resized)


def _paired_frames(clip: Path, *, deinterlace: bool) -> tuple[Paired, tuple[int, int]]:
    """The frames that masks are paired with, and their size (H, W) in the file."""
    if clip.is_dir():
        pictures = numbered_pictures(clip, name=f"-i {clip}", even_steps=True)
        height, width = read_rgb(next(iter(pictures.values()))).shape[:2]
        return Paired(len(pictures), numbers=list(pictures)), (height, width)
    with VideoReader(clip, deinterlace=deinterlace) as video:
        return Paired.with_film(video), (video.info.height, video.info.width)


def _resized(
    mask: np.ndarray, size: tuple[int, int], *, path: Path, own_size: tuple[int, int]
) -> np.ndarray:
    """A mask, (h, w) bool, at `size` (H, W), by the nearest pixel. Raises BadClip where its aspect
    is not that of `own_size`, the clip's."""
    height, width = mask.shape
    own_height, own_width = own_size
    rounding = own_height + own_width  # a pixel
    if abs(height * own_width - width * own_height) > rounding:
        raise BadClip(
            f"--masks {path} is {width}x{height}, the clip {own_width}x{own_height}: "
            "make masks of the clip's size, or of another with its aspect"
        )
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def make_holes(family: str, name: str, frames: np.ndarray, *, seed: int) -> tuple[np.ndarray, str]:
    """The holes of a family in a clip, the same at every call, and in a word what made them.

    family: static (strokes that stand), moving (an object that walks), long (one that comes, stands
        for most of the clip and goes) or occlusion (strips that another eye can't see).
    """
    rng = generator_for("evaluate", family, name, seed)
    num_frames, size = len(frames), (frames.shape[1], frames.shape[2])
    if family == "static":
        return strokes(num_frames, size, rng, still=True), "strokes"
    if family == "moving":
        return moving_shape(num_frames, size, rng, still=False), "object"
    if family == LONG:
        return visiting_shape(num_frames, size, rng), "object"
    holes = _strips_of_parallax(frames)
    if holes is not None and holes.mean() >= MIN_STRIPS:
        return holes, MOTION_PARALLAX
    things = np.zeros((num_frames, *size), np.float32)
    for _ in range(CUTOUTS):
        things += moving_shape(num_frames, size, rng, still=False)
    shift = shift_in_pixels(
        torch.from_numpy(things / CUTOUTS),
        divergence=2 * DIVERGENCE,
        convergence=CONVERGENCE,
        width=size[1],
    )
    return _strips(shift), "cut-outs"


def clip_name(path: Path) -> str:
    """What a clip is called in tables, and what its masks are called."""
    return path.name if path.is_dir() else path.stem


def _strips_of_parallax(frames: np.ndarray) -> np.ndarray | None:
    """What another eye can't see by the clip's own motion parallax; None where it has none."""
    size = (frames.shape[1], frames.shape[2])
    try:
        disparity = create_estimator(MOTION_PARALLAX)(frames)
        shifts = [
            shift_of_view(d, size=size, divergence=DIVERGENCE, convergence=CONVERGENCE)
            for d in disparity
        ]
        return _strips(torch.stack(shifts))
    except ClipRejected:
        return None


def _strips(shift: torch.Tensor) -> np.ndarray:
    return drop_specks(hidden(shift).numpy(), min_area=MIN_SPECK)


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def _pictures(folder: Path) -> list[Path]:
    """By number; where there are none, or one is told twice, by name."""
    files = pictures_in(folder)
    numbered = [file for file in files if has_number(file)]
    try:
        return list(by_number(numbered or files, name=str(folder)).values())
    except UserError:
        return sorted(files, key=as_read)
