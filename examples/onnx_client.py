"""The engine's contract in 40 lines, without this project: a film and one still mask in, a filled
film out.

    python examples/onnx_client.py memory_dstt_v1_360x640_fp32.onnx film.mp4 mask.png out.mp4

Needs onnxruntime, numpy and opencv. A program in C++ does the same calls; manifest.json beside the
file tells the shapes.
"""

import sys

import cv2
import numpy as np
import onnxruntime as ort


def main(engine: str, film: str, mask: str, out: str) -> None:
    # 1.20 to 1.24 join a Pad to the AveragePool after it and compute something else then
    session = ort.InferenceSession(
        engine, providers=ort.get_available_providers(), disabled_optimizers=["Pad_Fusion"]
    )
    inputs = {value.name: value.shape for value in session.get_inputs()}
    _, _, height, width = inputs["masked_frames"]
    memory = np.zeros(
        inputs["memory"], np.float32
    )  # all zero: the start of a stream; again at a cut
    hole = (
        cv2.resize(
            cv2.imread(mask, cv2.IMREAD_GRAYSCALE), (width, height), interpolation=cv2.INTER_NEAREST
        )
        > 127
    )
    reader = cv2.VideoCapture(film)
    writer = cv2.VideoWriter(
        out, cv2.VideoWriter.fourcc(*"mp4v"), reader.get(cv2.CAP_PROP_FPS), (width, height)
    )
    while True:
        there, bgr = reader.read()
        if not there:
            break
        rgb = cv2.cvtColor(
            cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB
        )
        frame = (
            rgb.astype(np.float32) / 127.5 - 1
        )  # no 8-bit value becomes 0, so 0 is free to mean "missing"
        frame[hole] = 0
        masked_frames = np.ascontiguousarray(
            frame.transpose(2, 0, 1)[None]
        )  # (1, 3, height, width)
        output, memory = session.run(
            ["output", "new_memory"], {"masked_frames": masked_frames, "memory": memory}
        )
        filled = ((output[0].transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
        rgb[hole] = filled[hole]  # everything else stays the film's own
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
