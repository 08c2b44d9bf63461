"""People out of a film or a camera's pictures by the two engines of `python -m layers export`,
without this project.

    python examples/live_onnx.py person_finder_v1_240x432_fp32.onnx \
        picture_memory_v1_240x432_fp32.onnx film.mp4 out.mp4

`film.mp4` may be the number of a camera, such as 0. Needs onnxruntime, numpy and opencv.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import onnxruntime as ort

BELONGS, SURELY = 26, 128  # of 255: from where on a place belongs to a person, and what is none
GROW = 2 / 240  # of the picture's height: by how much a hole is larger than who was found
HOLD = 2  # frames that a place stays hole
# of the picture's height: around a hole nothing is believed so far, but shown as it is, so that
# shadows beside people don't get into what is filled
MARGIN = 5 / 240


def open_engine(path: str) -> ort.InferenceSession:
    # 1.20 to 1.24 join a Pad to the AveragePool after it and compute something else then
    return ort.InferenceSession(
        path, providers=ort.get_available_providers(), disabled_optimizers=["Pad_Fusion"]
    )


def find(finder: ort.InferenceSession, frame: np.ndarray) -> np.ndarray:
    """Where people are in a frame (height, width, 3), 8-bit RGB: 0 to 255 at the finder's size."""
    _, _, height, width = finder.get_inputs()[0].shape
    small = frame
    if frame.shape[:2] != (height, width):
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    src = np.ascontiguousarray((small.astype(np.float32) / 255).transpose(2, 0, 1)[None])
    (people,) = finder.run(["people"], {"src": src})
    return (people[0, 0] * 255).round().astype(np.uint8)


def cut_hole(found: np.ndarray, height: int, width: int) -> np.ndarray:
    """What is to be filled, (height, width) bool."""
    # what is nowhere surely a person is none
    _, labels = cv2.connectedComponents((found >= BELONGS).astype(np.uint8), connectivity=8)
    persons = np.unique(labels[found >= SURELY])
    found = found * np.isin(labels, persons[persons > 0]).astype(np.uint8)
    if found.shape != (height, width):
        found = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    hole = (found >= BELONGS).astype(np.uint8)
    if radius := round(GROW * height):
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        hole = cv2.dilate(hole, disc)
    return hole > 0


def grown(hole: np.ndarray, by: int) -> np.ndarray:
    square = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return cv2.dilate(hole.astype(np.uint8), square) > 0 if by else hole


def remove(
    finder: ort.InferenceSession, filler: ort.InferenceSession, frames: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3), 8-bit RGB, of the filler's size, without their people."""
    # all zero: the start of a stream; again at a cut
    memory = np.zeros(filler.get_inputs()[1].shape, np.float32)
    holes: deque[np.ndarray] = deque(maxlen=HOLD + 1)
    for rgb in frames:
        holes.append(cut_hole(find(finder, rgb), *rgb.shape[:2]))
        hole = np.logical_or.reduce(holes)
        # no 8-bit value becomes 0, so 0 is free to mean "missing"
        frame = rgb.astype(np.float32) / 127.5 - 1
        frame[grown(hole, round(MARGIN * hole.shape[0]))] = 0
        masked_frames = np.ascontiguousarray(frame.transpose(2, 0, 1)[None])  # (1, 3, h, w)
        output, memory = filler.run(
            ["output", "new_memory"], {"masked_frames": masked_frames, "memory": memory}
        )
        filled = ((output[0].transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        yield np.where(hole[..., None], filled, rgb)  # everything else stays the camera's own


def read_frames(reader: cv2.VideoCapture, size: tuple[int, int]) -> Iterator[np.ndarray]:
    while True:
        there, bgr = reader.read()
        if not there:
            return
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        yield cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def main(finder_path: str, filler_path: str, film: str, out: str) -> None:
    finder, filler = open_engine(finder_path), open_engine(filler_path)
    _, _, height, width = filler.get_inputs()[0].shape
    size = (width, height)
    reader = cv2.VideoCapture(int(film) if film.isdigit() else film)
    rate = reader.get(cv2.CAP_PROP_FPS) or 25
    writer = cv2.VideoWriter(out, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for rgb in remove(finder, filler, read_frames(reader, size)):
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
