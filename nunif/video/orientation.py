"""How decoded pictures are turned upright, as phones and cameras ask for.

Axes: H W pixels.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from nunif.video.pixel_format import full_chroma_format, layout_of, planar_format
from nunif.video.side_data import side_data_of

_ANGLE_TOLERANCE = 1.0  # degrees


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture is turned upright: mirrored left to right first if at all, then turned
    clockwise.

    Attributes:
        degrees: 0, 90, 180 or 270.
        mirrored: a camera that shows its owner, or a film that was flipped, says so.
        is_exact: whether the file asks for just that; what asks for another angle is turned by the
            nearest of these.
    """

    degrees: int = 0
    mirrored: bool = False
    is_exact: bool = True

    @property
    def is_upright(self) -> bool:
        return self.degrees == 0 and not self.mirrored

    @property
    def is_on_its_side(self) -> bool:
        return self.degrees % 180 != 0

    def apply(self, plane: np.ndarray) -> np.ndarray:
        """(H, W, ...) as decoded -> upright, contiguous."""
        return np.ascontiguousarray(
            np.rot90(plane[:, ::-1] if self.mirrored else plane, k=-self.degrees // 90)
        )


UPRIGHT = Orientation()

EXIF_TAG = 0x0112  # "Orientation" of EXIF (CIPA DC-008), and what its values ask for
EXIF_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(0, True),
    3: Orientation(180),
    4: Orientation(180, True),
    5: Orientation(270, True),
    6: Orientation(90),
    7: Orientation(90, True),
    8: Orientation(270),
}
# of libavcodec; the one before reads no EXIF of PNG, WebP and TIFF
_READS_EXIF = (62, 28)


def tagged_orientation(path: Path) -> Orientation:
    """What the EXIF tag of a picture file asks for, where libav doesn't read it."""
    if av.library_versions["libavcodec"][:2] >= _READS_EXIF:
        return UPRIGHT
    try:
        with Image.open(path) as image:
            return EXIF_ORIENTATIONS.get(int(image.getexif().get(EXIF_TAG, 1)), UPRIGHT)
    except (OSError, ValueError, SyntaxError):  # of a kind that Pillow doesn't know
        return UPRIGHT


def read_orientation(frame: av.VideoFrame) -> Orientation:
    """What a decoded picture's display matrix asks for, as ffmpeg follows it.

    The matrix (a b u, c d v, x y w) takes a pixel (p, q), counted from the left and the top, to (a
    p + c q, b p + d q).
    """
    found = side_data_of(frame).get("DISPLAYMATRIX")
    if found is None:
        return UPRIGHT
    # a buffer
    a, b, _, c, d = np.frombuffer(found, np.int32)[:5].astype(np.float64).tolist()  # type: ignore[call-overload]
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    angle = math.degrees(math.atan2(b, a))
    quarters = round(angle / 90)
    return Orientation(
        quarters * 90 % 360, mirrored, is_exact=abs(angle - 90 * quarters) < _ANGLE_TOLERANCE
    )


def upright_format(pixel_format: str, orientation: Orientation, *, width: int, height: int) -> str:
    """The planar format of a decoded picture of any format after it is turned upright.

    Where the chroma doesn't fall on the turned grid it needs full resolution: at odd sizes, and
    turned by 90 or 270 degrees where it isn't halved equally both ways.
    """
    pixel_format = planar_format(pixel_format)
    down, right = layout_of(pixel_format).step
    fits = not (height % down or width % right or (orientation.is_on_its_side and down != right))
    if orientation.is_upright or fits:
        return pixel_format
    return full_chroma_format(pixel_format)
