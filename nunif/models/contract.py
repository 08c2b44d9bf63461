"""What a network that runs takes and gives at every step: named tensors, some of them its state.

An input X that has an output new_X is a state: new_X of one step is X of the next, and zeros start
a stream. All other inputs are handed in anew at every step; all other outputs are its results.

Networks in torch, ONNX files and TensorRT engines are described alike:

    Contract(
        inputs={"masked_frames": (1, 3, "height", "width"), "memory": (1, 23, 2, "cells", 64)},
        outputs={"output": (1, 3, "height", "width"), "new_memory": (1, 23, 2, "cells", 64)},
        multiple=24,
    )

The first input is the frame, (1, C, H, W), or a window of T frames, (1, T, C, H, W). All tensors
are float32 at the border, whatever type the network computes in.

A network that halves the picture some times has states of such lengths, "height/2", "height/4":
see `part_of`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")
Shape = tuple[int | str, ...]
Names = tuple[tuple[str, ...], tuple[str, ...]]  # of the inputs and of the outputs, in their order

NEW = "new_"
HEIGHT, WIDTH, CELLS = "height", "width", "cells"  # lengths that depend on the frame's size


def num_cells(height: int, width: int, multiple: int) -> int:
    """Cells of a frame, such as its tokens: 2 x 2 for each square of `multiple` pixels, of which
    height and width are padded to whole ones."""
    return 4 * -(-height // multiple) * -(-width // multiple)


def part_of(side: str, divisor: int) -> str:
    """The length of a side, "height" or "width", that is halved until it is a half, a quarter, ...
    of what the network computes at, each time rounded up."""
    return f"{side}/{divisor}"


@dataclass(frozen=True)
class Contract:
    """Names and shapes of what a network takes and gives, in the order of the call.

    inputs, outputs: name -> shape. A length is a number, or where it depends on the frame's size
        one of "height", "width" and "cells" (see `num_cells`), or a part such as "height/2".
    multiple: of pixels, for lengths in cells; None where there are none.
    ratio: of what is computed at to the frame's size, rounded down; parts are of that.
    """

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    multiple: int | None = None
    ratio: float = 1

    @property
    def names(self) -> Names:
        """Of the inputs and of the outputs."""
        return tuple(self.inputs), tuple(self.outputs)

    @property
    def states(self) -> tuple[str, ...]:
        """The inputs that are the network's state."""
        return tuple(name for name in self.inputs if NEW + name in self.outputs)

    @property
    def given(self) -> tuple[str, ...]:
        """The inputs that are handed in anew at every step."""
        return tuple(name for name in self.inputs if NEW + name not in self.outputs)

    @property
    def results(self) -> tuple[str, ...]:
        """The outputs that are not a new state."""
        new = {NEW + name for name in self.states}
        return tuple(name for name in self.outputs if name not in new)

    @property
    def frame(self) -> Shape:
        """Shape of the first input."""
        return next(iter(self.inputs.values()), ())

    @property
    def window(self) -> int | None:
        """Frames of one step; None for a single one, without an axis for the time."""
        return int(self.frame[1]) if len(self.frame) == 5 else None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the only frames that it takes; None for any."""
        fixed = [length for length in self.frame[-2:] if isinstance(length, int)]
        return (fixed[0], fixed[1]) if len(fixed) == 2 else None

    def shapes(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """The shapes in numbers, for frames of a size in pixels: inputs, then outputs, by name."""
        lengths = {HEIGHT: height, WIDTH: width}
        if self.multiple is not None:
            lengths[CELLS] = num_cells(height, width, self.multiple)

        def number(length: int | str) -> int:
            if isinstance(length, int):
                return length
            side, _, divisor = length.partition("/")
            if not divisor:
                return lengths[side]
            # halving again and again, rounded up, is dividing at once
            return -(-math.floor(lengths[side] * self.ratio) // int(divisor))

        return {
            name: tuple(map(number, shape))
            for name, shape in [*self.inputs.items(), *self.outputs.items()]
        }

    def start(
        self, height: int, width: int, *, device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """The state at the start of a stream of frames of that size: zeros, by the inputs'
        names."""
        shapes = self.shapes(height, width)
        return {name: torch.zeros(shapes[name], device=device) for name in self.states}

    def split(self, outputs: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
        """The outputs of a step: its results by their names, and the next step's state by the names
        of the inputs."""
        results = {name: outputs[name] for name in self.results}
        return results, {name: outputs[NEW + name] for name in self.states}
