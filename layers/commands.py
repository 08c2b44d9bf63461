"""The table of commands. Nothing here imports torch."""

from layers import options_evaluate, options_remove
from nunif.cli import Command

LAYERS = [
    Command(
        "remove",
        options_remove.RemoveOptions,
        "layers.runtime.remove:main",
        "take people out of a film: find them, cut a hole, fill it",
    ),
    Command(
        "evaluate",
        options_evaluate.EvaluateOptions,
        "layers.evaluate:main",
        "score a removal where what stood behind is known",
    ),
]
