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

The canvas knows nothing of the keys. So in a clip, the canvas is a frame ahead of them: both are
looked up at the same time, as one batch, in half as many operations.

Axes: B batch, T frames in time order, K keys, H W pixels (even), h w half as many. Pictures are in
    [-1, 1], motion in pixels (x, y).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.candidates import (
    AGE,
    PLANES,
    SQUARE,
    Candidate,
    Merged,
    fit_in,
    look_up,
    mean_near,
    merge,
    risk_of_smooth,
    unmix,
)
from inpaint.models.keys import choose_key, knows_more, learn, move_on
from inpaint.models.motion import (
    Grid,
    Pyramid,
    enlarge,
    grid_of,
    known_after,
    measure_motion,
    pyramid,
    ramp,
    warp_inside,
)
from scene.masks import mean_of_squares, smooth_fill

STILL = (0.5, 1.0)  # mean pixels of motion to a key of a camera that stands still
NUM_KEYS = 2  # one in use, and one in reserve for when the view comes back


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


class _Clip(NamedTuple):
    """Frames and what is known of each by itself, (T * B, ., H, W), frame after frame. here: what
    motion is measured from. grid, half: the pixels of pictures of H x W and of h x w."""

    seen: Tensor
    hole: Tensor
    visible: Tensor
    smooth: Tensor
    risk: Tensor
    here: Pyramid
    grid: Grid
    half: Grid

    def at(self, start: int, end: int) -> "_Clip":
        """Some of the frames."""
        levels = [level.at(start, end) for level in self.here]
        return self.pictures_at(start, end)._replace(here=levels)

    def pictures_at(self, start: int, end: int) -> "_Clip":
        """The same without what motion is measured from."""
        seen, hole, visible, smooth, risk = (x[start:end] for x in self[:5])
        return _Clip(seen, hole, visible, smooth, risk, [], self.grid, self.half)


class _Source(NamedTuple):
    """What a frame is looked for in. picture, seen: (B, 3, H, W), (B, 1, H, W), by which motion is
    measured. planes: (B, 5, H, W), colours times known, known, age. start: (B, 2, h, w), where the
    search begins; None for no motion. is_key: its ages are not mixed."""

    picture: Tensor
    seen: Tensor
    planes: Tensor
    start: Tensor | None
    is_key: bool


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
    steps, memory = recall_all(seen[:, None], hole[:, None], memory, [ahead])
    return steps[0], memory


def recall_all(
    seen: Tensor, holes: Tensor, memory: Memory, ahead: Sequence[Ahead | None] | None = None
) -> tuple[list[Merged], Memory]:
    """`recall` for every frame of a clip: (B, T, 3, H, W), (B, T, 1, H, W)."""
    b, t = seen.shape[:2]
    clip, future = _prepare(seen, holes), [one or Ahead() for one in ahead or [None] * t]
    canvas, keys, places = memory
    steps: list[Merged] = []
    before: tuple[_Clip, Candidate, Tensor] | None = None  # frame i - 1, its canvas, its motion
    for i in range(t + 1):
        sources, start = [], i * b
        if before is not None and keys.shape[1]:
            keys, places = _take_into_use(keys, places, future[i - 1].key)
            places = move_on(places, before[2], clip.half)
            sources, start = [_of_key(keys[:, 0], places[:, 0, :2])], start - b
        if i < t:
            sources.append(_of_canvas(canvas))
        found = []
        if sources:
            wanted = clip if t == 1 else clip.at(start, start + len(sources) * b)
            found = _look_up(wanted, sources)
        if before is not None:
            frame, candidates = before[0], [before[1]]
            if keys.shape[1]:
                old, place = found.pop(0)
                candidates.append(old)
            merged = _merge(frame, candidates)
            if keys.shape[1]:
                keys, places = _keep(frame, keys, places, place, merged, future[i - 1])
            steps.append(_with_later(frame, merged, future[i - 1]))
        if i < t:
            frame = clip if t == 1 else clip.pictures_at(i * b, (i + 1) * b)
            before = (frame, *found[0])
            canvas = lay_over(frame.seen, frame.visible, before[1])
    return steps, Memory(canvas, keys, places)


def _prepare(seen: Tensor, holes: Tensor) -> _Clip:
    frames, hole = (x.transpose(0, 1).flatten(0, 1) for x in (seen, holes))  # (T * B, ., H, W)
    visible = 1 - hole
    here = pyramid(frames, visible)
    half = here[0].grid
    assert half is not None
    smooth, risk = smooth_fill(frames, hole), risk_of_smooth(frames, hole)
    return _Clip(frames, hole, visible, smooth, risk, here, grid_of(frames), half)


