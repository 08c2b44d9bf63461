"""The table of commands. Nothing here imports torch."""

from layers import (
    options_character,
    options_evaluate,
    options_export,
    options_films,
    options_live,
    options_mask,
    options_records,
    options_remove,
    options_split,
    options_studio,
)
from nunif.cli import Command

CREATE_TRAINING_DATA = [
    Command(
        "layers",
        options_records.LayerRecordOptions,
        "layers.generate:main",
        "make records of films that were taken apart: people, what is before them, the scene",
    )
]

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
    Command(
        "split",
        options_split.SplitOptions,
        "layers.runtime.split:main",
        "take a film apart: people, what is before them, and the scene behind",
    ),
    Command(
        "compose",
        options_split.ComposeOptions,
        "layers.runtime.compose:main",
        "put a film together again of its layers, as it was or with others in their place",
    ),
    Command(
        "character",
        options_character.CharacterOptions,
        "layers.runtime.character:main",
        "put somebody of a picture into a film, in the place of one of its people",
    ),
    Command(
        "export-films",
        options_films.ExportFilmsOptions,
        "layers.runtime.export_films:main",
        "films and masks of layers for programs that generate or remove people",
    ),
    Command(
        "live",
        options_live.LiveOptions,
        "layers.runtime.live:main",
        "take people out of what a camera or a stream shows, as it comes",
    ),
    Command(
        "mask",
        options_mask.MaskFilmOptions,
        "layers.runtime.mask:mask_film",
        "masks of what you point at, followed through the film",
    ),
    Command(
        "export",
        options_export.ExportOptions,
        "layers.export:main",
        "write what finds people and what fills as two engines, checked",
    ),
    Command(
        "studio",
        options_studio.StudioOptions,
        "layers.studio.serve:main",
        "a page in the browser: click on what should leave a film, follow it, remove it",
    ),
]
