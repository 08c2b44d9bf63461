"""The planes of a frame, and the frame that they add up to.

    R = Oa Oc + (1 - Oa) B,    C = R + A (F - B)

R is the scene without people. The planes are rounded first and C comes from the rounded ones, so
that this holds in every frame to half a grey level. With a shadow S, B is B (1 - S) in C.

Axes: T frames, H W pixels. All planes are whole numbers: 255 means 1.
"""

import cv2
import numpy as np


def compose(
    foreground: np.ndarray,
    alpha: np.ndarray,
    behind: np.ndarray,
    occluder: np.ndarray,
    shadow: np.ndarray | None = None,
) -> np.ndarray:
    """C, rounded once: (..., 3) uint8.

    Args:
        foreground, behind: (..., 3) uint8. alpha: (...) uint8, what is seen of the people.
        occluder: (..., 4) uint8, straight. shadow: (...) uint8, or None for none.
    """
    back = behind.astype(np.float64)
    if shadow is not None:
        back = back * (1 - shadow[..., None] / 255)
    cover = occluder[..., 3:] / 255
    without = cover * occluder[..., :3] + (1 - cover) * back
    colour = without + alpha[..., None] / 255 * (foreground - back)
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8)


def without_people(behind: np.ndarray, occluder: np.ndarray) -> np.ndarray:
    """R, the scene without people and without their shadow: (..., 3) float64, 0 to 255."""
    cover = occluder[..., 3:] / 255
    return cover * occluder[..., :3] + (1 - cover) * behind


def visible_alpha(coverage: np.ndarray, occluder: np.ndarray) -> np.ndarray:
    """What an occluder (..., 4) uint8 leaves to see of a coverage (...) from 0 to 1: uint8."""
    return np.rint(255 * np.clip(coverage, 0, 1) * (1 - occluder[..., 3] / 255)).astype(np.uint8)


def straight_colour(colour: np.ndarray, coverage: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Premultiplied colour (H, W, 3) and coverage (H, W) to F (H, W, 3) uint8.

    Where nothing is covered it is the nearest pixel's, so that no black comes into soft edges; if
    nothing is at all, it is `empty` (H, W, 3).
    """
    is_covered = coverage > 1e-6
    if not is_covered.any():
        return empty
    straight = colour / np.where(is_covered, coverage, 1)[..., None]
    rounded = np.clip(np.rint(straight), 0, 255).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        (~is_covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # every covered pixel is labelled once, with a number of its own
    nearest = np.zeros(labels.max() + 1, np.int64)
    nearest[labels[is_covered]] = np.flatnonzero(is_covered)
    return rounded.reshape(-1, 3)[nearest[labels]]


def disc(radius: float) -> np.ndarray:
    """A disc of a radius in pixels, its edge smooth and its sum 1: (K, K)."""
    reach = int(np.ceil(radius + 0.5))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weights = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return weights / weights.sum()


def defocus(picture: np.ndarray, radius: float) -> np.ndarray:
    """A picture (H, W) or (H, W, channels) out of focus; beyond its border it goes on."""
    if radius == 0:
        return picture
    return cv2.filter2D(picture, -1, disc(radius), borderType=cv2.BORDER_REPLICATE)
