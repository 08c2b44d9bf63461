"""The table of commands. Nothing here imports torch."""

from layers import options_export, options_live, options_remove
from nunif.cli import Command

LAYERS = [
    Command(
        "remove",
        options_remove.RemoveOptions,
        "layers.runtime.remove:main",
        "take people out of a film: find them, cut a hole, fill it",
    ),
    Command(
        "live",
        options_live.LiveOptions,
        "layers.runtime.live:main",
        "take people out of what a camera or a stream shows, as it comes",
    ),
    Command(
        "export",
        options_export.ExportOptions,
        "layers.export:main",
        "write what finds people and what fills as two engines, checked",
    ),
]
