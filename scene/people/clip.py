"""A clip of the world: people before a background, as planes that add up exactly.

Everything is drawn from one generator, in the order of `_draw_scene`.

Axes: T frames, H W pixels, P people, 3 = R G B, or x y z in metres.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from scene.people.appearance import draw_clothes, draw_light, paint
from scene.people.background import room_depth
from scene.people.body import NUM_PARTS, NUM_VERTICES, rest_vertices
from scene.people.camera import Camera, draw_camera
from scene.people.compose import compose, defocus, straight_colour, visible_alpha
from scene.people.film import TRIANGLES, Exposure, Person, Troupe, moments
from scene.people.hair import draw_hair, head_of
from scene.people.motion import Motion, draw_gait, move_body
from scene.people.occluder import Occluder, draw_occluder, draw_over
from scene.people.raster import rasterize
from scene.planes import ALPHA, BEHIND, COLOUR, DISPARITY, FOREGROUND, OCCLUDER, SHADOW

FPS = 24.0  # of the people's motion; the background keeps its own
HEIGHTS, WIDTHS = (1.5, 1.95), (0.8, 1.35)  # metres; share of the usual width
PEOPLE_SHARES = 0.1, 0.7, 0.2  # of clips with none, one and two
OCCLUDER_SHARE = 0.4
SUBFRAMES, SUBFRAME_SHARES = (1, 4, 8), (0.5, 0.3, 0.2)
SHARP_SHARE, MAX_DEFOCUS = 0.5, 2.5  # of clips without defocus; pixels
MAX_SHADOW = 0.6
NEAREST_PERSON = 1.5  # metres
EMPTY_DISTANCE = 4.0  # metres, where a person would stand


@dataclass(frozen=True)
class Clip:
    """planes: by letter, (T, H, W, ...) as `nunif.records.write_record` takes them. pose: arrays
    for pose.npz. info: for record.json."""

    planes: dict[str, np.ndarray]
    pose: dict[str, np.ndarray]
    info: dict[str, Any]


@dataclass(frozen=True)
class _Scene:
    """All that was drawn. light: where it comes from. wall: metres from the camera to the wall."""

    people: list[Person]
    camera: Camera
    light: np.ndarray
    num_subframes: int
    defocus: float
    occluder: Occluder | None
    shadow: float
    shadow_softness: float
    wall_share: float


def make_clip(
    rng: np.random.Generator,
    behind: np.ndarray,
    *,
    depth: np.ndarray | None = None,
    other: Callable[[], np.ndarray | None] = lambda: None,
    num_people: int | None = None,
    with_shadow: bool = False,
) -> Clip:
    """Random people before a background.

    Args:
        behind: (T, H, W, 3) uint8.
        depth: of the background, (T, H, W) from 0 to 1 = near, all of it behind the people; None:
            it is taken to be a floor and a wall.
        other: gives a picture (H, W, 3) uint8 that an occluder may be cut out of, or None; called
            where one is needed.
        num_people: 0 to 2; None: drawn.
        with_shadow: make the plane of shadows too.
    """
    num_frames = len(behind)
    scene = _draw_scene(rng, behind, other, num_people, with_shadow=with_shadow)
    troupe = Troupe(scene.people, scene.camera, moments(num_frames, FPS, scene.num_subframes))
    times = moments(num_frames, FPS, 1)
    motions = [move_body(p.gait, p.height, p.width, times) for p in scene.people]
    wall = _wall(scene, motions)
    frames = []
    for number in range(num_frames):
        first = number * scene.num_subframes
        exposure = troupe.expose(range(first, first + scene.num_subframes))
        cover = _cover(scene, number / max(1, num_frames - 1))
        shadow = _shadow(scene, motions, number, times) if with_shadow else None
        frame = _compose_frame(scene, exposure, behind[number], cover, shadow)
        if depth is None:
            back = room_depth(scene.camera, wall, times[number])
        else:
            back = depth[number] / wall
        frame[DISPARITY.letter] = _inverse_depth(exposure, back, cover, motions)
        frames.append(frame)
    planes = {letter: np.stack([frame[letter] for frame in frames]) for letter in frames[0]}
    planes[DISPARITY.letter], ends = _to_16_bits(planes[DISPARITY.letter])
    return Clip(planes, _pose(scene.camera, motions, times), _describe(scene, wall, ends))


def _compose_frame(
    scene: _Scene,
    exposure: Exposure,
    behind: np.ndarray,
    cover: np.ndarray,
    shadow: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """The planes of a frame by letter, but for its depth. cover: the occluder, (H, W, 4)."""
    colour = defocus(exposure.colour, scene.defocus)
    coverage = defocus(exposure.coverage, scene.defocus)
    alpha = visible_alpha(coverage, cover)
    foreground = straight_colour(colour, coverage, behind)
    planes = {
        COLOUR.letter: compose(foreground, alpha, behind, cover, shadow),
        ALPHA.letter: alpha,
        FOREGROUND.letter: foreground,
        BEHIND.letter: behind,
        OCCLUDER.letter: cover,
    }
    return planes | ({} if shadow is None else {SHADOW.letter: shadow})


def _cover(scene: _Scene, share: float) -> np.ndarray:
    """What stands before the people when `share` of the clip is over: (H, W, 4) uint8."""
    if scene.occluder is None:
        return np.zeros((*scene.camera.size, 4), np.uint8)
    return draw_over(scene.occluder, share)


def _inverse_depth(
    exposure: Exposure, back: np.ndarray, cover: np.ndarray, motions: list[Motion]
) -> np.ndarray:
    """Of what is seen most of in each pixel, in 1/m: (H, W). back: of the background."""
    with_people = np.where(exposure.coverage >= 0.5, exposure.inverse_depth, back)
    return np.where(cover[..., 3] >= 128, _cover_depth(motions), with_people)


def _draw_scene(
    rng: np.random.Generator,
    behind: np.ndarray,
    other: Callable[[], np.ndarray | None],
    num_people: int | None,
    *,
    with_shadow: bool,
) -> _Scene:
    num_frames, *sides = behind.shape[:3]
    size = sides[0], sides[1]
    drawn = int(rng.choice(len(PEOPLE_SHARES), p=PEOPLE_SHARES))
    count = drawn if num_people is None else num_people
    heights, widths = rng.uniform(*HEIGHTS, count), rng.uniform(*WIDTHS, count)
    gaits = [draw_gait(rng, height) for height in heights]
    light, ambient = draw_light(rng)
    clothes = [draw_clothes(rng, light, ambient) for _ in gaits]
    hair = [
        draw_hair(rng, head_of(rest_vertices(height, width)), height)
        for height, width in zip(heights, widths)
    ]
    times = moments(num_frames, FPS, 1)
    camera = draw_camera(rng, size, times, float(heights[0]) if count else HEIGHTS[1])
    for number, gait in enumerate(gaits):
        farther = 1.0 if number == 0 else float(rng.uniform(0.75, 1.6))
        distance = max(NEAREST_PERSON, camera.distance * farther)
        column = rng.uniform(0.2, 0.8) * size[1]
        gait.place = ((column - size[1] / 2) * distance / camera.focal, -distance)
    texels = 64 * max(1, round(size[0] / 288))
    people = []
    for height, width, gait, worn, strands in zip(heights, widths, gaits, clothes, hair):
        shirt = _colour_behind(behind, camera, gait.place, height) if worn.blends_in else None
        textures = paint(worn, shirt, texels)
        people.append(Person(float(height), float(width), gait, worn, textures, strands))
    num_subframes = int(rng.choice(SUBFRAMES, p=SUBFRAME_SHARES))
    is_sharp, radius = rng.random() < SHARP_SHARE, float(rng.uniform(0, MAX_DEFOCUS))
    occluder = draw_occluder(rng, size, other) if rng.random() < OCCLUDER_SHARE else None
    wall_share = float(rng.uniform(1.3, 3))
    shadow = float(rng.uniform(0, MAX_SHADOW)) if with_shadow else 0.0
    softness = float(rng.uniform(0.004, 0.02)) * size[0]
    return _Scene(
        people, camera, light, num_subframes, 0.0 if is_sharp else radius, occluder, shadow,
        softness, wall_share,
    )  # fmt: skip


def _colour_behind(
    behind: np.ndarray, camera: Camera, place: tuple[float, float], height: float
) -> np.ndarray:
    """The colour of the background, in the middle of the clip, where a chest is: (3,)."""
    chest = np.array([[[place[0], 0.75 * height, place[1]]]])
    x, y = camera.project(chest, np.zeros(1))[0][0, 0]
    reach = max(2, behind.shape[1] // 60)
    column = int(np.clip(x, reach, behind.shape[2] - reach))
    row = int(np.clip(y, reach, behind.shape[1] - reach))
    part = behind[len(behind) // 2, row - reach : row + reach, column - reach : column + reach]
    return np.median(part.reshape(-1, 3), axis=0)


def _wall(scene: _Scene, motions: list[Motion]) -> float:
    """How far the background is, in metres: behind all people, wherever they go."""
    farthest = max((-motion.vertices[..., 2].min() for motion in motions), default=EMPTY_DISTANCE)
    return float(scene.wall_share * farthest + 0.5)


def _cover_depth(motions: list[Motion]) -> float:
    """The inverse depth of what stands before all people, in 1/m."""
    nearest = min((-motion.vertices[..., 2].max() for motion in motions), default=EMPTY_DISTANCE)
    return 1 / max(0.3, 0.8 * float(nearest))


def _shadow(scene: _Scene, motions: list[Motion], number: int, times: np.ndarray) -> np.ndarray:
    """The light that people take from the floor, in 255ths: (H, W) uint8."""
    size, camera, light = scene.camera.size, scene.camera, scene.light
    dark: np.ndarray = np.zeros(size, np.float32)
    for motion in motions:
        points = motion.vertices[number].reshape(1, NUM_PARTS * NUM_VERTICES, 3)
        fallen = points - points[..., 1:2] / light[1] * light
        pixels, inverse = camera.project(fallen, times[number : number + 1])
        corners, depths = pixels[0][TRIANGLES], inverse[0][TRIANGLES]
        is_seen = depths.min(axis=1) > 0
        seen = rasterize(corners[is_seen], np.ones_like(depths[is_seen]), size, nearest=1.0)
        dark[seen.rows, seen.columns] = 1
    dark = cv2.GaussianBlur(dark, (0, 0), scene.shadow_softness)
    return np.rint(255 * scene.shadow * np.clip(dark, 0, 1)).astype(np.uint8)


def _to_16_bits(inverse: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Inverse depth as uint16, the nearest at 65535, and both ends."""
    far, near = float(inverse.min()), float(inverse.max())
    steps = np.rint((inverse - far) * (65535 / max(near - far, 1e-9)))
    return steps.astype(np.uint16), (far, near)


