"""Who is who: people of one shot, told apart and known again from frame to frame.

A mask of all people falls into groups that lie apart. A group is whoever was, moved along the
motion between the frames (`scene.flow`), where the group is now. Where people who were apart touch,
each pixel is that one's of whose moved mask and of whose colours it is (`layers.runtime.looks`);
people who were never seen apart are one.

Axes: h w pixels of a small picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from layers.runtime.groups import LEAST_AREA, groups_of, is_of_one_body, nearest_label
from layers.runtime.looks import Look, colours_of, leanings
from scene.flow import flow_to, pull

SHORT_SIDE = 256  # pixels of the pictures that this works on
OVERLAP = 0.3  # intersection over union of a moved mask and the group that it is
COMMON = 0.2  # of the smaller of a moved mask and a group: somebody is in it, maybe with others
COVERED = 0.5  # of a group lies where somebody unseen should be: it is they
PIECE = 0.8  # of a piece is one's: then all of it is
SPLIT = 0.25  # of somebody's largest part: what comes off them and is smaller stays theirs
MIXED = 8  # frames of being one group, after which whose pixels are whose isn't sure any more
HIDDEN = 24  # frames for which somebody unseen is waited for
NEW = 5  # frames before which what came off somebody may come back to them, and was nobody
AWAY = 240  # frames for which somebody is known again by their looks
KNOWN = 3  # frames that somebody was seen apart, from which on their looks say something
ALIKE = 0.7  # of what is seen has their colours: somebody who was away may be there again
PARTLY = 0.5  # of what is seen below or above somebody has their colours: it is they
BETTER = 0.15  # of both, by which their colours speak for it that two were taken for each other
NEAR = 12.0  # pixels from where somebody should be, for which colours have to speak up
FAR = 24.0  # the same of where somebody unseen may be
UNSEEN = 1.0  # what speaks against it, as a logarithm, that a pixel is of somebody unseen
STEADY = 12  # frames in which two who parted may still be taken for each other
SPEED = 0.2  # of what was seen last, in the mean motion of somebody


@dataclass(eq=False)
class Track:
    """Somebody.

    mask: (h, w) bool, where they are, or would be were they seen. whole: the same with what became
        hidden of them lately, num_partly frames ago. pieces: the parts of it that were
        in several groups, as behind a post. came_off: of whose group they were before they were
        apart. num_seen, num_hidden: frames in which they were, and since.
    velocity: (2,) float32, x before y, pixels a frame. touched: with whom they were one group, in
        how many frames.
    """

    mask: np.ndarray
    whole: np.ndarray | None = None
    num_partly: int = 0
    pieces: list[np.ndarray] = field(default_factory=list)
    came_off: "Track | None" = None
    came_back: bool = False  # to them, soon
    num_apart: int = 0  # frames since then, the first of them too
    num_seen: int = 1
    num_hidden: int = 0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    touched: dict["Track", int] = field(default_factory=dict)
    met: dict["Track", int] = field(default_factory=dict)  # in which frame last
    look: Look = field(default_factory=Look)

    def hides(self, group: np.ndarray) -> bool:
        """Whether a group (h, w) bool, of a frame later, is what was hidden of who is seen."""
        if self.num_hidden or self.whole is None or not self.num_partly:
            return False
        return bool(((_on(self, self.whole) > 0.5) & group).sum() >= COVERED * group.sum())

    def see(self, mask: np.ndarray) -> None:
        """Where they are in this frame."""
        moved = None if self.whole is None else _on(self, self.whole) > 0.5
        self.num_partly += 1
        if moved is None or mask.sum() >= moved.sum() or self.num_partly > HIDDEN:
            moved, self.num_partly = mask, 0
        self.mask, self.whole, self.num_hidden = mask, moved, 0

    def change_places(self, other: "Track") -> None:
        """Each is where the other one is; what they look like stays theirs."""
        for name in ("mask", "whole", "num_partly", "pieces", "velocity", "num_hidden"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)


class Tracker:
    """People of one shot, frame by frame. Nothing is known of what comes later."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._before: np.ndarray | None = None
        self._flow = np.zeros((0, 0, 2), np.float32)  # from this picture to the one before
        self.number = -1  # of this frame
        self._colours = np.zeros((0, 0), np.int32)

    def __call__(self, picture: np.ndarray, mask: np.ndarray) -> dict[Track, np.ndarray]:
        """
        Args:
            picture: (h, w, 3) uint8 RGB. mask: (h, w) bool, where anybody is.
        Returns: of everybody who is seen their part of the mask, (h, w) bool. What is too small for
            anybody is nobody's.
        """
        carried = self._carry(picture)
        self._before, self._colours = picture, colours_of(picture)
        self.number += 1
        seen: dict[Track, np.ndarray] = {}
        pieces: dict[Track, list[np.ndarray]] = {}  # that are apart from the most of somebody
        groups = groups_of(mask)
        shares = [self._share(group, self._members(carried, group), carried) for group in groups]
        alone: list[Track] = []
        for group, parts, its in zip(groups, shares, _at_home(shares)):
            home = {track: parts[track] for track in its}
            guests = [track for track in parts if track not in its]
            new = [
                track
                for track in guests
                if _is_else(parts[track], track, its, shares)
                and self._came_apart(track, parts, shares)
            ]
            partly = [] if parts else self._parts_of(group, carried)
            if partly:
                pieces.setdefault(partly[0], []).append(group)
            elif not parts:
                who = self._again(carried, group, seen) or self._known(group, seen)
                home = {who or Track(group): group}
            elif not its and not new:
                pieces.setdefault(guests[0], []).append(group)
            else:
                home = self._share(group, [*its, *new], carried)
            alone += home if len(home) == 1 and not new else []
            self._take(home, new, seen)
        for track, apart in pieces.items():
            pieces[track] = [seen.get(track, apart[0]), *apart]
            seen[track] = np.logical_or.reduce(pieces[track])
        least = LEAST_AREA * mask.size
        seen = {track: part for track, part in seen.items() if part.sum() >= least}
        self._set_right(seen, carried, alone)
        self._learn(seen, carried)
        for track, part in seen.items():
            is_behind = any(self._is_behind(other, track) for other in self._tracks)
            if track in alone and not is_behind or track.look.num_frames < KNOWN:
                track.look.learn(self._colours, part)
        for track in seen:
            track.pieces = pieces.get(track, [])
        return seen

    def _take(
        self,
        home: dict[Track, np.ndarray],
        new: Sequence[Track],
        seen: dict[Track, np.ndarray],
    ) -> None:
        """Put who is in a group to those who are seen. new: of these somebody else came off."""
        for track, part in home.items():
            for other in home.keys() - {track}:
                track.touched[other] = track.touched.get(other, 0) + 1
                track.met[other] = self.number
            if track in new:
                whole, known = track, self._unseen_with(track, part, seen)
                track = known or Track(part, touched={whole: 1}, met={whole: self.number})
                track.came_off, track.num_apart = whole, 0
            seen[track] = part

    def _carry(self, picture: np.ndarray) -> dict[Track, np.ndarray]:
        """Where everybody would be in this picture, (h, w) float32."""
        if not self._tracks or self._before is None:
            return {}
        self._flow = flow_to(picture, self._before)
        return {
            # where somebody is hidden something else is seen to move
            track: _on(track, track.mask)
            if track.num_hidden
            else pull(_as_float(track.mask), self._flow)
            for track in self._tracks
            if track.num_hidden <= HIDDEN
        }

    def _members(self, carried: dict[Track, np.ndarray], group: np.ndarray) -> list[Track]:
        """Who of those seen in the frame before is in a group."""
        members = []
        for track, where in carried.items():
            if not track.num_hidden and track in self._tracks:
                mask = where > 0.5
                common = (mask & group).sum()
                if common > 0 and common >= COMMON * min(mask.sum(), group.sum()):
                    members.append(track)
        for track in members[:]:
            if track.num_seen < NEW and track.came_off in members:  # it was no one else
                track.came_back = True
                self._tracks.remove(track)
                members.remove(track)
        return members + [
            track
            for track in carried
            if track in self._tracks and any(self._is_behind(track, other) for other in members)
        ]

    def _is_behind(self, track: Track, other: Track) -> bool:
        """Whether somebody unseen was last seen in one group with somebody else."""
        if not track.num_hidden or track.num_hidden > HIDDEN:
            return False
        last = self.number - track.num_hidden
        return track.met.get(other, -1) >= last - 1

    def _share(
        self, group: np.ndarray, members: Sequence[Track], carried: dict[Track, np.ndarray]
    ) -> dict[Track, np.ndarray]:
        """A group of people, pixel by pixel, by where they should be and by their colours, the
        largest part first. Who was unseen has to be seen to some extent."""
        while True:
            parts = _shared(group, members, carried, self._colours)
            least = LEAST_AREA * group.size
            unseen = [
                track
                for track in members
                if track.num_hidden and parts.get(track, np.zeros(1)).sum() < 2 * least
            ]
            if not unseen or len(unseen) == len(members):
                return parts
            members = [track for track in members if track not in unseen]

    def _parts_of(self, group: np.ndarray, carried: dict[Track, np.ndarray]) -> list[Track]:
        """Of whom a group that nobody was in is a part that was hidden."""
        found = [track for track in self._tracks if track.hides(group)]
        if found:
            return found
        return [
            track
            for track, where in carried.items()
            if not track.num_hidden
            and track.look.num_frames >= KNOWN
            and (where > 0.5).any()
            and is_of_one_body(group, where > 0.5)
            and track.look.has(self._colours, group) > PARTLY
        ]

    def _known(self, group: np.ndarray, seen: dict[Track, np.ndarray]) -> Track | None:
        """Who was away and looks like a group."""
        best, found = ALIKE, None
        for track in self._tracks:
            if track.num_hidden and track not in seen and track.look.num_frames >= KNOWN:
                alike = track.look.has(self._colours, group)
                if alike > best:
                    best, found = alike, track
        return found

    def _unseen_with(
        self, track: Track, part: np.ndarray, seen: dict[Track, np.ndarray]
    ) -> Track | None:
        """Who was last seen with somebody, of whom a part comes off now."""
        others = [one for one in self._tracks if one not in seen and self._is_behind(one, track)]
        return max(others, key=lambda one: one.look.has(self._colours, part), default=None)

    def _set_right(
        self,
        seen: dict[Track, np.ndarray],
        carried: dict[Track, np.ndarray],
        alone: Sequence[Track],
    ) -> None:
        """Two who met and were taken for each other since, as their looks say, change places."""
        for one in alone:
            for other in alone:
                last = one.met.get(other, -STEADY - 1)
                if one is other or self.number - last > STEADY or not {one, other} <= seen.keys():
                    continue
                if min(one.look.num_frames, other.look.num_frames) < KNOWN:
                    continue
                as_is, turned = (
                    one.look.has(self._colours, seen[a]) + other.look.has(self._colours, seen[b])
                    for a, b in ((one, other), (other, one))
                )
                if turned > as_is + 2 * BETTER:
                    seen[one], seen[other] = seen[other], seen[one]
                    if one in carried and other in carried:
                        carried[one], carried[other] = carried[other], carried[one]
                    one.change_places(other)

    def _came_apart(
        self,
        track: Track,
        parts: dict[Track, np.ndarray],
        shares: Sequence[dict[Track, np.ndarray]],
    ) -> bool:
        """Whether somebody's part in a group was one with their largest part in the frame before.
        Parts that were apart already, as of who comes out from behind a post, stay theirs."""
        largest = max((of[track] for of in shares if track in of), key=np.count_nonzero)
        if is_of_one_body(parts[track], largest):
            return False
        if not track.pieces:
            return True
        carried = [pull(_as_float(piece), self._flow) > 0.5 for piece in track.pieces]
        here, there = (
            int(np.argmax([(piece & part).sum() for piece in carried]))
            for part in (parts[track], largest)
        )
        return here == there

    def _again(
        self, carried: dict[Track, np.ndarray], group: np.ndarray, seen: dict[Track, np.ndarray]
    ) -> Track | None:
        """Who was hidden for a while and is a group now, which may show only a part of them."""
        for track in sorted(carried, key=lambda track: track.num_hidden):
            if track.num_hidden and track not in seen and track in self._tracks:
                mask = carried[track] > 0.5
                common = (mask & group).sum()
                if common >= OVERLAP * (mask | group).sum() or common >= COVERED * group.sum():
                    return track
        return None

    def _learn(self, seen: dict[Track, np.ndarray], carried: dict[Track, np.ndarray]) -> None:
        known = [*self._tracks, *(track for track in seen if track not in self._tracks)]
        for track in known:
            if track not in seen:
                if track.num_hidden < HIDDEN:
                    track.mask = _on(track, track.mask) > 0.5
                track.num_hidden += 1
                continue
            if track in carried and not track.num_hidden:
                common = seen[track] & (carried[track] > 0.5)
                if common.any():
                    rate = SPEED if track.num_seen > 1 else 1.0
                    track.velocity -= rate * (
                        track.velocity + np.median(self._flow[common], axis=0)
                    )
            track.see(seen[track])
            track.num_apart += track.came_off is not None
            track.num_seen += track in carried
        self._tracks = [track for track in known if track.num_hidden <= AWAY]


