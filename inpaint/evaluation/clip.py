"""A clip with holes whose truth is known, filled by every method and scored: one loop for films and
for records.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3), as uint8 or as float32 in [-1, 1]; holes are
    (T, H, W) bool, True = missing.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from inpaint.evaluation.pixels import as_uint8, fill_in
from inpaint.evaluation.scores import curve_of
from nunif.evaluation.report import Report
from nunif.pictures import label
from scene.masks import paint_holes

# Frames (T, H, W, 3) uint8 that are 0 in the holes, and the holes -> filled frames: uint8 as a film
# holds them, or float32 in [-1, 1] where what a network gives is to be scored as it is.
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Clip:
    """A clip, its holes, and how what is put into them is scored.

    frames: the truth, uint8. score: filled pictures -> scores, each under its name.
    family: the kind of its holes; None where there are no kinds. made_of: what made them, a word.
    is_shown: whether its middle frame is among the pictures of the report.
    """

    name: str
    frames: np.ndarray
    holes: np.ndarray
    score: Callable[[np.ndarray], dict[str, float]]
    family: str | None = None
    made_of: str | None = None
    is_shown: bool = True


def judge(
    clips: Iterable[Clip], *, methods: Mapping[str, Method], report: Report, along_time: bool
) -> None:
    """Fill every clip by every method and add scores and pictures to the report.

    along_time: add how many frames a second are filled, and the hole-PSNR frame by frame.
    """
    for clip in clips:
        emptied = np.where(clip.holes[..., None], np.uint8(0), clip.frames)
        middle = slice(len(clip.frames) // 2, len(clip.frames) // 2 + 1)
        shown = {"input": paint_holes(clip.frames[middle], clip.holes[middle])}
        for name, method in methods.items():
            begin = time.perf_counter()
            output = method(emptied, clip.holes)
            seconds = time.perf_counter() - begin
            output = fill_in(output, clip.frames, clip.holes)
            report.add(
                clip=clip.name,
                family=clip.family,
                made_of=clip.made_of,
                method=name,
                scores=clip.score(output),
                fps=len(clip.frames) / seconds if along_time else None,
                curve=curve_of(output, clip.frames, clip.holes) if along_time else None,
            )
            shown[name] = as_uint8(output[middle])
        shown["truth"] = clip.frames[middle]
        if clip.is_shown:
            title = f"{clip.name}, {clip.family} ({clip.made_of})" if clip.family else clip.name
            report.show([label(picture[0], name) for name, picture in shown.items()], title=title)
