"""Make the pictures of a run of frames: noise to latents in windows that overlap, every step of all
of them before the next.

Axes: T frames, S S pixels of the square, c latent channels, h w places, 3 = R G B.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from character.models import Bank, CharacterNetwork, Surface
from character.noise import guided, sample
from character.runtime.pose import Movement
from character.runtime.regions import Run
from character.surface import draw_surface
from nunif.device import AMP_DTYPES, autocast
from nunif.errors import UserError
from nunif.models import load_model
from nunif.seed import derive_seed
from scene.people.film import TRIANGLES

logger = logging.getLogger(__name__)

AT_ONCE = 8  # frames that are encoded or decoded together


@dataclass(frozen=True)
class Sampling:
    """How pictures are made. window: frames that are made together, overlap: how many of them the
    next window has too. guidance: how far to go from nobody to the person, 1 = no further.
    precision: what the network computes in."""

    num_steps: int = 25
    guidance: float = 3.5
    window: int = 24
    overlap: int = 4
    seed: int = 0
    precision: str | None = None


@dataclass(frozen=True)
class Looks:
    """Who is to be seen. bank: what the reference network leaves; embedding: (1, 1, d)."""

    bank: Bank
    embedding: Tensor


@dataclass(frozen=True)
class Codes:
    """What steers a run. scene, occlusion: latents (1, c, T, h, w). face, bary: see `draw_body`."""

    scene: Tensor
    occlusion: Tensor
    face: Tensor
    bary: Tensor


def open_network(path: Path, device: torch.device) -> CharacterNetwork:
    """
    Raises:
        UserError: it is no model of character, or diffusers is missing.
    """
    network, _ = load_model(path, device=device, expect="character.")
    assert isinstance(network, CharacterNetwork)
    return network.requires_grad_(False)


def check_windows(network: CharacterNetwork, sampling: Sampling) -> None:
    """
    Raises:
        UserError: its windows are longer than the network knows, or overlap entirely.
    """
    if not 1 <= sampling.window <= network.positions:
        raise UserError(
            f"--window {sampling.window} frames: {network.name} takes 1 to {network.positions}"
        )
    if not 0 <= sampling.overlap < sampling.window:
        raise UserError(
            f"--overlap {sampling.overlap} must be less than the window's {sampling.window} frames"
        )


def windows(count: int, length: int, overlap: int) -> list[range]:
    """Windows over `count` frames in order; the last one ends with them and may overlap more. None
    goes on at the beginning."""
    if count <= length:
        return [range(count)]
    starts = [*range(0, count - length, length - overlap), count - length]
    return [range(start, start + length) for start in starts]


def look_at(network: CharacterNetwork, picture: np.ndarray) -> Looks:
    """picture: (S, S, 3) uint8, the person before white."""
    looks = to_signed(picture[None], network)[:, :, 0]  # (1, 3, S, S)
    with torch.no_grad():
        embedding = network.embed(looks)
        return Looks(network.reference(network.encode(looks), embedding), embedding)


def encode_pairs(
    network: CharacterNetwork, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> tuple[Tensor, Tensor]:
    """Scenes and what is in front of them, pairs of (S, S, 3) uint8, as latents (1, c, T, h, w)
    each."""
    found: list[tuple[Tensor, ...]] = []
    waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def encode() -> None:
        films = [to_signed(np.stack(film), network) for film in zip(*waiting)]
        found.append(tuple(network.encode(film) for film in films))
        waiting.clear()

    for pair in pairs:
        waiting.append(pair)
        if len(waiting) == AT_ONCE:
            encode()
    if waiting:
        encode()
    scene, occlusion = (torch.cat(parts, dim=2) for parts in zip(*found))
    return scene, occlusion


def draw_body(movement: Movement, run: Run, size: int) -> tuple[Tensor, Tensor]:
    """The body in the square of a run: face (T, S, S) int16 and bary (T, S, S, 3) float16, small
    because they are kept for all frames. size: S."""
    faces, shares = [], []
    for frame in range(run.first, run.last + 1):
        points = run.crop.moved(movement.points[frame], size)
        face, bary = draw_surface(points, movement.inverse[frame], TRIANGLES, (size, size))
        faces.append(torch.from_numpy(face).short())
        shares.append(torch.from_numpy(bary).half())
    return torch.stack(faces), torch.stack(shares)


def decode_film(network: CharacterNetwork, latents: Tensor) -> Iterator[np.ndarray]:
    """Latents (1, c, T, h, w) as pictures (S, S, 3) uint8, one after another."""
    for part in latents.split(AT_ONCE, dim=2):
        pictures = (network.decode(part)[0] + 1) * 127.5  # (3, ., S, S)
        yield from pictures.round().byte().permute(1, 2, 3, 0).cpu().numpy()


def to_signed(film: np.ndarray, network: CharacterNetwork) -> Tensor:
    """(T, S, S, 3) uint8 -> (1, 3, T, S, S) in [-1, 1]."""
    device = next(network.parameters()).device
    tensor = torch.from_numpy(np.ascontiguousarray(film)).to(device)
    return tensor.permute(3, 0, 1, 2)[None].float() / 127.5 - 1


@torch.no_grad()
def make_run(
    network: CharacterNetwork, looks: Looks, codes: Codes, sampling: Sampling, *, name: str
) -> Tensor:
    """Latents (1, c, T, h, w) of a run of frames. name: of the run; with the seed it decides about
    the noise."""
    device, shape = codes.scene.device, codes.scene.shape
    seeded = torch.Generator().manual_seed(derive_seed("character", sampling.seed, name))
    noise = torch.randn(shape, generator=seeded).to(device)
    parts = windows(shape[2], sampling.window, sampling.overlap)
    nobody = torch.zeros(1, dtype=torch.bool, device=device)
    halves = [None] if sampling.guidance == 1 else [None, nobody]  # who sees the person

    def predict(noisy: Tensor, step: int) -> Tensor:
        total = torch.zeros_like(noisy)
        counts = torch.zeros(shape[2], device=device)
        for part in parts:
            taken = slice(part.start, part.stop)
            surface = Surface(
                codes.face[None, taken].to(device), codes.bary[None, taken].to(device)
            )
            with autocast(device, AMP_DTYPES.get(sampling.precision or "")):
                features = network.guide(surface)
                found = [
                    network.denoise(
                        noisy[:, :, taken],
                        step,
                        scene=codes.scene[:, :, taken],
                        occlusion=codes.occlusion[:, :, taken],
                        features=features,
                        embedding=looks.embedding,
                        bank=looks.bank,
                        use=half,
                    ).float()
                    for half in halves
                ]
            total[:, :, taken] += (
                found[0] if len(found) == 1 else guided(found[0], found[1], sampling.guidance)
            )
            counts[taken] += 1
        return total / counts[:, None, None]

    steps = sample(predict, noise, network.schedule, num_steps=sampling.num_steps)
    shown = tqdm(steps, total=sampling.num_steps, unit="step", desc=name, disable=None)
    *_, latents = shown
    return latents
