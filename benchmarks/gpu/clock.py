"""Sharing time out."""

import time

import torch

NO_TIME = "no time left"  # of what was not measured


def share_of(until: float, *, left: int) -> float | None:
    """When the next of `left` equal shares of the time until then is over, as time.monotonic();
    None when none is left."""
    now = time.monotonic()
    return now + (until - now) / left if until > now else None


def synchronize(device: torch.device) -> None:
    """Wait for a GPU to be done; others are."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
