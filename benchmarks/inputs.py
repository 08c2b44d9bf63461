"""What the benchmarks work on. All of it is made here; nothing is fetched.

Axes: T frames, H W pixels, h w pixels of a disparity map.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from inpaint.hole_shapes import moving_shape
from nunif.files import make_folder
from nunif.image import save_png
from nunif.records import record_name, write_record
from nunif.seed import generator_for
from scene.depth_network import INPUT_SPECS, NetworkEstimator
from scene.depth_normalize import affine_chain
from scene.planes import COLOUR, HOLE
from scene.world import render_scene

HEIGHT, WIDTH, FPS = 1080, 1920, 30
RENDERED = 40  # frames; longer films play them forth and back


def scene(
    num_frames: int, *, height: int = HEIGHT, width: int = WIDTH, rendered: int = RENDERED
) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8 of a rendered street, with a little noise as cameras have it."""
    rng = generator_for("benchmark-noise")
    noise = rng.normal(0, 2, (2 * height, 2 * width, 1)).astype(np.float32)
    frames = []
    for frame, _ in render_scene(width, height, rendered):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        noisy = frame + noise[top : top + height, left : left + width]
        frames.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return islice(cycle([*frames, *frames[-2:0:-1]]), num_frames)


def write_film(path: Path, num_frames: int, *, keyframe_every: int) -> Path:
    """A 1080p film in H.264 with keyframes at exactly that distance."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        every = str(keyframe_every)
        stream.options = {
            "preset": "veryfast",
            "crf": "18",
            "g": every,
            "keyint_min": every,
            "sc_threshold": "0",
        }
        for frame in scene(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def street_disparity(height: int, width: int) -> np.ndarray:
    """(h, w) float32 in [0, 1]: ground that rises towards the camera, round things and posts on it,
    soft edges."""
    rng = generator_for("benchmark-depth")
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    disparity = 0.5 * rows / height
    for _ in range(10):
        x, y, radius = (
            rng.random() * width,
            rng.random() * height,
            (0.05 + 0.1 * rng.random()) * height,
        )
        disparity = np.where(
            (columns - x) ** 2 + (rows - y) ** 2 < radius**2, 0.5 + 0.4 * rng.random(), disparity
        )
    for _ in range(8):
        x, wide = rng.random() * width, (0.01 + 0.02 * rng.random()) * width
        disparity = np.where(
            (abs(columns - x) < wide) & (rows > 0.2 * height), 0.6 + 0.4 * rng.random(), disparity
        )
    return cv2.GaussianBlur(disparity.astype(np.float32), (0, 0), 0.8)


def constant_depth() -> NetworkEstimator:
    """A depth network that costs nothing and always sees the same street: all is measured but the
    network itself."""
    maps: dict[tuple[int, int], torch.Tensor] = {}

    def forward(images: torch.Tensor) -> torch.Tensor:
        size = (images.shape[-2], images.shape[-1])
        if size not in maps:
            maps[size] = torch.from_numpy(street_disparity(*size))
        return maps[size].expand(len(images), -1, -1)

    return NetworkEstimator(
        "Constant", forward, spec=INPUT_SPECS["depth_anything"], distance=False, resolution=392,
        device=torch.device("cpu"), batch_size=2, normalize=affine_chain,
    )  # fmt: skip


def write_records(folder: Path, count: int, *, num_frames: int = 16, size: int = 512) -> Path:
    """Records as the generator writes them: frames of the street, a moving hole."""
    frames = list(scene(num_frames, height=720, width=1280, rendered=num_frames))
    for number in range(count):
        rng = generator_for("benchmark-record", number)
        top, left = int(rng.integers(720 - size)), int(rng.integers(1280 - size))
        pictures = np.stack([frame[top : top + size, left : left + size] for frame in frames])
        holes = moving_shape(num_frames, (size, size), rng, still=False)
        planes = {COLOUR.letter: pictures, HOLE.letter: holes}
        write_record(folder / record_name("bench", "Constant", "00000000", number), planes, {})
    return folder


def render_records(
    folder: Path,
    seeds: Iterable[int],
    *,
    num_frames: int,
    size: tuple[int, int],
    least: int | None = None,
    until: float | None = None,
) -> Path:
    """A record without masks of each rendered scene.

    size: (H, W). until: no more than `least` once it is so late (time.monotonic()).
    """
    for number, seed in enumerate(seeds):
        if until is not None and number >= (least or 0) and time.monotonic() > until:
            break
        frames = np.stack(
            [frame for frame, _ in render_scene(size[1], size[0], num_frames, seed=seed)]
        )
        write_record(
            folder / record_name("scene", "Rendered", f"{seed:08x}", 0),
            {COLOUR.letter: frames},
            {"seed": seed},
        )
    return folder


def render_films(
    folder: Path, seeds: Iterable[int], *, num_frames: int, size: tuple[int, int]
) -> Path:
    """A folder of numbered pictures of each rendered scene. size: (H, W)."""
    for seed in seeds:
        film = make_folder(folder / f"scene{seed}")
        for number, (frame, _) in enumerate(render_scene(size[1], size[0], num_frames, seed=seed)):
            save_png(film / f"{number:04d}.png", frame)
    return folder
