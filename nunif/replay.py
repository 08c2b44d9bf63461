"""Functions of tensors that a GPU is told once: calls are recorded as a CUDA graph, and played
again.

Thousands of small operations cost more time to be told, one by one, than to be computed. Played
again they cost one call, whatever their number.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from nunif.errors import first_line

logger = logging.getLogger(__name__)

Tensors = tuple[Tensor, ...]
Function = Callable[..., Tensors]
MOST = 4  # recordings that are kept: each holds the memory that its function takes
MOST_OFF, MOST_OFF_SHARE = 1e-4, 1e-3  # that two ways to compute the same may differ by


class Recording(Protocol):
    """A call that can be played again: it reads the tensors that it was recorded with, whatever is
    in them by then, and writes `outputs`."""

    outputs: Tensors

    def play(self) -> None: ...


class CudaRecording:
    """A call of a function without arguments as a CUDA graph, on the device of a tensor."""

    outputs: Tensors

    def __init__(self, function: Callable[[], Tensors], like: Tensor) -> None:
        self._device, self._graph = like.device, torch.cuda.CUDAGraph()
        # other threads, such as the one that pins a loader's batches, may go on meanwhile
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(self._graph, capture_error_mode="thread_local"),
        ):
            self.outputs = function()

    def play(self) -> None:
        with torch.cuda.device(self._device):
            self._graph.replay()


class Replayed:
    """A function of tensors whose calls are recorded and played again, if on a GPU.

    function: takes tensors of one device and gives tensors, none with a gradient. It must look at
        no number in them, draw nothing at random and change nothing else; then every call of
        tensors of the same shapes and types does the same.

    The first call for some shapes runs as it is, since they may never come again. The second is
    recorded, and what is played is compared with what the function gives. Where a recording fails,
    or gives something else, that is told once, and everything runs as it is from then on.
    """

    def __init__(
        self,
        function: Function,
        *,
        record: Callable[[Callable[[], Tensors], Tensor], Recording] = CudaRecording,
        on_devices: tuple[str, ...] = ("cuda",),
    ) -> None:
        self._function, self._record, self._on_devices = function, record, on_devices
        self._recordings: OrderedDict[object, tuple[Tensors, Recording] | None] = OrderedDict()
        self._lock, self._works = Lock(), True

    def applies_to(self, tensor: Tensor) -> bool:
        """Whether calls with that tensor may be played; else they run as they are."""
        return (
            self._works
            and tensor.device.type in self._on_devices
            and not tensor.requires_grad
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
        )

    def __call__(self, *inputs: Tensor) -> Tensors:
        if not self.applies_to(inputs[0]):
            return self._function(*inputs)
        with self._lock, torch.no_grad():
            return self._call(inputs)

    def _call(self, inputs: Tensors) -> Tensors:
        key = (
            # tensors of inference can't be written to elsewhere
            torch.is_inference_mode_enabled(),
            tuple((x.shape, x.dtype, x.device) for x in inputs),
        )
        if key not in self._recordings:
            self._recordings[key] = None
            if len(self._recordings) > MOST:
                self._recordings.popitem(last=False)
            return self._function(*inputs)
        self._recordings.move_to_end(key)
        known = self._recordings[key]
        if known is None:
            expected = self._function(*inputs)
            self._recordings[key] = self._recorded(inputs, expected)
            return expected
        own, recording = known
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)
        recording.play()
        return tuple(output.clone() for output in recording.outputs)

    def _recorded(self, inputs: Tensors, expected: Tensors) -> tuple[Tensors, Recording] | None:
        own = tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
        try:
            recording = self._record(lambda: self._function(*own), own[0])
            recording.play()
            if all(map(_is_close, recording.outputs, expected)):
                return own, recording
            reason = "what is played differs"
        except RuntimeError as error:  # of torch: what can't be recorded, or too little memory
            reason = first_line(error)
        self._works = False
        logger.warning("no CUDA graph could be used, which only takes longer: %s", reason)
        return None


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=MOST_OFF, rtol=MOST_OFF_SHARE, equal_nan=True)
