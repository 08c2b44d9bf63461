"""Shot boundaries in a short run of frames."""

from collections.abc import Sequence

import numpy as np

# The detector compares a frame with this many frames before and after it.
CUT_MARGIN = 2

_WIDTH = 256  # pixels; the decisions are those of the full size at a thirtieth of the cost


def find_cuts(frames: Sequence[np.ndarray]) -> list[int]:
    """Where a new shot starts, by PySceneDetect's AdaptiveDetector with its default thresholds.

    Only positions with a full window can be reported: CUT_MARGIN <= i < len(frames) - CUT_MARGIN. To learn about
    every position of a clip (a cut at its first frame does it no harm), hand in CUT_MARGIN - 1 more frames before it
    and CUT_MARGIN after it. At i = CUT_MARGIN the window holds the run's first frame, which has nothing to differ
    from, so the bar is a quarter lower there; one more frame before avoids that. A run shorter than the window
    (5 frames) has no cuts. Dissolves and jump cuts within one framing are not found.

    Args:
        frames: (H, W, 3) uint8 RGB pictures of one size, consecutive, 16 to 40 of them.

    Returns:
        Ascending indices i such that frames[i] is the first of a new shot.
    """
    import cv2
    from scenedetect import AdaptiveDetector, FrameTimecode

    # Any number of cuts may follow each other closely: each of them spoils a clip.
    detector = AdaptiveDetector(min_scene_len=1, window_width=CUT_MARGIN)
    fps = 24.0  # only a unit for counting frames; scenedetect refuses whole numbers
    cuts = []
    for index, frame in enumerate(frames):
        height, width = frame.shape[:2]
        if width > _WIDTH:
            small_size = (_WIDTH, max(1, round(height * _WIDTH / width)))
            frame = cv2.resize(frame, small_size, interpolation=cv2.INTER_LINEAR)
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        cuts += detector.process_frame(FrameTimecode(index, fps), bgr)
    return [cut.frame_num for cut in cuts]
