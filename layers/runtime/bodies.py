"""Which of those who are followed as several are parts of one person, whose middle is hidden.

In one frame nothing tells whether a head above a thing and legs below it are one person's. Over a
stretch of frames it shows: the parts of one stay above, below or close beside each other, and two
people go their ways.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from layers.runtime.appearance import Box, box_of
from layers.runtime.groups import LOW, fit_one_body
from layers.runtime.ids import AWAY, Track

UNLIKE = 0.1  # of the frames in which parts of one are seen apart they may look like two people
PARTED = 10  # frames in which what was taken for a part looks like somebody else: it is


class SeenApart(NamedTuple):
    """Of a frame. boxes: around everybody who is seen. met: who are in one group."""

    boxes: dict[Track, Box]
    met: set[frozenset[Track]]

    @classmethod
    def of(cls, seen: dict[Track, np.ndarray], number: int) -> "SeenApart":
        """number: of the frame, in the shot."""
        boxes = {track: box_of(part) for track, part in seen.items()}
        met = {
            frozenset((track, other))
            for track in seen
            for other, last in track.met.items()
            if last == number
        }
        return cls({track: box for track, box in boxes.items() if box is not None}, met)


def bodies_in(frames: Sequence[SeenApart], known: Sequence[list[Track]]) -> list[list[Track]]:
    """Everybody of a shot so far who may be seen again, those together who are one person.

    frames: the next ones. known: who was found to be one before. Who turns out to be somebody else
    after all stands behind those in the result.
    """
    tracks = list(dict.fromkeys(track for frame in frames for track in frame.boxes))
    # who was away for so long never comes back
    here = ([one for one in body if one.num_hidden <= AWAY or one in tracks] for body in known)
    bodies, others = [body for body in here if body], list[list[Track]]()
    for body in bodies:
        # who was seen first, and for longest, is who they all were taken for
        for track in sorted(body[::-1], key=lambda track: track.num_seen)[:-1]:
            if _is_else(frames, track, [one for one in body if one is not track]):
                body.remove(track)
                others.append([track])
    bodies += others
    bodies += [[track] for track in tracks if not any(track in body for body in bodies)]
    while True:
        pairs = combinations([body for body in bodies if not set(body).isdisjoint(tracks)], 2)
        found = [(_speaks_for_one(frames, *pair), pair) for pair in pairs]
        most, (one, other) = max(found, key=lambda item: item[0], default=(0, ([], [])))
        if most <= 0:
            return bodies
        bodies.remove(other)
        one += other


def _is_else(frames: Sequence[SeenApart], track: Track, others: Sequence[Track]) -> bool:
    both = list(_apart(frames, [track], others))
    num_tall = sum(min(_height(a), _height(b)) >= LOW * _height(_around((a, b))) for a, b in both)
    return num_tall >= PARTED and not any(fit_one_body(*pair) for pair in both)


def _speaks_for_one(
    frames: Sequence[SeenApart], body: Sequence[Track], other: Sequence[Track]
) -> int:
    """In how many frames two are seen apart as parts of one person are; 0 where they are two."""
    fits = [fit_one_body(*pair) for pair in _apart(frames, body, other)]
    return sum(fits) if fits.count(False) <= UNLIKE * sum(fits) else 0


def _apart(
    frames: Sequence[SeenApart], body: Sequence[Track], other: Sequence[Track]
) -> Iterator[tuple[Box, Box]]:
    """The boxes around two in the frames in which both are seen, apart from each other; of two who
    are never seen together where the first was seen last and the second is seen first."""
    places: list[tuple[list[int], list[Box]]] = [([], []), ([], [])]
    for number, (boxes, _) in enumerate(frames):
        for its, (numbers, around) in zip((body, other), places):
            if seen := [boxes[track] for track in its if track in boxes]:
                numbers.append(number)
                around.append(_around(seen))
    (first, boxes_1), (second, boxes_2) = places
    for number in sorted({*first} & {*second}):
        met = frames[number].met
        if not any(frozenset((a, b)) in met for a in body for b in other):
            yield boxes_1[first.index(number)], boxes_2[second.index(number)]
    if first and second and first[-1] < second[0]:
        yield boxes_1[-1], boxes_2[0]
    if first and second and second[-1] < first[0]:
        yield boxes_1[0], boxes_2[-1]


def _around(boxes: Sequence[Box]) -> Box:
    left, top, right, bottom = zip(*boxes)
    return min(left), min(top), max(right), max(bottom)


def _height(box: Box) -> int:
    return box[3] - box[1]
