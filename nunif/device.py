"""Device and precision."""

import ctypes
import logging
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache

import torch

from nunif.errors import UserError

logger = logging.getLogger(__name__)

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of mallopt
AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def create_device(gpu: int) -> torch.device:
    """The device of `--gpu`: a number from 0 for that GPU, -1 for the CPU.

    GPU 0 is the default, so a machine without any falls back to the CPU and says so; any other
    number that is not there is a UserError.
    """
    if gpu < 0:
        return torch.device("cpu")
    if torch.cuda.is_available():
        if gpu >= torch.cuda.device_count():
            raise UserError(
                f"--gpu {gpu}: this machine has GPUs 0 to {torch.cuda.device_count() - 1}; -1 is "
                "the CPU"
            )
        return torch.device("cuda", gpu)
    if gpu == 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    if gpu > 0:
        raise UserError(f"--gpu {gpu}: torch finds no GPU here; use --gpu -1 for the CPU")
    tell_no_gpu()
    return torch.device("cpu")


@cache
def tell_no_gpu() -> None:
    """Say that there is none, once in a process however many parts of it look for one."""
    logger.info("no GPU found: computing on the CPU")


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """torch.autocast to `dtype` on `device`; None means full precision."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def has_bf16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 by itself, and does not only stand in for it."""
    if device.type != "cuda":
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8


@dataclass(frozen=True)
class Speed:
    """Ways of a GPU to be quicker that change rounding alone. On other devices there are none.

    fused: an optimizer's step is one kernel. channels_last: pixels' channels lie side by side, as
        tensor cores take them. trials: cuDNN tries its algorithms out for every shape of a
        convolution that is new. tf32: products of float32 matrices with 10 bits of mantissa.
    """

    fused: bool = False
    channels_last: bool = False
    trials: bool = False
    tf32: bool = False

    @staticmethod
    def of(device: torch.device, dtype: torch.dtype | None, *, same_shapes: bool) -> "Speed":
        """What suits training. dtype: of autocast; who asks for full precision (None) gets it.
        same_shapes: all batches but the last are of one shape."""
        if device.type != "cuda":
            return Speed()
        is_half = dtype is not None
        return Speed(fused=True, channels_last=is_half, trials=same_shapes, tf32=is_half)

    def apply(self) -> None:
        """Set what torch keeps for the whole process; nothing where a GPU isn't used."""
        if self == Speed():
            return
        torch.backends.cudnn.benchmark = self.trials
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")


def keep_freed_memory() -> None:
    """Let the C library keep blocks that are freed for the next ones, up to 2 GB (glibc; elsewhere
    nothing changes).

    By itself it gives large blocks back at once, and gets them anew page by page: a fifth of a CPU
        training step.
    """
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