def _on(track: Track, mask: np.ndarray) -> np.ndarray:
    """Where a mask (h, w) bool of somebody is a frame later, unseen: (h, w) float32."""
    way = np.broadcast_to(-track.velocity, (*mask.shape, 2)).astype(np.float32)
    return pull(_as_float(mask), way)


def _as_float(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)


def _at_home(shares: Sequence[dict[Track, np.ndarray]]) -> list[list[Track]]:
    """Of those who have a share in each group, the largest first, who stays in it: everybody is at
    home in one group. As many groups as can be have somebody, those with most in common first; but
    nobody leaves the most of themselves for a small part."""
    common = [
        (-int(part.sum()), number, track)
        for number, parts in enumerate(shares)
        for track, part in parts.items()
    ]
    homes: list[list[Track]] = [[] for _ in shares]
    common.sort(key=lambda item: item[:2])
    largest: dict[Track, int] = {}
    for may_share in (False, True):
        for size, number, track in common:
            is_housed = any(track in its for its in homes)
            is_small = size > SPLIT * largest.setdefault(track, size)
            if not is_housed and (may_share or not (homes[number] or is_small)):
                homes[number].append(track)
    return homes


def _is_else(
    part: np.ndarray,
    track: Track,
    others: Sequence[Track],
    shares: Sequence[dict[Track, np.ndarray]],
) -> bool:
    """Whether somebody's part in a group that isn't theirs is somebody else, who was one with them
    so far. What is small isn't; nor where they have been together with those in that group for
    long, as whose pixels are whose is guessed more than seen by then."""
    largest = max(parts[track].sum() for parts in shares if track in parts)
    is_sure = all(track.touched.get(other, 0) < MIXED for other in others)
    return bool(is_sure and part.sum() >= SPLIT * largest)


