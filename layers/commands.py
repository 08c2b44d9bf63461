"""The table of commands. Nothing here imports torch."""

from layers.options_studio import StudioOptions
from nunif.cli import Command

LAYERS: list[Command] = [
    Command(
        "studio",
        StudioOptions,
        "layers.studio.serve:main",
        "a page in the browser: click on what should leave a film, follow it, remove it",
    ),
]
