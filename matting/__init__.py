"""Video matting: who is in the picture.

    from matting import MattingNetwork, convert_video, reparameterize_model

These names import torch, which commands that only print their help do without.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "MattingNetwork": "matting.models",
    "convert_video": "matting.runtime.convert_video",
    "reparameterize_model": "matting.models",
}
__all__ = ["MattingNetwork", "convert_video", "reparameterize_model"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
