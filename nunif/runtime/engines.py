"""What computes a step of a network, whatever runs it: one interface over torch, onnxruntime and
TensorRT.

The names and shapes of the tensors stand in a `Contract`. The state is handed around as the back
end likes to keep it (on its own device), starts as None, and is never looked into.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nunif.models.contract import Contract, Names


@dataclass(frozen=True)
class EngineKind:
    """The engines of one task, and how messages speak of them.

    title: as in "is no ... engine". names: of the tensors that they may have. wanted: the inputs in
        words. command: makes them.
    """

    title: str
    names: tuple[Names, ...]
    wanted: str
    command: str


class Backend(ABC):
    """Computes one frame after the other, or one window of frames after the other.

    Attributes:
        contract: names and shapes of the tensors.
        device: where frames are handed over.
        multiple: of pixels, to which a network that can be told of frames to come pads height and
            width; None for one that can't.
        description: one line for people.
    """

    contract: Contract
    device: torch.device
    multiple: int | None = None
    description: str

    @property
    def window(self) -> int | None:
        """Frames that one step takes; None: a single frame."""
        return self.contract.window

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that every frame must have; None for any."""
        return self.contract.size

    @abstractmethod
    def run(self, values: Mapping[str, Tensor], state: Any) -> tuple[dict[str, Tensor], Any]:
        """One step.

        Args:
            values: the inputs that are no states, by name, float32 on `device`.
            state: what the step before returned; None at the start of a stream.
        Returns: the results by name, float32 on `device`; and the state.
        """

    def step(self, frame: Tensor, state: Any, ahead: Any = None) -> tuple[Tensor, Any]:
        """`run` for a network with one input and one result beside its state.

        Args:
            ahead: what is known of frames to come, in the network's own form; only with `multiple`.
        """
        assert ahead is None
        (name,) = self.contract.given
        results, state = self.run({name: frame}, state)
        (result,) = results.values()
        return result, state
