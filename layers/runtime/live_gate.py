"""Whether somebody is before a camera, told anew all the time."""

import numpy as np
import torch

from layers.runtime.finders import SHORT_SIDE, shrunk, to_picture
from matting.runtime.person_gate import SURE, load_gate, person_scores

UNSURE = 0.5  # of a score: below it nobody's head is seen
PATIENCE = 25  # frames without a head after which it shuts: about a second


class LiveGate:
    """Opens at the first frame in which a head is surely seen, and shuts again when for a second
    there was none. Frames before it opens are not taken back: they have been shown."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._gate = device, load_gate(device=device)
        self.reset()

    def reset(self) -> None:
        """Nobody has been seen."""
        self.is_open, self._num_empty = False, 0

    def look(self, frame: np.ndarray) -> None:
        """frame: (H, W, 3) uint8 RGB, the next one."""
        picture = to_picture(shrunk(frame, SHORT_SIDE), self._device)
        self.note(float(person_scores(picture, self._gate)[0]))

    def note(self, score: float) -> None:
        """How sure it is that somebody is in the next frame, from 0 to 1."""
        self._num_empty = self._num_empty + 1 if score < UNSURE else 0
        if score >= SURE:
            self.is_open = True
        elif self._num_empty >= PATIENCE:
            self.is_open = False