def _shared(
    group: np.ndarray,
    members: Sequence[Track],
    carried: dict[Track, np.ndarray],
    colours: np.ndarray | None = None,
) -> dict[Track, np.ndarray]:
    """A group of people, pixel by pixel, the largest part first. colours: (h, w), which speak for
    those whose looks are known; None: it goes by where they should be alone."""
    if len(members) < 2:
        return {track: group for track in members}
    is_told = colours is not None and all(track.look.num_frames >= KNOWN for track in members)
    if is_told:
        assert colours is not None
        score = leanings(colours, group, [track.look for track in members])
        for index, track in enumerate(members):
            away = (carried[track] <= 0.5).astype(np.uint8)
            far = cv2.distanceTransform(away, cv2.DIST_L2, 3) if not away.all() else 1e3
            near, against = (FAR, UNSEEN) if track.num_hidden else (NEAR, 0.0)
            score[index] -= far / near + against
        winner = score.argmax(axis=0) + 1
    else:
        where = np.stack([cv2.blur(carried[track], (5, 5)) for track in members])
        winner = nearest_label(np.where(where.max(axis=0) > 0, where.argmax(axis=0) + 1, 0))
    num, pieces = cv2.connectedComponents(group.astype(np.uint8), connectivity=8)
    for number in range(1, num):
        piece = pieces == number
        if is_told and 2 * piece.sum() > group.sum():
            continue
        counts = np.bincount(winner[piece], minlength=len(members) + 1)
        if counts.max() >= PIECE * counts.sum():
            winner[piece] = counts.argmax()
    parts = {track: group & (winner == number) for number, track in enumerate(members, 1)}
    parts = {track: part for track, part in parts.items() if part.any()}
    return dict(sorted(parts.items(), key=lambda item: -item[1].sum()))


