"""Frozen parts of a small model, for which nothing is published, fitted to the training set.

Axes: N pictures, S S pixels, d of CLIP's vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from character.clips import read_clip
from character.latents import Cut, to_signed
from character.models import CharacterNetwork
from character.models.codecs import DctCodec
from character.models.identity import Thumbnail
from nunif.records import BadRecord, Record
from nunif.seed import generator_for

MEASURED = 256  # records that are looked at


def can_fit(model: CharacterNetwork) -> bool:
    """Whether its frozen parts are such."""
    return isinstance(model.codec, DctCodec) and isinstance(model.image_encoder, Thumbnail)


def fit_frozen(model: CharacterNetwork, records: Sequence[Record], cut: Cut) -> dict[str, Tensor]:
    """Let latents and the vectors of pictures have a spread of 1 over some records, in place, and
    tell the weights that this takes, by their names."""
    frames, looks = [], []
    for record in records[:MEASURED]:
        rng = generator_for("crop", record.path.name, 0)
        try:
            clip = read_clip(record, rng, num_frames=1, size=cut.size, has_motion=cut.has_motion)
        except BadRecord:
            continue  # it is told of when latents are made
        frames.append(to_signed(clip.colour)[0, :, 0])
        looks.append(to_signed(clip.looks[None])[0, :, 0])
    if frames:
        model.codec.measure(torch.stack(frames))
        assert isinstance(model.image_encoder, Thumbnail)
        model.image_encoder.fit(torch.stack(looks))
    state = model.state_dict()
    return {name: state[name] for name in state if name.startswith(("codec.", "image_encoder."))}
