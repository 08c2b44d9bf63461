"""What may stand in a hole, and how it is weighed by hand.

Axes: B batch, H W pixels (even), h w half as many. Pictures are in [-1, 1], motion in pixels (x,
    y).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.motion import Grid, enlarge, halve, in_its_light, known_after, ramp, warp_inside
from scene.masks import mean_of_squares, smooth_fill

ALMOST_UNKNOWN = 1e-3  # what is less known has no colour
MEMBRANE = 0.5  # how much of the difference around the hole, light apart, is carried into it
# The constants below were chosen on eleven real clips of 48 frames with three families of holes.
OLD = 8.0  # frames after which a canvas counts half of what its age leaves it
KEY_SHARE = 0.25  # of a key beside a canvas that is young
NEAR = 6  # pixels of half the size: a neighbourhood
NOISE = 0.02  # a difference that is no doubt: grain, and what was lost in coding
# a change of light that is no doubt; of a camera that adapts
LIGHT = 0.15
MOST_DOUBT = 2.0  # of a range of 2
DOUBTFUL = 0.03  # a doubt that divides a candidate's weight by e
# Of a candidate beside the key of a camera that stands still, in squares of so many pixels, and in
# neighbourhoods of so many squares:
SQUARE, AROUND = 4, 7
ALIKE = (0.5, 0.9)  # a share of differences that are alike there: light, if there are such as
DIFFER = (0.02, 0.04)  # these, and they aren't larger than
LIGHTS = (0.15, 0.3)
FAINT = 0.005
OFF = 0.0075  # a difference of light that divides a candidate's weight by e
RING = 2  # pixels around a hole, of which a smooth fill is tried out, and
RISK = 0.02  # what it is off anyway

# where the planes of a picture lie
COLOUR, TRUST, AGE, PLANES = slice(0, 3), slice(3, 4), slice(4, 5), 5


@dataclass(frozen=True)
class Candidate:
    """What may stand in the hole. colour: (B, 3, H, W). The others: (B, 1, H, W).

    known: 0 to 1. doubt: how much candidate and frame differ around the hole, carried into it.
    age: frames since it was seen. from_key: seen once and sampled once, at whatever age. still: of
        a key, (B, 1, H / SQUARE, W / SQUARE) from 0 to 1, how surely the camera stands still, and
        what is around with it.
    """

    colour: Tensor
    known: Tensor
    doubt: Tensor
    age: Tensor
    from_key: bool = False
    later: bool = False
    still: Tensor | None = None


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


def tensors_of(merged: Merged) -> tuple[Tensor, ...]:
    """All of it, in one order; `merged_of` is the inverse."""
    candidates = [x for c in merged.candidates for x in (c.colour, c.known, c.doubt, c.age)]
    first = (merged.picture, merged.known, merged.doubt)
    return (*first, *candidates, merged.below, merged.smooth, *merged.weights)


def merged_of(tensors: Sequence[Tensor]) -> Merged:
    """Candidates of the past, the canvas' first and then the key's."""
    place = iter(tensors)
    # each of them has four tensors and a weight; the others are seven
    num_candidates = (len(tensors) - 7) // 5
    picture, known, doubt = (next(place) for _ in range(3))
    candidates = tuple(
        Candidate(next(place), next(place), next(place), next(place), from_key=number == 1)
        for number in range(num_candidates)
    )
    below, smooth, *weights = place
    return Merged(picture, known, doubt, candidates, below, smooth, tuple(weights))


def look_up(
    seen: Tensor, hole: Tensor, canvas: Tensor, motion: Tensor, grid: Grid, *, later: bool = False
) -> Candidate:
    """What a canvas (B, 5, H, W) shows of the frame, whose motion to it is (B, 2, h, w). later: it
    is of frames to come. grid: of H x W."""
    moved, within = warp_inside(canvas, enlarge(motion, seen), grid)
    colour, share, divisor = unmix(moved)
    known = known_after(share) * within
    colour, doubt = fit_in(seen, hole, colour, known)
    return Candidate(colour, known, doubt, moved[:, AGE] / divisor + 1, later=later)


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
    missing = hole > 0
    # counted from the least doubt, so that where all is in doubt the weights don't vanish
    doubts = (torch.where(c.known > 0, c.doubt, MOST_DOUBT) for c in candidates)
    least = reduce(torch.minimum, doubts)
    weights = weights_of(candidates, least)
    total = reduce(torch.add, weights).clamp(min=1e-12)
    shares = [weight / total for weight in weights]
    colour = reduce(torch.add, [share * c.colour for share, c in zip(shares, candidates)])
    doubt = reduce(torch.add, [share * c.doubt for share, c in zip(shares, candidates)])
    before, later = ([c.known for c in candidates if c.later == is_later] for is_later in (0, 1))
    known, twice = reduce(_either, before), None
    if later:
        twice = known * reduce(_either, later)
        known = reduce(_either, later, known)
    known = torch.where(missing, known, 1 - hole)
    colour = torch.where(missing, colour, seen)
    below = smooth_fill(colour, 1 - known)
    # by the squares of how far either is off, as estimates are weighed; but what is known from
    # before and from after as well is better than any smooth fill
    squared = doubt.square()
    unsure = known * (squared / (squared + (risk + RISK).square())) * hole
    if twice is not None:
        unsure = unsure * (1 - twice)
    picture = torch.lerp(torch.lerp(below, colour, known), smooth, unsure)
    sure = 1 - unsure
    kept = known * sure
    all_weights = (*(share * kept for share in shares), (1 - known) * sure, unsure)
    return Merged(picture, known, doubt * hole * known, candidates, below, smooth, all_weights)


def weights_of(candidates: Sequence[Candidate], least: Tensor) -> list[Tensor]:
    """How much each counts beside the others, (B, 1, H, W): not at all where nothing is known.
    least: doubt of them all.

    What the key of a camera that stands still shows is still there, at whatever age. What was seen
    close to somebody, just before or after, has their shadow in it: a candidate whose differences
    from that key are alike in a neighbourhood, as light is, counts the less the larger they are.
    Where they aren't, or are larger, something else is there now, and the key may be out of date.
    """
    trusts = [c.known * torch.exp((least - c.doubt).clamp(max=0) / DOUBTFUL) for c in candidates]
    ages = [c.age for c in candidates]
    index = next((i for i, c in enumerate(candidates) if c.still is not None), None)
    if index is not None:
        key = candidates[index]
        still, off = _beside(key, [c for c in candidates if c is not key])
        rest = iter(off)
        for i, candidate in enumerate(candidates):
            if candidate is key:
                ages[i] = torch.lerp(key.age.clamp(min=1), torch.ones_like(key.age), still)
            else:
                trusts[i] = trusts[i] * torch.exp(-still * key.known * next(rest) / OFF)
    weights = []
    for candidate, trust, age in zip(candidates, trusts, ages):
        if candidate.from_key:
            weights.append(KEY_SHARE * trust / age.clamp(min=1))
        else:
            weights.append(trust / (age * (1 + (age / OLD).square())))
    return weights


def _beside(key: Candidate, others: Sequence[Candidate]) -> tuple[Tensor, list[Tensor]]:
    """How surely the key differs from the others by light, and by that alone, (B, 1, H, W); and by
    how much from each, beyond `NOISE`."""
    still, off = key.still, []
    assert still is not None
    lit = torch.zeros_like(still)
    for other in others:
        difference = (other.colour - key.colour) * (other.known * key.known)
        planes = torch.cat([difference, difference.abs().mean(1, keepdim=True)], 1)
        planes = mean_of_squares(planes, SQUARE)
        size, around = planes[:, 3:], mean_near(planes)
        alike = around[:, :3].abs().mean(1, keepdim=True) / (around[:, 3:] + FAINT)
        light = ramp(alike, *ALIKE) * (1 - ramp(size, *LIGHTS))
        differs = ramp(around[:, 3:], *DIFFER)
        still = still * (1 - differs * (1 - light))
        lit = torch.maximum(lit, differs)
        off.append(enlarge((size - NOISE).clamp(min=0), key.known))
    return enlarge(still * lit, key.known), off


def mean_near(x: Tensor) -> Tensor:
    """The mean over the neighbourhood of each square, (B, C, h, w) both."""
    return F.avg_pool2d(x, AROUND, 1, AROUND // 2, count_include_pad=False)


def _either(one: Tensor, other: Tensor) -> Tensor:
    """How well a pixel is known by two together."""
    return 1 - (1 - one) * (1 - other)


def unmix(canvas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colours and how well they are known, of colours times that: (B, 3, H, W), (B, 1, H, W); and
    what was divided by."""
    share = canvas[:, TRUST]
    divisor = share.clamp(min=ALMOST_UNKNOWN)
    return canvas[:, COLOUR] / divisor, share, divisor


