"""The tables of commands. Nothing here imports torch."""

from matting import options_data
from nunif.cli import Command

CREATE_TRAINING_DATA = [
    Command(
        "world",
        options_data.WorldOptions,
        "matting.generate_world:main",
        "make records of rendered people before films, with exact alpha",
    ),
]
