"""Pixel formats by libav's names: how they keep their pictures, and which is near to which.

A step is how many pixels one sample of a plane covers, down and to the right.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product

import av
import numpy as np


@dataclass(frozen=True)
class PixelLayout:
    """How a pixel format keeps its pictures. Components are R G B, or Y Cb Cr, or Y; alpha comes
    after them."""

    name: str
    bits: int  # of a sample
    is_rgb: bool
    planes: tuple[int, ...]  # the plane of each component, alpha left out
    alpha: int | None  # the plane of the alpha
    step: tuple[int, int]  # of the chroma
    # each component has a plane of its own, of whole numbers in this machine's order
    is_planar: bool

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bits <= 8 else np.uint16

    @property
    def is_grey(self) -> bool:
        return len(self.planes) == 1

    @property
    def code(self) -> dict:
        """What the maps to and from RGB depend on, besides the tags."""
        return dict(bits=self.bits, num_components=len(self.planes), is_rgb=self.is_rgb)

    def step_of(self, plane: int) -> tuple[int, int]:
        return self.step if plane in self.planes[1:] and not self.is_rgb else (1, 1)

    def shape_of(self, plane: int, height: int, width: int) -> tuple[int, int]:
        down, right = self.step_of(plane)
        return -(-height // down), -(-width // right)


@cache
def layout_of(pixel_format: str) -> PixelLayout:
    """The layout of one of libav's pixel formats. Raises ValueError for an unknown name."""
    side = 16
    description = av.VideoFormat(pixel_format, side, side)
    components = description.components
    visible = [component for component in components if not component.is_alpha]
    bits = max((component.bits for component in components), default=0)
    planes = [component.plane for component in components]
    is_planar = (
        bool(visible)
        and len(set(planes)) == len(planes)
        and 8 <= bits <= 16
        and not (description.is_big_endian or description.has_palette or description.is_bayer)
        and not pixel_format.endswith(("msble", "f16le"))
    )
    return PixelLayout(
        name=pixel_format,
        bits=bits,
        is_rgb=bool(description.is_rgb or description.has_palette),
        planes=tuple(component.plane for component in visible),
        alpha=next((component.plane for component in components if component.is_alpha), None),
        step=(side // visible[-1].height, side // visible[-1].width) if visible else (1, 1),
        is_planar=is_planar,
    )


@cache
def planar_format(pixel_format: str) -> str:
    """The planar format that holds all of a picture of any format: itself, or yuv420p for nv12,
    gbrp for rgb24, ...

    Formats named yuvj... become those named yuv...: they differ in the range, and that stands in
    the tags.
    """
    if layout_of(pixel_format).is_planar:
        return pixel_format.replace("yuvj", "yuv")
    if pixel_format == "pal8":
        return "gbrap"  # its colours may be transparent
    return nearest_format(pixel_format, _planar_formats())


@cache
def _planar_formats() -> tuple[str, ...]:
    kinds = (
        "gray",
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "gbrp",
        "yuva420p",
        "yuva422p",
        "yuva444p",
        "gbrap",
    )
    depths = ("", "9le", "10le", "12le", "14le", "16le")
    names = (kind + depth for kind, depth in product(kinds, depths))
    return tuple(name for name in names if _is_known(name))


def _is_known(pixel_format: str) -> bool:
    try:
        return layout_of(pixel_format).name == pixel_format
    except ValueError:
        return False


def nearest_format(pixel_format: str, candidates: Iterable[str]) -> str:
    """Of some formats, the one that loses least of a picture in `pixel_format`, then the one that
    adds least.

    Losing colour is worst, then alpha, depth, resolution of the chroma, then a change between
    Y'CbCr and RGB.

    Raises:
        ValueError: there is no candidate.
    """
    return formats_by_nearness(pixel_format, candidates)[0]


def formats_by_nearness(pixel_format: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that hold pictures, those that lose least first: see `nearest_format`."""
    want = layout_of(pixel_format)

    def cost(name: str) -> tuple:
        have = layout_of(name)
        return (
            have.is_grey and not want.is_grey,
            want.alpha is not None and have.alpha is None,
            max(0, want.bits - have.bits),
            0
            if want.is_grey
            else math.prod(max(1, ours / theirs) for ours, theirs in zip(have.step, want.step)),
            have.is_rgb != want.is_rgb,
            have.is_grey != want.is_grey,
            have.bits,
            -have.step[0] * have.step[1],
            have.alpha is not None,
            name != pixel_format,
            not have.is_planar,
        )

    return sorted((name for name in candidates if layout_of(name).planes), key=cost)


@cache
def without_alpha(pixel_format: str) -> str:
    """The planar format of the same numbers without alpha: yuv444p12le for yuva444p12le."""
    opaque = (name for name in _planar_formats() if layout_of(name).alpha is None)
    return nearest_format(pixel_format, opaque)


def full_chroma_format(pixel_format: str) -> str:
    """The nearest planar format whose chroma has as many samples as there are pixels."""
    full = (name for name in _planar_formats() if layout_of(name).step == (1, 1))
    return nearest_format(pixel_format, (name for name in full if not layout_of(name).is_grey))