def fit_in(
    seen: Tensor, hole: Tensor, colour: Tensor, known: Tensor, still: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A candidate in the light of the frame, with half of the difference that is left at the hole's
    edge carried into it, which takes away what the motion got wrong.

    still: (B, 1, 1, 1), from 0 to 1, how surely it is of a camera that stands still: then what
        differs alike in a neighbourhood is a shadow or a lamp there, and no wrong motion.
    Returns: the colours, and how large the difference is beyond `NOISE`, (B, 1, H, W), without
        light that changes everywhere and by `LIGHT` at most.
    """
    both = (1 - hole) * known
    lit = in_its_light(colour, seen, both)
    difference = seen - lit
    unlike = torch.maximum(difference.abs(), (seen - colour).abs() - LIGHT).mean(1, keepdim=True)
    difference, seen_before = halve(torch.cat([difference, unlike], dim=1), both)
    if still is not None:
        planes = torch.cat([difference[:, COLOUR] * seen_before, seen_before], 1)
        near = F.avg_pool2d(planes, 2 * NEAR + 1, 1, NEAR)
        alike = near[:, COLOUR].abs().mean(1, keepdim=True) / near[:, 3:].clamp(min=ALMOST_UNKNOWN)
        difference = torch.cat([difference[:, COLOUR], difference[:, 3:] - still * alike], 1)
    difference = enlarge(smooth_fill(difference, 1 - ramp(seen_before, 0, 0.5)), hole)
    fitted = torch.add(lit, difference[:, COLOUR], alpha=MEMBRANE).clamp(-1, 1)
    return fitted, (difference[:, 3:] - NOISE).clamp(min=0)
