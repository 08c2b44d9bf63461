"""Clips: some frames of a video or of a folder of numbered pictures, and the masks beside them.

Axes: T frames, H W pixels. Frames are (T, H, W, 3) uint8, holes (T, H, W) bool, True = missing.
"""

import logging
from pathlib import Path

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.files import tell_if_dangling
from nunif.image import read_rgb
from nunif.numbered import (
    check_alone,
    check_exists,
    numbered_pictures,
    pictures_in,
    refuse_unread,
    row_in,
)
from nunif.runtime.mask_source import Paired, open_masks
from nunif.video.film import tell_of_pictures, telling_of_videos_below
from nunif.video.reader import VIDEO_SUFFIXES, BrokenVideo, VideoReader

logger = logging.getLogger(__name__)


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
    if path.is_file() or pictures_in(path):
        return [path]
    with telling_of_videos_below(path, f"-i {path}"):
        entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
        for entry in entries:
            tell_if_dangling(entry)
        clips = [p for p in entries if _is_video(p) or (p.is_dir() and pictures_in(p))]
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
            frames = [read_rgb(file) for file in row_in(path).files[start : start + num_frames]]
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
    aspect; those that have `size` are taken as they are.

    Raises:
        BadClip: there are none, they don't fit or can't be read, have another aspect, or mark
            nothing.
    """
    found = [
        p for p in sorted(folder.iterdir()) if (p.name if p.is_dir() else p.stem) == clip_name(clip)
    ]
    if len(found) != 1:
        raise BadClip(f"--masks {folder} has {len(found)} masks of that name, and it must be one")
    (path,) = found
    try:
        frames, own_size = _frames_of(clip, deinterlace=deinterlace)
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
            resized = []
            for mask in masks:
                if mask.shape != size:
                    _check_aspect(path, mask.shape, own_size)
                scaled = cv2.resize(
                    mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST
                )
                resized.append(scaled > 0)
    except (UserError, BrokenVideo, ValueError, OSError) as error:
        raise BadClip(f"its masks can't be used: {error}") from error
    if not np.any(resized):
        raise BadClip(f"--masks {path} marks nothing as missing: white is missing")
    return np.stack(resized)


def _frames_of(clip: Path, *, deinterlace: bool) -> tuple[Paired, tuple[int, int]]:
    """The frames of a clip that masks are paired with, and their size (H, W)."""
    if clip.is_dir():
        pictures = numbered_pictures(clip, name=f"-i {clip}", even_steps=True)
        first = read_rgb(next(iter(pictures.values())))
        return Paired(len(pictures), numbers=list(pictures)), (first.shape[0], first.shape[1])
    with VideoReader(clip, deinterlace=deinterlace) as video:
        return Paired.with_film(video), (video.info.height, video.info.width)


def _check_aspect(path: Path, size: tuple[int, ...], wanted: tuple[int, int]) -> None:
    """Raises BadClip where the aspects of two sizes (H, W) differ by more than a pixel's rounding
    does."""
    if abs(size[0] * wanted[1] - size[1] * wanted[0]) > wanted[0] + wanted[1]:
        raise BadClip(
            f"--masks {path} is {size[1]}x{size[0]}, the clip {wanted[1]}x{wanted[0]}: "
            "make masks of the clip's size, or of another with its aspect"
        )


def clip_name(path: Path) -> str:
    """What a clip is called in tables, and what its masks are called."""
    return path.name if path.is_dir() else path.stem


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
