"""What somebody looks like, learned while they are seen apart, so that they are told from others
whom they touch, and known again.

Axes: h w pixels of a small picture; colours are numbered as by `appearance.colour_bins`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from layers.runtime.appearance import colour_bins, histogram

RATE = 0.1  # of a frame, in what somebody looks like, once they have been seen for some
FORGETS = 0.01  # of a frame, how large they were
_BLUR = 9  # pixels over which colours are taken together
_CLEAR = 4.0  # in natural logarithms: how much colours say at most
_RARE = 1e-4  # of a person: colours that they don't have


def colours_of(picture: np.ndarray) -> np.ndarray:
    """picture: (h, w, 3) uint8 RGB. Returns: (h, w) int32."""
    return colour_bins(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB))


class Look:
    """The colours of somebody, and how large they were.

    num_frames: that it was learned from. area: in pixels, the largest lately.
    """

    def __init__(self) -> None:
        self.num_frames = 0
        self.area = 0.0
        self._shares = np.zeros(0, np.float32)

    def learn(self, colours: np.ndarray, mask: np.ndarray) -> None:
        """mask: (h, w) bool, where they are and nobody else."""
        area = float(mask.sum())
        if not area:
            return
        self.num_frames += 1
        # of whom less is seen than before, something is hidden that is no less theirs
        rate = max(1 / self.num_frames, RATE) * min(1.0, area / max(self.area, 1.0)) ** 2
        shares = histogram(colours[mask], np.ones(int(area)))
        self._shares = rate * shares + (1 - rate) * self._shares if self._shares.size else shares
        self.area = max(area, (1 - FORGETS) * self.area)

    def has(self, colours: np.ndarray, mask: np.ndarray) -> float:
        """How much of what is seen in a mask (h, w) bool may be theirs, by its colours: 0 to 1."""
        shares = histogram(colours[mask], np.ones(int(mask.sum())))
        # a part of somebody has more of its own colours than all of them
        most = self._shares * max(1.0, self.area / max(1.0, float(mask.sum())))
        return float(np.minimum(shares, most).sum())

    def logs(self, colours: np.ndarray) -> np.ndarray:
        """(h, w) float32: how likely they have the colour of each pixel, as a logarithm."""
        return np.log(self._shares + _RARE)[colours]


def leanings(colours: np.ndarray, group: np.ndarray, looks: Sequence[Look]) -> np.ndarray:
    """How far the colours in a group (h, w) bool speak for each of some people: (K, h, w) float32,
    logarithms from 0 down."""
    weight = group.astype(np.float32)
    around = cv2.blur(weight, (_BLUR, _BLUR)) + 1e-6
    speak = np.stack(
        [cv2.blur(look.logs(colours) * weight, (_BLUR, _BLUR)) / around for look in looks]
    )
    return np.maximum(speak - speak.max(axis=0), -_CLEAR)