def _pose(camera: Camera, motions: list[Motion], times: np.ndarray) -> dict[str, np.ndarray]:
    """What is in pose.npz, of all frames and people; see docs/data.md."""
    count, num_frames = len(motions), len(times)
    joints = np.zeros((num_frames, count, NUM_PARTS, 3))
    vertices = np.zeros((num_frames, count, NUM_PARTS * NUM_VERTICES, 3))
    for number, motion in enumerate(motions):
        joints[:, number] = motion.joints
        vertices[:, number] = motion.vertices.reshape(num_frames, -1, 3)
    pixels, _ = camera.project(joints, times)
    arrays = {
        "joints": joints,
        "pixels": pixels,
        "vertices": vertices,
        "intrinsics": camera.intrinsics(times),
        "extrinsics": camera.extrinsics(),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _describe(scene: _Scene, wall: float, ends: tuple[float, float]) -> dict[str, Any]:
    people = [
        {
            "height": round(person.height, 3),
            "motion": person.gait.kind,
            "speed": round(person.gait.speed, 3),
            "camouflage": person.clothes.blends_in,
            "strands": len(person.hair.widths),
        }
        for person in scene.people
    ]
    return {
        "people": people,
        "camera": scene.camera.kind,
        "subframes": scene.num_subframes,
        "defocus": round(scene.defocus, 3),
        "occluder": scene.occluder is not None,
        "shadow": round(scene.shadow, 3),
        "wall": round(wall, 3),
        "inverse_depth": list(ends),
    }
