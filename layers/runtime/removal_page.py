"""What was removed, as one HTML page that needs no other file: of every shot a frame before, its
hole, and after, and how much of the film is hole.

Axes: H W pixels, h w of the part that is shown.
"""

import base64
import html
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from inpaint.runtime.apply import painted
from nunif.evaluation.page import STYLE
from nunif.evaluation.views import Box, crop_webp
from nunif.files import write_text
from nunif.image import encode_rgb

MARGIN = 0.5  # of a hole's sides, around it
MIN_SHARE = 0.25  # of a frame's sides: of less nobody sees where it is
WIDTH = 360  # pixels of a shown part, at most
STRIP = (18, 720)  # (h, w) of the strip that tells where in a film people are
STRIP_COLOURS = (225, 228, 232), (190, 60, 50)  # nobody; somebody
MAX_SHOTS = 150  # with pictures: a page of more is long to load


@dataclass
class Shot:
    """first: its first frame. shown: the frame whose hole is largest, and what the page shows of
    it: before, hole and after, (h, w, 3) uint8 each."""

    first: int
    num_frames: int = 0
    num_holes: int = 0
    area: float = 0.0  # of all holes, in frames
    largest: float = 0.0
    shown: int = 0
    parts: list[np.ndarray] = field(default_factory=list)


@dataclass
class FilmReport:
    """Collects what was done to one film. note: what else is to be said of it."""

    source: Path
    output: Path
    note: str = ""
    shots: list[Shot] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of each frame that is hole

    def __call__(
        self, frame: np.ndarray, hole: np.ndarray, filled: np.ndarray, starts_shot: bool
    ) -> None:
        """The next frame. frame, filled: (H, W, 3) uint8 or uint16 of SDR; hole: (H, W) bool."""
        if starts_shot or not self.shots:
            self.shots.append(Shot(len(self.shares)))
        shot, share = self.shots[-1], float(hole.mean())
        shot.num_frames += 1
        if share:
            shot.num_holes += 1
            shot.area += share
        # the first is as good as one that is hardly larger, and pictures take time
        if share > 1.1 * shot.largest and len(self.shots) <= MAX_SHOTS:
            shot.largest, shot.shown = share, len(self.shares)
            pictures = (frame, painted(frame, hole), filled)
            shot.parts = [part_of(picture, box_around(hole)) for picture in pictures]
        self.shares.append(share)

    @property
    def num_holes(self) -> int:
        return sum(shot.num_holes for shot in self.shots)


def box_around(hole: np.ndarray) -> Box:
    """A hole, (H, W) bool, with some room around it."""
    sides = []
    for axis in (0, 1):
        places = np.flatnonzero(hole.any(axis=1 - axis))
        low, high, length = int(places[0]), int(places[-1]) + 1, hole.shape[axis]
        margin = max(MARGIN * (high - low), (MIN_SHARE * length - (high - low)) / 2)
        sides.append((max(0, round(low - margin)), min(length, round(high + margin))))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right


def part_of(picture: np.ndarray, box: Box) -> np.ndarray:
    """The part of a frame in a box, (h, w, 3) uint8, narrower where it is wide."""
    top, left, bottom, right = box
    part = picture[top:bottom, left:right]
    part = part if part.dtype == np.uint8 else (part >> 8).astype(np.uint8)
    height = max(1, round(part.shape[0] * WIDTH / part.shape[1]))
    if part.shape[1] > WIDTH:
        part = cv2.resize(part, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(part)


def write_page(path: Path, films: list[FilmReport]) -> None:
    """The page of some films, whole or not at all."""
    lines = [
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>Removed</title>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<style>{STYLE}</style></head><body><h1>Removed</h1>",
        "<p>Of every shot the frame with its largest hole: before, what is cut out, and after.</p>",
    ]
    for film in films:
        lines += _film(film)
    write_text(path, "\n".join([*lines, "</body></html>"]) + "\n")


def _film(film: FilmReport) -> list[str]:
    total = len(film.shares)
    hole = sum(film.shares) / total if total else 0.0
    with_holes = [shot for shot in film.shots if shot.num_holes]
    told = (
        f"{_count(total, 'frame')}, {film.num_holes} with a hole, in {len(with_holes)} of "
        f"{_count(len(film.shots), 'shot')}; {hole:.1%} of all pixels are hole."
        if total
        else ""
    )
    lines = [
        f"<h2>{_text(film.source.name)} &rarr; {_text(film.output.name)}</h2>",
        f"<p>{_text(' '.join(filter(None, (told, film.note))))}</p>",
    ]
    if film.num_holes:
        strip = _image(encode_rgb(strip_of(film.shares)), "png", "where in the film holes are")
        lines += [strip, "<p><small>The film from its beginning to its end; red: a hole.</small>"]
    for number, shot in enumerate(film.shots, start=1):
        if shot.num_holes:
            lines += _shot(number, shot)
    return lines


def _shot(number: int, shot: Shot) -> list[str]:
    mean = shot.area / shot.num_holes
    told = (
        f"Shot {number}, frames {shot.first} to {shot.first + shot.num_frames - 1}: "
        f"{shot.num_holes} with a hole, {mean:.1%} of a frame in the mean"
    )
    if not shot.parts:
        return [f"<p>{told}. Not shown: there are more than {MAX_SHOTS} shots.</p>"]
    figures = []
    for name, part in zip(("before", "hole", "after"), shot.parts):
        picture = _image(crop_webp(part, (0, 0, *part.shape[:2])), "webp", name)
        figures.append(f"<figure>{picture}<figcaption>{name}</figcaption></figure>")
    return [
        f"<h3>{told}</h3><p><small>Frame {shot.shown}</small></p>",
        f"<div class=row>{''.join(figures)}</div>",
    ]


def strip_of(shares: list[float]) -> np.ndarray:
    """A film as a strip, (h, w, 3) uint8: red where some frame has a hole."""
    height, width = STRIP
    num = min(width, len(shares))
    columns = np.arange(len(shares)) * num // len(shares)
    has_hole = np.zeros(num, bool)
    np.logical_or.at(has_hole, columns, np.array(shares) > 0)
    row = np.where(has_hole[:, None], STRIP_COLOURS[1], STRIP_COLOURS[0]).astype(np.uint8)
    return np.repeat(cv2.resize(row[None], (width, 1), interpolation=cv2.INTER_NEAREST), height, 0)


def _image(content: bytes, kind: str, text: str) -> str:
    data = base64.b64encode(content).decode()
    return f"<img alt='{_text(text)}' src='data:image/{kind};base64,{data}'>"


def _text(text: str) -> str:
    return html.escape(text)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
