"""The objects of one shot, followed in both directions from the frames where they were pointed at.

Axes: H W pixels, at the working size.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
from tqdm import tqdm

from layers.prompts import NOT_POINT, POINT, Prompt
from layers.runtime.follow import Follower
from layers.runtime.frame_store import FrameStore
from layers.runtime.moving import REACH, stands_out
from layers.runtime.pointing import FindPeople, find_objects, people_in

Prompts = Mapping[int, Sequence[Prompt]]  # by the number of a frame in the shot


def follow_shot(
    frames: Iterable[np.ndarray], prompts: Prompts, find_people: FindPeople = people_in
) -> Iterator[np.ndarray]:
    """Where the objects are in every frame of a shot.

    An object is followed from a frame where it was pointed at to both ends. Between two such frames
    what is nearer in time counts, so that each corrects the other. Frames up to the last prompt are
    kept on the disk; those behind it are not, so that a shot may be endless.

    Args:
        frames: (H, W, 3) uint8 RGB, in order, at the working size.
        prompts: with numbers, in pixels of these frames; those of frames that the shot hasn't are
            left out.
    Yields: (H, W) uint8 for each frame, the numbers of objects, 0 elsewhere.
    """
    rest = iter(frames)
    with FrameStore() as store, FrameStore() as behind:
        num_kept = max(prompts, default=-1) + 1
        for frame in islice(rest, num_kept + REACH if num_kept else 0):
            store.append(frame)
        own = {number: prompts[number] for number in sorted(prompts) if number < len(store)}
        if not own:
            for frame in (*store, *rest):
                yield np.zeros(frame.shape[:2], np.uint8)
            return
        last = max(own)
        for labels in tqdm(
            _backwards(store, own, find_people),
            total=last + 1,
            unit="frame",
            desc="following back",
            disable=None if last else True,
            leave=False,
        ):
            behind.append(labels)
        follower = None
        for place, frame in enumerate(store):
            ahead = np.zeros(frame.shape[:2], np.uint8)
            if follower is not None:
                follower.step(frame)
            if place in own:
                follower = follower or Follower(frame, find_people)
                _anchor(follower, store, place, own[place], find_people)
            if follower is not None:
                ahead = follower.labels
            yield _nearest(place, ahead, behind[last - place], own) if place <= last else ahead
        assert follower is not None
        for frame in rest:
            yield follower.step(frame)


def _positive(prompts: Sequence[Prompt]) -> set[int]:
    """The numbers of the objects of which it is said where they are."""
    return {prompt.number or 1 for prompt in prompts if prompt.kind != NOT_POINT}


def _backwards(store: FrameStore, own: Prompts, find_people: FindPeople) -> Iterator[np.ndarray]:
    """The labels of the frames from the last with a prompt to the first of the shot."""
    last = max(own)
    follower = Follower(store[last], find_people)
    for place in range(last, -1, -1):
        if place < last:
            follower.step(store[place])
        if place in own:
            _anchor(follower, store, place, own[place], find_people)
        yield follower.labels


def _anchor(
    follower: Follower,
    store: FrameStore,
    place: int,
    prompts: Sequence[Prompt],
    find_people: FindPeople,
) -> None:
    """Tell the follower what was said of its frame. Of an object of which it is only said what is
    none of it, the thing there is taken away from where it was followed to."""
    labels, numbers = follower.labels, _positive(prompts)
    find = partial(
        find_objects,
        store[place],
        people=follower.people,
        moving=stands_out(store, place),
        find_people=find_people,
    )
    found = {}
    if numbers:
        known = [*prompts, *_others(labels, prompts, numbers)]
        pointed = find(known)
        found = {number: pointed == number for number in numbers}
    for prompt in prompts:
        if prompt.kind == NOT_POINT and prompt.number is not None and prompt.number not in numbers:
            thing = find([replace(prompt, kind=POINT)]) > 0
            own = found.get(prompt.number, labels == prompt.number)
            if own.any():
                found[prompt.number] = own & ~thing
    if found:
        follower.anchor(found)


def _others(labels: np.ndarray, prompts: Sequence[Prompt], numbers: set[int]) -> list[Prompt]:
    """A click on each of the other objects, where it was followed to: what is pointed at is told
    from them, as if all had been pointed at. Not where that is just what is pointed at."""
    reach = 0.05 * max(labels.shape)
    clicks = []
    for number in np.unique(labels).tolist():
        if number and number not in numbers:
            rows, columns = np.nonzero(labels == number)
            middle = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
            x, y = float(columns[middle.argmin()]), float(rows[middle.argmin()])
            given = [point for prompt in prompts for point in prompt.points]
            if all(abs(x - a) + abs(y - b) > reach for a, b in given):
                clicks.append(Prompt(POINT, ((x, y),), number=number))
    return clicks


def _nearest(place: int, ahead: np.ndarray, behind: np.ndarray, own: Prompts) -> np.ndarray:
    """Each object as it was followed from the frame nearest in time where it was pointed at.

    ahead, behind: the labels as they were followed forwards and backwards.
    """
    result = np.zeros_like(ahead)
    told = {frame: _positive(prompts) for frame, prompts in own.items()}
    for number in sorted(set().union(*told.values())):
        anchors = [frame for frame, numbers in told.items() if number in numbers]
        nearest = min(anchors, key=lambda frame: (abs(frame - place), frame))
        labels = ahead if nearest <= place else behind
        result[(labels == number) & (result == 0)] = number
    return result
