"""The background as it was last seen, moved along with the camera: what doesn't look like it stands
before it.

Axes: H W pixels; flow is (H, W, 2) float32, x before y.
"""

import cv2
import numpy as np

_STILL = 0.35  # pixels; a camera that moves by less is taken to stand, as moving a picture blurs it
_FAST = 3.0  # pixels; faster, the plate is forgotten a little
_STEP = 6  # pixels between those by which the camera's motion is found
_FEWEST = 50
_LEAST_NOISE = 20.0  # of squared differences of 8-bit colours
_WEIGHTS = np.array([0.5, 1, 1], np.float32)  # of lightness, which shadows change, and of the hues


class Plate:
    """Colours of the background, and how far they are known."""

    def __init__(self, lab: np.ndarray, background: np.ndarray) -> None:
        """lab: (H, W, 3) uint8. background: (H, W) bool, where it is seen."""
        self._colour = lab.astype(np.float32)
        self._seen = background.astype(np.float32)
        self._moves = False

    def move(self, back: np.ndarray, background: np.ndarray) -> None:
        """Take it along with the camera.

        back: the flow from this frame to the one before. background: (H, W) bool, where it can be
            trusted to show the camera's motion.
        """
        height, width = background.shape
        rows, columns = np.nonzero(background[::_STEP, ::_STEP])
        rows, columns = rows * _STEP, columns * _STEP
        turn = None
        if len(rows) >= _FEWEST:
            here = np.stack([columns, rows], 1).astype(np.float32)
            there = here + back[rows, columns]
            turn, _ = cv2.estimateAffine2D(
                here, there, method=cv2.RANSAC, ransacReprojThreshold=1.0
            )
        if turn is None:
            self._seen[:] = 0
            return
        edges = [[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]
        corners = np.array(edges, np.float32)
        shift = float(np.abs(corners @ turn.T.astype(np.float32) - corners[:, :2]).max())
        if shift <= _STILL:
            return
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        colour = cv2.warpAffine(self._colour, turn, (width, height), flags=how)
        self._colour = colour.astype(np.float32)
        # what borders on the unknown is mixed with it
        seen = cv2.erode(self._seen, np.ones((3, 3), np.uint8))
        how = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(seen, turn, (width, height), flags=how)
        self._seen = seen.astype(np.float32)
        self._moves = True
        if shift > _FAST:
            self._seen *= 0.9

    def evidence(self, lab: np.ndarray, background: np.ndarray) -> np.ndarray:
        """(H, W) float32 from -1.5 to 1.5: above 0 where something stands before it, 0 where it
        isn't known.

        background: (H, W) bool, where it is thought to be seen: by it the noise is known.
        """
        apart = self._apart(lab)
        known = self._seen > 0.3
        sample = apart[background & known]
        noise = max(3 * float(np.median(sample)), _LEAST_NOISE) if len(sample) > 100 else 300.0
        ratio = np.clip(np.log((apart + 1e-3) / (4 * noise)), -1.5, 1.5)
        return ratio * known * self._seen

    def _apart(self, lab: np.ndarray) -> np.ndarray:
        """(H, W) float32: the squared difference of colours, where the camera moves up to the
        pixel by which the plate may be off."""
        apart = None
        reach = (-1, 0, 1) if self._moves else (0,)
        for y in reach:
            for x in reach:
                gap = lab - np.roll(self._colour, (y, x), (0, 1))
                gap = (gap * gap * _WEIGHTS).sum(axis=2)
                apart = gap if apart is None else np.minimum(apart, gap)
        assert apart is not None
        return cv2.blur(apart, (3, 3))

    def learn(self, lab: np.ndarray, background: np.ndarray) -> None:
        """Take in where it is seen, (H, W) bool."""
        rate = np.where(self._seen > 0, 0.1, 1.0).astype(np.float32) * background
        self._colour += rate[..., None] * (lab - self._colour)
        self._seen = np.where(background, np.minimum(self._seen + 0.5, 1), self._seen)
