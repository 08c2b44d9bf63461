"""How many operations torch tells its device for a training clip of 12 frames, forward: one by one,
and with the picture memory played as a CUDA graph.

They are counted on the CPU, on a path that a GPU takes as well. "launched" leaves out those that
only look at a tensor in another way (slices, shapes). A recording is stood in for by the function
itself, whose operations are not counted: what remains is what is told with one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from benchmarks.setting import Setting
from inpaint.models import streaming
from nunif.models import create_model
from nunif.replay import Replayed

MODELS = ("memory_dstt_v1", "memory_dstt_v1_small", "memory_dstt_v1_tiny", "fusion_v1")
FRAMES, SIDE = 12, 96  # the number does not depend on the size


class Count(TorchDispatchMode):
    """Counts operations: all of them, and those that are more than a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.launched = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.operations += 1
        self.launched += not function.is_view
        return function(*args, **(kwargs or {}))


class Uncounted:
    """In the place of a CUDA graph; see `nunif.replay.Recording`."""

    def __init__(self, function: Callable[[], tuple[Tensor, ...]], like: Tensor) -> None:
        self._function, self.outputs = function, function()

    def play(self) -> None:
        with _disable_current_modes():
            for output, new in zip(self.outputs, self._function(), strict=True):
                output.copy_(new)


def run(setting: Setting) -> dict[str, Any]:
    """Operations of each network that streams."""
    frames = torch.rand(1, FRAMES, 3, SIDE, SIDE) * 2 - 1
    holes = torch.zeros(1, FRAMES, 1, SIDE, SIDE)
    holes[..., SIDE // 3 : SIDE // 2, SIDE // 3 : SIDE // 2] = 1
    table, player = [], streaming.player
    try:
        for name in setting.models or MODELS:
            model = create_model(f"inpaint.{name}").eval()
            for what, calls in ((name, 0), (f"{name}, the memory played", 2)):
                played = Replayed(
                    streaming.recall_tensors, record=Uncounted, on_devices=("cpu",) if calls else ()
                )
                streaming.player = played
                with torch.no_grad():
                    for _ in range(calls):  # the second is recorded
                        model(frames, holes)
                    with Count() as count:
                        model(frames, holes)
                table.append(
                    {
                        "what": what,
                        "unit": "clip",
                        "operations": count.operations,
                        "launched": count.launched,
                    }
                )
    finally:
        streaming.player = player
    return {"rows": table}
