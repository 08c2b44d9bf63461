"""A clip of a record, cut out around the person: pictures, the person's looks, and the body.

Axes: T frames, S S pixels of the square, H W pixels of the record, 3 = R G B, 4 = R G B and alpha.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from character.crop import Crop, draw_crop
from character.surface import draw_surface, project
from nunif.image import decode_rgb_part
from nunif.records import INFO_NAME, BadRecord, Record, picture_name, read_plane
from scene.people.film import TRIANGLES
from scene.people.portrait import portrait_name
from scene.people.pose import POSE_NAME
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND, OCCLUDER

PLANES = (COLOUR, ALPHA, FOREGROUND, BEHIND, OCCLUDER)
APART = 30  # frames that a picture of the same person is away, where the record is so long
NEEDED = 0.004  # of the picture: less alpha than that shows nobody


@dataclass(frozen=True)
class Clip:
    """One person before a scene, (T, S, S, ...) uint8.

    colour, behind: (T, S, S, 3); behind: what is behind the person, without occluder. occluder: (T,
    S, S, 4), straight. alpha: (T, S, S), what is seen of the person. face (T, S, S) int64 and bary
    (T, S, S, 3) float32: see `draw_surface`. looks: (S, S, 3), the person before white.
    """

    name: str
    colour: np.ndarray
    alpha: np.ndarray
    behind: np.ndarray
    occluder: np.ndarray
    face: np.ndarray
    bary: np.ndarray
    looks: np.ndarray


def read_clip(
    record: Record,
    rng: np.random.Generator,
    *,
    num_frames: int,
    size: int,
    has_motion: bool,
    frame_step: int = 1,
    is_first: bool = False,
) -> Clip:
    """A clip at a random place of the record. size: S. has_motion: take the body from pose.npz.
    frame_step: every such frame. is_first: the record's first frames.

    Raises:
        BadRecord: it can't be read, is too short, or doesn't show one person.
    """
    count, length = len(record), (num_frames - 1) * frame_step + 1
    if count < length:
        raise BadRecord(record.path, f"{count} frames, {length} are needed")
    start = 0 if is_first else int(rng.integers(count - length + 1))
    taken = slice(start, start + length, frame_step)
    numbers = record.numbers[taken]
    alpha = read_plane(record, ALPHA.letter, numbers)
    if has_motion:
        points, inverse = project(read_body(record), 0)
        points, inverse = points[taken], inverse[taken]
        crop = draw_crop(rng, points, inverse > 0, record.size)
        body = [
            draw_surface(crop.moved(one, size), depth, TRIANGLES, (size, size))
            for one, depth in zip(points, inverse)
        ]
        face, bary = (np.stack(parts) for parts in zip(*body))
    else:
        crop = _crop_of_alpha(rng, alpha, record.size)
        face = np.full((num_frames, size, size), -1, np.int64)
        bary = np.zeros((num_frames, size, size, 3), np.float32)
    occluder = np.zeros((num_frames, *record.size, 4), np.uint8)
    if record.has(OCCLUDER.letter):
        occluder = read_plane(record, OCCLUDER.letter, numbers)
    colour, behind = (read_plane(record, p.letter, numbers) for p in (COLOUR, BEHIND))
    return Clip(
        record.path.name,
        crop.scaled(colour, size),
        crop.scaled(alpha, size),
        crop.scaled(behind, size),
        crop.scaled(occluder, size),
        face,
        bary,
        read_looks(record, start, length, size=size),
    )


def _crop_of_alpha(rng: np.random.Generator, alpha: np.ndarray, size: tuple[int, int]) -> Crop:
    _, rows, columns = np.nonzero(alpha > 127)
    points = np.stack([columns, rows], axis=-1)[None].astype(np.float64)
    return draw_crop(rng, points, np.ones(points.shape[:2], bool), size)


# --- who -----------------------------------------------------------------------------------------


def read_looks(record: Record, start: int, num_frames: int, *, size: int) -> np.ndarray:
    """The person by themselves before white, (size, size, 3) uint8: the record's portrait, or else
    cut out of the frame that is farthest away from the clip, `APART` frames if there is one.

    Raises:
        BadRecord: nobody is seen.
    """
    try:
        portrait, _ = decode_rgb_part(_file(record, portrait_name(0)), slice(None), slice(None))
    except (OSError, ValueError):
        return _cut_out(record, start, num_frames, size)
    how = cv2.INTER_AREA if size < len(portrait) else cv2.INTER_LINEAR
    return cv2.resize(portrait, (size, size), interpolation=how)


def _cut_out(record: Record, start: int, num_frames: int, size: int) -> np.ndarray:
    last = start + num_frames - 1
    away = [max(start - i, i - last, 0) for i in range(len(record))]
    order = sorted(range(len(record)), key=lambda i: (-min(away[i], APART), i))
    for place in order:
        number = record.numbers[place : place + 1]
        alpha = read_plane(record, ALPHA.letter, number)
        if (alpha > 127).mean() < NEEDED:
            continue
        colour = read_plane(record, FOREGROUND.letter, number)
        share = alpha[..., None] / 255
        white = np.rint(share * colour + (1 - share) * 255).astype(np.uint8)[0]
        _, rows, columns = np.nonzero(alpha > 25)
        part = white[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        return squared(part, size)
    raise BadRecord(record.path, "nobody is seen in it")


def squared(picture: np.ndarray, size: int, *, share: float = 0.9) -> np.ndarray:
    """Scaled to fit a share of a white square's side."""
    scale = share * size / max(picture.shape[:2])
    height, width = (max(1, round(scale * side)) for side in picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    small = cv2.resize(picture, (width, height), interpolation=how)
    square[top : top + height, left : left + width] = small
    return square


# --- files ---------------------------------------------------------------------------------------


def _file(record: Record, name: str) -> bytes:
    if record.files is not None:
        return record.files.read(name, ())
    return (record.path / name).read_bytes()


def read_body(record: Record) -> dict[str, np.ndarray]:
    """The arrays of its pose.npz, see `scene.people.pose.read_pose`.

    Raises:
        BadRecord: there is none, or it is damaged, or nobody is in it.
    """
    try:
        with np.load(io.BytesIO(_file(record, POSE_NAME)), allow_pickle=False) as archive:
            pose = {name: archive[name] for name in ("vertices", "intrinsics", "extrinsics")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadRecord(record.path, f"its {POSE_NAME} can't be read ({error})") from error
    if pose["vertices"].ndim != 4 or not pose["vertices"].shape[1]:
        raise BadRecord(record.path, "nobody is in it")
    return pose


def num_people(record: Record) -> int | None:
    """How many people its record.json tells of; None where it doesn't."""
    try:
        info = json.loads(_file(record, INFO_NAME))
    except (OSError, ValueError, KeyError):
        return None
    people = info.get("people") if isinstance(info, dict) else None
    return len(people) if isinstance(people, list) else None


def content_key(record: Record, *parts: Any) -> str:
    """Of all that a clip is made of, and of `parts`."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    names = [picture_name(n, letter) for n in record.numbers for letter in record.letters]
    for name in (*names, POSE_NAME, portrait_name(0)):
        try:
            data = _file(record, name)
        except (OSError, ValueError):  # reading it tells more
            data = b""
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
