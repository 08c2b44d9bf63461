"""Each person of a film in a layer of their own, by ids that hold through a shot.

Axes: H W pixels of the film, h w of the small pictures that people are followed on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np

from layers.runtime.bodies import SeenApart, bodies_in
from layers.runtime.cutouts import CutFrame, CutFrames, Cutout
from layers.runtime.finders import seen_size
from layers.runtime.groups import nearest_label
from layers.runtime.ids import NEW, SHORT_SIDE, Track, Tracker, parted_before
from scene.layers import folder as layer_folder

MOST = 8  # people of a shot with a layer of their own
NEEDED = 3  # frames in which somebody has to be seen, or they go with who stands nearest
LOOK_BACK = 12  # frames in which people are told apart who were first seen apart later
REACH = NEW - 1 + LOOK_BACK  # frames that are taken ahead to know that

Seen = dict[Track, np.ndarray]


class _Followed(NamedTuple):
    """picture: (h, w, 3) uint8."""

    cut: CutFrame
    picture: np.ndarray
    seen: Seen
    apart: SeenApart


@dataclass
class Ids:
    """Tells the people of a film apart.

    to_sdr8: a frame's picture, (H, W, 3) uint8.
    """

    to_sdr8: Callable[[CutFrame], np.ndarray]
    crowded: set[int] = field(default_factory=set)  # shots in which more were than have layers
    # by shot the pairs who were one group in some frame, the lower id first, from 0
    touched: list[set[tuple[int, int]]] = field(default_factory=list)
    _ids: dict[Track, int] = field(default_factory=dict)  # of this shot, from 0; parts of one share
    _bodies: list[list[Track]] = field(default_factory=list)  # of this shot: whose parts are who
    _labels: np.ndarray | None = None  # where whom was seen last, as of `part_alpha`

    def __call__(self, frames: CutFrames) -> CutFrames:
        """Every frame whose one alpha is parted among its people, in order of appearance in the
        shot; `REACH` frames are taken ahead, never across shots. Together they are that alpha."""
        window: list[_Followed] = []  # of one shot
        tracker = Tracker()
        for cut in frames:
            if cut.starts_shot or not self.touched:
                yield from self._rest(window)
                window, tracker = [], Tracker()
                self._ids, self._bodies, self._labels = {}, [], None
                self.touched.append(set())
            (person,) = cut.persons
            window.append(self._follow(tracker, cut, person.alpha))
            self._look_back(window)
            if len(window) > REACH:
                yield self._name(window, NEEDED)
                del window[0]
        yield from self._rest(window)

    def touching(self, shot: int, person: int) -> list[int]:
        """With whom somebody was one group in some frame, both from 0."""
        pairs = self.touched[shot] if shot < len(self.touched) else set()
        return sorted({sum(pair) - person for pair in pairs if person in pair})

    def _rest(self, window: Sequence[_Followed]) -> CutFrames:
        for number in range(len(window)):
            yield self._name(window[number:], min(NEEDED, len(window)))

    def _follow(self, tracker: Tracker, cut: CutFrame, alpha: np.ndarray) -> _Followed:
        size = seen_size(alpha.shape[0], alpha.shape[1], SHORT_SIDE)[::-1]
        picture = cv2.resize(self.to_sdr8(cut), size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        seen = tracker(picture, mask > 127)
        return _Followed(cut, picture, seen, SeenApart.of(seen, tracker.number))

    def _look_back(self, window: list[_Followed]) -> None:
        """Who came off somebody and stayed so is told apart in the frames before that too."""
        for track in window[-1].seen:
            first = len(window) - NEW
            one = track.came_off
            if one is None or track.num_apart != NEW or first < 1:
                continue
            frames = [(followed.picture, followed.seen) for followed in window[: first + 1]]
            for number, seen in enumerate(parted_before((one, track), frames)):
                window[number] = window[number]._replace(seen=seen)

    def _name(self, window: Sequence[_Followed], needed: int) -> CutFrame:
        """Give everybody in the first of some frames their layer. Who is seen too shortly goes with
        others in the picture, if there are any; so does who comes when all layers are taken."""
        cut, _, seen, _ = window[0]
        self._join(window)
        for track in seen:
            least = needed if track.came_off is None else max(needed, NEW)
            num_seen = sum(part.num_seen for part in self._body_of(track))
            if track not in self._ids and num_seen >= least:
                self._admit(track)
        if seen and not self._ids.keys() & seen.keys():
            self._admit(next(iter(seen)), at_last=True)
        named = [(self._ids[track], part) for track, part in seen.items() if track in self._ids]
        if named:
            self._labels = np.zeros(named[0][1].shape, np.int32)
            for number, part in named:
                self._labels[part] = number + 1
        for track in self._ids.keys() & seen.keys():
            for other in self._ids.keys() & track.touched.keys():
                low, high = sorted((self._ids[track], self._ids[other]))
                if low < high:
                    self.touched[-1].add((low, high))
        (person,) = cut.persons
        count = 1 + max(self._ids.values(), default=0)
        alphas = part_alpha(person.alpha, self._labels, count)
        return cut._replace(persons=[Cutout(alpha, person.foreground) for alpha in alphas])

    def _join(self, window: Sequence[_Followed]) -> None:
        """Who turns out to be a part of somebody shares their layer from now on, and who turns out
        to be none has to get their own."""
        self._bodies = bodies_in([followed.apart for followed in window], self._bodies)
        taken: set[int] = set()
        for body in self._bodies:
            ids = {self._ids[track] for track in body if track in self._ids}
            for track in body:
                if not ids.isdisjoint(taken):
                    self._ids.pop(track, None)
                elif ids:
                    self._ids.setdefault(track, min(ids))
            taken |= ids

    def _body_of(self, track: Track) -> list[Track]:
        return next(body for body in self._bodies if track in body)

    def _admit(self, track: Track, *, at_last: bool = False) -> None:
        """at_last: who finds all layers taken gets the last one too."""
        number = 1 + max(self._ids.values(), default=-1)
        if number < MOST:
            self._ids |= dict.fromkeys(self._body_of(track), number)
        else:
            self.crowded.add(len(self.touched) - 1)
            if at_last:
                self._ids[track] = MOST - 1


@dataclass
class Roll:
    """Who is seen in a film's layers, and from when to when."""

    _frames: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # by shot and layer

    def see(self, shot: int, frame: int, alphas: Sequence[np.ndarray]) -> None:
        """The alphas (H, W) of the people in a frame of the film."""
        for number, alpha in enumerate(alphas):
            if (alpha > 127).any():
                self._frames.setdefault((shot, number), [frame, frame])[1] = frame

    def told(self, ids: Ids, objects: Sequence[int]) -> list[dict[str, Any]]:
        """For meta.json. objects: by which numbers of masks the layers were made."""
        return [
            {
                "shot": shot,
                "id": number + 1,
                "planes": layer_folder.person_letters(number),
                "first": first,
                "last": last,
                "touches": [other + 1 for other in ids.touching(shot, number)],
                **({"object": objects[number]} if objects else {}),
            }
            for (shot, number), (first, last) in sorted(self._frames.items())
        ]


def part_alpha(alpha: np.ndarray, labels: np.ndarray | None, count: int) -> list[np.ndarray]:
    """An alpha (H, W) uint8 in `count` parts: soft pixels, and what is nobody's, go to the nearest
    one.

    labels: (h, w) int32, 1 for the first part, 0 nobody's; None: all goes to the first.
    """
    numbers = np.array([1]) if labels is None else np.unique(labels[labels > 0])
    if labels is None or len(numbers) < 2:
        nothing = np.zeros_like(alpha)
        return [alpha if number == numbers[0] else nothing for number in range(1, count + 1)]
    whole = nearest_label(labels)
    size = alpha.shape[::-1]
    shares = [
        cv2.resize((whole == number).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        for number in numbers
    ]
    winner = numbers[np.argmax(shares, axis=0)]
    return [np.where(winner == number, alpha, 0).astype(np.uint8) for number in range(1, count + 1)]
