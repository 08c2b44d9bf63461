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
from nunif.records import BadRecord, Record
from nunif.seed import generator_for

MEASURED = 256  # records that are looked at
LEAST = 0.01  # of the largest variance: what varies less is not made to vary more


def can_fit(model: CharacterNetwork) -> bool:
    """Whether its frozen parts are such."""
    return isinstance(model.codec, DctCodec)


def fit_frozen(model: CharacterNetwork, records: Sequence[Record], cut: Cut) -> dict[str, Tensor]:
    """Let latents and CLIP's vectors have a spread of 1 over some records, in place, and tell the
    weights that this takes, by their names."""
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
        spread_embeddings(model, torch.stack(looks))
    state = model.state_dict()
    return {name: state[name] for name in state if name.startswith(("codec.", "image_encoder."))}


@torch.no_grad()
def spread_embeddings(model: CharacterNetwork, looks: Tensor) -> None:
    """Change CLIP's last norm and its projection so that the vectors of pictures (N, 3, S, S) have
    a mean of 0 and vary alike in all directions in which they vary at all. Those of an untrained
    network are nearly the same for everybody."""
    clip = model.image_encoder.clip
    norm, projection = clip.vision_model.post_layernorm, clip.visual_projection
    vectors = model.embed(looks)[:, 0].double()  # (N, d)
    mean, covariance = vectors.mean(0), torch.cov(vectors.T)
    values, directions = torch.linalg.eigh(covariance)
    scale = (values.clamp(min=0) + LEAST * values.max()).rsqrt()
    spread = directions @ torch.diag(scale) @ directions.T
    weight = projection.weight.double()
    norm.bias -= (torch.linalg.pinv(weight) @ mean).to(norm.bias)
    projection.weight.copy_(spread @ weight)
