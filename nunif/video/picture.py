"""Pictures as the codec has them: planes of numbers, so that what is left alone stays bit for bit
what it was.

Axes: H W pixels, h w samples of a plane (chroma has fewer than pixels), 3 = R G B.
A step is how many pixels one sample of a plane covers, down and to the right.
"""

from dataclasses import dataclass, replace

import av
import cv2
import numpy as np

from nunif.video import color as colors
from nunif.video.color import ColorTags
from nunif.video.orientation import Orientation, upright_format
from nunif.video.pixel_format import PixelLayout, layout_of, planar_format

# Formats with Cb and Cr by turns in one plane, and by how many bits their numbers are shifted up.
# Split here, as swscale 9 has a race there: now and then a narrow p010 picture comes out with
# some of its luma overwritten.
_CHROMA_PAIRS = {
    "nv12": 0,
    "nv16": 0,
    "nv24": 0,
    "p010le": 6,
    "p210le": 6,
    "p410le": 6,
    "p012le": 4,
    "p212le": 4,
}
_CHROMA_PAIRS |= {"p412le": 4, "p016le": 0, "p216le": 0, "p416le": 0}


@dataclass(frozen=True)
class Picture:
    """One upright picture in a planar pixel format."""

    planes: tuple[np.ndarray, ...]  # (h, w) uint8, or uint16 where a sample has more than 8 bits
    pixel_format: str
    color: ColorTags

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        layout = layout_of(self.pixel_format)
        height, width = self.planes[layout.planes[0]].shape
        return height, width


