"""What is done to a foreground, its alpha, an occluder before it and a background on their way into
training, apart and together. The steps, their probabilities and ranges are those of Robust Video
Matting (Lin et al., arXiv 2108.11515, supplement).

All motion of a clip is put into one matrix for each frame, so that pictures are sampled once.

Axes: T frames, C channels, H W pixels of what is read, h w of what comes out. Colours and alpha are
in [0, 1]; everything random comes from the generator given.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from matting.easing import draw_easing


@dataclass(frozen=True)
class Probabilities:
    """How often each step is taken. move_*: a motion of the foreground, of the background, and of
    both together. noise, colour, grey, sharpen, pause: of each clip. blur: of foreground,
    background and both, each."""

    move_foreground: float = 0.3
    move_background: float = 0.15
    move_all: float = 0.15
    flip: float = 0.5
    noise: float = 0.1
    colour: float = 0.3
    grey: float = 0.02
    sharpen: float = 0.1
    blur: float = 0.02 / 3
    pause: float = 0.03


OF_VIDEOS = Probabilities()
OF_STILLS = Probabilities(move_foreground=0.95, noise=0.05, grey=0.03, sharpen=0.05)


def to_unit(pictures: np.ndarray) -> Tensor:
    """(T, H, W) or (T, H, W, C) uint8 -> (T, C, H, W) float32 in [0, 1]."""
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(torch.float32).div(255)


@dataclass(frozen=True)
class Layers:
    """A clip in parts.

    foreground (T, 3, H, W), alpha (T, 1, H, W): who is in the picture, and how visible. occluder
    (T, 4, H, W): colours and cover of what is before them; None for nothing. background (T, 3, H,
    W): what is behind, of any other size until it is moved. whole: foreground and background are
    one picture, the frame as it was seen, which is moved and changed as one.
    """

    foreground: Tensor
    alpha: Tensor
    occluder: Tensor | None
    background: Tensor
    whole: bool = False

    def compose(self) -> Tensor:
        """The frames, (T, 3, h, w): R + A (F - B), where R is the occluder over the background."""
        scene = self.background
        if self.occluder is not None:
            cover = self.occluder[:, 3:]
            scene = cover * self.occluder[:, :3] + (1 - cover) * scene
        frames = scene + self.alpha * (self.foreground - self.background)
        return frames.clamp(0, 1)


# --- motion ---------------------------------------------------------------------------------------

DEGREES, SHIFT, SHEAR = 10.0, 0.1, 5.0
SCALES = 0.9, 1.1
FRONT_SCALES = 0.5, 1.0  # of people before another background
WHOLE_SCALES = 0.4, 1.0  # of frames that stay together


def affine(degrees: float, shift: tuple[float, float], scale: float, shear: float) -> np.ndarray:
    """(3, 3): from places in the result to places in the source, both in [-1, 1] of a square's
    sides, (x, y, 1). shift: of the picture, in sides; scale: of the picture; shear: in degrees."""
    angle, slant = np.deg2rad(degrees), np.tan(np.deg2rad(shear))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = scale * turn @ np.array([[1, slant], [0, 1]])
    matrix = np.eye(3)
    matrix[:2, :2] = np.linalg.inv(forward)
    matrix[:2, 2] = -matrix[:2, :2] @ (2 * np.array(shift))
    return matrix


def draw_motion(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 3, 3): from one random place to another, see `affine`."""
    ends = np.stack([_draw_values(rng, SCALES) for _ in range(2)])
    places = draw_easing(num_frames, rng)[:, None]
    values = ends[0] + places * (ends[1] - ends[0])
    # a curve may overshoot, but no picture shrinks to nothing
    return np.stack([affine(v[0], (v[1], v[2]), max(v[3], 0.5), v[4]) for v in values])


def _draw_values(rng: np.random.Generator, scales: tuple[float, float]) -> np.ndarray:
    return np.array(
        [
            rng.uniform(-DEGREES, DEGREES),
            rng.uniform(-SHIFT, SHIFT),
            rng.uniform(-SHIFT, SHIFT),
            rng.uniform(*scales),
            rng.uniform(-SHEAR, SHEAR),
        ]
    )


def draw_place(scales: tuple[float, float], flip: float, rng: np.random.Generator) -> np.ndarray:
    """(3, 3): where a picture stands all through the clip; mirrored with that probability."""
    values = _draw_values(rng, scales)
    matrix = affine(values[0], (values[1], values[2]), values[3], values[4])
    aspect = np.sqrt(rng.uniform(0.9, 1.1))
    side = -1.0 if rng.random() < flip else 1.0
    return np.diag([side * aspect, 1 / aspect, 1.0]) @ matrix


