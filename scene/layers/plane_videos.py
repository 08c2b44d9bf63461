"""The planes of a shot as videos, a layer with its alpha in each, for programs that edit films.

    DIR/shot0000/person.mov, person2.mov   straight colours and alpha
                 occluder.mov
                 scene.mov
                 hole.mkv, depth.mkv       ffv1, which loses nothing

Each starts at 0 and has the times of the film's frames; the film itself isn't written again.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from nunif.errors import UserError
from nunif.video.color import BT709
from nunif.video.film import Film
from nunif.video.picture import Picture, convert
from nunif.video.reader import Frame, VideoReader
from nunif.video.writer import VideoWriter
from scene.layers import folder as layer_folder
from scene.layers import planes
from scene.layers.exact import Layer
from scene.layers.planes import FrameLayers

_UNTAGGED = 2  # matrix, primaries and transfer
_AROUND = 16  # pixels around a layer that show the film, so that its edge isn't blurred with black
_PLANAR = {(4, 1): "gbrap", (4, 2): "gbrap16le", (3, 1): "gbrp", (3, 2): "gbrp16le"}
_PLANAR |= {(1, 1): "gray", (1, 2): "gray16le"}


@dataclass(frozen=True)
class VideoKind:
    """A kind of video. Pixel formats: with and without alpha, of 8-bit films and of others.
    qualities: CRF with and without alpha."""

    suffix: str
    codec: str
    with_alpha: tuple[str, str]
    without: tuple[str, str]
    qualities: tuple[int | None, int | None] = (None, None)
    is_exact: bool = False


FFV1 = VideoKind(".mkv", "ffv1", ("bgra", "gbrap16le"), ("bgr0", "gbrp16le"), is_exact=True)
# without alpha its encoder takes a twentieth of the bits
PRORES = VideoKind(".mov", "prores_ks", ("yuva444p10le",) * 2, ("yuva444p10le",) * 2)
# At a CRF of 0 alpha is off by 1 of 255 at most, by 9 at 1 and 11 at 4. Browsers know alpha with
# 4:2:0 only, and that alone is what puts hues off at hard edges, without any loss of the codec too.
VP9 = VideoKind(".webm", "libvpx-vp9", ("yuva420p",) * 2, ("yuv420p",) * 2, qualities=(0, 4))
_GREY = VideoKind(".mkv", "ffv1", ("", ""), ("gray", "gray16le"), is_exact=True)
_GREYS = {layer_folder.HOLE: "hole", layer_folder.DISPARITY: "depth"}


class _Track:
    """A video of a layer; frames in which the layer isn't there are transparent."""

    def __init__(self, path: Path, writer: VideoWriter, blank: np.ndarray) -> None:
        self.path, self.writer, self.blank = path, writer, blank

    def write(self, picture: np.ndarray, times: Sequence[tuple[int, int]]) -> None:
        """picture: (H, W, channels) of the last frame of the shot so far. times: of all of them."""
        for pts, duration in times[self.writer.num_frames : -1]:
            self._write(self.blank, pts, duration)
        self._write(picture, *times[-1])

    def _write(self, picture: np.ndarray, pts: int, duration: int) -> None:
        *colours, last = cv2.split(picture) if picture.shape[2] > 1 else [picture[..., 0]]
        order = [last]
        if picture.shape[2] == 3:
            order = [colours[1], last, colours[0]]
        elif colours:
            order = [colours[1], colours[2], colours[0], last]
        kind = _PLANAR[picture.shape[2], picture.dtype.itemsize]
        color = self.writer.color
        self.writer.write(Picture(tuple(order), kind, color), pts, duration)


