"""The table of commands. Nothing here imports torch."""

from layers import options_remove, options_studio
from nunif.cli import Command

LAYERS = [
    Command(
        "remove",
        options_remove.RemoveOptions,
        "layers.runtime.remove:main",
        "take people out of a film: find them, cut a hole, fill it",
    ),
    Command(
        "studio",
        options_studio.StudioOptions,
        "layers.studio.serve:main",
        "a page in the browser: click on what should leave a film, follow it, remove it",
    ),
]
