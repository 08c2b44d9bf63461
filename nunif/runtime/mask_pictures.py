"""Mask pictures as they are stored, and what each is by its looks: white on black, numbers of
objects, or alpha.

Axes: H W pixels.
"""

import io
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nunif.image import PNG_SIGNATURE, decode
from nunif.video.orientation import EXIF_ORIENTATIONS, EXIF_TAG, UPRIGHT
from nunif.video.pixel_format import layout_of
from nunif.video.probe import VideoInfo
from nunif.video.reader import Frame

VOID = 255  # the number of what belongs to no object (PASCAL VOC, DAVIS)
# share of what is neither black nor white, in blocks of one number, or of one colour
_SOLID = 0.5, 0.9
_DARK, _BRIGHT = 24, 231  # grey beyond these may be what coding made of black and white
_JPEG = b"\xff\xd8"
_MAX_LEVELS = 16, 256  # objects that are told apart by grey levels, by colours
_LOSSLESS = frozenset(
    "apng bmp ffv1 ffvhuff gif huffyuv magicyuv png qtrle rawvideo tiff utvideo".split()
)


class Meaning(Enum):
    """What says where a hole is; the values are for messages."""

    BRIGHT = "what is bright is missing"
    NUMBERS = (
        "its pictures number objects: all but 0 and 255 of 8 bits (nobody's) is missing, "
        "--objects chooses"
    )
    COLOURS = "its pictures paint each object in a colour of its own: all but black is missing"
    ALPHA = "its colours say nothing, so what its alpha shows is missing"


@dataclass(frozen=True)
class MaskPicture:
    """A mask as it is stored.

    pixels: (H, W) numbers or grey, or (H, W, 3) RGB; uint8 or uint16. alpha: (H, W) uint8, None
        where there is none.
    is_indexed: the pixels are numbers of a palette. is_exact: stored without loss.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    is_indexed: bool = False
    is_exact: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def is_alpha_telling(self) -> bool:
        """Whether there is an alpha that isn't the same everywhere, or that is 0 over colours that
        are the same everywhere."""
        alpha, pixels = self.alpha, self.pixels
        if alpha is None:
            return False
        return bool(
            alpha.min() != alpha.max() or (not alpha.any() and pixels.min() == pixels.max())
        )

    @cached_property
    def brightness(self) -> np.ndarray:
        """(H, W) uint8: of the brightest colour."""
        brightest = self.pixels.max(axis=2) if self.pixels.ndim == 3 else self.pixels
        return brightest if brightest.dtype == np.uint8 else (brightest >> 8).astype(np.uint8)

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """(H, W) numbers of objects, if the pixels can be such: a palette's, grey, or the colours
        that DAVIS and VOC use."""
        if not self.is_exact:
            return None
        return self._grey if self._grey is not None else _numbers_of_colours(self.pixels)

    @cached_property
    def _grey(self) -> np.ndarray | None:
        if self.pixels.ndim == 2:
            return self.pixels
        red, green, blue = (self.pixels[..., channel] for channel in range(3))
        return red if np.array_equal(red, green) and np.array_equal(red, blue) else None

    @property
    def meaning(self) -> Meaning | None:
        """What it is by its looks; None where it could be several."""
        if self.is_indexed:
            return Meaning.NUMBERS
        if self.is_alpha_telling:
            assert self.alpha is not None
            shown = self.brightness[self.alpha > 127]
            black, white = np.count_nonzero(shown < 32), np.count_nonzero(shown > 223)
            return (
                Meaning.BRIGHT
                if black and white and black + white > 0.98 * shown.size
                else Meaning.ALPHA
            )
        if not self.is_exact:
            return Meaning.BRIGHT
        if self._grey is not None:
            return _by_grey(self._grey)
        return Meaning.NUMBERS if self.numbers is not None else _by_colours(self.pixels)


def read_mask_picture(path: Path) -> MaskPicture:
    """An image file as a mask. Of a palette image the indices are read, unless its palette is grey.

    Raises:
        ValueError: the file is not a picture or is torn. OSError: it can't be read.
    """
    data = path.read_bytes()
    pixels = decode(data, cv2.IMREAD_UNCHANGED)  # which also finds what is torn
    num_pictures, orientation = _about(data)
    if num_pictures > 1:
        raise ValueError(
            f"it holds {num_pictures} pictures, of which one would be read: make them a folder or "
            "a video"
        )
    if orientation != 1 and data.startswith((PNG_SIGNATURE, b"RIFF")):
        stored, turn = _read_stored(data, pixels), EXIF_ORIENTATIONS.get(orientation, UPRIGHT).apply
        return replace(
            stored,
            pixels=turn(stored.pixels),
            alpha=None if stored.alpha is None else turn(stored.alpha),
        )
    if orientation > 4 and not data.startswith(_JPEG):
        raise ValueError(
            "it is a TIFF to be turned by 90 degrees, which libraries do in different ways: save "
            "it upright"
        )
    return _read_stored(data, pixels)


def _about(data: bytes) -> tuple[int, int]:
    """How many pictures a file holds, and the orientation that its EXIF tags ask for (1: none)."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return getattr(image, "n_frames", 1), int(image.getexif().get(EXIF_TAG, 1))
    except (OSError, ValueError, SyntaxError):  # of a kind that Pillow doesn't know
        return 1, 1


