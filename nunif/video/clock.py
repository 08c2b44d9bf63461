"""One clock for all that a file holds, which begins at 0 and never jumps.

A broadcast's clock (MPEG-TS, MPEG-PS) begins anywhere, and where files were joined end to end (`cat
a.ts b.ts`) it starts over in the middle, in each stream at a slightly different place. Here the
parts are put one behind the other: a part's pictures follow those before it, and sound and
subtitles keep their place beside them. Other files say what they mean.

Words used below:
    run      packets of one stream whose times follow each other
    place    index of a packet in the file, all streams counted
"""

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.format import Flags

logger = logging.getLogger(__name__)

# A step back of this many seconds starts a new run, or one ahead: no loss of reception that a film
# lives through.
_STEP_BACK, _STEP_AHEAD = Fraction(1, 10), 10
# Sound may begin so many seconds before its pictures (an encoder's run-up), or go on behind them.
_OVERLAP = Fraction(1, 10)
# So few packets between two jumps have wrong times; the clock didn't jump.
_FEWEST = 3


@dataclass(frozen=True)
class Clock:
    """What to add to the times of a file's packets.

    Attributes:
        steps: of a stream, by its index: (number of a packet, seconds to add from it on),
            ascending. Packets of nothing aren't counted.
        is_stated: whether the file's clock is as it stands; nothing is added then.
    """

    steps: Mapping[int, tuple[tuple[int, Fraction], ...]] = field(default_factory=dict)
    is_stated: bool = True

    def shifts(self, stream: int) -> Iterator[Fraction]:
        """Seconds to add to the first packet of a stream, the second, and so on without an end."""
        steps = self.steps.get(stream, ())
        number, shift = 0, Fraction(0)
        for first, following in steps:
            for _ in range(number, first):
                yield shift
            number, shift = max(number, first), following
        while True:
            yield shift

    def firsts(self, stream: int) -> list[int]:
        """Numbers of the packets of a stream that begin a part of the film; [0] where nothing was
        joined."""
        return [0, *(number for number, _ in self.steps.get(stream, ()) if number > 0)]


@dataclass
class _Run:
    first: int  # number of its first packet in the stream
    begun: Fraction  # seconds of its first packet, in the order of the file, and of its last
    last: Fraction
    places: list[int] = field(default_factory=list)
    keyframe: Fraction | None = None  # seconds, of the first: what comes before can't be shown
    end: Fraction = Fraction(0)

    @property
    def start(self) -> Fraction:
        return self.begun if self.keyframe is None else self.keyframe


def has_free_clock(container: av.container.InputContainer) -> bool:
    """Whether a file is of a kind whose clock begins anywhere and may jump."""
    # a number, though its stub says otherwise
    discontinuous: int = Flags.ts_discont.value  # type: ignore[assignment]
    return bool(container.format.flags & discontinuous)


def read_clock(container: av.container.InputContainer, pictures: av.VideoStream) -> Clock:
    """Read a file just opened, to its end or to where it can't be read.

    Args:
        pictures: the stream that the film is made of.
    """
    if not has_free_clock(container):
        return Clock()
    runs: dict[int, list[_Run]] = {}
    counts: dict[int, int] = {}
    for place, packet in enumerate(_packets(container)):
        index = packet.stream.index
        number = counts.get(index, 0)
        counts[index] = number + 1
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None:
            continue
        _add(runs.setdefault(index, []), number, place, packet, ticks)
    parts = _without_slips(runs.pop(pictures.index, []))
    if not parts:
        return Clock()
    for index, others in runs.items():
        stream = container.streams[index]
        last_place = parts[-1].places[-_FEWEST:][0]  # the very last come out late
        if stream.type == "video" and others[0].places[0] > last_place:
            logger.warning(
                "%s: another picture stream begins where the first ends, as where different files "
                "were joined; it is left "
                "out: make each part a film of its own, or join them with a program that makes "
                "one stream of them",
                container.name.removeprefix("file:"),
            )
    kinds = {i: container.streams[i].type for i in runs}
    sounds = {i: _without_slips(others) for i, others in runs.items() if kinds[i] == "audio"}
    # few and far between
    subtitles = {i: others for i, others in runs.items() if kinds[i] == "subtitle"}
    return Clock(_line_up(pictures.index, parts, sounds, subtitles), is_stated=False)


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    streams = [
        stream for stream in container.streams if stream.type in ("video", "audio", "subtitle")
    ]
    try:
        for packet in container.demux(streams):
            if packet.size:
                yield packet
    except (av.FFmpegError, IndexError):
        return