def parted_before(
    pair: tuple[Track, Track], frames: Sequence[tuple[np.ndarray, dict[Track, np.ndarray]]]
) -> list[dict[Track, np.ndarray]]:
    """Two who came apart in the last of some successive frames, told apart in those before, where
    they were taken for one: their masks are moved back along the motion.

    Args:
        pair: who was there before, and who came off them.
        frames: pictures (h, w, 3) uint8, and who is where in them.
    Returns: of each frame but the last who is where.
    """
    (picture, seen), result = frames[-1], [dict(seen) for _, seen in frames[:-1]]
    for number in range(len(result) - 1, -1, -1):
        earlier, known = frames[number][0], result[number]
        gone = [track for track in known if track.came_back and track.came_off is pair[0]]
        if pair[0] not in known or pair[1] in known or not all(track in seen for track in pair):
            break
        whole = np.logical_or.reduce([known[pair[0]], *(known.pop(track) for track in gone)])
        flow = flow_to(earlier, picture)
        carried = {track: pull(_as_float(seen[track]), flow) for track in pair}
        parts = _shared(whole, pair, carried, colours_of(earlier))
        least = LEAST_AREA * whole.size
        if len(parts) < 2 or min(part.sum() for part in parts.values()) < least:
            break
        result[number].update(parts)
        picture, seen = earlier, result[number]
    return result
