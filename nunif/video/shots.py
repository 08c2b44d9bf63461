"""Runs: successive frames of a film with no cut, no gap and no damage among them.

Axes: H W pixels.
"""

from collections.abc import Sequence

from nunif.video.cuts import find_cuts
from nunif.video.film import Film
from nunif.video.reader import BrokenVideo, Frame

CUT = "scene cut"
BROKEN = "frames that can't be decoded"
GAP = "missing frames"


class Interrupted(Exception):
    """Some frames are no run.

    Attributes:
        reason: one of CUT, BROKEN and GAP.
        resume: the first frame behind what interrupts them; None where that isn't known.
    """

    def __init__(self, reason: str, resume: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.resume = reason, resume


def check_gaps(gaps: Sequence[int], start: int, stop: int) -> None:
    """Whether none of the frames [start, stop) is missing.

    gaps: frames before which others are missing. Raises Interrupted.
    """
    inside = [gap for gap in gaps if start < gap < stop]
    if inside:
        raise Interrupted(GAP, max(inside))


def read_run(
    film: Film, start: int, stop: int, *, gaps: Sequence[int], margin: int, strict: bool = False
) -> list[Frame]:
    """The frames [start, stop) of a film, which are one run.

    Args:
        gaps: as of `check_gaps`.
        margin: frames on both sides that the cut detector looks at too, where the film has them.
            With less than `nunif.video.cuts.CUT_MARGIN` it can't judge the run's ends.
        strict: what is in doubt spoils the run: a cut that the detector sees only if the film
            stands still before its start and behind its end, and a margin that can't be decoded.

    Raises:
        Interrupted: they are none.
    """
    check_gaps(gaps, start, stop)
    first, last = max(0, start - margin), min(len(film), stop + margin)
    try:
        frames = film.read(first, last)
    except BrokenVideo as problem:
        if strict:
            raise Interrupted(BROKEN) from problem
        first, frames = start, _read_without_margin(film, start, stop)
    cuts = find_cuts([frame.rgb for frame in frames], still_ends=strict)
    inside = [first + cut for cut in cuts if start < first + cut < stop]
    if inside:
        raise Interrupted(CUT, max(inside))
    return frames[start - first : stop - first]


def first_run(
    film: Film, start: int, limit: int, *, length: int, gaps: Sequence[int], margin: int
) -> list[Frame]:
    """The first run of `length` frames that starts at `start` or later and ends before `limit`.

    The film is asked to let go of what no run from `limit` on has a use for. gaps and margin: as of
    `read_run`.

    Raises:
        Interrupted: there is none, for the reason that came last; or some can't be decoded.
    """
    reason = CUT
    while start + length <= limit:
        try:
            frames = read_run(film, start, start + length, gaps=gaps, margin=margin)
        except Interrupted as problem:
            if problem.resume is None:
                raise
            start, reason = problem.resume, problem.reason
            continue
        film.forget(max(start, limit - margin))
        return frames
    raise Interrupted(reason)


def _read_without_margin(film: Film, start: int, stop: int) -> list[Frame]:
    try:
        return film.read(start, stop)
    except BrokenVideo as problem:
        raise Interrupted(BROKEN) from problem
