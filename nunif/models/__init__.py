"""Models by name, and the files that hold them."""

from nunif.models.checkpoint import (
    load_model,
    read_checkpoint,
    read_model_file,
    save_model,
    save_safetensors,
    save_state_dict,
)
from nunif.models.fit import load_weights
from nunif.models.registry import Model, create_model, register_model

__all__ = [
    "Model",
    "create_model",
    "load_model",
    "load_weights",
    "read_checkpoint",
    "read_model_file",
    "register_model",
    "save_model",
    "save_safetensors",
    "save_state_dict",
]
