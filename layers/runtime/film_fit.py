"""How frames of a film get a size that networks take, and how they come back: scaled to cover it,
and cut in the middle.

Axes: H W pixels of the film, h w of what is exported.
"""

import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from nunif.errors import UserError

MULTIPLE = 16

Size = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """film: (H, W). scaled: what its frames are scaled to. crop: (top, left) pixels of that which
    are cut off. size: (h, w) of what is left."""

    film: Size
    scaled: Size
    crop: Size
    size: Size

    def lay(self, picture: np.ndarray) -> np.ndarray:
        """A frame or a mask of the film, (H, W) or (H, W, 3) -> (h, w) or (h, w, 3)."""
        if self.scaled != self.film:
            shrinks = self.scaled[0] <= self.film[0] and self.scaled[1] <= self.film[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture = cv2.resize(picture, self.scaled[::-1], interpolation=how)
        (top, left), (height, width) = self.crop, self.size
        return np.ascontiguousarray(picture[top : top + height, left : left + width])

    def back(self, picture: np.ndarray) -> np.ndarray:
        """A picture (h, w, 3) or a mask (h, w) bool on the film's frame, (H, W, 3) or (H, W). What
        was cut off is no part of the mask."""
        is_mask = picture.dtype == bool
        border = cv2.BORDER_CONSTANT if is_mask else cv2.BORDER_REPLICATE
        (top, left), (height, width) = self.crop, self.size
        ends = top, self.scaled[0] - top - height, left, self.scaled[1] - left - width
        laid = picture.astype(np.uint8) * 255 if is_mask else picture
        laid = cv2.copyMakeBorder(laid, *ends, border)
        if self.scaled != self.film:
            how = cv2.INTER_LINEAR if is_mask else cv2.INTER_CUBIC
            laid = cv2.resize(laid, self.film[::-1], interpolation=how)
        return laid >= 128 if is_mask else laid

    def enlarged(self, size: Size) -> "Fit":
        """Of pictures that were scaled afterwards, to another size of the same aspect."""
        rows, columns = size[0] / self.size[0], size[1] / self.size[1]
        top, left = round(self.crop[0] * rows), round(self.crop[1] * columns)
        bottom = round((self.scaled[0] - self.size[0] - self.crop[0]) * rows)
        right = round((self.scaled[1] - self.size[1] - self.crop[1]) * columns)
        scaled = (top + size[0] + bottom, left + size[1] + right)
        return replace(self, scaled=scaled, crop=(top, left), size=size)

    def notes(self) -> list[str]:
        """What was done, in words."""
        notes = []
        if self.scaled != self.film:
            sizes = ["x".join(map(str, size[::-1])) for size in (self.film, self.scaled)]
            notes.append(f"scaled from {sizes[0]} to {sizes[1]}")
        rows, columns = (whole - kept for whole, kept in zip(self.scaled, self.size))
        cut = [f"{rows} rows"] * bool(rows) + [f"{columns} columns"] * bool(columns)
        if cut:
            notes.append(f"{' and '.join(cut)} cut off at the edges")
        return notes

    def to_json(self) -> dict[str, Any]:
        return {
            f"{key}_size" if key == "film" else key: value for key, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Fit":
        """
        Raises:
            KeyError, TypeError, ValueError: these are no such values.
        """
        read = [
            (int(rows), int(columns))
            for rows, columns in (values[key] for key in ("film_size", "scaled", "crop", "size"))
        ]
        return cls(*read)


def fit_of(film: Size, *, area: int, pixel_aspect: Fraction, name: str) -> Fit:
    """The largest size of at most `area` pixels that covers the film's aspect with both sides
    multiples of 16. Nothing is enlarged; pixels become square.

    Args:
        pixel_aspect: width to height of the film's pixels. name: of the film, for messages.
    Raises:
        UserError: nothing is left.
    """
    height = film[0] / max(1.0, float(pixel_aspect))
    width = film[1] * min(1.0, float(pixel_aspect))
    share = min(1.0, math.sqrt(area / (height * width)))
    rows, columns = (int(side * share / MULTIPLE + 1e-6) * MULTIPLE for side in (height, width))
    if not rows or not columns:
        raise UserError(
            f"{name} is {film[1]}x{film[0]}, and exports are at least {MULTIPLE}x{MULTIPLE}: take "
            "a larger film or a larger --export-area"
        )
    # what is small enough keeps its pixels
    cover = 1.0 if share == 1 else max(rows / height, columns / width)
    scaled = tuple(
        min(max(side, round(whole * cover)), side + MULTIPLE - 1)
        for side, whole in ((rows, height), (columns, width))
    )
    crop = ((scaled[0] - rows) // 2, (scaled[1] - columns) // 2)
    return Fit(film, (scaled[0], scaled[1]), crop, (rows, columns))
