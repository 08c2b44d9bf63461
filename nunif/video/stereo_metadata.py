"""What a file says of the pictures of both eyes in it.

MP4 and QuickTime: the boxes st3d and sv3d of Spherical Video V2 (google/spatial-media,
docs/spherical-video-v2-rfc.md). Matroska and WebM: the element StereoMode (RFC 9559, 5.1.4.1.28.3).
libav writes the latter alone when asked by PyAV, so the boxes are put into the finished file.
"""

import logging
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from nunif.video.matroska import set_display_size
from nunif.video.mp4 import add_to_pictures, box, full_box

logger = logging.getLogger(__name__)

_MP4 = frozenset({".mp4", ".m4v", ".mov"})
_MATROSKA = frozenset({".mkv", ".webm"})
# st3d's stereo_mode by packing; anaglyphs have none
_STEREO_MODES = {"top_bottom": 1, "left_right": 2, "right_left": 4}
# 0.25 of the whole sphere's width, 0.32 fixed point: what half a sphere lacks on either side
_QUARTER = (1 << 30) - 1


@dataclass(frozen=True)
class StereoMark:
    """How both eyes stand in one picture.

    Attributes:
        packing: left_right, right_left, top_bottom or anaglyph_cyan_red, as Matroska and libav call
            it; what comes first is on the left or on top.
        is_half: each eye has half the pixels in the direction in which they stand.
        is_vr180: each eye is half a sphere, equirectangular.
    """

    packing: str
    is_half: bool = False
    is_vr180: bool = False

    def view_size(self, width: int, height: int, aspect: Fraction) -> tuple[int, int]:
        """(width, height) at which one eye is to be shown.

        width, height: of the whole picture. aspect: width to height of one of the film's pixels.
        """
        shown = Fraction(width) * aspect
        if not self.is_half and self.packing in ("left_right", "right_left"):
            shown /= 2
        if not self.is_half and self.packing == "top_bottom":
            height //= 2
        return round(shown), height


def mark_stream(stream: av.VideoStream, mark: StereoMark, path: Path) -> None:
    """Have Matroska and WebM say it; before the file is begun."""
    suffix = path.suffix.lower()
    # WebM has no word for anaglyphs
    if suffix == ".mkv" or (suffix == ".webm" and mark.packing in _STEREO_MODES):
        stream.metadata["stereo_mode"] = mark.packing


def mark_file(
    written: Path, mark: StereoMark, *, path: Path, size: tuple[int, int], aspect: Fraction | None
) -> None:
    """Have a finished file say it. A line tells what its format can't say.

    Args:
        written: the file.
        path: its name once it is whole.
        size: (width, height) of its pictures.
        aspect: width to height of the film's pixels; None: 1.
    Raises:
        ValueError: the file isn't what its suffix says. OSError: it can't be written.
    """
    suffix = path.suffix.lower()
    if suffix in _MP4 and mark.packing in _STEREO_MODES:
        add_to_pictures(written, _boxes_of(mark))
    elif suffix in _MATROSKA and mark.packing in _STEREO_MODES:
        # libav writes half of the width or height and forgets the aspect
        set_display_size(written, *mark.view_size(*size, aspect or Fraction(1)))
    if mark.packing in _STEREO_MODES and suffix not in _MP4 | _MATROSKA:
        logger.warning(
            "%s: %s can't say how both eyes stand in it: .mp4 and .mkv can", path, path.suffix
        )
    elif mark.is_vr180 and suffix not in _MP4:
        logger.warning(
            "%s: it is said that the eyes stand side by side, but not that they are VR180: .mp4 "
            "says both",
            path,
        )


def _boxes_of(mark: StereoMark) -> bytes:
    stereo = full_box(b"st3d", bytes([_STEREO_MODES[mark.packing]]))
    if not mark.is_vr180:
        return stereo
    header = full_box(b"svhd", b"nunif\0")
    pose = full_box(b"prhd", struct.pack(">3i", 0, 0, 0))  # looking ahead
    # cut off at the top, the bottom, the left and the right
    bounds = full_box(b"equi", struct.pack(">4I", 0, 0, _QUARTER, _QUARTER))
    return stereo + box(b"sv3d", header, box(b"proj", pose, bounds))