def _read_stored(data: bytes, pixels: np.ndarray) -> MaskPicture:
    if data.startswith(_JPEG):
        # turned as its tags say
        return MaskPicture(decode(data, cv2.IMREAD_COLOR_RGB), is_exact=False)
    if (stored := _with_palette(data)) is not None:
        return stored
    if pixels.dtype.kind == "f":  # 0 to 1
        pixels = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its numbers are {pixels.dtype}: 8 or 16 bits are read")
    alpha = pixels[..., 3] if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1] if pixels.shape[2] >= 3 else pixels[..., 0]
    if pixels.dtype == np.uint16 and pixels.max() == 255 and np.isin(pixels, (0, 255)).all():
        pixels = pixels.astype(np.uint8)  # white of 8 bits in a file of 16
    is_exact = data[:4] != b"RIFF" or b"VP8L" in data[:64]  # WebP without loss
    return MaskPicture(pixels, _in_8_bits(alpha), is_exact=is_exact)


def mask_of_frame(frame: Frame, info: VideoInfo) -> MaskPicture:
    """A frame of a mask video; one that was read for editing has its alpha."""
    alpha, is_exact = None, False
    if frame.picture is not None:
        layout = layout_of(frame.picture.pixel_format)
        if layout.alpha is not None:
            plane = frame.picture.planes[layout.alpha]
            alpha = (
                plane if plane.dtype == np.uint8 else (plane >> (layout.bits - 8)).astype(np.uint8)
            )
        is_exact = info.codec in _LOSSLESS and (layout.is_rgb or layout.is_grey)
    return MaskPicture(frame.rgb, alpha, is_exact=is_exact)


