"""Do the codes steer what is made? Each is exchanged for another clip's, and all that should follow
or stay is measured.

Axes: B clips, T frames, S S pixels, c latent channels, 3 = R G B.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from character.clips import Clip, read_clip
from character.dataset import scan_records
from character.latents import Encoded, encode_clip
from character.metrics import (
    colour_error,
    grown,
    overlap,
    part_colours,
    psnr,
    silhouette,
    squared_error,
)
from character.models import CharacterNetwork
from character.options_evaluate import EvaluateOptions
from character.runtime.sampler import Codes, Looks, Sampling, make_piece, open_network
from character.scores import Measured, Scores, table
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import make_folder, write_json
from nunif.image import save_png
from nunif.pictures import label, tile
from nunif.records import BadRecord, Record
from nunif.seed import generator_for

logger = logging.getLogger(__name__)

CODES = {  # what each way to make a clip takes from another one
    "own codes": (),
    "motion": ("face", "bary"),
    "identity": ("identity", "embedding"),
    "scene": ("scene",),
}
NO_OCCLUSION = "no occlusion"
COVERED, FREE = 128, 26  # alpha of an occluder: hidden, and hardly
SHOWN, LEAST_SHOWN = 6, 128  # clips in the picture, and pixels of a side there


@dataclass(frozen=True)
class Film:
    """What was made, or is true: (T, S, S, 3) float32 in [0, 1], and the scene that it was given,
    as the codec has it."""

    pixels: np.ndarray
    scene: np.ndarray


def main(options: EvaluateOptions) -> None:
    """The command `evaluate`."""
    device = create_device(options.gpu)
    model = open_network(options.model, device)
    clips = read_clips(options.data_dir, model, num=options.num)
    encoded = [
        encode_clip(clip, lambda x: model.encode(x.to(device)), lambda x: model.embed(x.to(device)))
        for clip in clips
    ]
    made = make_films(model, encoded, [clip.name for clip in clips], options, device)
    scores = score(clips, _true_films(model, encoded, device), made)
    lines = table(scores)
    for line in lines:
        print(line)
    if options.output is not None:
        folder = make_folder(options.output)
        info = {
            "model": str(options.model),
            "clips": [clip.name for clip in clips],
            "steps": options.steps,
            "guidance": options.guidance,
            "seed": options.seed,
        }
        write_json(folder / "scores.json", {**info, **scores.to_dict()})
        save_png(folder / "codes.png", sheet(clips, made))


def read_clips(folder: Path, model: CharacterNetwork, *, num: int) -> list[Clip]:
    """The first clips of the first records of one person.

    Raises:
        UserError: there are fewer.
    """
    found, bad = scan_records(folder, min_frames=model.clip_length)
    clips: list[Clip] = []
    for record in found:
        if len(clips) == num:
            break
        try:
            clips.append(_first_clip(record, model))
        except BadRecord as problem:
            bad.append(problem)
    for unusable in bad:
        logger.warning("left out: %s", unusable)
    if len(clips) < num:
        raise UserError(
            f"{folder}: {len(clips)} records show one person and its movement, {num} are needed: "
            "make some with create_training_data.py world --people 1"
        )
    return clips


def _first_clip(record: Record, model: CharacterNetwork) -> Clip:
    return read_clip(
        record,
        generator_for("crop", record.path.name, 0),
        num_frames=model.clip_length,
        size=model.size,
        has_motion=True,
        is_first=True,
    )


# --- making ---------------------------------------------------------------------------------------


@torch.no_grad()
def make_films(
    model: CharacterNetwork,
    encoded: Sequence[Encoded],
    names: Sequence[str],
    options: EvaluateOptions,
    device: torch.device,
) -> dict[str, list[Film | None]]:
    """Clips by what they were made of: their own codes, those with one of the next clip's, and
    without what stands in front, where something does (None elsewhere)."""
    count = len(encoded)
    made: dict[str, list[Film | None]] = {}
    for way, taken in CODES.items():
        made[way] = []
        for i, own in enumerate(encoded):
            other = encoded[(i + 1) % count]
            codes = {**own, **{code: other[code] for code in taken}}
            made[way].append(_make(model, codes, names[i], options, device))
        logger.info("made %d clips with: %s", count, way)
    if model.has_occlusion:
        nothing = _nothing_in_front(model, encoded[0]["occlusion"], device)
        made[NO_OCCLUSION] = [
            None
            if torch.equal(own["occlusion"], nothing)
            else _make(model, {**own, "occlusion": nothing}, name, options, device)
            for own, name in zip(encoded, names)
        ]
    return made


def _nothing_in_front(model: CharacterNetwork, like: Tensor, device: torch.device) -> Tensor:
    """The latents (c, T, h, w) of nothing: a black film."""
    side = like.shape[-1] * model.codec.factor
    black = -torch.ones(1, 3, like.shape[1], side, side, device=device)
    return model.encode(black)[0].cpu()


def _make(
    model: CharacterNetwork,
    codes: Encoded,
    name: str,
    options: EvaluateOptions,
    device: torch.device,
) -> Film:
    """A clip of these codes. name: decides about its noise, with the seed."""
    scene, occlusion, identity, embedding = (
        codes[name][None].to(device) for name in ("scene", "occlusion", "identity", "embedding")
    )
    looks = Looks(model.reference(identity, embedding), embedding)
    sampling = Sampling(options.steps, options.guidance, model.clip_length, 0, options.seed)
    own = Codes(scene, occlusion, codes["face"], codes["bary"])
    made = make_piece(model, looks, own, sampling, name=name)
    return _films(model, made.latents, scene)[0]


def _films(model: CharacterNetwork, latents: Tensor, scenes: Tensor) -> list[Film]:
    pictures, behind = (
        (model.decode(x).permute(0, 2, 3, 4, 1).float().cpu().numpy() + 1) / 2
        for x in (latents, scenes)
    )
    return [Film(*pair) for pair in zip(pictures, behind)]


@torch.no_grad()
def _true_films(
    model: CharacterNetwork, encoded: Sequence[Encoded], device: torch.device
) -> list[Film]:
    """What the codec leaves of the true clips: nothing that is made can be better."""
    found = []
    for codes in encoded:
        target, scene = (codes[name][None].to(device) for name in ("target", "scene"))
        found += _films(model, target, scene)
    return found


# --- measuring ------------------------------------------------------------------------------------


def score(
    clips: Sequence[Clip], true: Sequence[Film], made: dict[str, list[Film | None]]
) -> Scores:
    """All that is measured; see `character.scores`."""
    rows = {"truth": _measure(clips, true, "own codes")}
    for name in CODES:
        rows[name] = _measure(clips, _all_of(made[name]), name)
    scores = Scores(rows, _codec(clips, true), bodies_overlap=_mean_overlap(clips))
    errors = [
        _colour_errors(clips, _all_of(made[name]), name) for name in ("own codes", "identity")
    ]
    scores.colour_errors = list(zip(*errors))
    if NO_OCCLUSION in made:
        with_code, without = [0.0, 0], [0.0, 0]
        for clip, right, wrong in zip(clips, made["own codes"], made[NO_OCCLUSION]):
            if right is None or wrong is None:
                continue
            covered = clip.occluder[..., 3] >= COVERED
            truth = clip.colour / np.float32(255)
            for sums, film in ((with_code, right), (without, wrong)):
                total, count = squared_error(film.pixels, truth, covered)
                sums[0] += total
                sums[1] += count
        scores.occluder = psnr(with_code[0], int(with_code[1]))
        scores.occluder_missing = psnr(without[0], int(without[1]))
    return scores


def _all_of(films: Sequence[Film | None]) -> list[Film]:
    return [film for film in films if film is not None]


def _measure(clips: Sequence[Clip], films: Sequence[Film], name: str) -> Measured:
    """Means over clips of what a film shares with the own codes and with those it was given."""
    given, own = [], []
    total, count = 0.0, 0
    for i, (clip, film) in enumerate(zip(clips, films)):
        free = clip.occluder[..., 3] < FREE
        body, own_body = _driven(clips, i, name).face >= 0, clip.face >= 0
        shape = silhouette(film.pixels, film.scene)
        given.append(overlap(shape, body, free))
        own.append(overlap(shape, own_body, free))
        rest = ~grown(body | own_body | (clip.alpha > 0)) & ~grown(clip.occluder[..., 3] > 0)
        part, numbers = squared_error(film.pixels, clip.behind / np.float32(255), rest)
        total, count = total + part, count + numbers
    return Measured(
        body=float(np.nanmean(given)),
        own_body=float(np.nanmean(own)),
        colour=float(np.nanmean(_colour_errors(clips, films, name))),
        scene=psnr(total, count),
    )


def _driven(clips: Sequence[Clip], index: int, name: str) -> Clip:
    """The clip whose body a film was given."""
    return clips[(index + 1) % len(clips)] if name == "motion" else clips[index]


def _colour_errors(clips: Sequence[Clip], films: Sequence[Film], name: str) -> list[float]:
    """Of each film, see `colour_error`."""
    errors = []
    for i, (clip, film) in enumerate(zip(clips, films)):
        free = clip.occluder[..., 3] < FREE  # what an occluder hides has no colour
        seen = part_colours(film.pixels, _driven(clips, i, name).face, free)
        truth = part_colours(clip.colour / np.float32(255), clip.face, free)
        errors.append(colour_error(seen, truth))
    return errors


def _codec(clips: Sequence[Clip], true: Sequence[Film]) -> float:
    """PSNR of scenes that were encoded and decoded, where `_measure` looks at them."""
    total, count = 0.0, 0
    for clip, film in zip(clips, true):
        near = grown((clip.face >= 0) | (clip.alpha > 0)) | grown(clip.occluder[..., 3] > 0)
        part, numbers = squared_error(film.scene, clip.behind / np.float32(255), ~near)
        total, count = total + part, count + numbers
    return psnr(total, count)


def _mean_overlap(clips: Sequence[Clip]) -> float:
    """Of each body with that of the next clip, which moves it."""
    pairs = [(clip, clips[(i + 1) % len(clips)]) for i, clip in enumerate(clips)]
    every = [
        overlap(one.face >= 0, other.face >= 0, one.occluder[..., 3] < FREE) for one, other in pairs
    ]
    return float(np.nanmean(every))


def sheet(clips: Sequence[Clip], made: dict[str, list[Film | None]]) -> np.ndarray:
    """A row for each of some clips, from its middle frame: the person and body that it has, the
    next clip's, the true frame, and what was made with its own codes, and with each of the next
    clip's, and without what is in front."""
    titles = ["person", "body", "other person", "other body", "other scene", "true film", *made]
    rows: list[list[np.ndarray]] = []
    for i, clip in enumerate(clips[:SHOWN]):
        other, middle = clips[(i + 1) % len(clips)], len(clip.colour) // 2
        row = [clip.looks, _body(clip, middle), other.looks, _body(other, middle)]
        row += [other.behind[middle], clip.colour[middle]]
        for films in made.values():
            film = films[i]
            row.append(
                np.zeros_like(clip.looks)
                if film is None
                else np.rint(film.pixels[middle] * 255).astype(np.uint8)
            )
        side = max(LEAST_SHOWN, clip.looks.shape[0])
        large = [cv2.resize(p, (side, side), interpolation=cv2.INTER_CUBIC) for p in row]
        rows.append(large if rows else [label(p, text) for p, text in zip(large, titles)])
    return tile(rows)


def _body(clip: Clip, moment: int) -> np.ndarray:
    shown = np.where(clip.face[moment] >= 0, 255, 0).astype(np.uint8)
    return np.repeat(shown[..., None], 3, axis=-1)
