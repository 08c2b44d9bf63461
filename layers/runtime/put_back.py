"""Bring what a program generated of an export back to the film: to its size, its frames and its
place.

Axes: H W pixels of the film, h w of the export, 3 = R G B.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from layers.options_split import ComposeOptions
from layers.runtime.export_writer import picture_path
from layers.runtime.film_export import FOLDER, INFO
from layers.runtime.film_fit import Fit
from nunif.errors import UserError
from nunif.image import read_grey
from nunif.video.film import Film, open_film
from nunif.video.pixel_format import layout_of
from scene.layers.exact import over

logger = logging.getLogger(__name__)

NONE = "none"  # for --export: the film is as large and long as the film that was split
_PART = ("hash", "start", "end", "fps")  # what says which part of which film it is
FEATHER = 2  # pixels of the film inside the mask over which its edge is soft
_SHORTER = 3  # frames by which programs that want 4k+1 shorten a film
_ASPECT_TOLERANCE = 0.01
_TIE = 0.55  # frames of the export


class Generated(NamedTuple):
    """What goes back to a frame. picture: (H, W, 3). mask: (H, W) bool, where it belongs. is_soft:
    whether its edge is, over so many pixels."""

    picture: np.ndarray
    mask: np.ndarray
    is_soft: bool = True
    feather: int = FEATHER

    def place(self, occluder: np.ndarray | None, film: Film) -> np.ndarray:
        """Where it changes a frame of the film, (H, W) bool: not where the occluder hides all.

        occluder: (H, W, 1) alpha, or None.
        """
        if occluder is None:
            return whole_samples(self.mask, film)
        seen = occluder[..., 0] < np.iinfo(occluder.dtype).max
        return whole_samples(self.mask & seen, film)

    def over(self, picture: np.ndarray, occluder: np.ndarray | None, film: Film) -> np.ndarray:
        """Lay it over a frame, where its place is. The edge is soft there, but not to what stands
        before, which has one of its own.

        Args: picture: (H, W, 3). occluder: (H, W, 1) alpha, or None. All have the same bits.
        """
        place = self.place(occluder, film)
        if not self.is_soft:
            return np.where(place[..., None], self.picture, picture)
        top = int(np.iinfo(picture.dtype).max)
        around = self.mask if occluder is None else self.mask | (occluder[..., 0] > top // 2)
        inside = cv2.distanceTransform(around.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        share = (inside / (self.feather + 1)).clip(0, 1) * place
        alpha = np.rint(share[..., None] * top).astype(picture.dtype)
        return over(self.picture, alpha, picture)


@dataclass(frozen=True)
class Export:
    """An export that was made before. folder: of its export.json. masks: its folder of masks."""

    folder: Path
    name: str
    fit: Fit
    rate: Fraction
    num_frames: int
    masks: Path


def whole_samples(mask: np.ndarray, film: Film) -> np.ndarray:
    """Of a mask (H, W) bool the pixels whose samples of chroma cover none outside it: what is put
    there changes nothing else of the film."""
    height, width = mask.shape
    down, right = layout_of(film.info.picture_format).step
    # along a side that ends within a sample libav mixes neighbouring ones
    reach = [2 * step + 1 if side % step else 1 for side, step in ((height, down), (width, right))]
    mask = cv2.erode(mask.astype(np.uint8), np.ones(reach, np.uint8)) > 0
    outside = np.pad(~mask, ((0, -height % down), (0, -width % right)))
    blocks = outside.reshape(outside.shape[0] // down, down, outside.shape[1] // right, right)
    touched = blocks.any(axis=(1, 3)).repeat(down, axis=0).repeat(right, axis=1)
    return ~touched[:height, :width]


def read_export(folder: Path, meta: dict[str, Any]) -> Export:
    """
    Raises:
        UserError: there is none, or it is of another film.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        fit, rate = Fit.from_json(info), Fraction(info["fps"])
        num_frames, masks = len(info["frames"]), folder / str(info["mask"])
        source = info["provenance"]["source"]
        of = [source[key] for key in _PART]
    except OSError as error:
        raise UserError(
            f"{folder} holds no export ({INFO} is missing): name the folder that split --export "
            "or export-films made"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: export the layers again") from error
    if [*fit.film] != meta["size"] or of != [meta["source"][key] for key in _PART]:
        raise UserError(f"{path} is of another film than the layers: name the export of these")
    return Export(folder, str(info["export"]), fit, rate, num_frames, masks)


def find_export(options: ComposeOptions, meta: dict[str, Any]) -> Export | None:
    """The export that --person was made of: the one that is named, or that it lies in, or whose
    size and number of frames it has; None: none of them.

    Raises:
        UserError: there is no such export, or there are several.
    """
    if options.export == NONE or options.person is None:
        return None
    exports = options.layers / FOLDER
    if options.export is not None:
        named = exports / options.export
        folder = named if named.is_dir() else Path(options.export)
        return read_export(folder, meta)
    if (options.person.parent / INFO).exists():
        return read_export(options.person.parent, meta)
    found = [read_export(path.parent, meta) for path in sorted(exports.glob(f"*/{INFO}"))]
    if not found:
        return None
    with open_film(options.person, for_editing=True, is_still=True) as film:
        size, count = (film.info.height, film.info.width), len(film)
    fitting = [export for export in found if export.fit.size == size]
    alike = [export for export in fitting if export.num_frames == count]
    if not alike and [*size] == meta["size"] and count >= len(meta["frames"]):
        return None
    alike = alike or fitting
    if len(alike) > 1:
        names = " and ".join(export.name for export in alike)
        raise UserError(
            f"--person {options.person} may be made of {names}: say of which with --export, or "
            f"--export {NONE}"
        )
    return alike[0] if alike else None


def open_generated(
    path: Path, export: Export, film: Film, stack: ExitStack
) -> Iterator[Generated | None]:
    """What goes back to each frame of the film, None where nothing was generated.

    Raises:
        UserError: the film at `path` hasn't the export's aspect, or too few frames.
    """
    person = stack.enter_context(open_film(path, for_editing=True, is_still=True))
    size = (person.info.height, person.info.width)
    fit = export.fit
    if size != fit.size:
        if abs(size[0] * fit.size[1] / (size[1] * fit.size[0]) - 1) > _ASPECT_TOLERANCE:
            raise UserError(
                f"--person {path} is {size[1]}x{size[0]}, the export {export.name} "
                f"{fit.size[1]}x{fit.size[0]}: make it of that size or aspect"
            )
        fit = fit.enlarged(size)
    count = export.num_frames
    if len(person) < max(1, count - _SHORTER):
        raise UserError(
            f"--person {path} has {len(person)} frames, the export {export.name} {count}: generate "
            "the rest too, or split and export a part of the film (--start, --end)"
        )
    if len(person) > count:
        text = "--person %s has %d frames, the export %s %d: those behind them are left out"
        logger.warning(text, path, len(person), export.name, count)
    count = min(count, len(person))
    # the nearest; of two the earlier one, though files round times
    places = (film.times - film.times[0]) * float(export.rate) - _TIE
    places = np.ceil(places).astype(int)
    logger.info(
        "--person %s: it goes back where %s came from, from %dx%d to %dx%d",
        path,
        export.folder,
        *size[::-1],
        *fit.film[::-1],
    )
    if left := int((places >= count).sum()):
        text = "--person %s ends before the film: %d of its frames stay as they are"
        logger.warning(text, path, left)
    used = places[places < count]
    if again := len(used) - len({*used.tolist()}):
        text = "--person %s has fewer frames a second than the film: %d are shown again"
        logger.warning(text, path, again)
    return _generated(person, export, fit, film, places, count)


def _generated(
    person: Film, export: Export, fit: Fit, film: Film, places: np.ndarray, count: int
) -> Iterator[Generated | None]:
    """places: of each frame of the film its frame of the export; `count` and on: none."""
    frames = iter(person)
    at, last = -1, None
    tone = film.info.tone_map
    for place in places.tolist():
        if place >= count:
            yield None
            continue
        while at < place:
            frame = next(frames).rgb
            at, last = at + 1, None
        if last is None:
            mask = _read_mask(export, place)
            rgb = fit.back(frame)
            wide = rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * 257
            picture = rgb if tone is None else tone.from_sdr(wide)
            last = Generated(picture, export.fit.back(mask))
        yield last


def _read_mask(export: Export, number: int) -> np.ndarray:
    path = picture_path(export.masks, number)
    try:
        mask = read_grey(path) > 127
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): export the layers again") from error
    if mask.shape != export.fit.size:
        height, width = export.fit.size
        raise UserError(
            f"{path} is {mask.shape[1]}x{mask.shape[0]}, the export {width}x{height}: masks keep "
            "their size"
        )
    return mask
