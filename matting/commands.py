"""The tables of commands. Nothing here imports torch."""

from matting import options_data, options_run, options_train
from nunif.cli import Command

CREATE_TRAINING_DATA = [
    Command(
        "world",
        options_data.WorldOptions,
        "matting.generate_world:main",
        "make records of rendered people before films, with exact alpha",
    ),
    Command(
        "import_matte",
        options_data.ImportOptions,
        "matting.generate_import:main",
        "make records of published datasets: mattes, backgrounds, masks of people",
    ),
    Command(
        "label_people",
        options_data.LabelOptions,
        "matting.generate_labels:main",
        "make records of films, with the people in them marked by a network",
    ),
]

TRAIN = [
    Command("matting", options_train.TrainOptions, "matting.train:main", "train a matting model")
]

MATTING = [
    Command(
        "convert",
        options_run.ConvertOptions,
        "matting.runtime.convert:main",
        "cut the people out of a film",
    ),
]