def sample(pictures: Tensor, matrices: np.ndarray, size: int, *, extend: bool) -> Tensor:
    """(T, C, H, W) -> (T, C, size, size), the middle square of each picture moved by its matrix.

    extend: outside the picture its edge goes on, mirrored; otherwise there is 0.
    """
    height, width = pictures.shape[-2:]
    side = min(height, width)
    fit = np.diag([side / width, side / height, 1.0])  # the square's sides in those of the picture
    theta = torch.from_numpy((fit @ matrices)[:, :2]).to(pictures.dtype)
    grid = F.affine_grid(theta, [len(pictures), 3, size, size], align_corners=False)
    mode = "reflection" if extend else "zeros"
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode=mode, align_corners=False)


def _reduced(pictures: Tensor, matrices: np.ndarray, size: int) -> Tensor:
    """Pictures halved as often as `sample` would pass over every second pixel, so that what is made
    small looks as if it were far away."""
    step = np.sqrt(np.abs(np.linalg.det(matrices[:, :2, :2]))).max() * min(pictures.shape[-2:])
    while step >= 2 * size:
        pictures, step = F.avg_pool2d(pictures, 2, ceil_mode=True), step / 2
    return pictures


def place_layers(
    layers: Layers, size: int, chances: Probabilities, rng: np.random.Generator
) -> Layers:
    """Foreground and background moved apart and together, and cut to squares of a size in
    pixels."""
    num_frames = len(layers.foreground)

    def motion(chance: float) -> np.ndarray:
        still = np.broadcast_to(np.eye(3), (num_frames, 3, 3))
        return draw_motion(num_frames, rng) if rng.random() < chance else still

    scales = WHOLE_SCALES if layers.whole else FRONT_SCALES
    front = draw_place(scales, chances.flip, rng) @ motion(chances.move_foreground)
    behind = draw_place((1.0, 1.5), chances.flip, rng) @ motion(chances.move_background)
    together = motion(chances.move_all)
    front, behind = front @ together, behind @ together
    if layers.whole:
        both = _reduced(torch.cat([layers.foreground, layers.alpha], 1), front, size)
        both = sample(both, front, size, extend=True)  # mirrored where it ends, with its people
        return Layers(both[:, :3], both[:, 3:], None, both[:, :3], whole=True)
    return Layers(
        # the colours go on outside of their picture, so that soft edges don't turn black
        sample(layers.foreground, front, size, extend=True),
        sample(layers.alpha, front, size, extend=False),
        None if layers.occluder is None else sample(layers.occluder, front, size, extend=False),
        sample(layers.background, behind, size, extend=True),
    )


# --- colours --------------------------------------------------------------------------------------

_GREY = (0.299, 0.587, 0.114)


def grey(colours: Tensor) -> Tensor:
    """(T, 3, H, W) -> the same shape, three equal channels (the luma of BT.601)."""
    weights = torch.tensor(_GREY, dtype=colours.dtype).view(3, 1, 1)
    return (colours * weights).sum(1, keepdim=True).expand_as(colours)


def change_colours(colours: Tensor, factors: np.ndarray) -> Tensor:
    """Change clips as cameras differ.

    Args: colours (T, 3, H, W); factors (T, 4), for each frame those of brightness, contrast and
        saturation, and by how many turns the hue is turned.
    """
    per_frame = torch.from_numpy(factors).to(colours.dtype)[:, :, None, None, None]
    brightness, contrast, saturation, hue = per_frame.unbind(1)
    x = (colours * brightness).clamp(0, 1)
    mean = grey(x).mean((1, 2, 3), keepdim=True)
    x = (mean + contrast * (x - mean)).clamp(0, 1)
    x = grey(x) + saturation * (x - grey(x))
    return _turn_hue(x, hue[:, 0, 0, 0]).clamp(0, 1)


def _turn_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Around the axis of greys (Rodrigues' rotation)."""
    angle = 2 * np.pi * turns
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    axis = torch.full((3, 3), 1 / 3, dtype=x.dtype)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=x.dtype) / 3**0.5
    rotation = cosine * torch.eye(3, dtype=x.dtype) + (1 - cosine) * axis + sine * cross
    return torch.einsum("tij,tjhw->tihw", rotation, x)


