"""Seeds: every random draw has a generator of its own, made from numbers that name the draw."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from the numbers and words that name a draw; the same on every machine and
    Python."""
    # file names may be any bytes
    name = "\0".join(str(part) for part in parts).encode("utf-8", "backslashreplace")
    digest = hashlib.blake2b(name, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator_for(*parts: int | str) -> np.random.Generator:
    """A numpy generator seeded with `derive_seed(*parts)`."""
    return np.random.default_rng(derive_seed(*parts))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, for code that draws from them (initial
    weights)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
