"""What of people their alpha has missed: an outline that would be left standing in the scene.

Around people the scene is filled in farther out than their alpha goes. Where the film differs from
what was filled in, and by colours that lead to those of the person beside, that is theirs too: so
much of them as these colours tell, and as much as it takes for the film to be made of both again
exactly. All else around stays the film's.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from layers.runtime.appearance import box_of
from layers.runtime.groups import nearest_label
from layers.runtime.hole_size import REFERENCE_WIDTH

SURE = 230  # of 255, of an alpha: these colours are a person's
FEWEST = 50  # pixels that are surely somebody's, without which nothing follows
DIFFERS = 20.0  # of 255: less is the filler's doing
SHARE = 0.25  # of a pixel, from which on it is a person's
ASIDE = 0.5  # of that difference may be beside the way from the scene's colour to the person's
NARROW = 3  # pixels of a film of the reference width: gaps of twice that are filled
_AROUND = 3  # pixels over which a person's colours are taken together
_BLUR = 5


def with_outlines(
    picture: np.ndarray,
    filled: np.ndarray,
    alphas: Sequence[np.ndarray],
    around: np.ndarray,
    occluder: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Alphas of people, with what they have missed.

    Args:
        picture: (H, W, 3) uint8 or uint16. filled: the same with `around` filled in.
        alphas: (H, W) uint8 of each. around: (H, W) bool, so far it is looked for.
        occluder: (H, W) uint8; where there is any nobody is told from it.
    """
    whole = np.maximum.reduce(list(alphas))
    box = box_of(around)
    if box is None or (whole >= SURE).sum() < FEWEST:
        return list(alphas)
    left, top, right, bottom = box
    inside = np.s_[top:bottom, left:right]
    found = _missed(picture[inside], filled[inside], whole[inside], around[inside], whole.shape[1])
    if occluder is not None:
        found[occluder[inside] > 0] = 0
    whose = np.where(whole[inside] > 127, np.argmax([a[inside] for a in alphas], axis=0) + 1, 0)
    whose = nearest_label(whose)
    result = []
    for number, alpha in enumerate(alphas, 1):
        raised = alpha.copy()
        its = np.where(whose == number, found, 0)
        raised[inside] = np.maximum(alpha[inside], its)
        result.append(raised)
    return result


def _missed(
    picture: np.ndarray, filled: np.ndarray, alpha: np.ndarray, around: np.ndarray, width: int
) -> np.ndarray:
    """The alpha that people should have where theirs is too low, (H, W) uint8, else 0. width: of
    the film."""
    unit = np.iinfo(picture.dtype).max / 255
    shown, behind = (x.astype(np.float32) / np.float32(unit) for x in (picture, filled))
    way = _colours_beside(shown, alpha) - behind
    apart = shown - behind
    share = ((apart * way).sum(axis=-1) / ((way * way).sum(axis=-1) + 1)).clip(0, 1)
    differs = np.abs(apart).max(axis=-1)
    aside = np.abs(apart - share[..., None] * way).max(axis=-1)
    is_theirs = around & (differs > DIFFERS) & (share > SHARE) & (aside < ASIDE * differs)
    person = alpha > 127
    num, regions = cv2.connectedComponents((is_theirs | person).astype(np.uint8), connectivity=8)
    hangs_on = np.zeros(num, bool)
    hangs_on[np.unique(regions[person])] = True
    least = _least_alpha(shown, behind)
    missed = np.where(is_theirs & hangs_on[regions], np.maximum(share, least), 0)
    # of them, and of what is narrow between their parts, nothing is left, whatever its colours
    radius = max(1, round(NARROW * width / REFERENCE_WIDTH))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    closed = cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_CLOSE, disc) > 0
    needed = np.where(closed & (person | (differs > DIFFERS)), least, missed)
    return np.ceil(255 * needed).astype(np.uint8)


def _colours_beside(shown: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """At each pixel the colours of people where they are surely seen next: (H, W, 3) float32."""
    sure = (alpha >= SURE).astype(np.uint8)
    inner = cv2.erode(sure, np.ones((_AROUND, _AROUND), np.uint8))
    is_sure = (inner if inner.sum() >= FEWEST else sure) > 0
    weight = is_sure.astype(np.float32)
    smooth = cv2.blur(shown * weight[..., None], (_BLUR, _BLUR))
    smooth = smooth / np.maximum(cv2.blur(weight, (_BLUR, _BLUR)), 1e-6)[..., None]
    numbers = np.zeros(is_sure.shape, np.int32)
    numbers[is_sure] = np.arange(1, 1 + int(is_sure.sum()))
    return np.asarray(smooth[is_sure][nearest_label(numbers) - 1], np.float32)


def _least_alpha(shown: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: below it no colour before `behind` makes what is shown; both of 255."""
    brighter = 1 - shown / np.maximum(behind, 1)
    darker = (shown - behind) / np.maximum(255 - behind, 1)
    return np.where(behind > shown, brighter, darker).max(axis=-1).clip(0, 1)
