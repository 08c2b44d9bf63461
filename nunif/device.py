"""Device and precision."""

import ctypes
import logging
from contextlib import AbstractContextManager, nullcontext, suppress
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
