"""The weights of the person finder and its gate, out of the files that MediaPipe publishes, as
model files of ours.

    pip download mediapipe==0.10.21 --no-deps --python-version 3.11 --only-binary=:all:
    unzip mediapipe-*.whl "mediapipe/modules/*.tflite"
    python scripts/convert_person_finder.py selfie_segmentation.tflite person_finder_v1.pth
    python scripts/convert_person_finder.py pose_detection.tflite person_gate_v1.pth

Their tensors are read by the layout of TensorFlow Lite's files (a FlatBuffer, schema.fbs of
TensorFlow); the convolutions come in the order in which they are computed.
"""

import argparse
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nunif.models import create_model, save_model  # noqa: E402

NAMES = {
    "selfie_segmentation.tflite": "matting.person_finder_v1",
    "pose_detection.tflite": "matting.person_gate_v1",
}
SOURCE = "{} of mediapipe 0.10.21 (Google, Apache-2.0), converted"
CONV, DEPTHWISE, DEQUANTIZE, CUSTOM, DENSIFY = 3, 4, 6, 32, 124  # numbers of operators
TYPES = {0: np.float32, 1: np.float16, 2: np.int32}  # of tensors
INDICES = {1: np.int32, 2: np.uint16, 3: np.uint8}  # of numbers that lie between
# where the gate's order differs: convolutions of side branches come one later than the module has
# them, and of the last twelve every other pair says where people are
SIDE_BRANCHES, WHERE = (15, 35), (-10, -9, -6, -5, -2, -1)


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer: its data, and where it starts."""

    data: bytes
    start: int

    def _field(self, number: int) -> int:
        """Where a field is; 0 where it isn't written, because it has its default."""
        (back,) = struct.unpack_from("<i", self.data, self.start)
        listed = self.start - back
        (length,) = struct.unpack_from("<H", self.data, listed)
        place = 4 + 2 * number
        offset = struct.unpack_from("<H", self.data, listed + place)[0] if place < length else 0
        return self.start + offset if offset else 0

    def _there(self, place: int) -> int:
        return place + struct.unpack_from("<I", self.data, place)[0]

    def has(self, field: int) -> bool:
        return self._field(field) > 0

    def number(self, field: int, kind: str = "<i") -> int:
        place = self._field(field)
        return struct.unpack_from(kind, self.data, place)[0] if place else 0

    def table(self, field: int) -> "Table":
        return Table(self.data, self._there(self._field(field)))

    def array(self, field: int, kind: type) -> np.ndarray:
        place = self._field(field)
        if not place:
            return np.empty(0, kind)
        start = self._there(place)
        (length,) = struct.unpack_from("<I", self.data, start)
        return np.frombuffer(self.data, kind, length, start + 4)

    def tables(self, field: int) -> list["Table"]:
        start = self._there(self._field(field))
        (length,) = struct.unpack_from("<I", self.data, start)
        places = range(start + 4, start + 4 + 4 * length, 4)
        return [Table(self.data, self._there(place)) for place in places]


Convolution = tuple[int, np.ndarray, np.ndarray]  # kind, weights, bias


def convolutions(data: bytes) -> Iterator[Convolution]:
    """The kind, weights and bias of each convolution of a TensorFlow Lite file, in order."""
    model = Table(data, struct.unpack_from("<I", data)[0])
    codes = [max(code.number(0, "<b"), code.number(3)) for code in model.tables(1)]
    graph = model.tables(2)[0]
    tensors, buffers = graph.tables(0), model.tables(4)
    packed: dict[int, int] = {}  # the tensor of which one is made

    def values(number: int) -> np.ndarray:
        while number in packed:
            number = packed[number]
        tensor = tensors[number]
        content = buffers[tensor.number(2, "<I")].array(0, np.uint8)
        numbers = content.view(TYPES[tensor.number(1, "<b")]).astype(np.float32)
        shape = tensor.array(0, np.int32)
        if tensor.has(6):
            numbers = between_zeros(numbers, tensor.table(6).tables(2)[-1], shape[-1])
        return numbers.reshape(shape)

    for operator in graph.tables(3):
        kind = codes[operator.number(0, "<I")]
        inputs = operator.array(1, np.int32).tolist()
        if kind in (DEQUANTIZE, DENSIFY):
            packed[operator.array(2, np.int32).tolist()[0]] = inputs[0]
        elif kind in (CONV, DEPTHWISE, CUSTOM):
            yield kind, values(inputs[1]), values(inputs[2])


def between_zeros(numbers: np.ndarray, rows: Table, length: int) -> np.ndarray:
    """Numbers that are stored without the zeros between them, row by row -> (rows, length)."""
    ends, places = (
        rows.table(field + 1).array(0, INDICES[rows.number(field, "<B")]).astype(np.int64)
        for field in (2, 4)
    )
    dense = np.zeros((len(ends) - 1, length), np.float32)
    dense[np.repeat(np.arange(len(dense)), np.diff(ends)), places] = numbers[: len(places)]
    return dense


def to_torch(kind: int, weights: np.ndarray) -> np.ndarray:
    """Weights in torch's order of axes."""
    if kind == DEPTHWISE:  # (1, h, w, channels)
        return weights.transpose(3, 0, 1, 2)
    # (out, h, w, in); torch has in before out where it transposes
    return weights.transpose(0, 3, 1, 2) if kind == CONV else weights.transpose(3, 0, 1, 2)


def in_module_order(found: list[Convolution], name: str) -> list[Convolution]:
    """The convolutions that a module has, as it has them."""
    if "gate" not in name:
        return found
    for place in SIDE_BRANCHES:
        found[place : place + 3] = [*found[place + 1 : place + 3], found[place]]
    left_out = {len(found) + place for place in WHERE}
    return [one for place, one in enumerate(found) if place not in left_out]


def load(model: nn.Module, found: list[Convolution]) -> None:
    """Give a model its weights, layer by layer."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        for layer, (kind, weights, bias) in zip(layers, found, strict=True):
            own = torch.from_numpy(to_torch(kind, weights).copy())
            if own.shape != layer.weight.shape:
                raise SystemExit(f"{tuple(own.shape)} is no weight of {layer}: another file?")
            layer.weight.copy_(own)
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(bias.copy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help=" or ".join(NAMES))
    parser.add_argument("target", type=Path, help="the model file")
    words = parser.parse_args()
    name = NAMES[words.source.name]
    model = create_model(name)
    load(model, in_module_order(list(convolutions(words.source.read_bytes())), name))
    # they are published in half precision
    halves = {key: value.half() for key, value in model.state_dict().items()}
    save_model(model, words.target, state_dict=halves, source=SOURCE.format(words.source.name))
    print(f"{words.target}: {model.num_parameters} parameters")


if __name__ == "__main__":
    main()
