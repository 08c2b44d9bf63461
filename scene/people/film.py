"""What the camera makes of people: premultiplied colour, coverage and depth, with blur.

Axes: H W pixels, T moments (sub-frames of all frames), S seen samples, 3 = R G B from 0 to 255.
"""

from dataclasses import dataclass

import numpy as np

from scene.people.appearance import HAIR_TEXTURE, Clothes, lit
from scene.people.body import (
    HEAD,
    NUM_PARTS,
    NUM_VERTICES,
    make_triangles,
    rest_normals,
    rest_vertices,
)
from scene.people.camera import NEAREST, Camera
from scene.people.hair import Hair, move_hair, ribbon_triangles, widen
from scene.people.motion import Gait, head_acceleration, move_body
from scene.people.raster import Seen, interpolate, rasterize

SAMPLES = 3  # of a pixel, in both directions
SHUTTER = 0.5  # of the time of a frame that it is open

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # those of `Corners`
TRIANGLES, PLACES = make_triangles()
_TEXTURE_OF = np.repeat(np.arange(NUM_PARTS), len(TRIANGLES) // NUM_PARTS)


@dataclass(frozen=True)
class Person:
    """height in metres, width as of `rest_vertices`, textures as of `paint`."""

    height: float
    width: float
    gait: Gait
    clothes: Clothes
    textures: np.ndarray
    hair: Hair


@dataclass(frozen=True)
class Exposure:
    """People by themselves: premultiplied colour (H, W, 3), coverage (H, W) from 0 to 1, and their
    mean inverse depth (H, W) in 1/m where they cover anything, else 0."""

    colour: np.ndarray
    coverage: np.ndarray
    inverse_depth: np.ndarray


@dataclass(frozen=True)
class Corners:
    """Triangles as the camera sees them: N of them.

    points: (N, 3, 2) in samples. depths: (N, 3), inverse. values: (N, 3, 3), place round and along
    the tube, and light. textures: (N,), which of all people's textures.
    """

    points: np.ndarray
    depths: np.ndarray
    values: np.ndarray
    textures: np.ndarray


def moments(num_frames: int, fps: float, num_subframes: int) -> np.ndarray:
    """The times in seconds of all sub-frames, around the time of each frame: (T,). The middle of
    the clip is at 0."""
    frames = (np.arange(num_frames) - (num_frames - 1) / 2) / fps
    parts = ((np.arange(num_subframes) + 0.5) / num_subframes - 0.5) * SHUTTER / fps
    return (frames[:, None] + parts).ravel()


class Troupe:
    """People in motion, drawn moment by moment."""

    def __init__(self, people: list[Person], camera: Camera, times: np.ndarray) -> None:
        self.camera, self.times = camera, times
        self.textures = (
            np.concatenate([person.textures for person in people])
            if people
            else np.zeros((1, 1, 1, 3), np.float32)
        )
        self._actors = [
            _Actor(person, camera, times, number * (NUM_PARTS + 1))
            for number, person in enumerate(people)
        ]

    def corners(self, moment: int) -> Corners:
        """All triangles at a moment."""
        found = [part for actor in self._actors for part in actor.corners(moment)]
        return Corners(*(np.concatenate(arrays) for arrays in zip(*found)))

    def expose(self, moments: range) -> Exposure:
        """The mean of some moments."""
        height, width = self.camera.size
        sums = np.zeros((height * width, 5))  # colour, coverage, inverse depth
        for moment in moments if self._actors else ():
            corners = self.corners(moment)
            seen = rasterize(
                corners.points,
                corners.depths,
                (SAMPLES * height, SAMPLES * width),
                nearest=1 / NEAREST,
            )
            self._add(seen, corners, sums)
        means = sums.reshape(height, width, 5) / (len(moments) * SAMPLES**2)
        coverage = means[..., 3]
        depth = means[..., 4] / np.where(coverage > 0, coverage, 1)
        return Exposure(means[..., :3], coverage, depth)

    def _add(self, seen: Seen, corners: Corners, sums: np.ndarray) -> None:
        """Add the samples of a moment to what their pixels have."""
        around, along, light = interpolate(seen, corners.points, corners.values)
        _, high, wide, _ = self.textures.shape
        row = np.clip((along * high).astype(np.int64), 0, high - 1)
        column = (around * wide).astype(np.int64) % wide
        texel = (corners.textures[seen.triangles] * high + row) * wide + column
        colour = self.textures.reshape(-1, 3)[texel] * light[:, None]
        pixel = (seen.rows // SAMPLES) * self.camera.size[1] + seen.columns // SAMPLES
        first = int(pixel.min(initial=len(sums)))
        weights_of = (*np.minimum(colour, 255).T, np.ones(len(pixel)), seen.depths)
        for channel, weights in enumerate(weights_of):
            added = np.bincount(pixel - first, weights)
            sums[first : first + len(added), channel] += added


class _Actor:
    """One of the people, with all that is known before the camera runs."""

    def __init__(self, person: Person, camera: Camera, times: np.ndarray, first: int) -> None:
        self._first, self._hair = first, person.hair
        motion = move_body(person.gait, person.height, person.width, times)
        rest = rest_vertices(person.height, person.width)
        normals = rest_normals(rest, TRIANGLES) @ motion.rotations.swapaxes(2, 3)
        self._light = lit(normals, person.clothes).reshape(len(times), -1)
        self.motion = motion
        points = motion.vertices.reshape(len(times), NUM_PARTS * NUM_VERTICES, 3)
        self._points, self._depths = camera.project(points, times)
        acceleration = head_acceleration(person.gait, person.height, person.width, times)
        strands = move_hair(person.hair, motion, acceleration)
        self._strands, self._strand_depths = camera.project(strands, times)
        normals = person.hair.normals @ motion.rotations[:, HEAD].swapaxes(1, 2)
        self._hair_light = lit(normals, person.clothes) * person.hair.shades  # (T, K)
        self._ribbons = ribbon_triangles(len(person.hair.widths))

    def corners(self, moment: int) -> tuple[Arrays, Arrays]:
        return self._body(moment), self._hairs(moment)

    def _body(self, moment: int) -> Arrays:
        points = SAMPLES * self._points[moment][TRIANGLES]  # (F, 3, 2)
        depths = self._depths[moment][TRIANGLES]
        light = self._light[moment][TRIANGLES]
        side_1, side_2 = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
        # the side that is turned to the camera
        faces = side_1[:, 0] * side_2[:, 1] < side_1[:, 1] * side_2[:, 0]
        faces &= depths.min(axis=1) > 0
        values = np.concatenate([PLACES, light[..., None]], axis=2)
        return points[faces], depths[faces], values[faces], self._first + _TEXTURE_OF[faces]

    def _hairs(self, moment: int) -> Arrays:
        hair = self._hair
        ribbons = SAMPLES * widen(self._strands[moment], hair.widths)  # (K, 8, 2, 2)
        count = len(hair.widths)
        depths = np.repeat(self._strand_depths[moment][:, :, None], 2, axis=2)
        along = np.broadcast_to(np.linspace(0, 1, depths.shape[1])[:, None], depths.shape[1:])
        values = np.zeros((*depths.shape, 3))
        values[..., 1] = along
        values[..., 2] = self._hair_light[moment][:, None, None]
        corners = self._ribbons
        depths = depths.reshape(-1)[corners]
        seen = depths.min(axis=1) > 0
        return (
            ribbons.reshape(-1, 2)[corners][seen],
            depths[seen],
            values.reshape(-1, 3)[corners][seen],
            np.full(int(seen.sum()), self._first + HAIR_TEXTURE) if count else np.zeros(0, int),
        )
