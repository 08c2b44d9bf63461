"""Training in stages: a YAML file says what each stage changes, every stage starts from the weights
of the one before.

    arch: memory_dstt_v1
    common:
      clip_length: 5
      tile_size: 360x640
    stages:
      - name: still rooms
        data: [{path: data/rooms, weight: 2}, {path: data/streets, weight: 1}]
        mask: {object: 1, strokes: 1}
        epochs: 20
        learning_rate: 1.0e-4

A key is `data`, `epochs`, `name` or an option of `train.py inpaint` by its name. What neither the
stage nor `common` says is as on the command line. Paths are as on the command line too: relative to
where the program runs. `arch`, which may be left out, is the model of a run that starts from fresh
weights, unless the command line names one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inpaint.options_train import RECIPES, TrainOptions
from nunif.errors import UserError
from nunif.training.stages import StageFile, check_stage, read_stage_file, stage_options

NOT_OF_A_STAGE = ("data_dir", "cache_dir", "cache_bytes")
RECIPE_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataFolder:
    """A dataset and how often it is drawn from beside others; without weights every record is drawn
    equally often."""

    path: Path
    weight: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage: its name, its datasets, and its options, which are checked; `model_dir` is the
    run's own. where: what messages call it."""

    name: str
    data: list[DataFolder]
    options: TrainOptions
    where: str = ""


def read_stages(options: TrainOptions) -> list[Stage]:
    """The stages of `options.curriculum`, a file or the name of a recipe that comes along.

    Raises:
        UserError: the file is missing or is no YAML, or a stage has an unknown key or a wrong
            value.
    """
    file = _read_file(options)
    return [
        _read_stage(block, options, file.place(number))
        for number, block in enumerate(file.blocks, 1)
    ]


def read_arch(options: TrainOptions) -> str | None:
    """The model that `options.curriculum` names, for runs where the command line names none. Raises
    as `read_stages`."""
    return _read_file(options).arch


def _read_file(options: TrainOptions) -> StageFile:
    assert options.curriculum is not None
    return read_stage_file(
        options.curriculum, {name: RECIPE_FOLDER / f"{name}.yaml" for name in RECIPES}
    )


def _read_stage(block: dict[str, Any], options: TrainOptions, where: str) -> Stage:
    own = stage_options(block, options, where, own_keys=["data"], not_of_a_stage=NOT_OF_A_STAGE)
    data = _read_data(block["data"], where) if "data" in block else []
    if not data and options.data_dir is not None:
        data = [DataFolder(options.data_dir)]
    if not data:
        raise UserError(
            f"{where}: there is no `data`, and no -i on the command line: name the folder that "
            "holds train/"
        )
    check_stage(own, where)
    return Stage(str(block.get("name", "")), data, own, where)


def _read_data(content: Any, where: str) -> list[DataFolder]:
    """`data`: a path, or a list of paths and of {path: ..., weight: ...}."""
    folders = []
    for entry in content if isinstance(content, list) else [content]:
        entry = entry if isinstance(entry, dict) else {"path": entry}
        weight = entry.get("weight")
        known = isinstance(entry.get("path"), str) and entry.keys() <= {"path", "weight"}
        if weight is not None:
            known &= isinstance(weight, (int, float)) and 0 < weight < float("inf")
        if not known:
            raise UserError(
                f"{where}: data is {entry!r}: write a path, or {{path: PATH, weight: NUMBER}} "
                "with a number above 0"
            )
        folders.append(DataFolder(Path(entry["path"]), None if weight is None else float(weight)))
    if len({folder.weight is None for folder in folders}) > 1:
        raise UserError(
            f"{where}: some of the data folders have a weight and some not: give all a weight, or "
            "none"
        )
    return folders
