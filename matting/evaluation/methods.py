"""Ways to matte a clip: models, and what stands beside them.

Axes: T frames, H W pixels; what a method takes and gives: see `Mattes`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from matting.evaluation.clip import Mattes, Method
from matting.models import as_network
from matting.options_evaluate import ALL_ZERO, NO_MEMORY, name_methods
from matting.runtime.stream import MatteStream
from nunif.errors import UserError
from nunif.files import file_sha256
from nunif.models import load_model


class Methods(NamedTuple):
    """All that matte clips, by name, and which of them are judged."""

    by_name: dict[str, Method]
    judged: list[str]


def open_methods(
    words: Sequence[str],
    *,
    baselines: Sequence[str],
    downsample_ratio: float | None,
    device: torch.device,
) -> Methods:
    """
    Args:
        words: model files, as NAME=FILE too. baselines: names of what runs beside them.
        downsample_ratio: see `MatteStream`.
    Raises:
        UserError: there is none; two of one name; or as `load_model`.
    """
    methods = {}
    if ALL_ZERO in baselines:
        methods[ALL_ZERO] = Method(all_zero, ALL_ZERO, is_timed=False)
    judged = []
    for name, path in name_methods(words).items():
        model, _ = load_model(path, expect="matting.")
        network = as_network(model, path)
        stream = MatteStream(network, downsample_ratio=downsample_ratio, device=device)
        content = [file_sha256(path), device.type, downsample_ratio]
        remembers = network.kwargs.get("recurrent") != "none"
        ways = {name: False}
        if remembers and NO_MEMORY in baselines:
            ways[f"{name}, no memory"] = True
        judged.append(name)
        for way, forgets in ways.items():
            if way in methods:
                raise UserError(
                    f"two methods would be called {way}: call one of them otherwise, with "
                    "-m NAME=FILE"
                )
            methods[way] = Method(matted_by(stream, forgets=forgets), [*content, forgets])
    if not methods:
        raise UserError("there is nothing to judge: give -m a model file")
    return Methods(methods, judged)


def all_zero(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nobody anywhere; the colours are those of the frames."""
    return np.zeros(frames.shape[:3], np.uint8), frames


def matted_by(stream: MatteStream, *, forgets: bool = False) -> Mattes:
    """What a model makes of a clip, frame by frame, in grey levels of films.

    forgets: its memory is emptied before every frame.
    """

    def mattes(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        stream.reset()
        alphas, colours = np.empty(frames.shape[:3], np.uint8), np.empty_like(frames)
        for t, frame in enumerate(frames):
            if forgets:
                stream.reset()
            ((colours[t], alphas[t]),) = stream([frame])
        return alphas, colours

    return mattes