def _add(runs: list[_Run], number: int, place: int, packet: av.Packet, ticks: int) -> None:
    """Take a packet into a stream's last run, or into a new one."""
    time_base = Fraction(packet.time_base)
    time = ticks * time_base
    if not runs or not -_STEP_BACK < time - runs[-1].last < _STEP_AHEAD:
        runs.append(_Run(number, time, time))
    run = runs[-1]
    run.places.append(place)
    run.last = time
    shown = (packet.pts if packet.pts is not None else ticks) * time_base
    if packet.is_keyframe and run.keyframe is None:
        run.keyframe = shown
    run.end = max(run.end, shown + (packet.duration or 0) * time_base)


def _without_slips(runs: list[_Run]) -> list[_Run]:
    """The runs without those of a few packets between two that are one."""
    kept: list[_Run] = []
    for run in runs:
        if len(kept) > 1 and len(kept[-1].places) < _FEWEST:
            before = kept[-2]
            if -_STEP_BACK < run.begun - before.last < _STEP_AHEAD:
                kept.pop()
                before.places += run.places
                before.last, before.end = run.last, max(before.end, run.end)
                continue
        kept.append(run)
    return kept


def _line_up(
    pictures: int,
    parts: list[_Run],
    sounds: Mapping[int, list[_Run]],
    subtitles: Mapping[int, list[_Run]],
) -> dict[int, tuple[tuple[int, Fraction], ...]]:
    """The parts one behind the other: `Clock.steps`. Subtitles, which may stand beyond their part's
    end, only go with it."""
    beside = {
        index: [_part_of(run, parts) for run in runs]
        for index, runs in [*sounds.items(), *subtitles.items()]
    }
    shifts: list[Fraction] = []
    end = Fraction(0)
    sound_end: dict[int, Fraction] = dict.fromkeys(sounds, Fraction(0))
    for number, part in enumerate(parts):
        shift = end - part.start
        heard = {
            index: [run for run, of in zip(runs, beside[index], strict=True) if of == number]
            for index, runs in sounds.items()
        }
        overlaps = [sound_end[i] - (runs[0].start + shift) for i, runs in heard.items() if runs]
        if overlaps and max(overlaps) > _OVERLAP:
            shift += max(overlaps)
        shifts.append(shift)
        end = part.end + shift
        sound_end |= {i: max(run.end for run in runs) + shift for i, runs in heard.items() if runs}
    steps = {
        pictures: tuple((part.first, shift) for part, shift in zip(parts, shifts, strict=True))
    }
    for index, runs in [*sounds.items(), *subtitles.items()]:
        steps[index] = tuple(
            (run.first, shifts[of]) for run, of in zip(runs, beside[index], strict=True)
        )
    return {index: _from_the_first(found) for index, found in steps.items()}


def _from_the_first(steps: Iterable[tuple[int, Fraction]]) -> tuple[tuple[int, Fraction], ...]:
    """Packets without a time that come before the first run belong to it."""
    (_, shift), *rest = steps
    return ((0, shift), *rest)


def _part_of(run: _Run, parts: list[_Run]) -> int:
    """The part of the film that most of a run lies in."""
    bounds = [part.places[0] for part in parts[1:]]
    counts = Counter(bisect_right(bounds, place) for place in run.places)
    return max(counts, key=lambda part: counts[part])
