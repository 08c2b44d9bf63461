"""One picture as a file of its own, with what the file that it is made of says beside its pixels.

Axes: H W pixels.
"""

import io
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from nunif.files import make_folder, write_whole
from nunif.image import encode_rgb, encode_rgba, with_notes

logger = logging.getLogger(__name__)

_ORIENTATION, _UPRIGHT = 0x0112, 1  # a tag of EXIF, and its value
_JPEG_QUALITY = 95  # of 100, with whole chroma
_LZW = 5  # libtiff's number


# Tags of a TIFF that tell of the picture, and not of how it is stored: description, camera,
# resolution, software, date, artist, copyright, and where EXIF's own and those of the place stand.
_ABOUT_THE_PICTURE = {270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 33432, 34665, 34853}


@dataclass(frozen=True)
class Notes:
    """What a picture file says beside its pixels: a colour profile (ICC), and EXIF's block without
    its thumbnail, as of a picture that stands upright.

    may_be_clear: whether it has alpha; True where that isn't known.
    """

    profile: bytes | None = None
    exif: bytes | None = None
    may_be_clear: bool = True

    @property
    def names(self) -> list[str]:
        """In words, what there is."""
        found = {"its colour profile": self.profile, "its EXIF": self.exif}
        return [name for name, data in found.items() if data]


@dataclass(frozen=True)
class _Kind:
    """What a kind of file can hold. encode: a picture (H, W, 3) or (H, W, 4) and notes -> the
    file. bits_with_notes: the most bits of a sample beside which notes are written."""

    encode: Callable[[np.ndarray, Notes], bytes]
    has_16_bits: bool = False
    has_alpha: bool = False
    bits_with_notes: int = 8


class StillWriter:
    """A picture file in the making. Use as a context manager: it appears when the block ends well.

    What the kind of file can't hold is left out, and a line says so.
    """

    def __init__(self, path: Path, *, source: Path) -> None:
        """
        Args:
            path: the file; its suffix, one of `nunif.image.PICTURE_SUFFIXES`, chooses the kind.
            source: what the picture is made of; where that is a picture too, its profile and EXIF
                are carried over.

        Raises:
            UserError: its folder can't be made.
        """
        self.path, self._source = path, source
        self._picture: np.ndarray | None = None
        make_folder(path.parent)

    def __enter__(self) -> "StillWriter":
        return self

    def write(self, picture: np.ndarray) -> None:
        """Hand in the picture (H, W, 3), or with alpha (H, W, 4), uint8 or uint16."""
        assert self._picture is None, f"{self.path} holds one picture"
        self._picture = picture

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None and self._picture is not None:
            self._save(self._picture)

    def _save(self, picture: np.ndarray) -> None:
        kind, lost = _KINDS[self.path.suffix.lower()], []
        if picture.dtype == np.uint16 and not kind.has_16_bits:
            picture = np.rint(picture / 257).astype(np.uint8)
            lost.append("its 16 bits (8 are written)")
        notes, bits = read_notes(self._source), 8 * picture.itemsize
        lost += [] if bits <= kind.bits_with_notes else notes.names
        if picture.shape[2] == 4:
            is_clear = bool(picture[..., 3].min() < np.iinfo(picture.dtype).max)
            lost += ["its alpha"] * (is_clear and not kind.has_alpha)
            # what decodes some kinds gives all pictures an alpha
            if not kind.has_alpha or not (is_clear or notes.may_be_clear):
                picture = picture[..., :3]
        if lost:
            text = "%s: %s can't be kept in %s; .png takes all"
            logger.warning(text, self._source, ", ".join(lost), self.path.suffix)
        write_whole(self.path, kind.encode(np.ascontiguousarray(picture), notes))


def read_notes(path: Path) -> Notes:
    """Those of a picture file; none of any other file."""
    # others can't be opened; the pixels of this one were read by somebody else
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        with Image.open(path) as image:
            return Notes(
                image.info.get("icc_profile"),
                _exif_of(path, image),
                may_be_clear="A" in image.getbands() or "transparency" in image.info,
            )
    return Notes()


def _exif_of(path: Path, image: Image.Image) -> bytes | None:
    try:
        tags = image.getexif()
        if image.format == "TIFF":
            for tag in tags.keys() - _ABOUT_THE_PICTURE:
                del tags[tag]
        if _ORIENTATION in tags:
            tags[_ORIENTATION] = _UPRIGHT
        return tags.tobytes() if len(tags) else None
    # what Pillow comes upon where a stranger's program wrote nonsense
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error) as error:
        logger.warning("%s: its EXIF can't be read (%s) and is left out", path, error)
        return None


def _png(picture: np.ndarray, notes: Notes) -> bytes:
    data = encode_rgb(picture) if picture.shape[2] == 3 else encode_rgba(picture)
    return with_notes(data, profile=notes.profile, exif=notes.exif)


def _jpeg(picture: np.ndarray, notes: Notes) -> bytes:
    return _by_pillow("JPEG", picture, notes, quality=_JPEG_QUALITY, subsampling=0)


def _webp(picture: np.ndarray, notes: Notes) -> bytes:
    return _by_pillow("WEBP", picture, notes, lossless=True, exact=True)  # also what is transparent


def _by_pillow(name: str, picture: np.ndarray, notes: Notes, **settings: int | str) -> bytes:
    file, more = io.BytesIO(), {"icc_profile": notes.profile, "exif": notes.exif}
    known = {key: value for key, value in more.items() if value}
    Image.fromarray(picture).save(file, name, **settings, **known)
    return file.getvalue()


def _tiff(picture: np.ndarray, notes: Notes) -> bytes:
    if picture.dtype == np.uint8:
        return _by_pillow("TIFF", picture, notes, compression="tiff_lzw")
    return _by_opencv(".tiff", picture, [cv2.IMWRITE_TIFF_COMPRESSION, _LZW])


def _bmp(picture: np.ndarray, _: Notes) -> bytes:
    return _by_opencv(".bmp", picture, [])


def _by_opencv(suffix: str, picture: np.ndarray, settings: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, picture[..., [2, 1, 0, 3][: picture.shape[2]]], settings)
    assert done, f"a picture of shape {picture.shape} as {suffix}"
    return data.tobytes()


_KINDS = {
    ".png": _Kind(_png, has_16_bits=True, has_alpha=True, bits_with_notes=16),
    ".jpg": _Kind(_jpeg),
    ".jpeg": _Kind(_jpeg),
    ".webp": _Kind(_webp, has_alpha=True),
    ".tif": _Kind(_tiff, has_16_bits=True, has_alpha=True),
    ".tiff": _Kind(_tiff, has_16_bits=True, has_alpha=True),
    ".bmp": _Kind(_bmp, bits_with_notes=0),
}
