"""A film of a still camera through which people walk: the empty room before and after each of them
is the truth, as far as its light stays.

Axes: T frames, H W pixels. Pictures are (T, H, W, 3) uint8, masks (T, H, W) bool.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from layers.evaluation.truth import FAR, Errors, Removal, hole_scores, num_touched, share
from layers.runtime.finders import PersonTiles
from nunif.evaluation.report import Headline
from nunif.video.clips import BadClip

SAMPLES = 61  # frames that are compared to find the empty room, at most
SAMPLE_ROWS = 96  # at which they are
ROOMS = 4  # pictures that the film comes back to in which nobody is looked for
SOMEBODY = 0.01  # of a picture differs where somebody is in it
PLATE_FRAMES = 8  # of which the mean is the room before or after
APART = 3  # frames between them and somebody
NEEDED = (
    "the truth is the empty room, seen before and after somebody by a still camera; or give "
    "--masks, or records of the world"
)
FLAT = 1.0  # grey levels: of what varies less nothing is learned about the light
SPECKS = 0.002  # of a picture: what changed and is smaller is nobody
# a shadow: of the room's light this much is left, in all colours alike
SHADOW, UNEQUAL = (0.6, 1.1), 0.2


@dataclass(frozen=True)
class Visit:
    """Frames [start, stop) with somebody in them, and the empty room (H, W, 3) float32 before and
    after; None where it isn't seen."""

    start: int
    stop: int
    before: np.ndarray | None
    after: np.ndarray | None

    def nearest(self, frame: int) -> np.ndarray:
        """The room as it was seen nearest in time."""
        if self.after is None or (
            self.before is not None and frame - self.start < self.stop - 1 - frame
        ):
            assert self.before is not None
            return self.before
        return self.after


def holds_somebody(picture: np.ndarray) -> bool:
    """Whether the person finder is sure of somebody in more than 1 % of (H, W, 3) uint8."""
    tiles = PersonTiles(torch.device("cpu"))
    return bool((tiles(picture) > tiles.rule.surely).mean() > SOMEBODY)


def find_visits(
    frames: np.ndarray, is_taken: Callable[[np.ndarray], bool] = holds_somebody
) -> list[Visit]:
    """When somebody is in the picture: more than 1 % of it is more than 25 grey levels off from
    the empty room.

    is_taken: whether somebody is in a picture, (H, W, 3) uint8, so that it is no empty room.

    Raises:
        BadClip: nobody ever, or always; or the camera moves.
    """
    rooms = list(_rooms(frames))
    room = next((room for room in rooms if not is_taken(room)), rooms[0])
    there = np.array([_differs(frame, room) for frame in frames])
    if not there.any():
        raise BadClip(f"nobody comes: {NEEDED}")
    if there.mean() > 0.95:
        raise BadClip(f"its camera moves, or its room is never empty: {NEEDED}")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    runs = _joined(list(zip(edges[::2].tolist(), edges[1::2].tolist())))
    visits = []
    for i, (start, stop) in enumerate(runs):
        begin = runs[i - 1][1] + APART if i else 0
        end = runs[i + 1][0] - APART if i + 1 < len(runs) else len(frames)
        before = _mean(frames[max(begin, start - APART - PLATE_FRAMES) : max(0, start - APART)])
        after = _mean(frames[stop + APART : min(end, stop + APART + PLATE_FRAMES)])
        if before is not None or after is not None:
            visits.append(Visit(start, stop, before, after))
    if not visits:
        raise BadClip(f"its empty room is never seen for long enough: {NEEDED}")
    return visits


def _rooms(frames: np.ndarray) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8: what the film comes back to, most often first, as people stand here and
    there and leave the same room behind."""
    places = np.linspace(0, len(frames) - 1, min(SAMPLES, len(frames))).round().astype(int)
    size = (max(1, round(frames.shape[2] * SAMPLE_ROWS / frames.shape[1])), SAMPLE_ROWS)
    samples = [cv2.resize(frames[i], size, interpolation=cv2.INTER_AREA) for i in places]
    num = len(samples)
    near = np.array([[not _differs(a, b) for b in samples] for a in samples])
    starts = near & ~np.pad(near, ((0, 0), (1, 0)))[:, :num]
    left = sorted(range(num), key=lambda i: (starts[i].sum(), near[i].sum()), reverse=True)
    for _ in range(ROOMS):
        if left:
            best = left[0]
            yield np.median(frames[places[near[best]]], axis=0).round().astype(np.uint8)
            left = [i for i in left if not near[best, i]]


def _differs(frame: np.ndarray, room: np.ndarray) -> bool:
    return bool((cv2.absdiff(frame, room).max(axis=2) > FAR).mean() > SOMEBODY)


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of frames, those with hardly a frame between them as one."""
    joined: list[tuple[int, int]] = []
    for start, stop in runs:
        if joined and start - joined[-1][1] <= 2 * APART + 1:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _mean(frames: np.ndarray) -> np.ndarray | None:
    return frames.mean(axis=0, dtype=np.float32) if len(frames) else None