def alpha_of(picture: Picture) -> np.ndarray | None:
    """(H, W) alpha over the whole range of uint8, or of uint16 where a sample has over 8 bits;
    None: there is none."""
    layout = layout_of(picture.pixel_format)
    if layout.alpha is None:
        return None
    alpha, top = picture.planes[layout.alpha], 2**layout.bits - 1
    if top in (255, 65535):
        return alpha
    return (alpha.astype(np.uint32) * 65535 // top).astype(np.uint16)


def is_see_through(picture: Picture) -> bool:
    """Whether a pixel of the picture isn't opaque."""
    layout = layout_of(picture.pixel_format)
    return layout.alpha is not None and int(picture.planes[layout.alpha].min()) < 2**layout.bits - 1


def from_frame(frame: av.VideoFrame, *, color: ColorTags, width: int, height: int) -> Picture:
    """A decoded picture in the planar format that holds all of it; exact, unless its size has to be
    changed.

    Args:
        frame: as the decoder gave it.
        color: the stream's tags; matrix and range of the picture itself go before.
        width: width of the result.
        height: height of the result.
    """
    pixel_format = planar_format(frame.format.name)
    is_full = frame.format.name.startswith("yuvj")
    color = replace(
        color,
        matrix=int(frame.colorspace),
        range=color.range if is_full else int(frame.color_range),
    )
    source, layout = layout_of(frame.format.name), layout_of(pixel_format)
    shapes = _shapes(layout, height, width)
    is_as_wanted = (frame.width, frame.height) == (width, height)
    if is_as_wanted and source.name in _CHROMA_PAIRS:
        luma, pairs = (
            _samples(plane, source) >> _CHROMA_PAIRS[source.name] for plane in frame.planes
        )
        views = [luma, pairs[:, 0::2], pairs[:, 1::2]]
        return Picture(
            tuple(view[:h, :w].copy() for view, (h, w) in zip(views, shapes, strict=True)),
            pixel_format,
            color,
        )
    if not (is_as_wanted and source.is_planar):
        kept = dict(src_colorspace=color.matrix, src_color_range=color.range)
        if not (layout.is_rgb or layout.is_grey):
            color = colors.suited_tags(color, is_rgb=False)  # grey with alpha may call itself RGB
        kept |= dict(dst_colorspace=color.matrix, dst_color_range=color.range)
        frame = frame.reformat(format=pixel_format, width=width, height=height, threads=1, **kept)
    planes = tuple(
        _samples(plane, layout)[:h, :w].copy()
        for plane, (h, w) in zip(frame.planes, shapes, strict=True)
    )
    return Picture(planes, pixel_format, color)


def to_frame(picture: Picture, *, pixel_format: str | None = None) -> av.VideoFrame:
    """A picture for an encoder, in a pixel format of any kind; None: its own."""
    picture = convert(picture, planar_format(pixel_format or picture.pixel_format))
    layout = layout_of(picture.pixel_format)
    height, width = picture.size
    frame = av.VideoFrame(width, height, picture.pixel_format)
    for target, plane in zip(frame.planes, picture.planes, strict=True):
        _samples(target, layout)[: plane.shape[0], : plane.shape[1]] = plane
    frame.colorspace, frame.color_range = picture.color.matrix, picture.color.range
    if pixel_format is not None and planar_format(pixel_format) != pixel_format:
        if pixel_format.replace("yuvj", "yuv") == picture.pixel_format:
            return frame  # the range says the rest
        kept = dict(src_colorspace=picture.color.matrix, dst_colorspace=picture.color.matrix)
        kept |= dict(src_color_range=picture.color.range, dst_color_range=picture.color.range)
        frame = frame.reformat(format=pixel_format, threads=1, **kept)
    return frame


def _samples(plane: av.video.plane.VideoPlane, layout: PixelLayout) -> np.ndarray:
    """(h, line) view of a plane in libav's memory, with the padding at the end of its lines."""
    # a buffer, though its stub doesn't say so
    samples = np.frombuffer(plane, layout.dtype)  # type: ignore[call-overload]
    return samples.reshape(-1, plane.line_size // samples.itemsize)


def _shapes(layout: PixelLayout, height: int, width: int) -> list[tuple[int, int]]:
    num_planes = len(layout.planes) + (layout.alpha is not None)
    return [layout.shape_of(plane, height, width) for plane in range(num_planes)]


def turn_upright(picture: Picture, orientation: Orientation) -> Picture:
    """Turn a picture upright, into `upright_format`."""
    height, width = picture.size
    picture = convert(
        picture, upright_format(picture.pixel_format, orientation, width=width, height=height)
    )
    if orientation.is_upright:
        return picture
    return replace(picture, planes=tuple(orientation.apply(plane) for plane in picture.planes))


def to_rgb(picture: Picture) -> np.ndarray:
    """(H, W, 3) RGB: uint8 for 8-bit formats, just as `VideoReader` has it, else uint16 from 0 to
    65535."""
    if layout_of(picture.pixel_format).bits > 8:
        return _to_rgb16(picture)
    height, width = picture.size
    return colors.to_rgb(to_frame(picture), width=width, height=height)


def from_rgb(rgb: np.ndarray, *, pixel_format: str, color: ColorTags) -> Picture:
    """RGB as a picture in a planar format. A chroma sample is the mean of the pixels it covers.

    Args:
        rgb: (H, W, 3) uint8, or uint16 from 0 to 65535.
        pixel_format: planar.
        color: which matrix and range to use; for RGB formats they are replaced by what holds there.
    """
    layout = layout_of(pixel_format)
    color = colors.suited_tags(color, is_rgb=layout.is_rgb)
    if rgb.dtype == np.uint8:
        rgb = rgb.astype(np.uint16) * 257
    coded = cv2.transform(rgb, colors.code_of_rgb(color, **layout.code))
    coded = coded.reshape(*rgb.shape[:2], -1)  # (H, W, components)
    planes: dict[int, np.ndarray] = {}
    for component, plane in enumerate(layout.planes):
        samples = _shrink(np.ascontiguousarray(coded[..., component]), layout.step_of(plane))
        planes[plane] = _round_off(samples, layout)
    if layout.alpha is not None:
        planes[layout.alpha] = np.full(rgb.shape[:2], 2**layout.bits - 1, layout.dtype)
    return Picture(tuple(planes[plane] for plane in sorted(planes)), pixel_format, color)


def _to_rgb16(picture: Picture) -> np.ndarray:
    layout, (height, width) = layout_of(picture.pixel_format), picture.size
    components = [
        _repeat(picture.planes[plane], layout.step_of(plane), height, width).astype(np.uint16)
        << (16 - layout.bits)
        for plane in layout.planes
    ]
    coded = cv2.merge(components)  # (H, W, components) or (H, W)
    return cv2.transform(coded, colors.rgb_of_code(picture.color, **layout.code))


def _round_off(samples: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """From 16 bits to the format's."""
    shift = 16 - layout.bits
    if shift:
        half = 1 << (shift - 1)
        samples = (np.minimum(samples, 65535 - half) + np.uint16(half)) >> shift
    return samples.astype(layout.dtype, copy=False)


def _shrink(samples: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """(h, w) means of the pixels that each sample covers; at an odd edge these are fewer."""
    down, right = step
    if step == (1, 1):
        return samples
    height, width = samples.shape
    samples = cv2.copyMakeBorder(
        samples, 0, -height % down, 0, -width % right, cv2.BORDER_REPLICATE
    )
    size = samples.shape[1] // right, samples.shape[0] // down
    return cv2.resize(samples, size, interpolation=cv2.INTER_AREA)


def _repeat(samples: np.ndarray, step: tuple[int, int], height: int, width: int) -> np.ndarray:
    """(H, W): each sample at all pixels that it covers."""
    down, right = step
    return samples if step == (1, 1) else samples.repeat(down, 0).repeat(right, 1)[:height, :width]


def convert(picture: Picture, pixel_format: str) -> Picture:
    """A picture in another planar format; planes that need no change are the same.

    Matrix and range stay, except between Y'CbCr and RGB.
    """
    if pixel_format == picture.pixel_format:
        return picture
    old, new = layout_of(picture.pixel_format), layout_of(pixel_format)
    height, width = picture.size
    if (old.is_rgb, old.is_grey) != (new.is_rgb, new.is_grey):
        other = from_rgb(_to_rgb16(picture), pixel_format=pixel_format, color=picture.color)
        if old.alpha is None or new.alpha is None:
            return other
        alpha = _change_depth(picture.planes[old.alpha], old, new, is_full=True, has_middle=False)
        return replace(
            other, planes=(*other.planes[: new.alpha], alpha, *other.planes[new.alpha + 1 :])
        )
    is_full = colors.is_full_range(picture.color, num_components=len(old.planes), is_rgb=old.is_rgb)
    planes: dict[int, np.ndarray] = {}
    for component, (source, target) in enumerate(zip(old.planes, new.planes, strict=True)):
        plane = picture.planes[source]
        if old.step_of(source) != new.step_of(target):
            plane = _shrink(_repeat(plane, old.step_of(source), height, width), new.step_of(target))
        middle = component > 0 and not new.is_rgb
        planes[target] = _change_depth(plane, old, new, is_full=is_full, has_middle=middle)
    if new.alpha is not None:
        opaque: np.ndarray = np.full((height, width), 2**old.bits - 1, old.dtype)
        alpha = opaque if old.alpha is None else picture.planes[old.alpha]
        planes[new.alpha] = _change_depth(alpha, old, new, is_full=True, has_middle=False)
    return Picture(
        tuple(planes[plane] for plane in range(len(planes))), pixel_format, picture.color
    )


def with_range(picture: Picture, color_range: int) -> Picture:
    """Y'CbCr in another range (libav's number); RGB and grey have one only.

    Limited: black is at 16, white at 235, chroma reaches from 16 to 240, of 255 (ITU-R BT.601,
    BT.709).
    """
    layout = layout_of(picture.pixel_format)
    if (
        layout.is_rgb
        or layout.is_grey
        or (picture.color.range == colors.FULL) == (color_range == colors.FULL)
    ):
        return picture
    unit, top = 2 ** (layout.bits - 8), 2**layout.bits - 1
    planes = list(picture.planes)
    for component, plane in enumerate(layout.planes):
        zero, span = (128 * unit, 224 * unit) if component else (0, 219 * unit)
        black = 0 if component else 16 * unit
        codes = np.arange(top + 1, dtype=np.float64)
        if color_range == colors.FULL:
            codes = (codes - zero - black) * (top / span) + zero
        else:
            codes = (codes - zero) * (span / top) + zero + black
        planes[plane] = np.clip(np.rint(codes), 0, top).astype(layout.dtype)[picture.planes[plane]]
    return replace(picture, planes=tuple(planes), color=replace(picture.color, range=color_range))


def _change_depth(
    plane: np.ndarray, old: PixelLayout, new: PixelLayout, *, is_full: bool, has_middle: bool
) -> np.ndarray:
    """Samples in more or fewer bits; `has_middle`: chroma, which is zero in the middle and not at
    0."""
    if old.bits == new.bits:
        return plane
    factor = (2**new.bits - 1) / (2**old.bits - 1) if is_full else 2.0 ** (new.bits - old.bits)
    old_zero, new_zero = (2 ** (old.bits - 1), 2 ** (new.bits - 1)) if has_middle else (0, 0)
    values = (plane.astype(np.float32) - old_zero) * factor + new_zero
    return np.clip(np.rint(values), 0, 2**new.bits - 1).astype(new.dtype)


def paste(picture: Picture, rgb: np.ndarray, hole: np.ndarray) -> Picture:
    """Put other pixels into the hole of a picture. Nothing else changes, bit for bit.

    A chroma sample covers several pixels: it changes where one of them lies in the hole. Alpha
    never changes.

    Args:
        picture: H W pixels.
        rgb: (H, W, 3) uint8 or uint16, sensible also around the hole, where chroma is shared.
        hole: (H, W) bool.

    Returns:
        The very same picture where there is no hole.
    """
    if rgb.shape != (*picture.size, 3) or hole.shape != picture.size:
        raise ValueError(
            f"rgb {rgb.shape} and hole {hole.shape} don't fit a picture of {picture.size}"
        )
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not len(rows):
        return picture
    layout = layout_of(picture.pixel_format)
    (down, right), (height, width) = layout.step, picture.size
    # The hole's bounding box, on the chroma's grid. Conversion looks at no pixel beyond the
    # sample's own.
    top, left = rows[0] // down * down, columns[0] // right * right
    bottom = min(height, rows[-1] // down * down + down)
    end = min(width, columns[-1] // right * right + right)
    box = slice(top, bottom), slice(left, end)
    new = from_rgb(
        np.ascontiguousarray(rgb[box]), pixel_format=picture.pixel_format, color=picture.color
    )
    planes = list(picture.planes)
    for plane in layout.planes:
        step = layout.step_of(plane)
        first, begin = top // step[0], left // step[1]
        h, w = new.planes[plane].shape
        is_hit = _any_in_step(hole[box], step)
        planes[plane] = planes[plane].copy()
        part = planes[plane][first : first + h, begin : begin + w]
        part[is_hit] = new.planes[plane][is_hit]
    return replace(picture, planes=tuple(planes))


def _any_in_step(hole: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: whether one of the pixels that a sample covers is in the hole."""
    if step == (1, 1):
        return hole
    (height, width), (down, right) = hole.shape, step
    hole = np.pad(hole, ((0, -height % down), (0, -width % right)))
    return np.any(
        hole.reshape(hole.shape[0] // down, down, hole.shape[1] // right, right), axis=(1, 3)
    )
