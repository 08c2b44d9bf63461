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

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from layers.options_films import REMOVAL, VACE, WAN_ANIMATE, FilmExportOptions, parse_mask_shape
from layers.runtime.export_writer import FilmsOfExport, Pictures
from layers.runtime.film_fit import Fit, fit_of
from layers.runtime.pose_pictures import cut_face, draw_skeleton, laid, read_points
from layers.runtime.region_masks import region, whole_blocks, without
from nunif.errors import UserError
from nunif.files import explain_os_errors
from nunif.image import save_png
from nunif.numbered import check_exists, is_picture
from nunif.video.film import Film, open_film, parse_fps
from nunif.video.pixel_format import layout_of
from nunif.video.tone import ToneMap
from scene.layers.exact import Layer
from scene.layers.planes import FrameLayers, in_bits
from scene.layers.spaces import Space

FOLDER, INFO = "exports", "export.json"
VERSION = 1
GREY = 128  # of what VACE is to generate
SEGMENT = 77  # frames that Wan-Animate generates at a time


class LayersOfFrame(NamedTuple):
    """What an export is made of. number: of the film's frame. rgb: (h, w, 3) uint8, SDR. people:
    the alpha of each, (h, w) uint8. occluder: the same, or None. scene: as rgb, or None. effects:
    (h, w) bool, or None. is_cut: whether somebody reaches into what is cut off."""

    number: int
    rgb: np.ndarray
    people: list[np.ndarray]
    occluder: np.ndarray | None
    scene: np.ndarray | None
    effects: np.ndarray | None
    is_cut: bool


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
    reference: np.ndarray | None = None  # the picture of --reference, (H, W, 3) uint8


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
    image = {} if plan.reference is None else {"image": "src_ref.png"}
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
        UserError: it is too small or too short for that, or what the user gives can't be used.
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
        if (bits := layout_of(info.picture_format).bits) > 8:
            notes.append(f"brought from {bits} bits to 8")
        if name == VACE and (rest := (len(frames) - 1) % 4):
            frames = frames[:-rest]
            last = "the last frame is" if rest == 1 else f"the last {rest} frames are"
            notes.append(f"{last} left out (4k+1 are read)")
        if name == WAN_ANIMATE and len(frames) < 2:
            raise UserError(
                f"--export {name} needs 2 frames at least, and {film.path} gives {len(frames)}: "
                "take more of the film"
            )
        plan = Plan(name, fit, rate, frames, fit.notes() + notes, options)
        plans.append(_with_inputs(plan, film) if name == WAN_ANIMATE else plan)
    if options.effects is not None:
        check_exists(options.effects, f"--effects {options.effects}")
    return plans


def _with_inputs(plan: Plan, film: Film) -> Plan:
    """With what the user gives: points and a picture."""
    options = plan.options
    if options.pose is not None:
        plan = replace(plan, points=laid(read_points(options.pose, len(film)), plan.fit))
    if options.reference is not None:
        plan = replace(plan, reference=_read_reference(options.reference))
    return plan


def _read_reference(path: Path) -> np.ndarray:
    if not is_picture(path):
        raise UserError(f"--reference {path} is no picture: name one, such as a .png or .jpg")
    with open_film(path, is_still=True) as film:
        (frame,) = film.read(0, 1)
    return frame.rgb


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
    film: Film,
    layers: Iterable[FrameLayers],
    space: Space,
    effects: Iterable[np.ndarray] | None,
) -> Iterator[LayersOfFrame]:
    """The layers of each frame of an export.

    layers, effects: of each frame of the film, in order; effects are masks (H, W) uint8. space: in
    whose numbers the layers are.
    """
    times = Counter(plan.frames)
    lay, tone = plan.fit.lay, film.info.tone_map
    cut_off = ~plan.fit.back(np.ones(plan.fit.size, bool))
    marks = repeat(None) if effects is None else effects
    for number, (frame, there, marked) in enumerate(zip(film, layers, marks)):
        if number in times:
            people = [_alpha8(space, person) for person in there.people]
            made = LayersOfFrame(
                number,
                lay(_sdr8(frame.rgb, tone)),
                [lay(alpha) for alpha in people],
                None if there.occluder is None else lay(_alpha8(space, there.occluder)),
                lay(_scene(there, frame.rgb, space, tone)) if plan.name == REMOVAL else None,
                None if marked is None else lay(marked) > 127,
                any((alpha[cut_off] > 127).any() for alpha in people),
            )
            yield from repeat(made, times[number])
        if number == plan.frames[-1]:
            return


def _alpha8(space: Space, layer: Layer) -> np.ndarray:
    return in_bits(space.alpha_of(layer)[..., 0], np.uint8)


def _scene(there: FrameLayers, rgb: np.ndarray, space: Space, tone: ToneMap | None) -> np.ndarray:
    """The scene as (H, W, 3) uint8, SDR; but for the hole it is the film, whatever the layers'
    format loses."""
    scene = space.take_out(there.scene)
    hole = np.zeros(rgb.shape[:2], bool) if there.hole is None else there.hole
    return _sdr8(np.where(hole[..., None], scene, rgb), tone)


def _sdr8(rgb: np.ndarray, tone: ToneMap | None) -> np.ndarray:
    return in_bits(rgb if tone is None else tone.to_sdr(rgb), np.uint8)


class Seen(NamedTuple):
    """In how many frames nobody is, and in how many somebody reaches into what is cut off."""

    empty: int
    cut: int


def write_export(
    plan: Plan, folder: Path, frames: Iterable[LayersOfFrame], *, threshold: float
) -> Seen:
    """Write what is asked for into an empty folder, but for its export.json.

    Args:
        frames: see `layers_of_frames`.
        threshold: from what alpha on somebody is there.
    """
    target = TARGETS[plan.name]
    num_empty = num_cut = 0
    with (
        explain_os_errors(folder),
        FilmsOfExport(folder, plan.rate, target.folders) as films,
    ):
        for frame in frames:
            pictures = target.pictures(frame, plan, threshold)
            num_empty += not any(x.any() for x in pictures.values() if x.dtype == bool)
            num_cut += frame.is_cut
            films.write(pictures)
        # readers pad a shorter one by themselves and say nothing
        assert films.counts == {len(plan.frames)}, films.counts
    if plan.reference is not None:
        save_png(folder / "src_ref.png", plan.reference)
    return Seen(num_empty, num_cut)


def info_of(plan: Plan, meta: dict[str, Any], tone: ToneMap | None, seen: Seen) -> dict[str, Any]:
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
        "frames_without_anybody": seen.empty,
        "frames_with_people_cut": seen.cut,
        "mask": TARGETS[plan.name].mask,
        "mask_shape": plan.options.mask_shape if plan.name != REMOVAL else None,
        "arguments": TARGETS[plan.name].arguments(plan),
        "missing": missing_of(plan),
        "notes": notes,
        "provenance": provenance,
    }


def missing_of(plan: Plan) -> dict[str, str]:
    """The files that the reader needs besides, and where they come from."""
    missing = {}
    if plan.name == WAN_ANIMATE and plan.reference is None:
        missing["src_ref.png"] = "a picture of who is to stand there (--reference)"
    if plan.name == WAN_ANIMATE and plan.points is None:
        points = "of the points that DWPose or ViTPose find in the film (--pose)"
        missing["src_pose.mp4"] = missing["src_face.mp4"] = points
    return missing
