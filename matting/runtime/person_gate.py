"""Whether there is a person in a picture: the finder takes everything that stands before a camera
for one, cats and teddies too.

Axes: T frames, H W pixels.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from matting.models.person_gate import SIDE, PersonGate
from matting.runtime.person_finder import RELEASED_FOLDER, check_released
from nunif.models import load_model

RELEASED = RELEASED_FOLDER / "person_gate_v1.pth"
# of a score. Where nobody was, it came to 0.77, but for one frame of a teddy: ask for two frames
SURE = 0.8
NEEDED = 2


@cache
def load_gate(path: Path = RELEASED, device: torch.device | str = "cpu") -> PersonGate:
    """The network, ready to run.

    Raises:
        UserError: the file is missing, or holds another model.
    """
    check_released(path)
    model, _ = load_model(path, device=device, expect="matting.person_gate")
    return cast(PersonGate, model)


@torch.inference_mode()
def person_scores(frames: Tensor, gate: PersonGate | None = None) -> Tensor:
    """How sure it is that somebody is in each frame.

    Args:
        frames: (T, 3, H, W), RGB in [0, 1].
        gate: `load_gate`'s, the released one by default, on the frames' device.

    Returns: (T,) float32 in [0, 1]; above `SURE` for people whose head is seen, from .2 to .7 for
        those without.
    """
    height, width = frames.shape[-2:]
    side = max(height, width)
    size = (max(1, round(SIDE * height / side)), max(1, round(SIDE * width / side)))
    small = F.interpolate(
        frames.float(), size, mode="bilinear", align_corners=False, antialias=True
    )
    above, left = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square = F.pad(small, (left, SIDE - size[1] - left, above, SIDE - size[0] - above))
    return (gate or load_gate(device=frames.device))(square)


def somebody_is_seen(pictures: Iterable[np.ndarray], device: torch.device) -> bool:
    """Whether it is sure of somebody in `NEEDED` of the pictures, (H, W, 3) uint8, or in all where
    there are no more. Takes no more of them than it needs."""
    gate = load_gate(device=device)
    num_pictures = num_seen = 0
    for picture in pictures:
        frame = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255
        num_pictures += 1
        num_seen += int(person_scores(frame, gate)[0] >= SURE)
        if num_seen >= NEEDED:
            return True
    return 0 < num_pictures == num_seen


@torch.inference_mode()
def head_scores(pictures: Tensor) -> Tensor:
    """How sure it is that somebody's head is at each place.

    pictures: (N, 3, 224, 224), RGB in [0, 1]. Returns: (N, 28, 28) float32 in [0, 1].
    """
    return load_gate(device=pictures.device).where(pictures)
