"""Disparity for a film of any length, at constant memory.

    frames -> runs of one shot -> raw maps, where runs overlap blended -> normalised -> faded beside
    what is flat

Every step is an iterator that holds back no more than a few frames.

Axes: T frames of a run, H W pixels of the picture, h w pixels of the disparity map.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from scene.depth import ClipRejected, DepthEstimator
from scene.depth_normalize import MovingNormalizer

Item = TypeVar("Item")

WINDOW = 48  # frames, two seconds of film
FADE = 12  # frames


@dataclass(frozen=True)
class DepthFrame(Generic[Item]):
    """One frame of the film and how near what it shows is.

    Attributes:
        starts_shot: as it was handed in.
        disparity: (h, w) float32 in [0, 1], 1 = near. It covers the picture edge to edge.
        rejected: why the estimator had nothing to say, so that the disparity is 0 everywhere; None
            where it had.
        strength: in [0, 1], how much of the parallax to show: 0 where rejected, rising to 1 away
            from there.
    """

    item: Item
    starts_shot: bool
    disparity: Tensor
    rejected: str | None = None
    strength: float = 1.0


@dataclass(frozen=True)
class _Measured(Generic[Item]):
    item: Item
    starts_shot: bool
    raw: Tensor | ClipRejected  # (h, w), not normalised


def stream_disparity(
    frames: Iterable[tuple[Item, bool]],
    estimator: DepthEstimator,
    *,
    rgb: Callable[[Item], np.ndarray],
    window: int = WINDOW,
    fade: int = FADE,
) -> Iterator[DepthFrame[Item]]:
    """Every frame once and in order, with its disparity.

    What lies before a cut has no say in what comes after it. At most `estimator.run_length` +
    `estimator.run_overlap` + `fade` frames (where nothing overlaps, only the first) have been taken
    from `frames` and not been given back yet.

    Args:
        frames: with each, whether a new shot starts there.
        estimator: see `scene.depth.create_estimator`.
        rgb: the (H, W, 3) uint8 picture of a frame; may be asked for twice, and may be smaller than
            the film.
        window: frames over which the bounds that become 0 and 1 are averaged.
        fade: frames over which the strength grows from nothing behind a rejected stretch, and
            shrinks before the next.
    """
    normalized = _normalize(_measure(frames, estimator, rgb), estimator, window, rgb)
    yield from _fade(normalized, fade) if estimator.run_overlap else normalized


def _runs(
    frames: Iterable[tuple[Item, bool]], length: int, overlap: int
) -> Iterator[tuple[list[Item], bool]]:
    """Runs of `length` frames of one shot, less at its end, and whether the shot starts with it.

    A run starts with the last `overlap` frames of the one before, if that belongs to the same shot.
    """
    run: list[Item] = []
    starts_shot, num_old = True, 0
    for item, is_cut in frames:
        if is_cut:
            if len(run) > num_old:
                yield run, starts_shot
            run, starts_shot, num_old = [], True, 0
        run.append(item)
        if len(run) == length:
            yield run, starts_shot
            run, starts_shot, num_old = run[length - overlap :], False, overlap
    if len(run) > num_old:
        yield run, starts_shot


def _measure(
    frames: Iterable[tuple[Item, bool]],
    estimator: DepthEstimator,
    rgb: Callable[[Item], np.ndarray],
) -> Iterator[_Measured[Item]]:
    """The raw disparity of every frame; frames that two runs share go over from one to the
    other."""
    held: list[_Measured[Item]] = []  # the last run's end, which the next may share
    for run, starts_shot in _runs(frames, estimator.run_length, estimator.run_overlap):
        if starts_shot:
            yield from held
            held = []
        maps = _estimate(estimator, np.stack([rgb(item) for item in run]))
        num_shared = len(held)
        measured = [
            replace(frame, raw=_blend(frame.raw, raw, (i + 1) / (num_shared + 1)))
            for i, (frame, raw) in enumerate(zip(held, maps))
        ]
        measured += [
            _Measured(item, starts_shot and i == 0, raw)
            for i, (item, raw) in enumerate(zip(run[num_shared:], maps[num_shared:]))
        ]
        num_ready = len(run) - estimator.run_overlap
        yield from measured[:num_ready]
        held = measured[num_ready:]
    yield from held


def _estimate(estimator: DepthEstimator, pictures: np.ndarray) -> list[Tensor | ClipRejected]:
    try:
        return list(estimator.raw_disparity(pictures))
    except ClipRejected as rejection:
        return [rejection] * len(pictures)


def _blend(
    first: Tensor | ClipRejected, second: Tensor | ClipRejected, weight: float
) -> Tensor | ClipRejected:
    """From the first to the second map; where only one of two runs was accepted, its map."""
    if isinstance(second, ClipRejected):
        return first
    if isinstance(first, ClipRejected):
        return second
    return torch.lerp(first, second, weight)


def _normalize(
    frames: Iterable[_Measured[Item]],
    estimator: DepthEstimator,
    window: int,
    rgb: Callable[[Item], np.ndarray],
) -> Iterator[DepthFrame[Item]]:
    normalizer = MovingNormalizer(
        window=window, scale_jitters=estimator.scale_jitters, least_span=estimator.least_span
    )
    for frame in frames:
        if frame.starts_shot:
            normalizer.reset()
        if isinstance(frame.raw, ClipRejected):
            flat = torch.zeros(()).expand(rgb(frame.item).shape[:2])
            yield DepthFrame(frame.item, frame.starts_shot, flat, frame.raw.reason, strength=0.0)
        else:
            yield DepthFrame(frame.item, frame.starts_shot, normalizer(frame.raw))


def _fade(frames: Iterable[DepthFrame[Item]], num_frames: int) -> Iterator[DepthFrame[Item]]:
    """Let the strength rise and fall by 1 / (num_frames + 1) per frame beside the rejected frames
    of a shot."""
    # with each, the steps to the nearest rejected frame
    held: deque[tuple[DepthFrame[Item], int]] = deque()
    full = num_frames + 1
    steps = full
    for frame in frames:
        if frame.starts_shot:
            yield from (_scale(*pair, full) for pair in held)
            held.clear()
            steps = full
        steps = 0 if frame.rejected else min(steps + 1, full)
        held.append((frame, steps))
        if frame.rejected:
            for back in range(1, len(held)):
                other, its_steps = held[-1 - back]
                held[-1 - back] = (other, min(its_steps, back))
        if len(held) > num_frames:
            yield _scale(*held.popleft(), full)
    yield from (_scale(*pair, full) for pair in held)


def _scale(frame: DepthFrame[Item], steps: int, full: int) -> DepthFrame[Item]:
    return replace(frame, strength=steps / full)
