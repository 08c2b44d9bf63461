"""The table of commands. Nothing here imports torch."""

from layers.options_mask import MaskFilmOptions
from nunif.cli import Command

LAYERS: list[Command] = [
    Command(
        "mask",
        MaskFilmOptions,
        "layers.runtime.mask:mask_film",
        "masks of what you point at, followed through the film",
    ),
]
