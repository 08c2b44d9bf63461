"""What moves against the background: unlike what the frames before and after show there, once they
are moved along with the camera.

Axes: H W pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from layers.runtime.frame_store import FrameStore
from layers.runtime.plate import Plate
from scene.flow import flow_to

REACH = 4  # frames before and after
_STEPS = [step for step in range(-REACH, REACH + 1) if step]


def stands_out(frames: Sequence[np.ndarray] | FrameStore, place: int) -> np.ndarray:
    """(H, W) float32 from -1.5 to 1.5: above 0 where something moves in the frame at a place.

    Where a thing was and will be, some frames are unlike it too, so it is the middle one that
    counts. frames: (H, W, 3) uint8 RGB each.
    """
    frame = frames[place]
    size = (frame.shape[0], frame.shape[1])
    near = [place + step for step in _STEPS if 0 <= place + step < len(frames)]
    if len(near) > 4:
        near = [other for other in near if (other - place) % 2 == 0]
    if not near:
        return np.zeros(size, np.float32)
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
    all_seen = np.ones(size, bool)
    found = []
    for other in near:
        plate = Plate(cv2.cvtColor(frames[other], cv2.COLOR_RGB2LAB), all_seen)
        plate.move(flow_to(frame, frames[other]), all_seen)
        found.append(plate.evidence(lab, all_seen))
    return np.median(found, axis=0).astype(np.float32)
