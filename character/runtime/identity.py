"""Who is to be seen, out of a picture.

Axes: H W pixels, S pixels of the square.
"""

from pathlib import Path

import cv2
import numpy as np

from character.clips import squared
from nunif.errors import UserError
from nunif.image import decode

SEEN = 25  # of 255: alpha from which on somebody is there


def read_identity(path: Path, size: int) -> np.ndarray:
    """A person before white, (size, size, 3) uint8, as networks are trained with.

    Of a picture with alpha the person is cut out; any other is taken as it is, and one that is no
    square gets white sides.

    Raises:
        UserError: it can't be read, or its alpha shows nobody.
    """
    try:
        picture = decode(path.read_bytes(), cv2.IMREAD_UNCHANGED)
        if picture.ndim == 2 or picture.shape[2] != 4:
            picture = decode(path.read_bytes(), cv2.IMREAD_COLOR_RGB)
        else:
            picture = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--identity {path} can't be read ({error}): name a picture, such as a .png or .jpg"
        ) from error
    if picture.dtype == np.uint16:
        picture = ((picture.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if picture.shape[2] == 3:
        return squared(picture, size, share=1.0)
    alpha = picture[..., 3]
    rows, columns = np.nonzero(alpha > SEEN)
    if not len(rows):
        raise UserError(f"--identity {path} shows nobody: all of it is transparent")
    share = alpha[..., None] / 255
    white = np.rint(share * picture[..., :3] + (1 - share) * 255).astype(np.uint8)
    part = white[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return squared(part, size)
