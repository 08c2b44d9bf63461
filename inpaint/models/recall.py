"""A picture memory: what stood in the hole before it became a hole, moved to where it is now.

It remembers twice, and there are no weights in either:

- The *canvas* keeps the last seen colour of every place. It is moved on from frame to frame,
  follows whatever moves, and is sharp while it is young: a hundred samplings blur it.
- *Key pictures* stay as they are. The motion to one is measured afresh at every frame, so that
  errors don't add up, and it is sampled once: what was seen a minute ago is as sharp as a second
  ago. A key learns what it lacks, averages grain out while all is seen and nothing moves, and gives
  up what is contradicted for some frames. What was seen is never overwritten by what was painted.
  (To keep what was painted, too, at a lower rank, cost 0.35 dB: what is seen around a place by then
  knows better.)

Both, and what is seen only later where that is known (`overlay_later`), are *candidates* for a
pixel; `merge` weighs them by hand, and networks learn to do it better.

Almost everything is continuous in its inputs (ramps instead of thresholds), so that engines that
round otherwise give the same picture. Computed in float32.

Axes: B batch, K keys, H W pixels (even), h w half as many. Pictures are in [-1, 1], motion in
    pixels (x, y).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.motion import (
    NEARLY_ALL,
    Pyramid,
    enlarge,
    follow,
    halve,
    in_its_light,
    inside,
    known_after,
    measure_motion,
    pyramid,
    ramp,
    turn_back,
    warp_inside,
)
from scene.masks import smooth_fill

NUM_KEYS = 2  # one in use, and one in reserve for when the view comes back
ALMOST_UNKNOWN = 1e-3  # what is less known has no colour
MEMBRANE = 0.5  # how much of the difference around the hole is carried into it
# The constants below were chosen on eleven real clips of 48 frames with three families of holes.
OLD = 8.0  # frames after which a canvas counts half of what its age leaves it
KEY_SHARE = 0.25  # of a key beside a canvas that is young
NOISE = 0.02  # a difference that is no doubt: grain, and what was lost in coding
# a change of light, of which `MEMBRANE` leaves half, that is no doubt; of a camera that adapts
LIGHT = 0.15
MOST_DOUBT = 2.0  # of a range of 2
DOUBTFUL = 0.03  # a doubt that divides a candidate's weight by e
RING = 2  # pixels around a hole, of which a smooth fill is tried out, and
RISK = 0.02  # what it is off anyway
CONTRADICTED = (0.2, 0.4)  # a difference to what is seen, and
OBEYED = 1 / 8  # how much trust it costs a frame
SAME = (0.04, 0.08)  # a difference that is grain, where
STILL = (0.05, 0.15)  # so many pixels of motion are none, and
MEAN = 0.25  # how fast grain goes
IN_VIEW = 0.75  # a key is given up when less of the picture lies in it, or
BETTER = 0.05  # when the key in reserve knows so much more of it, or
WRONG = 0.5  # when so much of what is seen contradicts it
IDLE = 300.0  # frames after which a key in reserve makes place for a newer one

# where the planes of a picture lie
COLOUR, TRUST, AGE, PLANES = slice(0, 3), slice(3, 4), slice(4, 5), 5


class Memory(NamedTuple):
    """What is known of a stream. All 0 is the start of one.

    canvas: (B, 5, H, W), colours times known, known (0 to 1), frames since it was seen times known.
    keys: (B, K, 5, H, W), colours, trust (0 to 1), frames since it was seen; the first is in use.
    places: (B, K, 3, h, w), motion of the last frame to each key, and frames since the key was in
        use.
    """

    canvas: Tensor
    keys: Tensor
    places: Tensor


class Ahead(NamedTuple):
    """What is known of frames to come, where a film is read and not a camera.

    canvas, motion: what they show (`overlay_later`), and the frame's motion to it. key: a key
        picture (B, 5, h, w) to be taken into use; the frame before stands in it as it is.
    keep_key: no other comes into use by itself.
    """

    canvas: Tensor | None = None
    motion: Tensor | None = None
    key: Tensor | None = None
    keep_key: bool = False


@dataclass(frozen=True)
class Candidate:
    """What may stand in the hole. colour: (B, 3, H, W). The others: (B, 1, H, W).

    known: 0 to 1. doubt: how much candidate and frame differ around the hole, carried into it.
    age: frames since it was seen. from_key: seen once and sampled once, at whatever age.
    """

    colour: Tensor
    known: Tensor
    doubt: Tensor
    age: Tensor
    from_key: bool = False
    later: bool = False


@dataclass(frozen=True)
class Merged:
    """Candidates weighed by hand: the sum of `colours` by `weights` is the picture, in the hole.

    picture: (B, 3, H, W), the frame, in the hole what is remembered, and a smooth fill where
        nothing is. known, doubt: (B, 1, H, W), of the candidates together; 1 and 0 outside.
    candidates: as they came. below: (B, 3, H, W), what stands where they know nothing.
    smooth: (B, 3, H, W), the frame with its hole filled smoothly.
    weights: of each candidate, of `below` and of `smooth`, (B, 1, H, W) each, 1 together.
    """

    picture: Tensor
    known: Tensor
    doubt: Tensor
    candidates: tuple[Candidate, ...]
    below: Tensor
    smooth: Tensor
    weights: tuple[Tensor, ...]

    @property
    def colours(self) -> tuple[Tensor, ...]:
        return (*(candidate.colour for candidate in self.candidates), self.below, self.smooth)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Merged":
        """The same of all its pictures after `change`, such as a part of them."""
        candidates = tuple(
            replace(
                c,
                colour=change(c.colour),
                known=change(c.known),
                doubt=change(c.doubt),
                age=change(c.age),
            )
            for c in self.candidates
        )
        return Merged(
            change(self.picture),
            change(self.known),
            change(self.doubt),
            candidates,
            change(self.below),
            change(self.smooth),
            tuple(map(change, self.weights)),
        )


def empty_memory(like: Tensor, *, num_keys: int = NUM_KEYS) -> Memory:
    """The start of streams of pictures of that shape, (B, ., H, W)."""
    b, _, height, width = like.shape
    return Memory(
        like.new_zeros(b, PLANES, height, width),
        like.new_zeros(b, num_keys, PLANES, height, width),
        like.new_zeros(b, num_keys, 3, height // 2, width // 2),
    )


def recall(
    seen: Tensor, hole: Tensor, memory: Memory, ahead: Ahead | None = None
) -> tuple[Merged, Memory]:
    """Fill a frame's hole with what is remembered, and bring the memory up to date.

    Args:
        seen: (B, 3, H, W), the frame, 0 in the hole. hole: (B, 1, H, W), 1 = missing.
        memory: after the frame before.
        ahead: where frames to come are known. What their canvas shows is not remembered.
    Returns: the candidates, the canvas' first, then the key's, then those of later; and the memory
        after this frame.
    """
    visible, ahead = 1 - hole, ahead or Ahead()
    if ahead.key is not None:
        keys, places = (
            torch.cat([first[:, None], rest[:, 1:]], 1)
            for first, rest in (
                (ahead.key, memory.keys),
                (torch.zeros_like(memory.places[:, 0]), memory.places),
            )
        )
        memory = memory._replace(keys=keys, places=places)
    smooth, here = smooth_fill(seen, hole), pyramid(seen, visible)
    risk = risk_of_smooth(seen, hole)
    motion = measure_motion(here, pyramid(*_unmix(memory.canvas)))
    candidates = [look_up(seen, hole, memory.canvas, motion)]
    canvas = lay_over(seen, visible, candidates[0])
    if memory.keys.shape[1]:
        places = _move_on(memory.places, motion)
        old, place = _look_up_key(seen, hole, here, memory.keys[:, 0], places[:, 0, :2])
        candidates.append(old)
    merged = merge(seen, hole, smooth, risk, tuple(candidates))
    memory = memory._replace(canvas=canvas)
    if memory.keys.shape[1]:
        key, fits = _learn(memory.keys[:, 0], place, seen, visible)
        places = torch.cat([F.pad(place, (0, 0, 0, 0, 0, 1))[:, None], places[:, 1:]], 1)
        keys = torch.cat([key[:, None], memory.keys[:, 1:]], 1)
        # where numbers can be looked at for nothing, nothing is chosen while the key fits, and best
        looked_at = not (keys.is_cuda or torch.compiler.is_compiling() or torch.jit.is_tracing())
        if not ahead.keep_key and not (
            looked_at and fits.all() and not _knows_more(keys, places).any()
        ):
            present = torch.cat(
                [merged.picture, merged.known, torch.where(hole > 0, old.age, 0.0)], 1
            )
            keys, places = _choose_key(keys, places, fits, present)
        memory = Memory(canvas, keys, places)
    if ahead.canvas is not None and ahead.motion is not None:
        candidates.append(look_up(seen, hole, ahead.canvas, ahead.motion, later=True))
        merged = merge(seen, hole, smooth, risk, tuple(candidates))
    return merged, memory


def look_up(
    seen: Tensor, hole: Tensor, canvas: Tensor, motion: Tensor, *, later: bool = False
) -> Candidate:
    """What a canvas (B, 5, H, W) shows of the frame, whose motion to it is (B, 2, h, w). later: it
    is of frames to come."""
    moved, within = warp_inside(canvas, enlarge(motion, seen))
    colour, share = _unmix(moved)
    known = known_after(share) * within
    colour, doubt = _fit_in(seen, hole, colour, known)
    age = moved[:, AGE] / share.clamp(min=ALMOST_UNKNOWN) + 1
    return Candidate(colour, known, doubt, age, later=later)


def lay_over(seen: Tensor, visible: Tensor, candidate: Candidate) -> Tensor:
    """The canvas (B, 5, H, W) of a frame: what is seen, and the candidate where nothing is."""
    colour = torch.where(visible > 0, seen, candidate.colour)
    known = torch.where(visible > 0, visible, candidate.known)
    age = torch.where(visible > 0, 0.0, candidate.age)
    return torch.cat([colour * known, known, age * known], dim=1)


def risk_of_smooth(seen: Tensor, hole: Tensor) -> Tensor:
    """How far a smooth fill is off, (B, 1, H, W): what it makes of the pixels right around the hole
    if they are taken for missing too, carried into it."""
    wider = F.max_pool2d(hole, 2 * RING + 1, 1, RING)
    error = (seen - smooth_fill(seen, wider)).abs().mean(1, keepdim=True)
    return smooth_fill(error, 1 - wider + hole)


def merge(
    seen: Tensor, hole: Tensor, smooth: Tensor, risk: Tensor, candidates: tuple[Candidate, ...]
) -> Merged:
    """Weigh the candidates by hand. smooth: `smooth_fill` of the frame, risk: `risk_of_smooth`; the
    others as in `recall`."""
    # counted from the least doubt, so that where all is in doubt the weights don't vanish
    least = torch.stack([torch.where(c.known > 0, c.doubt, MOST_DOUBT) for c in candidates]).amin(0)
    weights = [weigh(candidate, least) for candidate in candidates]
    total = reduce(torch.add, weights).clamp(min=1e-12)
    shares = [weight / total for weight in weights]
    colour = reduce(torch.add, [share * c.colour for share, c in zip(shares, candidates)])
    doubt = reduce(torch.add, [share * c.doubt for share, c in zip(shares, candidates)])
    before, after = (
        _known_by([c for c in candidates if c.later == later], hole) for later in (False, True)
    )
    known = torch.where(hole > 0, 1 - (1 - before) * (1 - after), 1 - hole)
    colour = torch.where(hole > 0, colour, seen)
    below = smooth_fill(colour, 1 - known)
    # by the squares of how far either is off, as estimates are weighed; but what is known from
    # before and from after as well is better than any smooth fill
    off = doubt.square() / (doubt.square() + (risk + RISK).square())
    unsure = known * off * (1 - before * after) * hole
    picture = torch.lerp(torch.lerp(below, colour, known), smooth, unsure)
    kept = known * (1 - unsure)
    all_weights = (*(share * kept for share in shares), (1 - known) * (1 - unsure), unsure)
    return Merged(picture, known, doubt * hole * known, candidates, below, smooth, all_weights)


def weigh(candidate: Candidate, least: Tensor) -> Tensor:
    """How much a candidate counts beside others, (B, 1, H, W): not at all where nothing is known.
    least: doubt of them all."""
    trust = candidate.known * torch.exp((least - candidate.doubt).clamp(max=0) / DOUBTFUL)
    if candidate.from_key:
        return KEY_SHARE * trust / candidate.age.clamp(min=1)
    return trust / (candidate.age * (1 + (candidate.age / OLD).square()))


def _known_by(candidates: list[Candidate], hole: Tensor) -> Tensor:
    """(B, 1, H, W): how well a pixel is known by any of the candidates."""
    unknown = torch.ones_like(hole)
    for candidate in candidates:
        unknown = unknown * (1 - candidate.known)
    return 1 - unknown


def _unmix(canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and how well they are known, of colours times that: (B, 3, H, W), (B, 1, H, W)."""
    return canvas[:, COLOUR] / canvas[:, TRUST].clamp(min=ALMOST_UNKNOWN), canvas[:, TRUST]


