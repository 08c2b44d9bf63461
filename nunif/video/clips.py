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
        clips = _clips_in(path)
        if not clips:
            refuse_unread(path, f"-i {path}")
            raise UserError(
                f"-i {path} holds no video, no folder of pictures and no record: check the path"
            )
        return clips


def clips_of_folder(path: Path) -> list[Path] | None:
    """The films of a folder that is no film itself; None of anything else, and where it holds none.

    A folder that holds pictures is one film, whatever else is in it.
    """
    if not path.is_dir() or pictures_in(path):
        return None
    clips = _clips_in(path)
    if not clips:
        return None
    with telling_of_videos_below(path, f"-i {path}"):
        return clips


def _clips_in(folder: Path) -> list[Path]:
    """Videos and folders of pictures, by name."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for entry in entries:
        tell_if_dangling(entry)
    return [p for p in entries if _is_video(p) or (p.is_dir() and pictures_in(p))]


def find_mask(folder: Path, clip: Path, *, name: str, what: str = "masks") -> Path:
    """What in a folder of masks has a clip's name: a video, a folder of pictures, or one picture.

    name: what messages call the folder; what: the things in it.

    Raises:
        UserError: there is none, or more than one.
    """
    found = [
        p for p in sorted(folder.iterdir()) if (p.name if p.is_dir() else p.stem) == clip_name(clip)
    ]
    if len(found) != 1:
        raise UserError(f"{name} has {len(found)} {what} of that name, and it must be one")
    return found[0]


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
    try:
        path = find_mask(folder, clip, name=f"--masks {folder}")
    except UserError as error:
        raise BadClip(str(error)) from error
    try:
        with open_masks(
            path,
            _frames_of(clip, deinterlace=deinterlace),
            name=f"--masks {path}",
            size=size,
            start=start,
            stop=start + num_frames,
            objects=objects,
            invert=None,
            large_holes=large_holes,
            deinterlace=deinterlace,
        ) as masks:
            holes = list(masks)
    except (UserError, BrokenVideo, ValueError, OSError) as error:
        raise BadClip(f"its masks can't be used: {error}") from error
    if not np.any(holes):
        raise BadClip(f"--masks {path} marks nothing as missing: white is missing")
    return np.stack(holes)


def read_mattes(
    path: Path,
    clip: Path,
    *,
    name: str,
    start: int,
    num_frames: int,
    size: tuple[int, int],
    objects: tuple[int, ...] = (),
    deinterlace: bool = False,
) -> np.ndarray:
    """The mattes of a clip, (T, H, W) uint8, 255 = opaque: a video, a folder of pictures, or one
    picture for all frames. They are read and paired as by `read_masks`; masks are mattes of 0 and
    255.

    name: of the mattes, for messages.

    Raises:
        BadClip: they don't fit or can't be read, or have another aspect.
    """
    try:
        with open_masks(
            path,
            _frames_of(clip, deinterlace=deinterlace),
            name=name,
            size=size,
            start=start,
            stop=start + num_frames,
            objects=objects,
            invert=None,
            large_holes=True,
            deinterlace=deinterlace,
            soft=True,
        ) as mattes:
            return np.stack(list(mattes))
    except (UserError, BrokenVideo, ValueError, OSError) as error:
        raise BadClip(f"its mattes can't be used: {error}") from error


def _frames_of(clip: Path, *, deinterlace: bool) -> Paired:
    """The frames of a clip that masks are paired with."""
    if clip.is_dir():
        pictures = numbered_pictures(clip, name=f"-i {clip}", even_steps=True)
        first = read_rgb(next(iter(pictures.values())))
        size = (first.shape[0], first.shape[1])
        return Paired(len(pictures), size, numbers=list(pictures), called="clip")
    with VideoReader(clip, deinterlace=deinterlace) as video:
        return Paired.with_film(video, called="clip")


def clip_name(path: Path) -> str:
    """What a clip is called in tables, and what its masks are called."""
    return path.name if path.is_dir() else path.stem


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
