"""Pictures of both eyes in one, and how files and their names say which kind they are.

Axes: H W pixels. Pictures are (H, W, 3) uint8 or uint16 RGB.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import cv2
import numpy as np

from nunif.video.stereo_metadata import StereoMark

FIELD_OF_VIEW = 90.0  # degrees; what iw3 gives a flat film in VR180
# iw3 makes a VR180 eye 1.5 times as wide as the film at 90 degrees, which keeps the film's
# sharpness in the middle but for 5 % (pi / 2 would keep all of it)
_VR180_SIZE = 1.5


@dataclass(frozen=True)
class Layout:
    """How both eyes become one picture.

    Attributes:
        compose: left and right eye -> the picture.
        size: that picture's (width, height) from one eye's.
        mark: what a file can say of it; None: no format has a word for it.
        in_name: what players find in names of such files, as iw3 (nagadomi/nunif) gives them: of
            _LRF_Full_SBS Pigasus wants LRF, SKYBOX Full_SBS, DeoVR SBS (iw3/README.md).
        known_by: words in small letters by any of which players know it.
    """

    compose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    size: Callable[[int, int], tuple[int, int]]
    mark: StereoMark | None
    in_name: str
    known_by: tuple[str, ...] = ()


def _half(length: int) -> int:
    """Half of a side, rounded up, so that both halves are equal."""
    return (length + 1) // 2


def _resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _full_sbs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.concatenate([left, right], axis=1)


def _half_sbs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    height, width = left.shape[:2]
    return _full_sbs(*(_resize(eye, _half(width), height) for eye in (left, right)))


def _full_tb(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.concatenate([left, right], axis=0)


def _half_tb(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    height, width = left.shape[:2]
    return _full_tb(*(_resize(eye, width, _half(height)) for eye in (left, right)))


def _cross_eyed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For eyes that cross: each sees the picture on the other side."""
    return _full_sbs(right, left)


def _half_cross_eyed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _half_sbs(right, left)


# Eric Dubois, "A projection method to generate anaglyph stereo images" (ICASSP 2001): least squares
# for red-cyan glasses, for linear light. The numbers are those of iw3/anaglyph.py (nagadomi/nunif,
# MIT), which takes them from Dubois' LeastSquaresHowToPhotoshop.pdf.
DUBOIS_LEFT = np.array(
    [[0.437, 0.449, 0.164], [-0.062, -0.062, -0.024], [-0.048, -0.050, -0.017]], np.float32
)
DUBOIS_RIGHT = np.array(
    [[-0.011, -0.032, -0.007], [0.377, 0.761, 0.009], [-0.026, -0.093, 1.234]], np.float32
)
# The left eye's luma (ITU-R BT.601) in red, the right eye's own green and blue: colours stay nearly
# what they are, and what is red doesn't flicker between the eyes.
_HALF_COLOUR_LEFT = np.array([[0.299, 0.587, 0.114], [0, 0, 0], [0, 0, 0]], np.float32)
_HALF_COLOUR_RIGHT = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
_LINEAR_STEPS = 1 << 16


@cache
def _to_linear(dtype: np.dtype) -> np.ndarray:
    """The light of every value of a picture, by sRGB's curve (IEC 61966-2-1): (256,) or (65536,)
    float32 in [0, 1]."""
    x = np.linspace(0, 1, np.iinfo(dtype).max + 1)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _from_linear(dtype: np.dtype) -> np.ndarray:
    """The values of a picture for the light in [0, 1], in steps: (65536,) of `dtype`."""
    x = np.linspace(0, 1, _LINEAR_STEPS)
    x = np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.rint(x * np.iinfo(dtype).max).astype(dtype)


