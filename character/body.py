"""A body of the world in any pose: joint angles, two lengths and a place in, vertices out.

Axes: T moments, P = 17 parts and V = 1,836 vertices in the order of `scene.people.body`, 3 = x y z
in metres. What comes out is in the camera's axes: x right, y down, z ahead.
"""

import numpy as np

from scene.people.body import NUM_PARTS, PARTS, joint_offsets, rest_vertices


def pose_body(
    pose: np.ndarray, shape: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the skin and the joints of a body are.

    Args:
        pose: (T, P, 3), how each part turns against the one that it hangs on: an axis in its own
            frame (x the person's left, y up, z ahead), as long as the angle in radians.
        shape: (2,), the height in metres and the width as a share of the usual one.
        root: (T, 6), how the whole body turns, as above, and where its hips are, both in the
            camera's axes: (pi, 0, 0, 0, 0, 3) is somebody upright who looks into the camera from
            three metres.
    Returns:
        vertices (T, V, 3) and joints (T, P, 3).
    """
    rotations, joints = pose_parts(pose, shape, root)
    rest = rest_vertices(*(float(length) for length in shape))
    skin = np.einsum("tpij,pvj->tpvi", rotations, rest) + joints[:, :, None]
    return skin.reshape(len(pose), -1, 3), joints


def pose_parts(
    pose: np.ndarray, shape: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How parts are turned from standing upright with hanging arms, (T, P, 3, 3), and where their
    joints are, (T, P, 3); see `pose_body`."""
    height, width = (float(length) for length in shape)
    turned, offsets = turns(pose), joint_offsets(height, width)
    whole = turns(root[:, :3])
    rotations = np.empty((len(pose), NUM_PARTS, 3, 3))
    joints = np.empty((len(pose), NUM_PARTS, 3))
    for number, part in enumerate(PARTS):
        if part.parent < 0:
            rotations[:, number] = whole @ turned[:, number]
            joints[:, number] = root[:, 3:]
        else:
            above = rotations[:, part.parent]
            rotations[:, number] = above @ turned[:, number]
            joints[:, number] = joints[:, part.parent] + above @ offsets[number]
    return rotations, joints


def turns(axes: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) about axes (..., 3) by as many radians as these are long: Rodrigues'
    formula."""
    angles = np.linalg.norm(axes, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axes / np.maximum(angles[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*axes.shape[:-1], 3, 3)
    return np.eye(3) + np.sin(angles) * cross + (1 - np.cos(angles)) * (cross @ cross)
