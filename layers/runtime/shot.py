"""The objects of one shot, followed in both directions from the frames where they were pointed at.

Axes: K objects, H W pixels, at the working size.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice

import cv2
import numpy as np
from tqdm import tqdm

from layers.prompts import Prompt
from layers.runtime.correct import Followed, find_masks, positive
from layers.runtime.follow import Follower
from layers.runtime.frame_store import FrameStore
from layers.runtime.moving import REACH, MovingIn, moving_after
from layers.runtime.pointing import FindPeople, find_objects, people_in

Prompts = Mapping[int, Sequence[Prompt]]  # by the number of a frame in the shot

_SAME, _LONG = 0.03, 4  # share of an object, for so many frames: a correction changes no more
_COLOURS = 5.0  # what it counts that colours fit better
_OPEN = 1.0  # what speaks for the later click where there is none beyond
_HELD = 0.5  # what speaks for what was known, where there is one
_DOUBT = 0.02  # of a frame where nothing changes
_FADE = 0.7  # frames in which one goes over into the other
_NEAR = np.ones((13, 13), np.uint8)  # by which what is corrected moves from frame to frame
_CLEAR = 2.5  # times the doubt of a share
_LEAST_WRONG = 0.05  # of what was followed from either side


def follow_shot(
    frames: Iterable[np.ndarray], prompts: Prompts, find_people: FindPeople = people_in
) -> Iterator[np.ndarray]:
    """Where the objects are in every frame of a shot.

    An object is followed from a frame where it was pointed at to both ends. What is pointed at in a
    further frame corrects what was followed to there, and is followed to both sides until nothing
    changes any more. Frames up to the last prompt are kept on the disk; those behind it are not, so
    that a shot may be endless.

    Args:
        frames: (H, W, 3) uint8 RGB, in order, at the working size.
        prompts: with numbers, in pixels of these frames, in the order in which they were given;
            those of frames that the shot hasn't are left out.
    Yields: (H, W) uint8 for each frame, the numbers of objects, 0 elsewhere.
    """
    rest = iter(frames)
    with ExitStack() as stack:
        store, known, shares, walked = (stack.enter_context(FrameStore()) for _ in range(4))
        num_kept = max(prompts, default=-1) + 1
        for frame in islice(rest, num_kept + REACH if num_kept else 0):
            store.append(frame)
        ahead = list(islice(rest, REACH)) if num_kept else []
        own = {place: found for place, found in prompts.items() if place < len(store)}
        numbers = sorted(set().union(*map(positive, own.values())))
        if not numbers:
            for frame in chain(store, ahead, rest):
                yield np.zeros(frame.shape[:2], np.uint8)
            return
        shot = _Shot(
            store, MovingIn(store, ahead, known), shares, walked, own, numbers, find_people
        )
        steps = chain.from_iterable(map(shot.take, _in_order(own)))
        for _ in tqdm(
            steps,
            unit="frame",
            desc="following",
            disable=None if num_kept > 1 else True,
            leave=False,
        ):
            pass
        for place in range(len(store)):
            yield shot.labels(place)
        assert shot.tail is not None
        for frame, moving in moving_after(store, chain(ahead, rest)):
            yield shot.tail.step(frame, moving)


def _in_order(prompts: Prompts) -> list[int]:
    """The frames with prompts as they were given; those with corrections of what isn't pointed at
    before come behind."""
    known: set[int] = set()
    early: list[int] = []
    late: list[int] = []
    for place, said in prompts.items():
        known |= positive(said)
        (early if {prompt.number or 1 for prompt in said} <= known else late).append(place)
    return early + late


class _Shot:
    """The kept frames of a shot, and how far each pixel of them is of each object.

    tail: a follower that has gone on to the last of them.
    """

    def __init__(
        self,
        frames: FrameStore,
        moving: MovingIn,
        shares: FrameStore,
        walked: FrameStore,
        prompts: Prompts,
        numbers: Sequence[int],
        find_people: FindPeople,
    ) -> None:
        """shares, walked: empty. numbers: of the objects, which the shares have in this order."""
        self._frames, self._moving = frames, moving
        self._shares, self._walked = shares, walked
        self._prompts, self._numbers, self._find_people = prompts, numbers, find_people
        self._anchors: dict[int, dict[int, np.ndarray]] = {}  # masks by frame and object
        # by object and frame: how much changed there from the frame before, of what is known and
        # of what was followed last; how much better the latter's colours are
        self._doubts = np.zeros((len(numbers), len(frames)))
        self._new_doubts = np.zeros_like(self._doubts)
        self._gains = np.zeros_like(self._doubts)
        # at frames with prompts not yet taken in, by object, those that know it best
        self._passed: dict[int, dict[int, Follower]] = {}
        self.tail: Follower | None = None
        nothing = np.zeros((len(numbers), *frames[0].shape[:2]), np.uint8)
        for _ in range(len(frames)):
            shares.append(nothing)
            walked.append(nothing)

    def labels(self, place: int) -> np.ndarray:
        """(H, W) uint8."""
        shares = self._shares[place]
        numbers = np.array(self._numbers, np.uint8)
        return np.where(shares.max(axis=0) > 127, numbers[shares.argmax(axis=0)], 0)

    def take(self, place: int) -> Iterator[int]:
        """Take in what was said of a frame. Yields: frames as they are gone through."""
        follower = self._follower(place)
        masks = self._find(place, follower)
        if not masks:
            return
        before = dict(zip(self._numbers, self._shares[place] > 127))
        wrong = {n: _unlike(before[n], mask) for n, mask in masks.items()}
        changed = {n: before[n] ^ mask for n, mask in masks.items()}
        masks = self._with_alike(place, masks, changed, follower)
        self._anchors[place] = masks
        follower.anchor(masks)
        follower.settle(self._others_known(place, masks))
        claimed = {number: np.where(mask, 255, 0) for number, mask in masks.items()}
        self._claim(place, claimed)
        for direction in (-1, 1):
            turned = follower.copy(turned=direction < 0)
            yield from self._walk(place, direction, turned, wrong, changed)

    def _follower(self, place: int) -> Follower:
        """One at a frame, forwards in time, that knows what is known of all objects there."""
        passed = self._passed.pop(place, {})
        if passed:
            first, *others = sorted(passed, key=lambda number: number not in self._said(place))
            follower = passed[first].copy()
            for number in others:
                follower.adopt(number, passed[number])
        else:
            follower = Follower(self._frames[place], self._find_people)
        labels = self.labels(place)
        seen = [number for number in self._numbers if (labels == number).any()]
        follower.anchor({n: labels == n for n in seen if not follower.usual_size(n)})
        return follower

    def _said(self, place: int) -> set[int]:
        return {prompt.number or 1 for prompt in self._prompts[place]}

    def _others_known(self, place: int, numbers: Collection[int]) -> dict[int, np.ndarray]:
        """How far the pixels of a frame are of other objects, as known before."""
        shares = self._shares[place]
        return {
            number: shares[index].astype(np.float32) / 255
            for index, number in enumerate(self._numbers)
            if number not in numbers
        }

    def _find(self, place: int, follower: Follower) -> dict[int, np.ndarray]:
        """Masks of the objects of which something was said in a frame."""
        labels = self.labels(place)
        known = {n for masks in self._anchors.values() for n in masks} & self._said(place)
        find = partial(
            find_objects,
            self._frames[place],
            people=follower.people,
            moving=self._moving[place],
            find_people=self._find_people,
        )
        about = {
            number: Followed(
                labels == number,
                follower.evidence(number),
                follower.likeness(number),
                follower.usual_size(number),
                (labels > 0) & (labels != number),
            )
            for number in known
        }
        return find_masks(self._frames[place], self._prompts[place], labels, about, find)

    def _with_alike(
        self,
        place: int,
        masks: Mapping[int, np.ndarray],
        changed: Mapping[int, np.ndarray],
        follower: Follower,
    ) -> dict[int, np.ndarray]:
        """Masks that were corrected in a frame, with what joins on to what came in and looks like
        the objects, now that they are known better: the frames around, which are followed from
        there, take it in too.

        changed: (H, W) bool by object, where it was corrected. follower: as it was before.
        """
        known = {number for before in self._anchors.values() for number in before}
        added = {n: mask & changed[n] for n, mask in masks.items() if n in known}
        added = {number: area for number, area in added.items() if area.any()}
        more = dict(masks)
        if not added:
            return more
        again = follower.copy()
        again.anchor(masks)
        labels = again.step(self._frames[place], self._moving[place])
        for number, area in added.items():
            alike = (labels == number) & ~masks[number]
            _, parts = cv2.connectedComponents(alike.astype(np.uint8))
            near = cv2.dilate(area.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            reached = np.unique(parts[near])
            more[number] = masks[number] | np.isin(parts, reached[reached > 0])
        return more

    def _walk(
        self,
        start: int,
        direction: int,
        follower: Follower,
        wrong: Mapping[int, float],
        changed: Mapping[int, np.ndarray],
    ) -> Iterator[int]:
        """Follow to one side, to where all of the objects are known anyway or nothing changes any
        more, and bring together what was followed to there from both sides.

        wrong: by object, how wrong it was before what was said of the frame where this starts, and
            changed: (H, W) bool, where.
        """
        ends = {number: self._next_anchor(start, direction, number) for number in wrong}
        place, same = start, 0
        touched = {n: area for n, area in changed.items() if not self._is_new(n)}
        while 0 <= place + direction < len(self._frames):
            place += direction
            follower.step(self._frames[place], self._moving[place])
            yield place
            self._walked[place] = _to_bytes(follower.shares(self._numbers))
            self._keep_rest(place, touched, follower)
            for number in wrong:
                self._compare(place, direction, number, follower)
            followed = {
                n for n, end in ends.items() if end is None or (end - place) * direction > 0
            }
            follower.settle(self._others_known(place, followed))
            if place in self._prompts and place not in self._anchors:
                passed = self._passed.setdefault(place, {})
                passed.update(dict.fromkeys(followed, follower.copy(turned=direction < 0)))
            if not followed:
                break
            same = same + 1 if self._is_as_before(place, wrong) else 0
            if same == _LONG:
                break
        else:
            if direction > 0:
                for number in self._numbers:
                    if self.tail is not None and number not in wrong:
                        follower.adopt(number, self.tail)
                self.tail = follower
        self._bring_together(start, direction, place, ends, wrong)

    def _keep_rest(self, place: int, touched: dict[int, np.ndarray], follower: Follower) -> None:
        """Of what was followed last keep what goes back to what was corrected: all else is as it
        was known before. touched: by object, where it does in the frame before; for this one it
        is put in its place."""
        walked, shares = self._walked[place].copy(), self._shares[place]
        for number, area in touched.items():
            index = self._numbers.index(number)
            new, old = walked[index] > 127, shares[index] > 127
            _, parts = cv2.connectedComponents((new ^ old).astype(np.uint8))
            near = cv2.dilate(area.astype(np.uint8), _NEAR) > 0
            reached = np.unique(parts[near])
            area = np.isin(parts, reached[reached > 0])
            walked[index] = np.where(area, walked[index], shares[index])
            follower.settle({number: walked[index].astype(np.float32) / 255})
            # who comes out from where nothing of them was seen may be anywhere
            touched[number] = area if new.any() else np.ones_like(area)
        self._walked[place] = walked

    def _compare(self, place: int, direction: int, number: int, follower: Follower) -> None:
        """Note how doubtful what was followed last to a frame is, and how much better it fits an
        object's colours than what was known before."""
        index = self._numbers.index(number)
        new, old = self._walked[place][index] > 127, self._shares[place][index] > 127
        likeness = follower.likeness(number)
        only_new, only_old = likeness[new & ~old].sum(), likeness[old & ~new].sum()
        self._gains[index, place] = (only_new - only_old) / max(1, new.sum(), old.sum())
        earlier = place - direction
        source = self._shares if earlier in self._anchors else self._walked
        before = int((source[earlier][index] > 127).sum())
        changed = abs(int(new.sum()) - before) / max(1.0, follower.usual_size(number))
        self._new_doubts[index, place] = _DOUBT + changed

    def _next_anchor(self, start: int, direction: int, number: int) -> int | None:
        places = [
            place
            for place, masks in self._anchors.items()
            if number in masks and (place - start) * direction > 0
        ]
        return min(places, key=lambda place: abs(place - start), default=None)

    def _is_as_before(self, place: int, numbers: Collection[int]) -> bool:
        """Whether some objects were followed to where they were before."""
        new, old = self._walked[place] > 127, self._shares[place] > 127
        for index, number in enumerate(self._numbers):
            if number in numbers:
                size = (new[index] & old[index]).sum()
                if size == 0 or (new[index] ^ old[index]).sum() > _SAME * size:
                    return False
        return True

    def _bring_together(
        self,
        start: int,
        direction: int,
        stop: int,
        ends: Mapping[int, int | None],
        wrong: Mapping[int, float],
    ) -> None:
        """What was followed from `start` to `stop` with what was known before: each counts the more
        the nearer where it starts, and the less wrong it was where it ends. ends: by object, the
        next frame where it was pointed at, if there is one."""
        claims: dict[int, dict[int, np.ndarray]] = {}
        for number, end in ends.items():
            reached = stop if end is None else min(end * direction, stop * direction) * direction
            places = list(range(start + direction, reached, direction))
            if end is None and stop != start:
                places.append(stop)
            for place, share in zip(places, self._weights(number, places, end, wrong[number])):
                index = self._numbers.index(number)
                new, old = self._walked[place][index], self._shares[place][index]
                mixed = share * new + (1 - share) * old
                claims.setdefault(place, {})[number] = mixed.astype(np.uint8)
                doubts = self._new_doubts[index, place], self._doubts[index, place]
                self._doubts[index, place] = share * doubts[0] + (1 - share) * doubts[1]
        for place, claimed in claims.items():
            self._claim(place, claimed)

    def _weights(self, number: int, places: list[int], end: int | None, wrong: float) -> np.ndarray:
        """What was followed last to each of some places counts, beside what was known before: 1 up
        to where most speaks for changing over to the other, 0 beyond."""
        if not places or self._is_new(number):
            return np.ones(len(places))
        index = self._numbers.index(number)
        speaks = _COLOURS * self._gains[index, places]
        if end is None:
            speaks = speaks + _OPEN
        else:
            beyond = places[-1] + (1 if end > places[-1] else -1)
            new = np.cumsum(self._new_doubts[index, places])
            old = np.cumsum(self._doubts[index, places][::-1])[::-1]
            new = new / max(new[-1], 1e-6) * max(self._wrong(beyond, number), _LEAST_WRONG)
            old = old / max(old[0], 1e-6) * max(wrong, _LEAST_WRONG)
            speaks = speaks + np.log((old + 1e-3) / (new + 1e-3)).clip(-2, 2) - _HELD
        total = np.concatenate([[0], np.cumsum(speaks)])
        change = int(total.argmax())  # as many are taken from what was followed last
        far = np.arange(len(places)) + 0.5 - change
        return 1 / (1 + np.exp(far / _FADE))

    def _is_new(self, number: int) -> bool:
        """Whether an object was pointed at in one frame only."""
        return sum(number in masks for masks in self._anchors.values()) == 1

    def _wrong(self, place: int, number: int) -> float:
        """How unlike what is known of an object in a frame is what was followed to there."""
        index = self._numbers.index(number)
        return _unlike(self._walked[place][index] > 127, self._shares[place][index] > 127)

    def _claim(self, place: int, claimed: Mapping[int, np.ndarray]) -> None:
        """Objects have these shares in a frame, (H, W) from 0 to 255; others what is left."""
        shares = self._shares[place].copy()
        for number, share in claimed.items():
            shares[self._numbers.index(number)] = share
        for share in claimed.values():
            for index, other in enumerate(self._numbers):
                if other not in claimed:
                    shares[index] = np.minimum(shares[index], 255 - share)
        self._shares[place] = shares


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    """255 or 0 but where it is in doubt, so that of two it is the one with more weight that says
    what is there."""
    return (255 * (_CLEAR * (shares - 0.5) + 0.5)).round().clip(0, 255).astype(np.uint8)


def _unlike(mask: np.ndarray, other: np.ndarray) -> float:
    """1 - intersection over union."""
    union = int((mask | other).sum())
    return 1 - int((mask & other).sum()) / union if union else 0.0
