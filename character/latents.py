"""Latents of clips, made once and kept: encoding costs as much as learning from what comes of it.

A file is named by the content of what it was made of, so a changed record, another crop or another
codec are other files, and no file is ever wrong. Each is there whole or not at all.

Axes: T frames, S S pixels, c latent channels, h w places, d of CLIP's vector, M pixels with a body.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import torch
from torch import Tensor
from tqdm import tqdm

from character.clips import Clip, content_key, read_clip
from nunif.files import make_folder
from nunif.models.checkpoint import save_safetensors
from nunif.records import BadRecord, Record
from nunif.seed import generator_for

logger = logging.getLogger(__name__)

VERSION = 1
Encoded = dict[str, Tensor]
Encode = Callable[[Clip], Encoded]


class Cut(NamedTuple):
    """Which clip of a record is taken. number: of the crop. See `character.clips.read_clip`."""

    number: int
    num_frames: int
    frame_step: int
    size: int
    has_motion: bool
    is_first: bool


def encode_clip(
    clip: Clip, encode: Callable[[Tensor], Tensor], embed: Callable[[Tensor], Tensor]
) -> Encoded:
    """All that a network is trained and sampled with, but what noise adds.

    encode: clips (1, 3, T, S, S) in [-1, 1] to latents (1, c, T, h, w), and pictures likewise.
    embed: pictures (1, 3, S, S) in [-1, 1] to (1, 1, d).
    """
    cover = clip.occluder[..., 3:].astype(np.float32) / 255
    in_front = np.rint(clip.occluder[..., :3] * cover).astype(np.uint8)  # before black
    films = {"target": clip.colour, "scene": clip.behind, "occlusion": in_front}
    looks = to_signed(clip.looks[None])[:, :, 0]  # (1, 3, S, S)
    found = {name: encode(to_signed(film))[0].cpu() for name, film in films.items()}
    found["identity"] = encode(looks)[0].cpu()
    found["embedding"] = embed(looks)[0].cpu()
    return found | {
        "face": torch.from_numpy(clip.face).int(),
        "bary": torch.from_numpy(clip.bary),
        "looks": torch.from_numpy(clip.looks),
    }


def to_signed(film: np.ndarray) -> Tensor:
    """(T, S, S, 3) uint8 -> (1, 3, T, S, S) in [-1, 1]."""
    return torch.from_numpy(film).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def codec_key(*states: Mapping[str, Tensor]) -> str:
    """Of the weights that latents are made with."""
    digest = hashlib.blake2b(digest_size=16)
    for state in states:
        for name, tensor in sorted(state.items()):
            digest.update(name.encode())
            numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(numbers.numpy().tobytes())
    return digest.hexdigest()


def keep_latents(
    records: Sequence[Record], cuts: Sequence[Cut], folder: Path, key: str, encode: Encode
) -> tuple[list[tuple[str, Path]], list[BadRecord]]:
    """The files of all cuts of all records, in their order, those that are missing made now, and
    records that can't be used. Each comes with its record's name.

    key: see `codec_key`.
    """
    make_folder(folder)
    found, bad, made = [], [], 0
    for record in tqdm(records, unit="record", desc="latents", disable=None):
        own = []
        try:
            for cut in cuts:
                path = folder / f"{content_key(record, VERSION, key, *cut)}.safetensors"
                if not path.exists():
                    _write(path, encode(_read(record, cut)))
                    made += 1
                own.append((record.path.name, path))
        except BadRecord as problem:
            bad.append(problem)
            continue
        found += own
    logger.info("latents in %s: made %d, kept %d", folder, made, len(found) - made)
    return found, bad


def _read(record: Record, cut: Cut) -> Clip:
    return read_clip(
        record,
        generator_for("crop", record.path.name, cut.number),
        num_frames=cut.num_frames,
        frame_step=cut.frame_step,
        size=cut.size,
        has_motion=cut.has_motion,
        is_first=cut.is_first,
    )


def _write(path: Path, encoded: Encoded) -> None:
    face = encoded["face"].flatten()
    seen = torch.nonzero(face >= 0).flatten()
    small = {
        name: encoded[name].half()
        for name in ("target", "scene", "occlusion", "identity", "embedding")
    }
    small |= {
        "looks": encoded["looks"],
        "shape": torch.tensor(encoded["face"].shape),
        "seen": seen.int(),
        "face": face[seen].int(),
        "bary": encoded["bary"].flatten(0, 2)[seen].half(),
    }
    save_safetensors(small, path)


def read_latents(path: Path) -> Encoded:
    """What `encode_clip` gave, rounded to half precision.

    Raises:
        OSError, ValueError: the file is gone or damaged.
    """
    try:
        arrays = safetensors.numpy.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"damaged ({error})") from error
    small = {name: torch.from_numpy(array) for name, array in arrays.items()}
    shape, seen = small.pop("shape").tolist(), small.pop("seen").long()
    face = torch.full((int(np.prod(shape)),), -1, dtype=torch.int32)
    bary = torch.zeros(len(face), 3)
    face[seen], bary[seen] = small.pop("face"), small.pop("bary").float()
    looks = small.pop("looks")
    found = {name: tensor.float() for name, tensor in small.items()}
    return found | {"face": face.view(shape), "bary": bary.view(*shape, 3), "looks": looks}
