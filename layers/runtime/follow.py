"""Objects followed through a shot, frame by frame, in one direction.

In every frame all objects and the background compete for each pixel by what tells them apart:

- where they were, carried on by optical flow where that can be trusted;
- whose colours those around are (a grid over place and colour, from the frame before);
- what each looked like when it was pointed at and since, part by part of its box;
- its shape with what is hidden of it, which moves as its visible part does, to where its parts'
  looks tell it from all others;
- the background as it was last seen there, moved along with the camera;
- for what moves, what is unlike the background of the frames before and after;
- for people, where the person finder sees some.

An object of which nearly nothing is left is lost: it is looked for by its colours, and taken up
again where they are found.

The weights were chosen by following the true first masks of one film (four people before a still
camera), and kept for all others. Axes: K objects, H W pixels; index 0 of K + 1 is the background.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from layers.runtime.appearance import (
    Box,
    box_of,
    colour_bins,
    guided,
    histogram,
    local_shares,
    part_bins,
    part_histogram,
)
from layers.runtime.locate import alike, grown, shift_of, without_strays
from layers.runtime.plate import Plate
from layers.runtime.pointing import FindPeople
from layers.runtime.thing import BODY, Thing, agrees, counts_moving, within_reach, without
from scene.flow import flow_to, is_visible, pull

LOCAL, LOOKS, SHAPE, PLATE, PEOPLE = 0.5, 2.0, 1.0, 2.0, 1.0  # weights beside the carried on place
MOVES = 2.0  # of what moves against the background, for an object all of which does
FAR = 50.0  # against what is out of an object's reach
_LEAST = 0.02  # of the place carried on, which may be wrong
_LEAST_SHAPE = 0.05
_KEPT = 0.9  # of an object's looks, from frame to frame
_SHAPE_RATE = 0.05  # by which a shape follows what is seen of it
_LOST, _FOUND = 0.15, 0.5  # shares of its usual size, and of the likeness it usually has
_MOTION_PIXELS = 40  # fewest that tell how an object moves
_MOVING = 0.35  # evidence above which a pixel moves
_NEAR = 30  # pixels around objects whose background their colours are told from


@dataclass
class _View:
    """A frame and what is computed of it."""

    frame: np.ndarray
    lab: np.ndarray
    bins: np.ndarray
    people: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray, find_people: FindPeople) -> "_View":
        lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
        return cls(frame, lab, colour_bins(lab), find_people(frame))


class Follower:
    """Follows objects from frame to frame. `anchor` says where some are in the frame that was
    given last; `step` goes on to the next."""

    def __init__(self, frame: np.ndarray, find_people: FindPeople) -> None:
        """frame: the first, (H, W, 3) uint8 RGB; all others are of its size."""
        self._find_people = find_people
        self._view = _View.of(frame, find_people)
        self._things: dict[int, Thing] = {}
        self._shares = np.ones((1, *frame.shape[:2]), np.float32)
        self._background = histogram(self._view.bins, self._shares[0])
        self._plate: Plate | None = None
        self._stands: np.ndarray = self._shares[0] * 0  # out before the background
        self._evidence: np.ndarray | None = None

    @property
    def people(self) -> np.ndarray:
        """(H, W) float32: where the finder sees people in the frame that was given last."""
        return self._view.people

    @property
    def labels(self) -> np.ndarray:
        """(H, W) uint8: the numbers of the objects in the frame that was given last."""
        numbers = np.array([0, *self._things], np.uint8)
        return numbers[self._shares.argmax(axis=0)]

    def shares(self, numbers: Sequence[int]) -> np.ndarray:
        """(N, H, W) float32: how far each pixel of the frame that was given last is of each of
        some objects; 0 of one that isn't followed."""
        own = dict(zip(self._things, self._shares[1:]))
        nothing = np.zeros(self._shares.shape[1:], np.float32)
        return np.stack([own.get(number, nothing) for number in numbers])

    def usual_size(self, number: int) -> float:
        """Pixels of an object; 0 of one that isn't followed."""
        return self._things[number].usual_size if number in self._things else 0.0

    def evidence(self, number: int) -> np.ndarray | None:
        """(H, W) float32: the logarithm of how much more probable an object is than the others and
        the background, by all but where it was in the frame before. None where that isn't known."""
        if self._evidence is None or number not in self._things:
            return None
        own = list(self._things).index(number) + 1
        if own >= len(self._evidence):
            return None
        return self._evidence[own] - np.delete(self._evidence, own, axis=0).max(axis=0)

    def likeness(self, number: int) -> np.ndarray:
        """(H, W) float32 from -2 to 2: above 0 where colours are rather those of an object, when it
        was pointed at, than those around."""
        if number not in self._things:
            return np.zeros(self._shares.shape[1:], np.float32)
        bins, looks = self._view.bins, self._things[number].first_looks
        ratio = np.log((looks[bins] + 1e-4) / (self._background[bins] + 1e-4))
        return cv2.blur(ratio.clip(-2, 2).astype(np.float32), (5, 5))

    def settle(self, shares: Mapping[int, np.ndarray]) -> None:
        """Take as known how far the pixels of the frame that was given last are of some objects,
        (H, W) from 0 to 1 by number, but for those that are another's, of which it isn't known."""
        known = [index for index, n in enumerate(self._things, 1) if n in shares]
        free = np.ones(self._shares.shape[1:], np.float32)
        for index in range(1, len(self._shares)):
            if index not in known:
                free *= self._shares[index] < 0.5
        for index, number in enumerate(self._things, 1):
            if number in shares:
                self._shares[index] = shares[number] * free
        self._shares[0] = (1 - self._shares[1:].sum(axis=0)).clip(0, 1)

    def adopt(self, number: int, other: "Follower") -> None:
        """Know of an object what another follower knows of it in the same frame."""
        if number not in other._things:
            return
        if number not in self._things:
            nothing = np.zeros_like(self._shares[:1])
            self._shares = np.concatenate([self._shares, nothing])
            self._evidence = None
        self._things[number] = copy.deepcopy(other._things[number])

    def copy(self, *, turned: bool = False) -> "Follower":
        """Another that goes on from here. turned: it goes the other way in time."""
        other = copy.deepcopy(self)
        if turned:
            for thing in other._things.values():
                thing.velocity = -thing.velocity
        return other

    def anchor(self, masks: Mapping[int, np.ndarray]) -> None:
        """Objects are there: (H, W) bool by number, in the frame that was given last. Others that
        are followed keep what is left of theirs."""
        if not masks:
            return
        labels = self.labels
        own = {number: share for number, share in zip(self._things, self._shares[1:])}
        for number, mask in masks.items():
            for other in own:
                own[other] = own[other] * ~mask
            own[number] = mask.astype(np.float32)
        for number, mask in masks.items():
            box = box_of(mask)
            if box is None:
                if number in self._things:
                    self._things[number].is_lost = True
                continue
            self._things[number] = self._thing(
                mask, box, self._things.get(number), labels == number
            )
        self._things = {number: self._things[number] for number in own if number in self._things}
        shares = np.stack([own[number] for number in self._things])
        self._shares = np.concatenate([1 - shares.sum(axis=0, keepdims=True).clip(0, 1), shares])
        self._background = histogram(self._view.bins, self._around(self._shares[0]))
        clear = self._clear(self.labels)
        if self._plate is None:
            self._plate = Plate(self._view.lab, clear)

    def _thing(self, mask: np.ndarray, box: Box, before: Thing | None, was: np.ndarray) -> Thing:
        weight = mask.astype(np.float32)
        looks = histogram(self._view.bins, weight)
        parts = part_histogram(self._view.bins, box, weight)
        size = float(mask.sum())
        is_person = float(self._view.people[mask].mean())
        if before is None:
            return Thing(looks, looks, parts, parts, weight, box, size, is_person)
        if agrees(mask, before.shape > BODY):
            return self._corrected(before, mask, was)
        first, first_parts = (before.first_looks + looks) / 2, (before.first_parts + parts) / 2
        return Thing(first, looks, first_parts, parts, weight, box, size, is_person)

    def _corrected(self, thing: Thing, mask: np.ndarray, was: np.ndarray) -> Thing:
        """What is known of an object whose mask is corrected: what is hidden of it stays known."""
        thing = copy.copy(thing)
        weight, bins = mask.astype(np.float32), self._view.bins
        removed = was & ~mask
        thing.shape = np.maximum(weight, np.where(removed, 0.3, 1) * thing.shape)
        thing.usual_size = max(float(mask.sum()), thing.usual_size - float(removed.sum()))
        if removed.any():  # its colours aren't the object's
            share = float(removed.sum()) / max(float(was.sum()), 1.0)
            wrong = share * histogram(bins, removed.astype(np.float32))
            thing.looks = without(thing.looks, wrong)
            thing.first_looks = without(thing.first_looks, wrong)
        new = 0.5 * float(mask.sum()) / thing.usual_size  # of its looks, as much as is seen
        thing.looks = (1 - new) * thing.looks + new * histogram(bins, weight)
        parts = part_histogram(bins, thing.box, weight)
        thing.parts = (1 - new) * thing.parts + new * parts
        thing.first_looks = 0.5 * (thing.first_looks + thing.looks)
        thing.first_parts = 0.5 * (thing.first_parts + thing.parts)
        thing.is_lost = False
        return thing

    def _around(self, share: np.ndarray) -> np.ndarray:
        """The background's share near objects."""
        side = 2 * _NEAR + 1
        return share * cv2.dilate((share < 0.5).astype(np.uint8), np.ones((side, side), np.uint8))

    def _clear(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) bool: where the background is seen for sure."""
        grown = cv2.dilate((labels > 0).astype(np.uint8), np.ones((7, 7), np.uint8))
        clear = grown == 0
        if any(thing.is_person > 0.5 for thing in self._things.values()):
            clear &= self._view.people < 0.5
        return clear

    def step(self, frame: np.ndarray, moving: np.ndarray | None = None) -> np.ndarray:
        """Go on to the next frame.

        moving: `stands_out`'s of it, if others are known before or after it.
        Returns: (H, W) uint8, the numbers of the objects in it.
        """
        before, self._view = self._view, _View.of(frame, self._find_people)
        if not self._things:
            return np.zeros(frame.shape[:2], np.uint8)
        there, back = flow_to(before.frame, frame), flow_to(frame, before.frame)
        seen = cv2.blur(is_visible(back, there).astype(np.float32), (3, 3))
        seen *= alike(self._view.lab, pull(before.lab, back))
        self._move_shapes(there)
        assert self._plate is not None
        self._plate.move(back, (self._shares[0] > 0.9) & (seen > 0.5))
        self._stands = PLATE * self._plate.evidence(self._view.lab, self._shares[0] > 0.95)
        self._locate()
        looks = self._looks()
        self._find_again(looks, moving)
        place = self._place(back, seen)
        score = self._score(before, there, back, seen, place, looks)
        # of what is pointed at in a correction: neither what moves counts, which says little of the
        # inside of plain things, nor how far it was thought to reach
        self._evidence = score - np.log(place.clip(_LEAST, 1))
        if moving is not None:
            self._add_moving(score, place, moving)
        for index, thing in enumerate(self._things.values(), 1):
            score[index] -= FAR * ~within_reach(thing)
        score -= score.max(axis=0)
        shares = np.exp(score)
        shares = guided(self._view.lab[..., 0].astype(np.float32), shares / shares.sum(axis=0))
        winners = without_strays(shares.argmax(axis=0).astype(np.uint8), place)
        self._learn(winners, shares, looks)
        numbers = np.array([0, *self._things], np.uint8)
        return numbers[winners]

    def _move_shapes(self, there: np.ndarray) -> None:
        """Shapes go where the visible parts of their objects have gone."""
        winners = self._shares.argmax(axis=0)
        height, width = winners.shape
        for index, thing in enumerate(self._things.values(), 1):
            rows, columns = np.nonzero(winners == index)
            turn = np.eye(2, 3, dtype=np.float32)
            if len(rows) > _MOTION_PIXELS:
                moved = np.median(there[rows, columns], axis=0)
                thing.velocity = 0.3 * thing.velocity + 0.7 * moved
                turn[:, 2] = moved
                if len(rows) > 5 * _MOTION_PIXELS:
                    turn = grown(turn, rows, columns, there)
            else:
                thing.velocity = 0.95 * thing.velocity
                turn[:, 2] = thing.velocity
            thing.shape = cv2.warpAffine(thing.shape, turn, (width, height))
            thing.box = box_of(thing.shape > 0.4 * max(float(thing.shape.max()), 0.1)) or thing.box

    def _locate(self) -> None:
        """Put shapes where what tells their objects' parts from all others is."""
        for number, thing in self._things.items():
            others = self._background.copy()
            for other, one in self._things.items():
                if other != number:
                    others = np.maximum(others, (one.first_looks + one.looks) / 2)
            looks = (thing.first_parts + thing.parts) / 2
            x, y = shift_of(thing.shape, thing.box, looks, others, self._view.bins)
            if (x, y) == (0, 0):
                continue
            turn = np.array([[1, 0, x], [0, 1, y]], np.float32)
            thing.shape = cv2.warpAffine(thing.shape, turn, thing.shape.shape[::-1])
            left, top, right, bottom = thing.box
            thing.box = left + x, top + y, right + x, bottom + y
            thing.velocity = thing.velocity + 0.5 * np.array([x, y], np.float32)

    def _looks(self) -> np.ndarray:
        """(K + 1, H, W), of sum 1: what each pixel's colour looks like."""
        bins = self._view.bins
        looks = [self._background[bins]]
        for thing in self._things.values():
            parts = part_bins(bins, thing.box)
            own = 0.5 * (thing.first_looks[bins] + thing.looks[bins])
            looks.append(0.3 * own + 0.35 * (thing.first_parts[parts] + thing.parts[parts]))
        result = np.stack(looks) + 2e-5
        return result / result.sum(axis=0)

    def _place(self, back: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """(K + 1, H, W): where each is by what was known of the frame before. What wasn't seen
        there may be any that is near, or whose shape is there."""
        carried = np.stack([pull(share, back) for share in self._shares])
        carried[0] += 1 - carried.sum(axis=0)
        near = np.stack([cv2.GaussianBlur(share, (0, 0), 6) for share in carried])
        near[0] += 0.3
        near /= near.sum(axis=0)
        shape = self._shape()
        carried = np.stack([cv2.GaussianBlur(share, (0, 0), 1.2) for share in carried])
        unseen = 1 - seen
        place = (carried * seen + near * unseen) * (0.3 + 0.7 * seen) + shape * (0.7 * unseen)
        for index, thing in enumerate(self._things.values(), 1):
            if thing.is_lost:  # it may come up anywhere in its shape
                place[index] = np.maximum(place[index], 0.5 * shape[index])
        return place

    def _shape(self) -> np.ndarray:
        shapes = np.stack([thing.shape for thing in self._things.values()])
        shapes = np.concatenate([1 - shapes.max(axis=0, keepdims=True), shapes])
        shapes = shapes.clip(_LEAST_SHAPE, 1)
        return shapes / shapes.sum(axis=0)

    def _score(
        self,
        before: _View,
        there: np.ndarray,
        back: np.ndarray,
        seen: np.ndarray,
        place: np.ndarray,
        looks: np.ndarray,
    ) -> np.ndarray:
        """(K + 1, H, W): the logarithm of how probable each is, up to what all have."""
        view, winners = self._view, self._shares.argmax(axis=0)
        rows, columns = np.indices(winners.shape, dtype=np.float32)
        moved = np.stack([columns, rows], axis=-1) + there
        where = cv2.dilate((place[0] < 0.98).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
        local = local_shares(view.bins, before.bins, moved, self._shares, where)
        score = np.log(place.clip(_LEAST, 1)) + LOCAL * np.log(local + 0.02)
        score += LOOKS * np.log(looks + 0.02) + SHAPE * np.log(self._shape())
        stands_out = self._stands
        score[1:] += stands_out
        score[0] -= stands_out
        person = np.log((view.people + 0.02) / (1.02 - view.people)).clip(-3.5, 1.5)
        for index, thing in enumerate(self._things.values(), 1):
            area = float(place[index].sum())
            if area > _MOTION_PIXELS:
                agreed = float((view.people * place[index]).sum()) / area
                thing.is_person = _KEPT * thing.is_person + (1 - _KEPT) * agreed
            score[index] += PEOPLE * min(max(4 * (thing.is_person - 0.5), 0), 1) * person
        return score

    def _add_moving(self, score: np.ndarray, place: np.ndarray, moving: np.ndarray) -> None:
        """To the score of objects that move: what does not is none of them."""
        for index, thing in enumerate(self._things.values(), 1):
            body = place[index] > 0.5
            if body.sum() > _MOTION_PIXELS:
                share = float((moving[body] > _MOVING).mean())
                before = share if thing.moves is None else thing.moves
                thing.moves = 0.8 * before + 0.2 * share
            score[index] += MOVES * counts_moving(thing) * moving

    def _find_again(self, looks: np.ndarray, moving: np.ndarray | None) -> None:
        """Put the shapes of lost objects where their colours are, if there are such; of those that
        moved, where something moves."""
        for index, thing in enumerate(self._things.values(), 1):
            if not thing.is_lost:
                continue
            left, top, right, bottom = thing.box
            window = (max(3, right - left), max(3, bottom - top))
            taken = self._shares[1:].sum(axis=0) - self._shares[index]
            like = looks[index] * (taken < 0.5)
            if moving is not None:
                counts = counts_moving(thing)
                like = like * (1 - counts + counts * (moving + 0.5).clip(0, 1))
            like = cv2.blur(like, window, borderType=cv2.BORDER_CONSTANT)
            _, best, _, (x, y) = cv2.minMaxLoc(like)
            if best < _FOUND * thing.likeness:
                continue
            turn = np.eye(2, 3, dtype=np.float32)
            turn[:, 2] = x - (left + right) / 2, y - (top + bottom) / 2
            thing.shape = cv2.warpAffine(thing.shape, turn, looks.shape[:0:-1])
            thing.box = box_of(thing.shape > 0.4 * max(float(thing.shape.max()), 0.1)) or thing.box
            thing.velocity[:] = 0

    def _learn(self, winners: np.ndarray, shares: np.ndarray, looks: np.ndarray) -> None:
        """Take in what the frame shows."""
        view = self._view
        clear = np.stack([(winners == index).astype(np.float32) for index in range(len(shares))])
        for index, thing in enumerate(self._things.values(), 1):
            size = float(clear[index].sum())
            hidden = (winners != index) & (winners != 0)
            thing.is_lost = size < _LOST * thing.usual_size
            if thing.is_lost:
                continue
            seen = (1 - _SHAPE_RATE) * thing.shape + _SHAPE_RATE * clear[index]
            thing.shape = np.where(hidden, 0.99 * thing.shape, seen)
            thing.usual_size = max(0.98 * thing.usual_size, size)
            sure = clear[index] * (shares[index] > 0.8)
            if sure.sum() > 50:
                kept, new = _KEPT, 1 - _KEPT
                thing.looks = kept * thing.looks + new * histogram(view.bins, sure)
                thing.parts = kept * thing.parts + new * part_histogram(view.bins, thing.box, sure)
                left, top, right, bottom = (max(0, side) for side in thing.box)
                inside = looks[index, top:bottom, left:right]
                like = float(inside.mean()) if inside.size else 0.0
                thing.likeness = kept * thing.likeness + new * like
        around = self._around(clear[0])
        if around.sum() > 50:
            self._background *= _KEPT
            self._background += (1 - _KEPT) * histogram(view.bins, around)
        self._shares = (clear + shares) / 2
        assert self._plate is not None
        self._plate.learn(view.lab, self._clear(winners))
