"""Who is who: people of one shot, told apart and known again from frame to frame.

A mask of all people falls into groups that lie apart. A group is whoever was, moved along the
motion between the frames (`scene.flow`), where the group is now. Where people who were apart touch,
each pixel is that one's of whose moved mask it is; people who were never seen apart are one.

Axes: h w pixels of a small picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from scene.flow import flow_to, pull

SHORT_SIDE = 256  # pixels of the pictures that this works on
LEAST_AREA = 0.001  # of the picture: what is smaller is nobody by itself
APART = 0.02  # of the picture's width: what is nearer to each other is one group
OVERLAP = 0.3  # intersection over union of a moved mask and the group that it is
COMMON = 0.2  # of the smaller of a moved mask and a group: somebody is in it, maybe with others
COVERED = 0.5  # of a group lies where somebody unseen should be: it is they
PIECE = 0.8  # of a piece is one's: then all of it is
SPLIT = 0.25  # of somebody's largest part: what comes off them and is smaller stays theirs
MIXED = 8  # frames of being one group, after which whose pixels are whose isn't sure any more
HIDDEN = 24  # frames for which somebody unseen is waited for
NEW = 5  # frames before which what came off somebody may come back to them, and was nobody
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
    num_seen: int = 1
    num_hidden: int = 0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    touched: dict["Track", int] = field(default_factory=dict)

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


class Tracker:
    """People of one shot, frame by frame. Nothing is known of what comes later."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._before: np.ndarray | None = None
        self._flow = np.zeros((0, 0, 2), np.float32)  # from this picture to the one before

    def __call__(self, picture: np.ndarray, mask: np.ndarray) -> dict[Track, np.ndarray]:
        """
        Args:
            picture: (h, w, 3) uint8 RGB. mask: (h, w) bool, where anybody is.
        Returns: of everybody who is seen their part of the mask, (h, w) bool. What is too small for
            anybody is nobody's.
        """
        carried = self._carry(picture)
        self._before = picture
        seen: dict[Track, np.ndarray] = {}
        pieces: dict[Track, list[np.ndarray]] = {}  # that are apart from the most of somebody
        groups = groups_of(mask)
        shares = [_shared(group, self._members(carried, group), carried) for group in groups]
        for group, parts, its in zip(groups, shares, _at_home(shares)):
            home = {track: parts[track] for track in its}
            guests = [track for track in parts if track not in its]
            new = [
                track
                for track in guests
                if _is_else(parts[track], track, its, shares)
                and self._came_apart(track, parts, shares)
            ]
            partly = [] if parts else [track for track in self._tracks if track.hides(group)]
            if partly:
                pieces.setdefault(partly[0], []).append(group)
            elif not parts:
                home = {self._again(carried, group, seen) or Track(group): group}
            elif not its and not new:
                pieces.setdefault(guests[0], []).append(group)
            else:
                home = _shared(group, [*its, *new], carried)
            for track, part in home.items():
                for other in home.keys() - {track}:
                    track.touched[other] = track.touched.get(other, 0) + 1
                if track in new:
                    track = Track(part, came_off=track, touched={track: 1})
                seen[track] = part
        for track, apart in pieces.items():
            pieces[track] = [seen.get(track, apart[0]), *apart]
            seen[track] = np.logical_or.reduce(pieces[track])
        least = LEAST_AREA * mask.size
        seen = {track: part for track, part in seen.items() if part.sum() >= least}
        self._learn(seen, carried)
        for track in seen:
            track.pieces = pieces.get(track, [])
        return seen

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
                self._tracks.remove(track)
                members.remove(track)
        return members

    def _came_apart(
        self,
        track: Track,
        parts: dict[Track, np.ndarray],
        shares: Sequence[dict[Track, np.ndarray]],
    ) -> bool:
        """Whether somebody's part in a group was one with their largest part in the frame before.
        Parts that were apart already, as of who comes out from behind a post, stay theirs."""
        if not track.pieces:
            return True
        carried = [pull(_as_float(piece), self._flow) > 0.5 for piece in track.pieces]
        largest = max((of[track] for of in shares if track in of), key=np.count_nonzero)
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
            if track.num_hidden and track not in seen:
                mask = carried[track] > 0.5
                common = (mask & group).sum()
                if common >= OVERLAP * (mask | group).sum() or common >= COVERED * group.sum():
                    return track
        return None

    def _learn(self, seen: dict[Track, np.ndarray], carried: dict[Track, np.ndarray]) -> None:
        known = [*self._tracks, *(track for track in seen if track not in self._tracks)]
        for track in known:
            if track not in seen:
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
            track.num_seen += track in carried
        self._tracks = [track for track in known if track.num_hidden <= HIDDEN]


