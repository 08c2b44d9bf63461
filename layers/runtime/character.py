"""Put somebody of a picture into a film, in the place of one of its people: python -m layers
character.

Axes: T frames, H W pixels of the film, S pixels of the square that is made anew, 3 = R G B.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from character.runtime.identity import read_identity
from character.runtime.pose import Movement, read_movement
from character.runtime.regions import Run, find_runs
from character.runtime.sampler import (
    CharacterNetwork,
    Codes,
    Looks,
    Sampling,
    check_windows,
    decode_film,
    draw_body,
    encode_pairs,
    look_at,
    make_piece,
    open_network,
    pieces,
    usual_guidance,
)
from layers.options_character import CharacterOptions
from layers.runtime.compose import (
    check_frames,
    compose_frames,
    reading_of,
    tell_of_loss,
    write_film,
)
from layers.runtime.provenance import note_generated
from layers.runtime.put_back import Generated
from nunif.device import create_device
from nunif.errors import UserError
from nunif.files import file_sha256
from nunif.runtime.film import check_not_sources, open_source
from nunif.video.film import Film
from scene.layers import folder as layer_folder
from scene.layers.formats import format_of, read_layers, space_of
from scene.layers.planes import FrameLayers, in_bits
from scene.layers.spaces import Space, compose

logger = logging.getLogger(__name__)

NOISE_NAME = "film"  # what frames' noise is drawn by, with the seed and their numbers


def main(options: CharacterOptions) -> None:
    """The command `character`.

    Raises:
        UserError: no layers are there, the film that was split is gone or another, the model, the
            picture or the movement can't be used or don't fit the film.
    """
    meta = layer_folder.read_meta(options.layers)
    composing = options.composing()
    reading = reading_of(composing, meta["source"])
    given = [options.layers, reading.input, options.model, options.identity, options.pose]
    check_not_sources([options.output], given)
    _check_who(options, meta)
    movement = read_movement(options.pose, options.body)
    if len(movement.points) != len(meta["frames"]):
        raise UserError(
            f"--pose {options.pose} has {len(movement.points)} frames, the film "
            f"{len(meta['frames'])}: give every frame one"
        )
    runs = find_runs(movement, meta["shots"], tuple(meta["size"]))
    if not runs:
        raise UserError(
            f"--pose {options.pose} is out of the film's picture in all frames: f and c are in "
            f"pixels of {meta['size'][1]}x{meta['size'][0]}"
        )
    network = open_network(options.model, create_device(options.gpu))
    sampling = sampling_of(options, network)
    looks = look_at(network, read_identity(options.identity, network.size))
    with open_source(reading) as film:
        check_frames(film, meta)
        made = _Maker(options, meta, film, network, looks, movement, sampling).people(runs)
        frames = compose_frames(composing, meta, film, None, None, made, stand_in=options.who - 1)
        num_changed = write_film(reading, film, frames)
    how = {
        "pose": options.pose.name,
        "model": file_sha256(options.model),
        "steps": sampling.num_steps,
    }
    note_generated(options.layers, meta, options.identity, options.output, None, **how)
    tell_of_loss(composing, meta)
    _tell(options.output, runs, len(meta["frames"]), num_changed)


def sampling_of(options: CharacterOptions, network: CharacterNetwork) -> Sampling:
    """
    Raises:
        UserError: the windows are none that the network can take.
    """
    window = options.window or network.clip_length
    sampling = Sampling(
        num_steps=options.steps,
        guidance=usual_guidance(network) if options.guidance is None else options.guidance,
        window=window,
        overlap=window // 6 if options.overlap is None else options.overlap,
        seed=options.seed,
        precision=options.precision,
    )
    check_windows(network, sampling)
    return sampling


def _check_who(options: CharacterOptions, meta: dict[str, Any]) -> None:
    """Raises UserError: the film hasn't so many people."""
    most = max(len(layer_folder.layers_in(there)) for there in meta["planes"])
    if options.who > max(most, 1):
        raise UserError(
            f"--who {options.who}: up to {most} people are in the shots of {options.layers}"
        )