def draw_colours(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 4): factors for `change_colours`, from one draw to another."""
    strength = rng.uniform(0, 0.2)
    spread = np.array([1, 1, 1, 0.1]) * strength
    start, end = (np.array([1, 1, 1, 0]) + rng.normal(0, 1, 4) * spread for _ in range(2))
    factors = start + draw_easing(num_frames, rng)[:, None] * (end - start)
    factors[:, :3] = factors[:, :3].clip(0.2, 3)
    return factors


def add_noise(colours: Tensor, rng: np.random.Generator) -> Tensor:
    """Grain of 1 to 4 pixels, new in each frame, in half of all cases without colour."""
    t, _, h, w = colours.shape
    grain = int(rng.integers(1, 5))
    channels = 1 if rng.random() < 0.5 else 3
    sigma = rng.uniform(0, 0.2)
    shape = (t, channels, -(-h // grain), -(-w // grain))
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) * sigma
    if grain > 1:
        noise = F.interpolate(noise, size=(h, w), mode="bicubic", align_corners=False)
    return (colours + noise.to(colours.dtype)).clamp(0, 1)


def sharpen(x: Tensor, strength: float) -> Tensor:
    """(T, C, H, W): each pixel's difference to the mean of its 3x3 neighbours, this much more."""
    return (x + strength * (x - F.avg_pool2d(F.pad(x, (1,) * 4, "replicate"), 3, 1))).clamp(0, 1)


def blur(x: Tensor, sigma: float) -> Tensor:
    """(T, C, H, W), by a Gaussian of that many pixels."""
    half = min(max(1, round(3 * sigma)), min(x.shape[-2:]) - 1)
    places = torch.arange(-half, half + 1, dtype=x.dtype)
    bell = torch.exp(-places.square() / (2 * max(sigma, 1e-3) ** 2))
    bell = (bell / bell.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (half,) * 4, "reflect")
    x = F.conv2d(padded, bell[:, :, :, None], groups=x.shape[1])
    return F.conv2d(x, bell[:, :, None], groups=x.shape[1])


# --- a clip ---------------------------------------------------------------------------------------


def augment(
    layers: Layers, size: int, rng: np.random.Generator, chances: Probabilities = OF_VIDEOS
) -> Layers:
    """One clip as it is learned from, in squares of a size in pixels."""
    num_frames = len(layers.foreground)
    placed = place_layers(layers, size, chances, rng)
    front, alpha, behind = placed.foreground, placed.alpha, placed.background
    if rng.random() < chances.noise:
        front, behind = add_noise(front, rng), add_noise(behind, rng)
    if rng.random() < chances.colour:
        front = change_colours(front, draw_colours(num_frames, rng))
    if rng.random() < chances.colour:
        behind = change_colours(behind, draw_colours(num_frames, rng))
    if rng.random() < chances.grey:
        front, behind = grey(front), grey(behind)
    if rng.random() < chances.sharpen:
        strength = rng.uniform(0, 8)
        front, alpha, behind = (sharpen(x, strength) for x in (front, alpha, behind))
    if rng.random() < chances.blur:
        sigma = rng.uniform(0, 10)
        front, alpha = blur(front, sigma), blur(alpha, sigma)
    if rng.random() < chances.blur:
        behind = blur(behind, rng.uniform(0, 10))
    occluder = placed.occluder
    if rng.random() < chances.blur:
        sigma = rng.uniform(0, 10)
        front, alpha, behind = (blur(x, sigma) for x in (front, alpha, behind))
        occluder = None if occluder is None else blur(occluder, sigma)
    if occluder is not None:
        # an alpha that was sharpened or blurred may have grown below the occluder
        alpha = torch.minimum(alpha, 1 - occluder[:, 3:])
    if layers.whole:
        behind = front
    result = Layers(front, alpha.clamp(0, 1), occluder, behind, layers.whole)
    return _paused(result, rng) if rng.random() < chances.pause else result


def _paused(layers: Layers, rng: np.random.Generator) -> Layers:
    """One frame stands for a while."""
    num_frames = len(layers.foreground)
    start, length = rng.integers(num_frames), rng.integers(1, num_frames + 1)
    order = np.arange(num_frames)
    order[start : start + length] = start
    return _each(layers, lambda x: x[torch.from_numpy(order)])


def part_of(layers: Layers, frames: slice) -> Layers:
    """Some frames of a clip."""
    return _each(layers, lambda x: x[frames])


def _each(layers: Layers, change: Callable[[Tensor], Tensor]) -> Layers:
    return Layers(
        change(layers.foreground),
        change(layers.alpha),
        None if layers.occluder is None else change(layers.occluder),
        change(layers.background),
        layers.whole,
    )


def settle(layers: Layers, size: int, rng: np.random.Generator) -> Layers:
    """As for an evaluation: only placed, and always the same way for the same generator."""
    nothing = Probabilities(*[0.0] * len(Probabilities.__dataclass_fields__))
    return place_layers(layers, size, nothing, rng)