def _with_palette(data: bytes) -> MaskPicture | None:
    """A picture of which OpenCV can't tell all: with a palette, or with one colour that is
    transparent."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("P", "PA", "LA") and "transparency" not in image.info:
                return None
            shown = np.asarray(image.convert("RGBA"))  # (H, W, 4)
            indices = np.array(image) if image.mode == "P" else None
            palette = (
                np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
                if image.mode == "P"
                else np.empty((0, 3))
            )
    except (OSError, ValueError, SyntaxError):  # of a kind that Pillow doesn't know
        return None
    if indices is not None and _are_numbers(indices, palette, shown):
        return MaskPicture(indices, is_indexed=True)
    return MaskPicture(shown[..., :3], shown[..., 3])


def _are_numbers(indices: np.ndarray, palette: np.ndarray, shown: np.ndarray) -> bool:
    """Whether the indices of a palette image mean something, rather than its colours or its alpha.

    indices: (H, W). palette: (N, 3). shown: (H, W, 4) what comes out.
    """
    used = np.unique(indices)
    if used[-1] >= len(palette):
        return True  # there are no colours for them
    clear = shown[..., 3] < 255
    if clear.any() and (shown[clear, 3].any() or not np.isin(indices[clear], (0, VOID)).all()):
        return False  # a cut-out with few colours
    if (palette == palette[:, :1]).all():
        return False  # grey: a mask with few levels
    black = np.flatnonzero((palette == 0).all(axis=1))
    # painted on black, in any order
    return not len(black) or 0 in black or not np.isin(black, used).any()


def _in_8_bits(alpha: np.ndarray | None) -> np.ndarray | None:
    return alpha if alpha is None or alpha.dtype == np.uint8 else (alpha >> 8).astype(np.uint8)


def _numbers_of_colours(pixels: np.ndarray) -> np.ndarray | None:
    """(H, W) uint8 numbers of (H, W, 3) uint8 colours of VOC's palette, where bits 0, 3, 6 of a
    number are the highest ones of red, 1, 4, 7 those of green, and 2, 5 those of blue; None if
    there is another colour."""
    if pixels.dtype != np.uint8 or (pixels & 0x1F).any() or (pixels[..., 2] & 0x20).any():
        return None
    numbers = np.zeros(pixels.shape[:2], np.uint8)
    for bit in range(8):
        numbers |= (pixels[..., bit % 3] >> (7 - bit // 3) & 1) << bit
    return numbers


def _by_grey(levels: np.ndarray) -> Meaning | None:
    """Numbers, or grey that is brighter or darker: (H, W) uint8 or uint16."""
    white = np.iinfo(levels.dtype).max
    kinds, counts = np.unique(levels, return_counts=True)
    if len(kinds) < 2:
        return None
    between = (levels != 0) & (levels != white)
    num_between = int(np.count_nonzero(between))
    num_white = int(counts[kinds == white].sum())
    if not num_between:
        return Meaning.BRIGHT
    is_solid = kinds[0] == 0 and np.count_nonzero(solid(levels) & between) > _SOLID[0] * num_between
    inner = kinds[(kinds != 0) & (kinds != white)]
    if inner[-1] > white // 2:
        is_solid &= (
            inner[0] > _DARK
            and inner[-1] < _BRIGHT
            and len(inner) <= _MAX_LEVELS[0]
            and white == VOID
        )
    if is_solid and num_between > num_white:
        return Meaning.NUMBERS
    return Meaning.BRIGHT if num_white or inner[-1] > white // 2 else None


def _by_colours(pixels: np.ndarray) -> Meaning:
    """Objects in flat colours on black, or anything else in colours: (H, W, 3)."""
    code = (
        pixels[..., 0].astype(np.int64) << 32
        | pixels[..., 1].astype(np.int64) << 16
        | pixels[..., 2]
    )
    painted = code != 0
    num_painted = int(np.count_nonzero(painted))
    is_flat = np.count_nonzero(solid(code) & painted) > _SOLID[1] * num_painted
    has_few = is_flat and len(np.unique(code)) <= _MAX_LEVELS[1]
    return Meaning.COLOURS if has_few and num_painted < code.size else Meaning.BRIGHT


def solid(values: np.ndarray) -> np.ndarray:
    """(H, W) bool: whether a pixel is in a block of 2x2 equal ones, as the soft edge of something
    isn't."""
    # by its lower right corner, one row further
    block = np.zeros((values.shape[0] + 1, values.shape[1] + 1), bool)
    inner = values[:-1, :-1]
    block[1:-1, 1:-1] = (
        (inner == values[1:, :-1]) & (inner == values[:-1, 1:]) & (inner == values[1:, 1:])
    )
    return block[:-1, :-1] | block[1:, :-1] | block[:-1, 1:] | block[1:, 1:]
