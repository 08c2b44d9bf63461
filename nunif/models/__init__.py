"""Models by name, and the files that hold them."""

from nunif.models.checkpoint import load_model, load_weights, read_checkpoint, save_model
from nunif.models.registry import Model, create_model, register_model

__all__ = ["Model", "create_model", "load_model", "load_weights", "read_checkpoint", "register_model", "save_model"]