@dataclass(frozen=True)
class _Maker:
    """Makes the new person, frame by frame."""

    options: CharacterOptions
    meta: dict[str, Any]
    film: Film
    network: CharacterNetwork
    looks: Looks
    movement: Movement
    sampling: Sampling

    def people(self, runs: list[Run]) -> Iterator[Generated | None]:
        """What goes into each frame of the film; None: nobody is in it."""
        layers = read_layers(self.options.layers, self.meta, self.film)
        at = 0
        for run in runs:
            for _ in range(at, run.first):
                next(layers)
                yield None
            yield from self._run(run, layers)
            at = run.last + 1
        yield from repeat(None, len(self.meta["frames"]) - at)

    def _run(self, run: Run, layers: Iterator[FrameLayers]) -> Iterator[Generated]:
        codes: Codes | None = None
        held: list[torch.Tensor] = []
        made_until = run.first
        for part in pieces(len(run), self.sampling):
            first, end = run.first + part.start, run.first + part.stop
            more = self._codes(run, range(made_until, end), layers)
            num_held = made_until - first
            codes = more if codes is None else codes.last(num_held).before(more)
            made = make_piece(
                self.network, self.looks, codes, self.sampling,
                name=NOISE_NAME, first=first, held=held,
                num_kept=self.sampling.overlap if end <= run.last else 0,
            )  # fmt: skip
            held, made_until = made.path, end
            new = made.latents[:, :, num_held:]
            for picture, body in zip(decode_film(self.network, new), codes.face[num_held:]):
                yield self._placed(picture, body >= 0, run)

    def _codes(self, run: Run, frames: range, layers: Iterator[FrameLayers]) -> Codes:
        pairs = (self._pair(next(layers), run) for _ in frames)
        scene, occlusion = encode_pairs(self.network, pairs)
        return Codes(scene, occlusion, *draw_body(self.movement, run, frames, self.network.size))

    def _pair(self, there: FrameLayers, run: Run) -> tuple[np.ndarray, np.ndarray]:
        """The square of a frame without the one who leaves, and what is before them before black,
        (S, S, 3) uint8."""
        space, who = self._space, self.options.who - 1
        before = there.people[:who] + ([] if there.occluder is None else [there.occluder])
        behind = compose(space, there.people[who + 1 :], there.scene)
        black = space.put_in(np.zeros_like(space.take_out(there.scene)))
        in_front = black
        for layer in before:
            in_front = space.over(layer, in_front)
        squares = [
            run.crop.scaled(self._sdr8(space.take_out(picture))[None], self.network.size)[0]
            for picture in (behind, in_front)
        ]
        return squares[0], squares[1]

    def _placed(self, picture: np.ndarray, body: torch.Tensor, run: Run) -> Generated:
        """A square (S, S, 3) uint8 in the film's frame, where the body is and a little around."""
        crop, side = run.crop, (run.crop.side, run.crop.side)
        how = cv2.INTER_AREA if crop.side < len(picture) else cv2.INTER_CUBIC
        margin = max(1, round(self.options.grow * crop.side))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        inside = cv2.resize(body.numpy().astype(np.uint8) * 255, side, interpolation=cv2.INTER_AREA)
        height, width = self.meta["size"]
        mask = np.zeros((height, width), bool)
        mask[crop.rows, crop.columns] = cv2.dilate(inside, kernel) > 127
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[crop.rows, crop.columns] = cv2.resize(picture, side, interpolation=how)
        tone = self.film.info.tone_map
        if tone is not None:
            rgb = tone.from_sdr(in_bits(rgb, np.uint16))
        return Generated(rgb, mask, feather=max(1, margin // 2))

    @property
    def _space(self) -> Space:
        return space_of(format_of(self.meta), self.film)

    def _sdr8(self, rgb: np.ndarray) -> np.ndarray:
        tone = self.film.info.tone_map
        return in_bits(rgb if tone is None else tone.to_sdr(rgb), np.uint8)


def _tell(output: Path, runs: list[Run], num_frames: int, num_changed: int) -> None:
    made = sum(map(len, runs))
    logger.info(
        "%s: %d frames, %d of them changed; the new person is in %d, made in %d runs",
        output, num_frames, num_changed, made, len(runs),
    )  # fmt: skip
    if made < num_frames:
        text = "%s: in %d frames --pose is out of the picture: nobody stands there"
        logger.warning(text, output, num_frames - made)
