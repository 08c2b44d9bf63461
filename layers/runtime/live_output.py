"""Where live pictures go: a window, a virtual camera, a video, a stream, or the standard output.

Axes: H W pixels, 3 = R G B.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np

from layers.options_live import STDOUT, VIRTUAL, WINDOW, is_url
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.video import picture as pictures
from nunif.video.color import BT709, write_tags
from nunif.video.encoders import default_codecs
from nunif.video.writer import VideoWriter

logger = logging.getLogger(__name__)

TITLE = "nobody is here"
TICK = Fraction(1, 90_000)  # seconds; what times are counted in
KEYFRAME_EVERY = 2  # seconds; whoever tunes in waits so long
# of a stream, by how its address begins
MUXERS = {
    "rtmp": "flv",
    "rtmps": "flv",
    "rtp": "rtp_mpegts",
    "rtsp": "rtsp",
    "srt": "mpegts",
    "tcp": "mpegts",
    "udp": "mpegts",
}
_PLAYER = (
    "ffplay -f rawvideo -pixel_format rgb24 -video_size {width}x{height} -framerate {rate:g} -"
)


class Output(Protocol):
    """Takes pictures of one size. is_open: whether somebody still wants them."""

    is_open: bool

    def show(self, picture: np.ndarray, time: float) -> None:
        """picture: (H, W, 3) uint8 RGB. time: seconds, later than the one before."""
        ...


def check_output(target: str) -> None:
    """Make sure, before a camera is opened, that there can be pictures.

    Raises:
        UserError: says what is missing.
    """
    if target == WINDOW and re.search(r"GUI:\s+NONE", cv2.getBuildInformation()):
        raise UserError(
            "-o window needs an OpenCV that opens windows, and the one that is installed "
            "(opencv-python-headless) doesn't: pip uninstall opencv-python-headless, then pip "
            "install opencv-python; or give -o - and send the pictures into a player: | "
            + _PLAYER.format(width="W", height="H", rate=30)
        )
    if target == VIRTUAL:
        _import_pyvirtualcam()
    elif is_url(target):
        _muxer_of(target)
    elif target not in (WINDOW, STDOUT):
        default_codecs(Path(target))


def open_output(
    target: str, *, size: tuple[int, int], rate: float
) -> AbstractContextManager[Output]:
    """What `--output` names, for pictures of a size.

    Args:
        size: (H, W). rate: pictures per second, about.
    Raises:
        UserError: it can't be opened; later, that it can't be written to.
    """
    named: dict[str, Callable[..., AbstractContextManager[Output]]] = {
        WINDOW: _open_window,
        VIRTUAL: _open_virtual_camera,
        STDOUT: _open_standard_output,
    }
    if target in named:
        return named[target](size=size, rate=rate)
    if is_url(target):
        return _open_stream(target, size=size, rate=rate)
    return _open_file(Path(target), size=size, rate=rate)


class _Window:
    is_open = True

    def show(self, picture: np.ndarray, time: float) -> None:
        cv2.imshow(TITLE, picture[..., ::-1])
        key = cv2.waitKey(1) & 0xFF
        is_closed = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1
        self.is_open = not (is_closed or key in (27, ord("q")))


@contextmanager
def _open_window(*, size: tuple[int, int], rate: float) -> Iterator[Output]:
    try:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        cv2.resizeWindow(TITLE, size[1], size[0])
    except cv2.error as error:
        raise UserError(
            f"-o window: no window can be opened here ({error.err}): is there a screen? -o FILE "
            "writes a video"
        ) from error
    logger.info("q or Esc in the window ends it")
    try:
        yield _Window()
    finally:
        cv2.destroyAllWindows()


class _StandardOutput:
    is_open = True

    def __init__(self) -> None:
        self._stream = sys.stdout.buffer

    def show(self, picture: np.ndarray, time: float) -> None:
        try:
            self._stream.write(np.ascontiguousarray(picture).data)
            self._stream.flush()
        except BrokenPipeError:  # the player was closed
            self.is_open = False
            # or Python complains as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _open_standard_output(*, size: tuple[int, int], rate: float) -> Iterator[Output]:
    player = _PLAYER.format(width=size[1], height=size[0], rate=rate)
    logger.info("plain RGB of %dx%d, to be seen by: | %s", size[1], size[0], player)
    yield _StandardOutput()


class _VirtualCamera:
    is_open = True

    def __init__(self, camera: Any) -> None:
        self._camera = camera

    def show(self, picture: np.ndarray, time: float) -> None:
        self._camera.send(np.ascontiguousarray(picture))


def _import_pyvirtualcam() -> Any:
    try:
        import pyvirtualcam
    except ModuleNotFoundError as error:
        raise UserError(
            "-o virtual needs the package pyvirtualcam: pip install -e .[live], and a virtual "
            "camera of the system: OBS on Windows and macOS, v4l2loopback on Linux"
        ) from error
    return pyvirtualcam


@contextmanager
def _open_virtual_camera(*, size: tuple[int, int], rate: float) -> Iterator[Output]:
    package = _import_pyvirtualcam()
    try:
        camera = package.Camera(
            width=size[1], height=size[0], fps=rate, fmt=package.PixelFormat.RGB
        )
    except RuntimeError as error:
        raise UserError(
            f"-o virtual: the system has no virtual camera ({error}): install OBS on Windows and "
            "macOS, load v4l2loopback on Linux"
        ) from error
    with camera:
        logger.info("the virtual camera is %s", camera.device)
        yield _VirtualCamera(camera)


class _Clock:
    """Times as whole ticks, each later than the one before."""

    def __init__(self) -> None:
        self._last = -1

    def ticks(self, time: float) -> int:
        self._last = max(self._last + 1, round(time / TICK))
        return self._last


class _File:
    is_open = True

    def __init__(self, writer: VideoWriter) -> None:
        self._writer, self._clock = writer, _Clock()

    def show(self, picture: np.ndarray, time: float) -> None:
        self._writer.write(picture, self._clock.ticks(time))


@contextmanager
def _open_file(path: Path, *, size: tuple[int, int], rate: float) -> Iterator[Output]:
    make_folder(path.parent)
    with VideoWriter(
        path, width=size[1], height=size[0], rate=_fraction(rate), time_base=TICK
    ) as writer:
        yield _File(writer)


def _fraction(rate: float) -> Fraction:
    return Fraction(rate).limit_denominator(1001)


class _Stream:
    is_open = True

    def __init__(
        self, url: str, container: av.container.OutputContainer, stream: av.VideoStream
    ) -> None:
        self._url, self._container, self._stream = url, container, stream
        self._clock = _Clock()

    def show(self, picture: np.ndarray, time: float) -> None:
        # two by two pixels share their colour
        even = picture[: self._stream.height, : self._stream.width]
        planar = pictures.from_rgb(even, pixel_format="yuv420p", color=BT709)
        frame = pictures.to_frame(planar)
        frame.pts, frame.time_base = self._clock.ticks(time), TICK
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise UserError(
                f"{self._url} takes no more pictures ({_reason(error)}): look whether it is still "
                "received"
            ) from error


@contextmanager
def _open_stream(url: str, *, size: tuple[int, int], rate: float) -> Iterator[Output]:
    try:
        container = av.open(url, "w", format=_muxer_of(url))
        stream = container.add_stream("libx264", rate=_fraction(rate))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = size[0] // 2 * 2, size[1] // 2 * 2
        stream.pix_fmt, stream.time_base = "yuv420p", TICK
        stream.codec_context.time_base = TICK
        stream.codec_context.gop_size = max(1, round(KEYFRAME_EVERY * rate))
        stream.options = {"preset": "veryfast", "tune": "zerolatency"}
        write_tags(stream.codec_context, BT709)
        container.start_encoding()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(
            f"{url} can't be sent to ({_reason(error)}): look whether somebody receives there"
        ) from error
    try:
        yield _Stream(url, container, stream)
    finally:
        with suppress(av.FFmpegError, OSError):  # nobody is left to take the last bytes
            container.close()


def _muxer_of(url: str) -> str:
    """
    Raises:
        UserError: an address of an unknown kind.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in MUXERS:
        known = ", ".join(f"{name}://" for name in MUXERS)
        raise UserError(f"-o {url}: streams are sent to {known}; or name a video")
    return MUXERS[scheme]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
