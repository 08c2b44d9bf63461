"""What layers are worth in stereo: `python -m inpaint stereo` with and without --layers, against
the other eye's true picture.

    python -m benchmarks.stereo_layers -o FILE

Rendered clips (`scene.world`) with a moving camera and people who walk; depth and masks of people
are the true ones, soft at their edges. Both eyes are rendered, so that what the second one sees is
known. `strip`: PSNR where it sees what the first did not, beside people; `around`: within 4 pixels
of people in its picture, soft edges among them; `all`: of the whole picture. The interval is of the
mean gain, 95 %, by bootstrap over clips.

Axes: T frames, H W pixels.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.timing import machine
from inpaint.occlusion import shift_of_view
from inpaint.options_run import StereoOptions
from inpaint.runtime import stereo
from inpaint.runtime.stereo_views import VIEWS, forward_warp
from layers.options_split import SplitOptions
from layers.runtime import split
from layers.runtime.remove import FILLER
from nunif.evaluation.report import interval
from nunif.files import make_folder, write_json
from nunif.image import decode, encode_grey, encode_rgb
from nunif.options import parse_size
from scene.world import FPS, Layer, make_layers, render_frame

DIVERGENCE, CONVERGENCE = 4.0, 0.5  # per cent of the width, and what stays where it is
AROUND = 4  # pixels
WALKER = 0.8  # of disparity: people are nearer
SCORES = ("strip", "around", "all")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", default="144x256", help="height x width")
    parser.add_argument("--seed", type=int, default=300, help="of the first clip")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    words = parser.parse_args()
    torch.set_num_threads(1)
    size = parse_size(words.size)
    make_folder(words.output.parent)
    rows = []
    for seed in range(words.seed, words.seed + words.clips):
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"seed": seed, **measure(Path(folder), seed, words.frames, size)})
        result = {**machine(torch.device("cpu")), "size": words.size, "frames": words.frames}
        write_json(words.output, {**result, "clips": rows, "mean": summary(rows)})
        print(table(rows), flush=True)


def measure(folder: Path, seed: int, num_frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """The scores of either way on one clip. folder: for what is written."""
    clip = list(render(seed, num_frames, size))
    for name in ("film", "depth", "masks"):
        (folder / name).mkdir()
    for number, frame in enumerate(clip):
        name = f"{number:05d}.png"
        (folder / "film" / name).write_bytes(encode_rgb(frame["left"]))
        samples = np.rint(frame["disparity"] * 65535).astype(np.uint16)
        (folder / "depth" / name).write_bytes(encode_grey(samples))
        (folder / "masks" / name).write_bytes(encode_grey(frame["alpha"]))
    split.main(
        SplitOptions(
            input=folder / "film", output=folder / "layers", masks=folder / "masks", gpu=-1
        )
    )
    plain = StereoOptions(
        input=folder / "film",
        output=folder / "plain",
        model=FILLER,
        depth_in=folder / "depth",
        divergence=DIVERGENCE,
        convergence=CONVERGENCE,
        layout="tb",
        gpu=-1,
    )
    stereo.main(plain)
    stereo.main(replace(plain, output=folder / "apart", layers=folder / "layers"))
    return {name: score(read_eyes(folder / name), clip) for name in ("plain", "apart")}


def render(seed: int, num_frames: int, size: tuple[int, int]) -> Iterator[dict[str, np.ndarray]]:
    """left, right: (H, W, 3) uint8. disparity: of the left, (H, W) float32. alpha, alpha_right: of
    people, (H, W) uint8. strip: (H, W) bool, what of the right is missing in the left because
    people stand before it."""
    height, width = size
    layers = make_layers(width, height, seed)
    others = [layer for layer in layers if layer.disparity < WALKER]
    # what the right eye sees is moved to the left by what it is nearer
    parallax = -DIVERGENCE / 100
    view = {"divergence": DIVERGENCE, "convergence": CONVERGENCE, "size": size}
    (_, eye) = VIEWS["right"]
    assert eye is not None
    for number in range(num_frames):
        t = number / FPS
        left, disparity = render_frame(layers, size, t)
        right, _ = render_frame(layers, size, t, parallax=parallax, convergence=CONVERGENCE)
        _, behind = render_frame(others, size, t)
        holes = [
            forward_warp(left, shift_of_view(torch.from_numpy(d), **view) * eye.shift,
                         near_to_right=False)[1].numpy()
            for d in (disparity, behind)
        ]  # fmt: skip
        alpha, alpha_right = (
            render_frame(only_people(layers), size, t, parallax=p, convergence=CONVERGENCE)[0]
            for p in (0.0, parallax)
        )
        yield {
            "left": left,
            "right": right,
            "disparity": disparity,
            "alpha": np.ascontiguousarray(alpha[..., 0]),
            "alpha_right": np.ascontiguousarray(alpha_right[..., 0]),
            "strip": holes[0] & ~holes[1],
        }


def only_people(layers: list[Layer]) -> list[Layer]:
    """People in white before black."""
    return [
        replace(layer, picture=np.full_like(layer.picture, 255 * (layer.disparity >= WALKER)))
        for layer in layers
    ]


def read_eyes(folder: Path) -> list[np.ndarray]:
    """The right eyes' pictures, which stand below."""
    pictures = [
        decode(path.read_bytes(), cv2.IMREAD_COLOR_RGB) for path in sorted(folder.iterdir())
    ]
    return [picture[len(picture) // 2 :] for picture in pictures]


def score(eyes: list[np.ndarray], clip: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """PSNR in dB of the right eye, pooled over a clip."""
    places: dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]] = {
        "strip": lambda frame: frame["strip"],
        "around": lambda frame: _edge(frame["alpha_right"]),
        "all": lambda frame: np.ones(frame["strip"].shape, bool),
    }
    result = {}
    for name, place in places.items():
        wrong = [
            (eye.astype(np.float64) - frame["right"])[place(frame)]
            for eye, frame in zip(eyes, clip, strict=True)
        ]
        error = float(np.square(np.concatenate(wrong)).mean())
        result[name] = 10 * math.log10(255**2 / max(error, 1e-9))
    return result


def _edge(alpha: np.ndarray) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * AROUND + 1,) * 2)
    return (cv2.dilate(alpha, disc) > 0) & (cv2.erode(alpha, disc) < 255)


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each score both means, the mean gain of layers, and its interval."""
    result = {}
    for name in SCORES:
        plain, apart = (
            np.array([row[way][name] for row in rows], np.float64) for way in ("plain", "apart")
        )
        low, high = interval(apart - plain)
        result[name] = {
            "plain": float(plain.mean()),
            "layers": float(apart.mean()),
            "gain": float((apart - plain).mean()),
            "low": low,
            "high": high,
            "wins": int((apart > plain).sum()),
        }
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| PSNR, dB | plain | with layers | gain | better on |", "|---|---|---|---|---|"]
    for name, one in summary(rows).items():
        gain = f"{one['gain']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"
        cells = [name, f"{one['plain']:.2f}", f"{one['layers']:.2f}", gain]
        lines.append(f"| {' | '.join(cells)} | {one['wins']} of {len(rows)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
