"""Make the pictures of a run of frames: noise to latents in windows that overlap, every step of all
of them before the next. A long run is made in pieces, so that what is kept does not grow with it.

Axes: T frames, S S pixels of the square, c latent channels, h w places, 3 = R G B.
"""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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

logger = logging.getLogger(__name__)

AT_ONCE = 8  # frames that are encoded or decoded together
PIECE_WINDOWS = 4  # how many windows long a piece may be
USUAL_GUIDANCE = 3.5  # of MIMO's release
GUIDANCE = {"character.tiny": 1.0}  # as measured: see docs/character.md


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
    """What steers some frames. scene, occlusion: latents (1, c, T, h, w). face, bary: see
    `draw_body`."""

    scene: Tensor
    occlusion: Tensor
    face: Tensor
    bary: Tensor

    def last(self, count: int) -> "Codes":
        """Of the last frames alone, without holding on to the others."""
        first = self.scene.shape[2] - count
        films = (self.scene[:, :, first:].clone(), self.occlusion[:, :, first:].clone())
        return Codes(*films, self.face[first:].clone(), self.bary[first:].clone())

    def before(self, other: "Codes") -> "Codes":
        """These frames and then the other's."""
        return Codes(
            torch.cat([self.scene, other.scene], dim=2),
            torch.cat([self.occlusion, other.occlusion], dim=2),
            torch.cat([self.face, other.face]),
            torch.cat([self.bary, other.bary]),
        )


@dataclass(frozen=True)
class Made:
    """latents: (1, c, T, h, w). path: of the frames that the next piece has too, their noisy
    latents (1, c, ., h, w) before each of the steps."""

    latents: Tensor
    path: list[Tensor]


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


def usual_guidance(network: CharacterNetwork) -> float:
    """What a model is best sampled with, see `Sampling`."""
    return GUIDANCE.get(network.name, USUAL_GUIDANCE)


def windows(count: int, length: int, overlap: int) -> list[range]:
    """Windows over `count` frames in order; the last one ends with them and may overlap more. None
    goes on at the beginning."""
    if count <= length:
        return [range(count)]
    starts = [*range(0, count - length, length - overlap), count - length]
    return [range(start, start + length) for start in starts]


def pieces(count: int, sampling: Sampling) -> list[range]:
    """Parts of a run of `count` frames, nearly alike in length, each of which has the last
    `overlap` frames of the one before it."""
    longest, overlap = PIECE_WINDOWS * sampling.window, sampling.overlap
    number = max(1, -(-(count - overlap) // (longest - overlap)))
    ends = [overlap + (count - overlap) * i // number for i in range(number + 1)]
    return [range(end - overlap, after) for end, after in zip(ends, ends[1:])]


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


def draw_body(movement: Movement, run: Run, frames: range, size: int) -> tuple[Tensor, Tensor]:
    """The body in the square of a run: face (T, S, S) int16 and bary (T, S, S, 3) float16, small
    because they are kept for a whole piece. frames: which, by their numbers in the film. size: S.
    """
    faces, shares = [], []
    for frame in frames:
        points = run.crop.moved(movement.points[frame], size)
        face, bary = draw_surface(points, movement.inverse[frame], movement.faces, (size, size))
        if movement.stands_for is not None:
            face = np.where(face >= 0, movement.stands_for[face], -1)
            bary = np.full_like(bary, 1 / 3)  # the middle of the other triangle
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


def draw_frames_noise(shape: torch.Size, seed: int, name: str, first: int) -> Tensor:
    """Noise (1, c, T, h, w) that a frame has by its number in the film `name`, whatever it is made
    together with. first: number of the first frame."""
    frames = []
    for number in range(first, first + shape[2]):
        seeded = torch.Generator().manual_seed(derive_seed("character", seed, name, number))
        frames.append(torch.randn((*shape[:2], *shape[3:]), generator=seeded))
    return torch.stack(frames, dim=2)


def predict_in_windows(
    network: CharacterNetwork,
    looks: Looks,
    codes: Codes,
    sampling: Sampling,
    noisy: Tensor,
    step: int,
) -> Tensor:
    """What the network says of noisy latents (1, c, T, h, w) at a step, the mean of all windows
    that a frame is in, guided."""
    device, num_frames = noisy.device, noisy.shape[2]
    nobody = torch.zeros(1, dtype=torch.bool, device=device)
    halves = [None] if sampling.guidance == 1 else [None, nobody]  # who sees the person
    total = torch.zeros_like(noisy)
    counts = torch.zeros(num_frames, device=device)
    for part in windows(num_frames, sampling.window, sampling.overlap):
        taken = slice(part.start, part.stop)
        surface = Surface(codes.face[None, taken].to(device), codes.bary[None, taken].to(device))
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


@torch.no_grad()
def make_piece(
    network: CharacterNetwork,
    looks: Looks,
    codes: Codes,
    sampling: Sampling,
    *,
    name: str,
    first: int = 0,
    held: Sequence[Tensor] = (),
    num_kept: int = 0,
) -> Made:
    """Make frames that follow one another.

    name: of the film; first: number of the first frame in it. With the seed they decide about the
        noise.
    held: the path (see `Made`) of frames that begin it and were made before: they lead on to those
        behind them, and are not made anew. num_kept: of how many frames at its end the path is
        wanted.
    """
    shape = codes.scene.shape
    noise = draw_frames_noise(shape, sampling.seed, name, first).to(codes.scene.device)
    num_held = held[0].shape[2] if held else 0
    path: list[Tensor] = []

    def predict(noisy: Tensor, step: int) -> Tensor:
        if held:
            noisy = torch.cat([held[len(path)], noisy[:, :, num_held:]], dim=2)
        path.append(noisy[:, :, shape[2] - num_kept :].clone())
        return predict_in_windows(network, looks, codes, sampling, noisy, step)

    steps = sample(predict, noise, network.schedule, num_steps=sampling.num_steps)
    title = f"frames {first} to {first + shape[2] - 1}"
    shown = tqdm(steps, total=sampling.num_steps, unit="step", desc=title, disable=None)
    return Made(deque(shown, maxlen=1).pop(), path)
