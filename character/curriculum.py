"""Training in stages: see `nunif.training.stages`. A key is `epochs`, `name` or an option of
`train.py character` by its name."""

from dataclasses import dataclass
from pathlib import Path

from character.options_train import RECIPES, TrainOptions
from nunif.training.stages import check_stage, read_stage_file, stage_options

RECIPE_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Stage:
    """One stage: its place in the file for messages, its name, and its options, which are checked;
    `model_dir` is the run's own."""

    where: str
    name: str
    options: TrainOptions


def read_stages(options: TrainOptions) -> list[Stage]:
    """The stages of `options.curriculum`, a file or the name of a recipe that comes along.

    Raises:
        UserError: the file is missing or is no YAML, or a stage has an unknown key or a wrong
            value.
    """
    assert options.curriculum is not None
    recipes = {name: RECIPE_FOLDER / f"{name}.yaml" for name in RECIPES}
    file = read_stage_file(options.curriculum, recipes)
    stages = []
    for number, block in enumerate(file.blocks, 1):
        where = file.place(number)
        own = stage_options(block, options, where, not_of_a_stage=TrainOptions.WHOLE_RUN)
        check_stage(own, where)
        stages.append(Stage(where, str(block.get("name", "")), own))
    return stages