def _on(track: Track, mask: np.ndarray) -> np.ndarray:
    """Where a mask (h, w) bool of somebody is a frame later, unseen: (h, w) float32."""
    way = np.broadcast_to(-track.velocity, (*mask.shape, 2)).astype(np.float32)
    return pull(_as_float(mask), way)


def _as_float(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.float32)


def groups_of(mask: np.ndarray) -> list[np.ndarray]:
    """The parts of a mask (h, w) bool that lie apart, the largest first, without small ones."""
    radius = max(1, round(APART * mask.shape[1] / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    wide = cv2.dilate(mask.astype(np.uint8), disc)
    num, labels = cv2.connectedComponents(wide, connectivity=8)
    sizes = np.bincount(labels[mask], minlength=num)
    order = np.argsort(-sizes[1:], kind="stable") + 1
    return [
        (labels == number) & mask for number in order if sizes[number] >= LEAST_AREA * mask.size
    ]


def _at_home(shares: Sequence[dict[Track, np.ndarray]]) -> list[list[Track]]:
    """Of those who have a share in each group, the largest first, who stays in it: everybody is at
    home in one group. As many groups as can be have somebody, those with most in common first."""
    common = [
        (-int(part.sum()), number, track)
        for number, parts in enumerate(shares)
        for track, part in parts.items()
    ]
    homes: list[list[Track]] = [[] for _ in shares]
    common.sort(key=lambda item: item[:2])
    for may_share in (False, True):
        for _, number, track in common:
            is_housed = any(track in its for its in homes)
            if not is_housed and (may_share or not homes[number]):
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
    group: np.ndarray, members: Sequence[Track], carried: dict[Track, np.ndarray]
) -> dict[Track, np.ndarray]:
    """A group of people, pixel by pixel, the largest part first."""
    if len(members) < 2:
        return {track: group for track in members}
    where = np.stack([cv2.blur(carried[track], (5, 5)) for track in members])
    winner = nearest_label(np.where(where.max(axis=0) > 0, where.argmax(axis=0) + 1, 0))
    num, pieces = cv2.connectedComponents(group.astype(np.uint8), connectivity=8)
    for number in range(1, num):
        piece = pieces == number
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
        earlier, whole = frames[number][0], result[number].get(pair[0])
        if whole is None or not all(track in seen for track in pair):
            break
        flow = flow_to(earlier, picture)
        parts = _shared(whole, pair, {track: pull(_as_float(seen[track]), flow) for track in pair})
        least = LEAST_AREA * whole.size
        if len(parts) < 2 or min(part.sum() for part in parts.values()) < least:
            break
        result[number].update(parts)
        picture, seen = earlier, result[number]
    return result


def nearest_label(labels: np.ndarray) -> np.ndarray:
    """At every place the label of the pixel nearest to it that has one: (h, w) integers above 0; 0
    for none, which stays where there is no other."""
    has_none = labels == 0
    if has_none.all() or not has_none.any():
        return labels
    _, places = cv2.distanceTransformWithLabels(
        has_none.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_place = np.zeros(int(places.max()) + 1, labels.dtype)
    of_place[places[~has_none]] = labels[~has_none]
    return of_place[places]