def in_the_light_of(frame: np.ndarray, room: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The room (H, W, 3) as the camera shows it in a frame: exposure and contrast, a factor and a
    constant for each colour, are what they are where nothing is `hidden`, (H, W) bool."""
    lit = room.astype(np.float32)
    for colour in range(3):
        x, y = room[~hidden, colour], frame[~hidden, colour].astype(np.float32)
        if len(x) and x.std() > FLAT:
            factor = ((x - x.mean()) * (y - y.mean())).mean() / x.var()
            lit[..., colour] = (room[..., colour] - x.mean()) * factor + y.mean()
    return np.clip(lit, 0, 255)


def person_in(frame: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Who is in a frame, (H, W) bool: what is far from the empty room and no shadow, without specks
    and gaps. Dark shadows and reflections still count; a camera that became brighter or darker as
    a whole doesn't."""
    left = (frame.astype(np.float32) + 1) / (room + 1)
    gain = np.median(left[::4, ::4], axis=(0, 1))
    room, left = room * gain, left / gain
    low, high = left.min(axis=2), left.max(axis=2)
    is_shadow = (low > SHADOW[0]) & (high < SHADOW[1]) & (high - low < UNEQUAL)
    changed = (np.abs(frame - room).max(axis=2) > FAR) & ~is_shadow
    mask = np.asarray(cv2.medianBlur(changed.astype(np.uint8), 3))
    for way, side in ((cv2.MORPH_OPEN, 5), (cv2.MORPH_CLOSE, 9)):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask = np.asarray(cv2.morphologyEx(mask, way, disc))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= SPECKS * mask.size
    large[0] = False
    return np.asarray(large[labels])


@dataclass(frozen=True)
class Plates:
    """The truth of such a film."""

    frames: np.ndarray
    visits: Sequence[Visit]
    headline = Headline("lit", name="PSNR in the hole, in the frame's own light", unit="dB")
    needs_fill = True

    @cached_property
    def _persons(self) -> np.ndarray:
        found = np.zeros(self.frames.shape[:3], bool)
        for visit in self.visits:
            for t in range(visit.start, visit.stop):
                found[t] = person_in(self.frames[t], visit.nearest(t))
        return found

    def persons(self) -> np.ndarray:
        return self._persons

    def shown(self) -> np.ndarray:
        shown = self.frames.copy()
        for visit in self.visits:
            for t in range(visit.start, visit.stop):
                shown[t] = np.rint(visit.nearest(t))
        return shown

    def arrays(self) -> list[np.ndarray]:
        return []  # all follows from the frames

    def score(self, frames: np.ndarray, removal: Removal) -> tuple[dict[str, float], list[float]]:
        """Errors in holes against the room nearest in time, before and after; lit: against the
        nearest in the frame's own light, as an automatic exposure changes it when somebody comes;
        residue: the share of their pixels that is seen to be off; fade: how much worse the last
        quarter of a visit is than the first. Frames without anybody are to stay as they are."""
        assert removal.result is not None
        to = {"hole": Errors(), "lit": Errors(), "before": Errors(), "after": Errors()}
        quarters, curve = (Errors(), Errors()), [math.nan] * len(frames)
        num_far, flicker, is_visited = 0, Errors(), np.zeros(len(frames), bool)
        for visit in self.visits:
            is_visited[visit.start : visit.stop] = True
            for t in range(visit.start, visit.stop):
                hole, result = removal.hole[t], removal.result[t].astype(np.float32)
                wrong = (result - visit.nearest(t))[hole]
                to["hole"].add(wrong)
                hidden = hole | self._persons[t]
                lit = in_the_light_of(frames[t], visit.nearest(t), hidden)
                curve[t] = to["lit"].add((result - lit)[hole])
                num_far += int((np.abs(wrong).max(axis=1) > FAR).sum()) if len(wrong) else 0
                for name, plate in (("before", visit.before), ("after", visit.after)):
                    if plate is not None:
                        to[name].add((result - plate)[hole])
                quarter = 4 * (t - visit.start) // (visit.stop - visit.start)
                if quarter in (0, 3):
                    quarters[quarter > 0].add(wrong)
                if t > visit.start:
                    changes = np.abs(result - removal.result[t - 1])[hole]
                    flicker.total += float(changes.sum())
                    flicker.count += changes.size
        equal = [np.array_equal(f, r) for f, r in zip(frames, removal.result)]
        scores = {name: errors.psnr for name, errors in to.items()}
        scores |= {
            "residue": share(num_far, to["hole"].count / 3),
            "flicker": share(flicker.total, flicker.count),
            "fade": quarters[0].psnr - quarters[1].psnr,
        }
        scores |= hole_scores(removal.hole, self.persons())
        scores |= {
            "touched": num_touched(frames, removal),
            "empty_equal": share(sum(np.array(equal)[~is_visited]), (~is_visited).sum()),
        }
        return scores, curve
