"""Films and masks of layers for programs that generate or remove people, as each reads them.

    wan-animate/  src.mp4 src_bg.mp4 src_mask.mp4 src_bg/ src_mask/; of more input src_pose.mp4
                  src_face.mp4 src_ref.png      Wan-Animate (wan/animate.py), WanAnimatePipeline
    vace/         video.mp4 mask.mp4 video/ mask/                         VACE, WanVACEPipeline
    removal/      video.mp4 object_mask.mp4 total_mask.mp4 ours.mp4 masks/
                  OmnimatteZero, ProPainter (masks/), DiffuEraser, MiniMax-Remover

Masks are 0 or 255, 255 is generated. export.json tells how the frames came about, so that compose
can put back what is made of them. Films are coded without a loss.

Axes: H W pixels of the film, h w of the export, 3 = R G B.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from layers.options_films import REMOVAL, VACE, WAN_ANIMATE, FilmExportOptions, parse_mask_shape
from layers.runtime import planes
from layers.runtime.film_fit import Fit, fit_of
from layers.runtime.pose_pictures import cut_face, draw_skeleton, laid, read_points
from layers.runtime.region_masks import region, whole_blocks, without
from nunif.errors import UserError
from nunif.files import explain_os_errors
from nunif.image import encode_binary, encode_rgb
from nunif.video.film import Film, parse_fps
from nunif.video.tone import ToneMap
from nunif.video.writer import VideoWriter

FOLDER, INFO = "exports", "export.json"
VERSION = 1
GREY = 128  # of what VACE is to generate
SEGMENT = 77  # frames that Wan-Animate generates at a time


class LayersOfFrame(NamedTuple):
    """What an export is made of. number: of the film's frame. rgb: (h, w, 3) uint8, SDR. people:
    the alpha of each, (h, w) uint8. occluder: the same, or None. scene: as rgb, or None. effects:
    (h, w) bool, or None."""

    number: int
    rgb: np.ndarray
    people: list[np.ndarray]
    occluder: np.ndarray | None
    scene: np.ndarray | None
    effects: np.ndarray | None


@dataclass(frozen=True)
class Plan:
    """One export of a film. frames: of the film, one for each of the export."""

    name: str
    fit: Fit
    rate: Fraction
    frames: list[int]
    notes: list[str]
    options: FilmExportOptions
    points: np.ndarray | None = None  # of --pose, (T, 133, 3) for each frame of the film


Pictures = dict[str, np.ndarray]


class Target(NamedTuple):
    """pictures: of a frame, by the names of the films that they go to; threshold: from what alpha
    on somebody is there. folders: which of the films are folders of PNGs too, by their names.
    arguments: what the reader calls the films, and what else it must be told."""

    pictures: Callable[[LayersOfFrame, Plan, float], Pictures]
    folders: Mapping[str, str]
    mask: str  # of the folders, the one of what is generated
    arguments: Callable[[Plan], dict[str, Any]]


def _for_wan_animate(frame: LayersOfFrame, plan: Plan, threshold: float) -> Pictures:
    mask = without(whole_blocks(_region(frame, plan)), frame.occluder)
    pictures = {"src": frame.rgb, "src_bg": _painted(frame.rgb, mask, 0), "src_mask": mask}
    if plan.points is None:
        return pictures
    points = plan.points[frame.number]
    skeleton, face = draw_skeleton(points, plan.fit.size), cut_face(frame.rgb, points)
    return {**pictures, "src_pose": skeleton, "src_face": face}


def _for_vace(frame: LayersOfFrame, plan: Plan, threshold: float) -> Pictures:
    mask = without(_region(frame, plan), frame.occluder)
    return {"video": _painted(frame.rgb, mask, GREY), "mask": mask}


def _for_removal(frame: LayersOfFrame, plan: Plan, threshold: float) -> Pictures:
    mask = np.zeros(frame.rgb.shape[:2], bool)
    for alpha in frame.people:
        mask |= alpha > threshold * 255
    mask = without(mask, frame.occluder)
    total = mask if frame.effects is None else mask | frame.effects
    assert frame.scene is not None
    return {"video": frame.rgb, "object_mask": mask, "total_mask": total, "ours": frame.scene}


def _region(frame: LayersOfFrame, plan: Plan) -> np.ndarray:
    return region(frame.people, parse_mask_shape(plan.options.mask_shape), plan.fit.size)


def _painted(rgb: np.ndarray, mask: np.ndarray, value: int) -> np.ndarray:
    return np.where(mask[..., None], np.uint8(value), rgb)


def _size_of(plan: Plan) -> dict[str, Any]:
    height, width = plan.fit.size
    return {"height": height, "width": width}


def _given(plan: Plan) -> dict[str, str]:
    """What the user gave."""
    moves = {"pose_video": "src_pose.mp4", "face_video": "src_face.mp4"}
    image = {} if plan.options.reference is None else {"image": "src_ref.png"}
    return image | ({} if plan.points is None else moves)


TARGETS = {
    WAN_ANIMATE: Target(
        _for_wan_animate,
        {"src_bg": "src_bg", "src_mask": "src_mask"},
        "src_mask",
        lambda plan: {
            "background_video": "src_bg.mp4",
            "mask_video": "src_mask.mp4",
            **_given(plan),
            "mode": "replace",
            "segment_frame_length": SEGMENT,
            **_size_of(plan),
        },
    ),
    VACE: Target(
        _for_vace,
        {"video": "video", "mask": "mask"},
        "mask",
        lambda plan: {
            "video": "video.mp4",
            "mask": "mask.mp4",
            "num_frames": len(plan.frames),
            **_size_of(plan),
        },
    ),
    REMOVAL: Target(
        _for_removal,
        {"total_mask": "masks"},
        "masks",
        lambda plan: {"video": "video.mp4", "mask": "total_mask.mp4"},
    ),
}


def plan_exports(options: FilmExportOptions, film: Film) -> list[Plan]:
    """What will be exported of a film.

    Raises:
        UserError: it is too small or too short for that.
    """
    plans = []
    for name in options.exports():
        info = film.info
        fit = fit_of(
            (info.height, info.width),
            area=options.area_of(name),
            pixel_aspect=info.sample_aspect_ratio or Fraction(1),
            name=str(film.path),
        )
        rate = info.rate
        if options.export_fps is not None:
            rate = parse_fps(options.export_fps, flag="--export-fps")
        frames, notes = _frames_at(rate, film)
        if name == VACE and (rest := (len(frames) - 1) % 4):
            frames = frames[:-rest]
            last = "the last frame is" if rest == 1 else f"the last {rest} frames are"
            notes.append(f"{last} left out (4k+1 are read)")
        if name == WAN_ANIMATE and len(frames) < 2:
            raise UserError(
                f"--export {name} needs 2 frames at least, and {film.path} gives {len(frames)}: "
                "take more of the film"
            )
        points = None
        if name == WAN_ANIMATE and options.pose is not None:
            points = laid(read_points(options.pose, len(film)), fit)
        plans.append(Plan(name, fit, rate, frames, fit.notes() + notes, options, points))
    return plans


def _frames_at(rate: Fraction, film: Film) -> tuple[list[int], list[str]]:
    """The frame of a film that is nearest to each tick of a rate, and what that does to it."""
    times = film.times - film.times[0]
    ticks = np.arange(round(float(times[-1]) * float(rate)) + 1) / float(rate)
    later = np.searchsorted(times, ticks).clip(1, max(len(times) - 1, 1))
    earlier = later - 1
    later = later.clip(max=len(times) - 1)
    is_later = times[later] - ticks < ticks - times[earlier]
    frames = [int(number) for number in np.where(is_later, later, earlier)]
    kept = len({*frames})
    notes = []
    if repeated := len(frames) - kept:
        notes.append(f"{repeated} frames are there more than once, for {float(rate):g} fps")
    if lost := len(film) - kept:
        notes.append(f"{lost} of the film's frames left out, for {float(rate):g} fps")
    return frames, notes


def layers_of_frames(
    plan: Plan,
    folder: Path,
    meta: dict[str, Any],
    tone: ToneMap | None,
    effects: Iterator[np.ndarray] | None,
) -> Iterator[LayersOfFrame]:
    """The layers of each frame of an export.

    folder, meta: of the layers. effects: masks of all frames of the film, (H, W) uint8.

    Raises:
        UserError: a picture is missing or damaged.
    """
    numbered = enumerate(effects or ())
    lay, last, frame = plan.fit.lay, -1, None
    for number in plan.frames:
        if number != last or frame is None:
            marks = next((mask for at, mask in numbered if at == number), None)
            shot, there = _shot_of(number, folder, meta)

            def read(letters: str, shot: Path = shot, number: int = number) -> np.ndarray:
                return planes.read_plane(shot, number, letters)

            people = [letters for letters in sorted(there, key=_depth) if letters[0] == "A"]
            frame = LayersOfFrame(
                number,
                lay(_sdr8(read(planes.FILM), tone)),
                [lay(_eight_bits(read(letters))) for letters in people],
                lay(_eight_bits(read(planes.OCCLUDER[0]))) if planes.OCCLUDER[0] in there else None,
                lay(_sdr8(read(planes.SCENE), tone)) if plan.name == REMOVAL else None,
                None if marks is None else lay(marks) > 127,
            )
            last = number
        yield frame


def _depth(letters: str) -> int:
    return int(letters[1:] or 1) if letters[0] == "A" else 0


def _shot_of(frame: int, folder: Path, meta: dict[str, Any]) -> tuple[Path, list[str]]:
    """The folder and the planes of the shot that a frame is in."""
    for number, ((first, last), there) in enumerate(zip(meta["shots"], meta["planes"])):
        if first <= frame <= last:
            return planes.shot_folder(folder, number), there
    raise UserError(f"{folder / planes.META} knows no frame {frame}: split the film again")


def _eight_bits(x: np.ndarray) -> np.ndarray:
    return x if x.dtype == np.uint8 else ((x.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _sdr8(rgb: np.ndarray, tone: ToneMap | None) -> np.ndarray:
    return _eight_bits(rgb if tone is None else tone.to_sdr(rgb))


@dataclass
class FilmsOfExport:
    """Writes the films of an export and their folders of PNGs. Use as a context manager."""

    folder: Path
    rate: Fraction
    folders: Mapping[str, str]
    num_frames: int = 0
    _films: dict[str, VideoWriter] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "FilmsOfExport":
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, pictures: Pictures) -> None:
        """Add a frame to each film: (h, w, 3) uint8, or a mask (h, w) bool."""
        assert not self.num_frames or {*pictures} == {*self._films}
        for name, picture in pictures.items():
            film = self._films.get(name) or self._open(name, *picture.shape[:2])
            is_mask = picture.dtype == bool
            rgb = np.dstack([picture.astype(np.uint8) * 255] * 3) if is_mask else picture
            film.write(rgb, self.num_frames)
            if folder := self.folders.get(name):
                data = encode_binary(picture) if is_mask else encode_rgb(picture)
                picture_path(self.folder / folder, self.num_frames).write_bytes(data)
        self.num_frames += 1

    def _open(self, name: str, height: int, width: int) -> VideoWriter:
        if folder := self.folders.get(name):
            (self.folder / folder).mkdir()
        film = VideoWriter(
            self.folder / f"{name}.mp4",
            width=width,
            height=height,
            rate=self.rate,
            time_base=1 / self.rate,
            codec="libx264rgb",
            pixel_format="rgb24",
            quality=0,
            keep_unfinished=False,
        )
        self._films[name] = self._stack.enter_context(film)
        return film

    @property
    def counts(self) -> set[int]:
        """How many frames the films have."""
        return {film.num_frames for film in self._films.values()}


def picture_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.png"


def write_export(
    plan: Plan,
    folder: Path,
    frames: Iterable[LayersOfFrame],
    *,
    threshold: float,
) -> int:
    """Write the films of one export into an empty folder, and tell in how many frames nothing is to
    be generated.

    Args:
        frames: see `layers_of_frames`.
        threshold: from what alpha on somebody is there.
    """
    target = TARGETS[plan.name]
    num_empty = 0
    with (
        explain_os_errors(folder),
        FilmsOfExport(folder, plan.rate, target.folders) as films,
    ):
        for frame in frames:
            pictures = target.pictures(frame, plan, threshold)
            num_empty += not any(x.any() for x in pictures.values() if x.dtype == bool)
            films.write(pictures)
        # readers pad a shorter one by themselves and say nothing
        assert films.counts == {len(plan.frames)}, films.counts
    return num_empty


def info_of(
    plan: Plan, meta: dict[str, Any], tone: ToneMap | None, num_empty: int
) -> dict[str, Any]:
    """What export.json says. meta: of the layers. tone: of the film."""
    notes = [*plan.notes] + ([] if tone is None else [f"brought from {tone.name} to SDR"])
    # on whose machine it was is nobody's business
    source = {key: value for key, value in meta["source"].items() if key != "path"}
    provenance = {"source": source, "models": meta["models"], "generated": "made_of" in meta}
    if "made_of" in meta:
        provenance["made_of"] = meta["made_of"]
    return {
        "version": VERSION,
        "export": plan.name,
        **plan.fit.to_json(),
        "fps": str(plan.rate),
        "frames": plan.frames,
        "frames_without_anybody": num_empty,
        "mask": TARGETS[plan.name].mask,
        "mask_shape": plan.options.mask_shape if plan.name != REMOVAL else None,
        "arguments": TARGETS[plan.name].arguments(plan),
        "notes": notes,
        "provenance": provenance,
    }
