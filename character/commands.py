"""The tables of commands. Nothing here imports torch."""

from character import options_evaluate, options_train
from nunif.cli import Command

TRAIN = [
    Command(
        "character",
        options_train.TrainOptions,
        "character.train:main",
        "train what shows a person of a picture in another one's movement and scene",
    )
]

CHARACTER = [
    Command(
        "evaluate",
        options_evaluate.EvaluateOptions,
        "character.evaluate:main",
        "measure on records of the world how well each code steers what a model makes",
    )
]
