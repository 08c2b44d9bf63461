"""What a person looks like apart from any clip: arms held off the body, seen from the front.

Axes: S pixels of the square picture, 3 = R G B.
"""

from dataclasses import replace

import numpy as np

from scene.people.camera import Camera
from scene.people.film import Person, Troupe
from scene.people.motion import SIDES, Gait, Z

SIZE = 128
DISTANCE = 4.0  # metres from the camera
SHARE = 0.9  # of the picture's height that the person takes
ARMS, LEGS = 35.0, 6.0  # degrees from hanging down


def portrait_name(person: int) -> str:
    """The name of the file in a record that holds it. person: its number, from 0."""
    return f"portrait{person}.png"


def draw_portrait(person: Person, size: int = SIZE) -> np.ndarray:
    """In the pose of the letter A, before white: (S, S, 3) uint8."""
    camera = portrait_camera(person.height, size)
    one = replace(person, gait=portrait_gait())
    exposure = Troupe([one], camera, camera.frame_times).expose(range(1))
    picture = exposure.colour + 255 * (1 - exposure.coverage[..., None])
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def portrait_gait() -> Gait:
    """How one stands in it."""
    gait = Gait("still", 1.0, 0.0, 0.0, (0.0, -DISTANCE))
    for side, sign in zip(SIDES, (1, -1)):
        gait.swing(f"{side} upper arm", Z, sign * ARMS, 0, 0)
        gait.swing(f"{side} thigh", Z, sign * LEGS, 0, 0)
    return gait


def portrait_camera(height: float, size: int) -> Camera:
    """What it is taken with. height: of the person in metres. size: S."""
    return Camera(
        (size, size), SHARE * size * DISTANCE / height, height / 2, DISTANCE, 0.0,
        "still", np.zeros(1), np.zeros((1, 2)), np.ones(1),
    )  # fmt: skip