class VideoShot:
    """See `planes.ShotWriter`."""

    def __init__(self, shot: Path, film: Film, kind: VideoKind) -> None:
        self._shot, self._film, self._kind = shot, film, kind
        self._stack = ExitStack()
        self._tracks: dict[str, _Track] = {}  # by letters
        self._times: list[tuple[int, int]] = []  # pts and duration
        self._first = 0  # pts

    def write(self, number: int, pictures: Mapping[str, np.ndarray], frame: Frame) -> None:
        self._first = self._first if self._times else frame.pts
        self._times.append((frame.pts - self._first, frame.duration))
        for letters, name, picture in self._pictures_of(pictures):
            if letters not in self._tracks:
                self._tracks[letters] = self._open(name, picture)
            self._tracks[letters].write(picture, self._times)

    def _pictures_of(
        self, pictures: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Letters, names and (H, W, channels)."""
        for alpha, colours in [*layer_folder.layers_in(list(pictures)), layer_folder.OCCLUDER]:
            if alpha in pictures:
                straight = pictures[colours]
                if not self._kind.is_exact:
                    straight = _with_edges(straight, pictures[alpha], pictures[layer_folder.FILM])
                yield alpha, planes.layer_name(alpha), np.dstack([straight, pictures[alpha]])
        yield layer_folder.SCENE, "scene", pictures[layer_folder.SCENE]
        for letters, name in _GREYS.items():
            if letters in pictures:
                grey = pictures[letters]
                grey = grey.astype(np.uint8) * 255 if grey.dtype == bool else grey
                yield letters, name, grey[..., None]

    def _open(self, name: str, picture: np.ndarray) -> _Track:
        kind = self._kind if picture.shape[2] > 1 else _GREY
        formats = kind.with_alpha if picture.shape[2] == 4 else kind.without
        info = self._film.info
        path = self._shot / f"{name}{kind.suffix}"
        # a file that doesn't say in which colours it is, is guessed at by each program its own way
        color = replace(info.color, range=BT709.range)
        for field in ("matrix", "primaries", "transfer"):
            if getattr(color, field) == _UNTAGGED:
                color = replace(color, **{field: getattr(BT709, field)})
        writer = VideoWriter(
            path,
            width=info.width,
            height=info.height,
            rate=info.rate,
            time_base=info.time_base,
            codec=kind.codec,
            pixel_format=formats[picture.dtype == np.uint16],
            quality=kind.qualities[picture.shape[2] != 4],
            color=color,
            sample_aspect_ratio=info.sample_aspect_ratio,
        )
        return _Track(path, self._stack.enter_context(writer), np.zeros_like(picture))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for track in self._tracks.values():
            if error is None and track.writer.num_frames < len(self._times):
                track.write(track.blank, self._times)
        self._stack.__exit__(type(error) if error else None, error, None)

    def drop(self, letters: set[str]) -> None:
        for one in letters & self._tracks.keys():
            self._tracks[one].path.unlink()


def _with_edges(colours: np.ndarray, alpha: np.ndarray, film: np.ndarray) -> np.ndarray:
    """A layer's colours with the film's around it, where they are free."""
    size = 2 * _AROUND + 1
    around = cv2.dilate((alpha > 0).astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    return np.where((around & (alpha == 0))[..., None], film, colours)


def read_videos(
    shot: Path, numbers: range, there: Sequence[str], kind: VideoKind, dtype: type
) -> Iterator[FrameLayers]:
    """The layers of a shot's frames. there: the letters of its planes. dtype: of the film's
    pictures.

    Raises:
        UserError: a file is missing, can't be read, or has another number of frames.
        BrokenVideo: one is damaged.
    """
    people = layer_folder.layers_in(there)
    with ExitStack() as stack:

        def frames_of(name: str, suffix: str = kind.suffix) -> Iterator[Frame]:
            return stack.enter_context(_opened(shot / f"{name}{suffix}", len(numbers)))

        scenes = frames_of("scene")
        of_people = [frames_of(planes.layer_name(alpha)) for alpha, _ in people]
        occluders = frames_of("occluder") if layer_folder.OCCLUDER[0] in there else None
        holes = frames_of("hole", _GREY.suffix) if layer_folder.HOLE in there else None
        for scene in scenes:
            yield FrameLayers(
                [_layer_of(next(frames), dtype) for frames in of_people],
                None if occluders is None else _layer_of(next(occluders), dtype),
                _layer_of(scene, dtype).foreground,
                None if holes is None else _planes_of(next(holes))[0] > 127,
            )


@contextmanager
def _opened(path: Path, num_frames: int) -> Iterator[Iterator[Frame]]:
    try:
        reader = VideoReader(path, for_editing=True)
    except UserError as error:
        raise UserError(f"{error}, or split the film again") from error
    with reader:
        if len(reader) != num_frames:
            raise UserError(
                f"{path} has {len(reader)} frames, its shot {num_frames}: write it with all of "
                "them, or split the film again"
            )
        yield iter(reader)


def _planes_of(frame: Frame) -> tuple[np.ndarray, ...]:
    assert frame.picture is not None
    return frame.picture.planes


def _layer_of(frame: Frame, dtype: type) -> Layer:
    """Opaque, where a file that another program has written has no alpha."""
    assert frame.picture is not None
    # not frame.rgb: swscale, which it comes from, makes 8-bit Y'CbCr a grey level darker
    kind = _PLANAR[4, np.dtype(dtype).itemsize]
    green, blue, red, alpha = convert(frame.picture, kind).planes
    return Layer(np.dstack([red, green, blue]), alpha[..., None])
