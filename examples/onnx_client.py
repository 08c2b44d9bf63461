"""The engine's contract without this project: a film and one still mask in, a filled film out.

    python examples/onnx_client.py memory_dstt_v1_360x640_fp32.onnx film.mp4 mask.png out.mp4

Needs onnxruntime, numpy and opencv. onnx_client.cpp beside it does the same in C++; manifest.json
beside the file tells the shapes.
"""

import sys
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import onnxruntime as ort


def open_engine(path: str) -> ort.InferenceSession:
    # 1.20 to 1.24 join a Pad to the AveragePool after it and compute something else then
    return ort.InferenceSession(
        path, providers=ort.get_available_providers(), disabled_optimizers=["Pad_Fusion"]
    )


def fill(
    session: ort.InferenceSession, frames: Iterable[np.ndarray], hole: np.ndarray
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3), 8-bit RGB, of the engine's size; hole (height, width) bool."""
    # all zero: the start of a stream; again at a cut
    memory = np.zeros(session.get_inputs()[1].shape, np.float32)
    for rgb in frames:
        # no 8-bit value becomes 0, so 0 is free to mean "missing"
        frame = rgb.astype(np.float32) / 127.5 - 1
        frame[hole] = 0
        masked_frames = np.ascontiguousarray(frame.transpose(2, 0, 1)[None])  # (1, 3, h, w)
        output, memory = session.run(
            ["output", "new_memory"], {"masked_frames": masked_frames, "memory": memory}
        )
        filled = ((output[0].transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        yield np.where(hole[..., None], filled, rgb)  # everything else stays the film's own


def read_frames(reader: cv2.VideoCapture, size: tuple[int, int]) -> Iterator[np.ndarray]:
    while True:
        there, bgr = reader.read()
        if not there:
            return
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        yield cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def main(engine: str, film: str, mask: str, out: str) -> None:
    session = open_engine(engine)
    _, _, height, width = session.get_inputs()[0].shape
    size = (width, height)
    grey = cv2.resize(cv2.imread(mask, cv2.IMREAD_GRAYSCALE), size, interpolation=cv2.INTER_NEAREST)
    reader = cv2.VideoCapture(film)
    rate = reader.get(cv2.CAP_PROP_FPS)
    writer = cv2.VideoWriter(out, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    for rgb in fill(session, read_frames(reader, size), grey > 127):
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