def _look_up(frames: _Clip, sources: list[_Source]) -> list[tuple[Candidate, Tensor]]:
    """What each source shows of its frame, and the frame's motion to it, (B, 2, h, w). frames: one
    for each source, in their order; a canvas comes last."""
    picture, seen, planes = (
        torch.cat(parts) if len(parts) > 1 else parts[0]
        for parts in zip(*(source[:3] for source in sources))
    )
    start = sources[0].start
    if start is not None and len(sources) > 1:
        start = torch.cat([start, torch.zeros_like(start)])
    motion = measure_motion(frames.here, pyramid(picture, seen, only_looked_for=True), start)
    moved, within = warp_inside(planes, enlarge(motion, frames.seen), frames.grid)
    colour, share, divisor = unmix(moved)
    known = known_after(share) * within
    colour, doubt = fit_in(frames.seen, frames.hole, colour, known, _how_still(sources, motion))
    fields = (colour, known, doubt, moved[:, AGE], divisor, motion)
    parts_of: Sequence[tuple[Tensor, ...]] = [fields]
    if len(sources) > 1:  # exporters to ONNX stumble over a batch that is cut into one
        parts_of = list(zip(*(field.chunk(len(sources)) for field in fields)))
    found = []
    for source, parts in zip(sources, parts_of):
        shown, sure, unlike, age, by, own_motion = parts
        age = (age if source.is_key else age / by) + 1
        stands = _how_still_near(own_motion) if source.is_key else None
        candidate = Candidate(shown, sure, unlike, age, from_key=source.is_key, still=stands)
        found.append((candidate, own_motion))
    return found


def _how_still(sources: list[_Source], motion: Tensor) -> Tensor | None:
    """See `fit_in`. A canvas is of the frame before: what differs from it is motion that was
    measured wrong."""
    if not any(source.is_key for source in sources):
        return None
    still = 1 - ramp(motion.abs().mean((1, 2, 3), keepdim=True), *STILL)
    if len(sources) == 1:
        return still
    parts = zip(sources, still.chunk(len(sources)))
    return torch.cat([part if source.is_key else torch.zeros_like(part) for source, part in parts])


def _how_still_near(motion: Tensor) -> Tensor:
    """See `Candidate.still`."""
    moves = motion.abs().mean(1, keepdim=True)
    everywhere = 1 - ramp(moves.mean((2, 3), keepdim=True), *STILL)
    return everywhere * (1 - ramp(mean_near(mean_of_squares(moves, SQUARE // 2)), *STILL))


def _of_canvas(canvas: Tensor) -> _Source:
    colour, known, _ = unmix(canvas)
    return _Source(colour, known, canvas, None, is_key=False)


def _of_key(key: Tensor, start: Tensor) -> _Source:
    colour, trust, age = key.split([3, 1, 1], dim=1)
    planes = torch.cat([colour * trust, trust, age], 1)
    return _Source(colour, known_after(trust), planes, start, is_key=True)


def _take_into_use(keys: Tensor, places: Tensor, key: Tensor | None) -> tuple[Tensor, Tensor]:
    """With a key (B, 5, H, W) in place of that in use; the frame before stands in it as it is."""
    if key is None:
        return keys, places
    keys = torch.cat([key[:, None], keys[:, 1:]], 1)
    return keys, torch.cat([torch.zeros_like(places[:, :1]), places[:, 1:]], 1)


def _merge(frame: _Clip, candidates: Sequence[Candidate]) -> Merged:
    return merge(frame.seen, frame.hole, frame.smooth, frame.risk, tuple(candidates))


def _keep(
    frame: _Clip, keys: Tensor, places: Tensor, place: Tensor, merged: Merged, ahead: Ahead
) -> tuple[Tensor, Tensor]:
    """Keys and places after a frame, which stands in the key in use by `place` (B, 2, h, w)."""
    key, fits = learn(keys[:, 0], place, frame.seen, frame.visible, frame.grid, frame.half)
    places = torch.cat([F.pad(place, (0, 0, 0, 0, 0, 1))[:, None], places[:, 1:]], 1)
    keys = torch.cat([key[:, None], keys[:, 1:]], 1)
    if ahead.keep_key:
        return keys, places
    # where numbers can be looked at for nothing, nothing is chosen while the key fits, and best
    looked_at = not (keys.is_cuda or torch.compiler.is_compiling() or torch.jit.is_tracing())
    if looked_at and fits.all() and not knows_more(keys, places, frame.half).any():
        return keys, places
    age = torch.where(frame.hole > 0, merged.candidates[1].age, 0.0)
    present = torch.cat([merged.picture, merged.known, age], 1)
    return choose_key(keys, places, fits, present, frame.half)


def _with_later(frame: _Clip, merged: Merged, ahead: Ahead) -> Merged:
    """With what frames to come show, if that is known."""
    if ahead.canvas is None or ahead.motion is None:
        return merged
    shown = look_up(frame.seen, frame.hole, ahead.canvas, ahead.motion, frame.grid, later=True)
    return _merge(frame, [*merged.candidates, shown])


def lay_over(seen: Tensor, visible: Tensor, candidate: Candidate) -> Tensor:
    """The canvas (B, 5, H, W) of a frame: what is seen, and the candidate where nothing is."""
    is_seen = visible > 0
    colour = torch.where(is_seen, seen, candidate.colour)
    known = torch.where(is_seen, visible, candidate.known)
    age = torch.where(is_seen, 0.0, candidate.age)
    return torch.cat([colour * known, known, age * known], dim=1)


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
    moved, within = warp_inside(canvas, enlarge(motion, seen), grid_of(seen))
    colour, share, divisor = unmix(moved)
    known, age = known_after(share) * within, moved[:, AGE] / divisor + 1
    return lay_over(seen, visible, Candidate(colour, known, known, age))