def _dubois(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For glasses with a red filter on the left and a cyan one on the right."""
    to_linear = _to_linear(left.dtype)
    light = cv2.transform(to_linear[left], DUBOIS_LEFT) + cv2.transform(
        to_linear[right], DUBOIS_RIGHT
    )
    steps = np.clip(light, 0, 1) * (_LINEAR_STEPS - 1) + 0.5
    return _from_linear(left.dtype)[steps.astype(np.uint16)]


def _half_colour(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For the same glasses, with more of the colours, and more that is wrong in the other eye."""
    mixed = cv2.transform(left.astype(np.float32), _HALF_COLOUR_LEFT) + cv2.transform(
        right.astype(np.float32), _HALF_COLOUR_RIGHT
    )
    return np.rint(mixed).astype(left.dtype)


def _vr180(field_of_view: float, side: int | None, aspect: float) -> Layout:
    """See `layout_of`."""
    reach = math.tan(math.radians(field_of_view) / 2)

    def natural_side(width: int, height: int) -> int:
        side = _VR180_SIZE * max(width * aspect, height) / reach
        return 2 * max(1, round(side / 2))

    def project(eye: np.ndarray) -> np.ndarray:
        height, width = eye.shape[:2]
        natural = natural_side(width, height)
        wanted = natural if side is None else side
        if wanted < natural:  # what is made smaller has to be averaged
            width, height = (max(1, round(length * wanted / natural)) for length in (width, height))
            eye = _resize(eye, width, height)
        columns, rows, beside, edge, covered = _sphere_map(wanted, (height, width), reach, aspect)
        seen = cv2.remap(eye, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        # what lies beside the film has no say in its edge, or that would ring
        seen[beside] = 0
        seen[edge] = np.rint(seen[edge] * covered[:, None]).astype(eye.dtype)
        return seen

    def compose(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return _full_sbs(project(left), project(right))

    def size(width: int, height: int) -> tuple[int, int]:
        eye = natural_side(width, height) if side is None else side
        return 2 * eye, eye

    mark = StereoMark("left_right", is_vr180=True)
    return Layout(compose, size, mark, "_180x180_LR", ("180", "180x180"))


@cache
def _sphere_map(
    side: int, size: tuple[int, int], reach: float, aspect: float
) -> tuple[np.ndarray, ...]:
    """Where in a flat picture each pixel of a half sphere looks: columns and rows, (side, side)
    float32; which look beside it and which at its edge, (side, side) bool; and how much of each of
    the latter it covers.

    The half sphere is equirectangular, 180 degrees wide and high, as iw3/equirectangular.py
    (nagadomi/nunif, MIT) has it: the direction of azimuth a and elevation e meets a plane at the
    distance 1 in x = tan a, y = tan e / cos a.

    Args:
        side: pixels. size: (H, W) of the flat picture. reach: of the plane at the distance 1, half
            of the picture's longer side. aspect: width to height of the picture's pixels.
    """
    angle = ((np.arange(side) + 0.5) / side - 0.5) * np.pi
    x, y = np.tan(angle)[None], np.tan(angle)[:, None] / np.cos(angle)[None]
    height, width = size
    scale = max(width * aspect, height) / 2 / reach  # pixels, at the distance 1
    columns = np.broadcast_to(x * scale / aspect + (width - 1) / 2, (side, side))
    rows = y * scale + (height - 1) / 2
    covered = np.ones((side, side), np.float32)
    for where, length in ((columns, width), (rows, height)):
        covered *= np.clip(where + 1, 0, 1) * np.clip(length - where, 0, 1)
    edge = (covered > 0) & (covered < 1)
    # remap's numbers have bounds
    places = [np.clip(where, -8, 1 << 15).astype(np.float32) for where in (columns, rows)]
    return *places, covered == 0, edge, covered[edge]


_SBS = ("sbs", "hsbs", "lr", "lrf", "3dh")
_TB = ("tb", "tab", "ou", "htb", "htab", "hou", "tbf", "fulltb", "3dv")
_CROSSED = ("rl", "rlf", "cross")
_RED_CYAN = StereoMark("anaglyph_cyan_red")
_LEFT_RIGHT, _TOP_BOTTOM = StereoMark("left_right"), StereoMark("top_bottom")
_RIGHT_LEFT = StereoMark("right_left")


def _wide(width: int, height: int) -> tuple[int, int]:
    return 2 * width, height


def _half_wide(width: int, height: int) -> tuple[int, int]:
    return 2 * _half(width), height


def _same(width: int, height: int) -> tuple[int, int]:
    return width, height


_DUBOIS = Layout(_dubois, _same, _RED_CYAN, "_redcyan_dubois")
LAYOUTS: dict[str, Layout] = {
    "sbs": Layout(_full_sbs, _wide, _LEFT_RIGHT, "_LRF_Full_SBS", _SBS),
    "half-sbs": Layout(_half_sbs, _half_wide, replace(_LEFT_RIGHT, is_half=True), "_LR", _SBS),
    "tb": Layout(
        _full_tb, lambda width, height: (width, 2 * height), _TOP_BOTTOM, "_TBF_fulltb", _TB
    ),
    "half-tb": Layout(
        _half_tb,
        lambda width, height: (width, 2 * _half(height)),
        replace(_TOP_BOTTOM, is_half=True),
        "_TB",
        _TB,
    ),
    "anaglyph": _DUBOIS,
    "dubois": _DUBOIS,
    "half-colour": Layout(_half_colour, _same, _RED_CYAN, "_redcyan_half-color"),
    "cross-eyed": Layout(_cross_eyed, _wide, _RIGHT_LEFT, "_RLF_cross", _CROSSED),
    "half-cross-eyed": Layout(
        _half_cross_eyed,
        _half_wide,
        replace(_RIGHT_LEFT, is_half=True),
        "_RL",
        _CROSSED,
    ),
    "vr180": _vr180(FIELD_OF_VIEW, None, 1.0),
}


def layout_of(
    name: str,
    *,
    field_of_view: float | None = None,
    side: int | None = None,
    pixel_aspect: Fraction | None = None,
) -> Layout:
    """The layout of a name.

    Args:
        field_of_view: of VR180: degrees that the film's longer side spans; None: 90.
        side: of VR180: pixels of an eye's height and width; None: as many as keep the film's
            sharpness in the middle.
        pixel_aspect: width to height of the film's pixels; None: 1. Those of VR180 are square.
    """
    if name == "vr180":
        return _vr180(field_of_view or FIELD_OF_VIEW, side, float(pixel_aspect or 1))
    return LAYOUTS[name]
