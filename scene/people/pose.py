"""pose.npz: where the people of a clip are, in numbers.

Axes: T frames, P people, J = 17 joints, V = 1,836 vertices, 3 = x y z in metres.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

POSE_NAME = "pose.npz"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold


def encode_pose(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays by name as an uncompressed .npz file, the same bytes for the same arrays."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _DATE), data.getvalue())
    return content.getvalue()


def read_pose(record: Path) -> dict[str, np.ndarray]:
    """The arrays of a record's pose.npz, all float32.

    joints (T, P, J, 3) and vertices (T, P, V, 3) in the world, where y = 0 is the floor; pixels (T,
    P, J, 2) of the joints, x and y, the middle of the first pixel at (.5, .5); the camera's
    intrinsics (T, 3, 3) and extrinsics (3, 4): x right, y down, z ahead.

    Raises:
        OSError: there is none. ValueError, zipfile.BadZipFile: it is damaged.
    """
    with np.load(record / POSE_NAME, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
