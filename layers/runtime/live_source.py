"""Where live frames come from, and the thread that holds the newest of them.

Axes: H W pixels, 3 = R G B.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from layers.options_live import LiveOptions, is_url
from nunif.errors import UserError
from nunif.video.color import to_rgb
from nunif.video.film import Film, open_film
from nunif.video.reader import BrokenVideo

USUAL_RATE = 30.0  # frames per second of what doesn't say
PATIENCE = 10.0  # seconds in which a stream must answer
LOOKED_AT = "1000000"  # microseconds of a stream that tell what it is; five times as many else
CHECK_EVERY = 0.2  # seconds in which whoever waits looks whether to stop
# a server that has a whole film sends it at once
PACED_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Seen:
    """A frame that came.

    read: its picture, (H, W, 3) uint8 RGB. time: seconds after the first one, in the film or by
        the clock. came: when, as time.monotonic tells.
    """

    read: Callable[[], np.ndarray]
    time: float
    came: float


@dataclass(frozen=True)
class Source:
    """An opened input. rate: frames per second, about. waits: none of its frames is to be lost, and
    it waits until they are taken."""

    name: str
    rate: float
    frames: Iterator[Seen]
    waits: bool = False


class Ending:
    """Whether to stop: somebody asked for it, or the time is up."""

    def __init__(self, seconds: float | None = None) -> None:
        """seconds: from `start` on; None: as long as it takes."""
        self._asked = threading.Event()
        self._seconds, self._deadline = seconds, math.inf

    def start(self) -> None:
        if self._seconds is not None:
            self._deadline = time.monotonic() + self._seconds

    def ask(self) -> None:
        self._asked.set()

    @property
    def is_due(self) -> bool:
        return self._asked.is_set() or time.monotonic() >= self._deadline


@contextmanager
def open_source(options: LiveOptions, ending: Ending) -> Iterator[Source]:
    """The camera, stream or film that is asked for.

    Raises:
        UserError: it can't be opened.
    """
    if options.camera is not None:
        with _open_camera(options.camera) as source:
            yield source
    elif options.input is not None and is_url(options.input):
        with _open_stream(options.input, ending) as source:
            yield source
    else:
        assert options.input is not None
        with _open_film(Path(options.input), ending, paced=options.pace) as source:
            yield source


@contextmanager
def _open_camera(device: str) -> Iterator[Source]:
    # Windows' newer interface takes up to a minute to open some cameras
    interface = cv2.CAP_DSHOW if sys.platform == "win32" else cv2.CAP_ANY
    name = f"camera {device}"
    with suppress(AttributeError):  # OpenCV 4.12 has no such thing
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it prints past our log
    camera = cv2.VideoCapture(int(device) if device.isdigit() else device, interface)
    try:
        if not camera.isOpened():
            raise UserError(
                f"{name} can't be opened: look whether it is plugged in, whether another program "
                "uses it, and whether this one may (--camera 1 is the second one)"
            )
        rate = camera.get(cv2.CAP_PROP_FPS)
        yield Source(name, rate if 1 <= rate <= 1000 else USUAL_RATE, _of_camera(camera, name))
    finally:
        camera.release()


def _of_camera(camera: cv2.VideoCapture, name: str) -> Iterator[Seen]:
    first = None
    while True:
        there, picture = camera.read()
        now = time.monotonic()
        if not there:
            raise UserError(
                f"{name} gives no more pictures: it was unplugged, or another program took it"
            )
        first = now if first is None else first
        # bound now, as it is read in another thread
        yield Seen(lambda bgr=picture: cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), now - first, now)  # type: ignore[misc]


@contextmanager
def _open_stream(url: str, ending: Ending) -> Iterator[Source]:
    scheme = url.partition("://")[0].lower()
    options = {"analyzeduration": LOOKED_AT} | (
        {"rtsp_transport": "tcp"} if scheme == "rtsp" else {}
    )
    try:
        container = av.open(url, options=options, timeout=(PATIENCE, PATIENCE))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{url} can't be opened ({_reason(error)}): look whether it is sent") from (
            error
        )
    with closing(container):
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise UserError(f"{url} has no pictures that can be decoded: send H.264 or MPEG-4")
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # to decode frames at once holds some of them back
        rate = float(stream.average_rate or USUAL_RATE)
        frames = _of_stream(container, stream, url)
        if scheme in PACED_SCHEMES:
            frames = at_their_times(frames, ending)
        yield Source(url, rate, frames)


def _of_stream(
    container: av.container.InputContainer, stream: av.VideoStream, url: str
) -> Iterator[Seen]:
    first: tuple[float, float] | None = None  # by the stream, and by the clock
    try:
        for packet in container.demux(stream):
            decoded: list[av.VideoFrame] = []
            # what came before the first keyframe, or was lost on the way
            with suppress(av.InvalidDataError):
                decoded = packet.decode()  # type: ignore[assignment]
            for frame in decoded:
                now = time.monotonic()
                told = frame.time
                if first is None:
                    first = (now if told is None else told, now)
                at = now - first[1] if told is None else told - first[0]
                yield Seen(lambda f=frame: to_rgb(f, width=f.width, height=f.height), at, now)  # type: ignore[misc]
    except (av.FFmpegError, OSError) as error:
        raise UserError(
            f"{url} has broken off ({_reason(error)}): look whether it is still sent"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def _open_film(path: Path, ending: Ending, *, paced: bool) -> Iterator[Source]:
    with open_film(path) as film:
        frames = _of_film(film)
        yield Source(
            str(path),
            float(film.info.rate),
            at_their_times(frames, ending) if paced else frames,
            not paced,
        )


def _of_film(film: Film) -> Iterator[Seen]:
    try:
        for frame in film:
            yield Seen(lambda rgb=frame.rgb: rgb, frame.time, time.monotonic())  # type: ignore[misc]
    except BrokenVideo as error:
        raise UserError(str(error)) from error
    if film.broken_at is not None:
        raise UserError(
            f"{film.path} is cut off or damaged at {film.broken_at:.2f} s: copy or download it "
            "again"
        )


def at_their_times(frames: Iterator[Seen], ending: Ending) -> Iterator[Seen]:
    """Frames at their times, none earlier."""
    begin = None
    for seen in frames:
        begin = time.monotonic() - seen.time if begin is None else begin
        while not ending.is_due and (wait := begin + seen.time - time.monotonic()) > 0:
            time.sleep(min(wait, CHECK_EVERY))
        yield Seen(seen.read, seen.time, time.monotonic())


class Latest:
    """The frames of a source as they are asked for: always the newest, which a thread holds. What
    came before it and was not asked for is dropped, and counted; of a source that waits, nothing.

    Attributes:
        num_dropped: frames, since `count_from_here`.
        problem: why the frames ended, once they have; None: there are no more.
    """

    def __init__(self, source: Source, ending: Ending) -> None:
        self._source, self._ending = source, ending
        self._held: Seen | None = None
        self._has_ended = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._take, name="input", daemon=True)
        self.num_dropped, self.problem = 0, None

    problem: Exception | None

    def __enter__(self) -> "Latest":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.ask()
        # a camera that hangs must not hang the program; the thread dies with it
        self._thread.join(timeout=PATIENCE)

    def count_from_here(self) -> None:
        with self._change:
            self.num_dropped = 0

    def __iter__(self) -> Iterator[Seen]:
        while (seen := self._next()) is not None:
            yield seen

    def _next(self) -> Seen | None:
        with self._change:
            while not self._ending.is_due:
                if self._held is not None:
                    seen, self._held = self._held, None
                    self._change.notify_all()
                    return seen
                if self._has_ended:
                    return None
                self._change.wait(CHECK_EVERY)
        return None

    def _take(self) -> None:
        problem: Exception | None = None
        try:
            for seen in self._source.frames:
                if self._ending.is_due:
                    break
                self._put(seen)
        except Exception as error:  # told of where the frames are asked for
            problem = error
        with self._change:
            self.problem, self._has_ended = problem, True
            self._change.notify_all()

    def _put(self, seen: Seen) -> None:
        with self._change:
            while self._source.waits and self._held is not None and not self._ending.is_due:
                self._change.wait(CHECK_EVERY)
            if self._ending.is_due:
                return
            self.num_dropped += self._held is not None
            self._held = seen
            self._change.notify_all()