def _fit_in(seen: Tensor, hole: Tensor, colour: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The difference at the hole's edge carried into it, which takes away changes of light and what
    the motion got wrong.

    Returns: the colours, and how large the difference is beyond `NOISE`, (B, 1, H, W), without
        light that changes everywhere and by `LIGHT` at most.
    """
    difference, both = seen - colour, (1 - hole) * known
    lit = (seen - in_its_light(colour, seen, both)).abs()
    unlike = torch.maximum(lit, difference.abs() - LIGHT).mean(1, keepdim=True)
    difference, seen_before = halve(torch.cat([difference, unlike], dim=1), both)
    difference = enlarge(smooth_fill(difference, 1 - ramp(seen_before, 0, 0.5)), hole)
    fitted = (colour + MEMBRANE * difference[:, COLOUR]).clamp(-1, 1)
    return fitted, (difference[:, 3:] - NOISE).clamp(min=0)


# --- key pictures ---------------------------------------------------------------------------------


def _move_on(places: Tensor, motion: Tensor) -> Tensor:
    """Where the frame stands in every key, as far as the motion to the frame before tells; all have
    been idle so long."""
    b, k = places.shape[:2]
    moved = follow(motion.repeat_interleave(k, 0), places.flatten(0, 1)).unflatten(0, (b, k))
    return torch.cat([moved, places[:, :, 2:] + 1], dim=2)


def _look_up_key(
    seen: Tensor, hole: Tensor, here: Pyramid, key: Tensor, start: Tensor
) -> tuple[Candidate, Tensor]:
    """What a key (B, 5, H, W) shows of the frame, and the motion to the key (B, 2, h, w)."""
    trust = key[:, TRUST]
    place = measure_motion(here, pyramid(key[:, COLOUR], known_after(trust)), start)
    moved, within = warp_inside(
        torch.cat([key[:, COLOUR] * trust, trust, key[:, AGE]], 1), enlarge(place, seen)
    )
    colour, share = _unmix(moved)
    known = known_after(share) * within
    colour, doubt = _fit_in(seen, hole, colour, known)
    return Candidate(colour, known, doubt, moved[:, AGE] + 1, from_key=True), place


def _learn(key: Tensor, place: Tensor, seen: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """A key brought up to date with what a frame sees, which stands in it by `place`.

    Returns: the key, and whether it is still of use, (B,) bool.
    """
    now, within = warp_inside(torch.cat([seen, visible], 1), enlarge(turn_back(place), seen))
    sees = now[:, TRUST] * within > NEARLY_ALL
    colour, trust = key[:, COLOUR], key[:, TRUST]
    difference = F.avg_pool2d((now[:, COLOUR] - colour).abs().mean(1, keepdim=True), 3, 1, 1)
    wrong, compared = ramp(difference, *CONTRADICTED), (sees & (trust > 0.5)).to(now.dtype)
    trust = (trust + compared * OBEYED * (1 - 2 * wrong)).clamp(0, 1)
    replaced = sees & (trust < 0.5)
    # as long as all is seen and stands still, grain is averaged out; later, what is seen would
    # drift away from what is hidden
    moved = enlarge(place.abs().amax(1, keepdim=True), seen)
    same = (
        compared
        * (1 - ramp(difference, *SAME))
        * (1 - ramp(moved, *STILL))
        * visible.amin(dim=(2, 3), keepdim=True)
    )
    colour = torch.where(replaced, now[:, COLOUR], torch.lerp(colour, now[:, COLOUR], MEAN * same))
    trust, age = torch.where(replaced, 1.0, trust), torch.where(sees, 0.0, key[:, AGE] + 1)
    in_view = _in_view(place).flatten()
    contradicted = (compared * wrong).mean(dim=(1, 2, 3)) / compared.mean(dim=(1, 2, 3)).clamp(
        min=1e-6
    )
    return torch.cat([colour, trust, age], 1), (in_view >= IN_VIEW) & (contradicted <= WRONG)


def _choose_key(
    keys: Tensor, places: Tensor, fits: Tensor, present: Tensor
) -> tuple[Tensor, Tensor]:
    """Keep the key in use as long as it fits, and best; else the one in reserve if that fits, else
    the present picture.

    The reserve is kept until it was idle for long, so that a view comes back to it from afar.
    """
    fits = fits.view(-1, 1, 1, 1)
    present_place = torch.zeros_like(places[:, 0])
    if keys.shape[1] == 1:
        new, place = (
            torch.where(fits, keys[:, 0], present),
            torch.where(fits, places[:, 0], present_place),
        )
        return new[:, None], place[:, None]
    (key, reserve), (place, reserve_place) = keys.unbind(1), places.unbind(1)
    in_view = _in_view(reserve_place) >= IN_VIEW
    empty = reserve[:, TRUST].amax(dim=(1, 2, 3), keepdim=True) < 0.5
    back = ~empty & in_view & (~fits | _knows_more(keys, places))
    fresh = ~fits & ~back
    put_by = back | (
        fresh & (empty | (reserve_place[:, 2:].amax(dim=(1, 2, 3), keepdim=True) > IDLE))
    )
    new_keys = (
        torch.where(back, reserve, torch.where(fresh, present, key)),
        torch.where(put_by, key, reserve),
    )
    new_places = (
        torch.where(back, reserve_place, torch.where(fresh, present_place, place)),
        torch.where(put_by, place, reserve_place),
    )
    return torch.stack(new_keys, 1), torch.stack(new_places, 1)


def _knows_more(keys: Tensor, places: Tensor) -> Tensor:
    """Whether the key in reserve, if there is one, knows clearly more of the picture than the one
    in use, (B, 1, 1, 1)."""
    if keys.shape[1] == 1:
        return torch.zeros_like(keys[:, 0, :1, :1, :1]) > 0
    first, reserve = (
        _in_view(places[:, i]) * keys[:, i, TRUST].mean(dim=(1, 2, 3), keepdim=True) for i in (0, 1)
    )
    return reserve > first + BETTER


def _in_view(place: Tensor) -> Tensor:
    """How much of the picture lies in a key, (B, 1, 1, 1)."""
    return inside(place[:, :2] / 2).mean(dim=(1, 2, 3), keepdim=True)


# --- frames to come -------------------------------------------------------------------------------


def overlay_later(
    seen: Tensor, hole: Tensor, canvas: Tensor | None, motion: Tensor | None
) -> Tensor:
    """A frame to come laid over what the frames behind it show: a canvas (B, 5, H, W).

    Args: seen, hole: as in `recall`. canvas: of the frames behind it, and the motion to it; None
        for the last frame.
    """
    visible = 1 - hole
    if canvas is None or motion is None:
        return torch.cat([seen, visible, torch.zeros_like(visible)], 1)
    moved, within = warp_inside(canvas, enlarge(motion, seen))
    colour, share = _unmix(moved)
    known, age = known_after(share) * within, moved[:, AGE] / share.clamp(min=ALMOST_UNKNOWN) + 1
    return lay_over(seen, visible, Candidate(colour, known, known, age))
