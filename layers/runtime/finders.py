"""Who is in a picture: the person finder that comes along, or a matting model. Each gives maps, see
`layers.runtime.holes`.

Axes: H W pixels of a frame, h w of a map.
"""

from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from layers.runtime.holes import HoleRule
from matting.runtime.person_finder import find_people, load_finder
from matting.runtime.person_gate import SURE, load_gate, person_scores
from matting.runtime.stream import MatteStream

SHORT_SIDE = 256  # pixels: the finder sees no more
NEEDED = 2  # frames in which somebody is surely seen, one of a teddy came to it


class Finder(Protocol):
    """Finds people frame by frame. rule: how holes are cut from its maps, but for what the user
    says. remembers: whether it knows by itself whom it saw in the frames before."""

    rule: HoleRule
    remembers: bool

    def reset(self) -> None:
        """The next frame starts a stream, as at a cut."""
        ...

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """frame: (H, W, 3) uint8 or uint16 RGB. Returns: a map, (h, w) uint8."""
        ...


class PersonTiles:
    """The person finder: where people are at a width of 2 %, with soft edges; a finder of holes, no
    matte. Whatever stands before a camera is a person to it: see `PersonGate`."""

    # chosen on two films, held for 2 frames: four girls, recall .996, .961 of the worst frame, with
    # a hole of 1.85 times their area; a woman in a corridor, 1.40 times
    rule = HoleRule(least=26, surely=128, grow=1.0)
    remembers = False

    def __init__(self, device: torch.device) -> None:
        self._device, self._finder = device, load_finder(device=device)

    def reset(self) -> None:
        """It remembers nothing."""

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        picture = to_picture(shrunk(frame, SHORT_SIDE), self._device)
        found = find_people(picture, self._finder)[0, 0]
        return found.mul(255).round().to(torch.uint8).cpu().numpy()


class Mattes:
    """A matting model, which has a memory of its own."""

    rule = HoleRule(least=5, surely=128, grow=2.5)
    remembers = True

    def __init__(self, stream: MatteStream) -> None:
        self._stream = stream

    def reset(self) -> None:
        self._stream.reset()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        if frame.dtype == np.uint16:
            frame = (frame >> 8).astype(np.uint8)
        return self._stream([frame])[0][1]


class Gate:
    """Whether somebody is seen at all: it opens once a head was seen in some frames, or in all of
    a shot that has no more."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._gate = device, load_gate(device=device)
        self.reset()

    def reset(self) -> None:
        """Nobody has been seen."""
        self._num_seen = 0
        self._num_frames = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody was seen in the shot as far as it is known."""
        return self._num_seen >= max(1, min(NEEDED, self._num_frames))

    def look(self, frame: np.ndarray) -> None:
        """frame: (H, W, 3) uint8 or uint16 RGB."""
        self._num_frames += 1
        if self._num_seen < NEEDED:
            picture = to_picture(shrunk(frame, SHORT_SIDE), self._device)
            self._num_seen += int(person_scores(picture, self._gate)[0] >= SURE)


def shrunk(frame: np.ndarray, short_side: int) -> np.ndarray:
    """A frame at that short side, (h, w, 3) of its type; smaller ones as they are."""
    size = seen_size(frame.shape[0], frame.shape[1], short_side)
    if size == frame.shape[:2]:
        return frame
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)


def seen_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(h, w) of a frame at that short side; of smaller ones their own."""
    scale = min(1.0, short_side / min(height, width))
    return round(height * scale), round(width * scale)


def to_picture(frame: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 or uint16 -> (1, 3, H, W) in [0, 1]."""
    scaled = frame.astype(np.float32) / np.iinfo(frame.dtype).max
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].to(device)
