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

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from inpaint.options_train import RECIPES, TrainOptions
from nunif import options as options_module
from nunif.errors import UserError

RECIPE_FOLDER = Path(__file__).parent / "recipes"
# what concerns the whole run: not a stage's to say
NOT_OF_A_STAGE = {
    "model_dir",
    "resume",
    "reset_state",
    "checkpoint_file",
    "curriculum",
    "arch",
    "export",
    "max_epoch",
    "data_dir",
}


@dataclass(frozen=True)
class DataFolder:
    """A dataset and how often it is drawn from beside others; without weights every record is drawn
    equally often."""

    path: Path
    weight: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage: its name, its datasets, and its options, which are checked; `model_dir` is the
    run's own."""

    name: str
    data: list[DataFolder]
    options: TrainOptions


def read_stages(options: TrainOptions) -> list[Stage]:
    """The stages of `options.curriculum`, a file or the name of a recipe that comes along.

    Raises:
        UserError: the file is missing or is no YAML, or a stage has an unknown key or a wrong
            value.
    """
    path, content = _read_file(options)
    stages, common = content.get("stages"), content.get("common", {})
    if (
        not isinstance(stages, list)
        or not stages
        or not all(isinstance(stage, dict) for stage in [*stages, common])
    ):
        raise UserError(
            f"--curriculum {path}: there must be a list `stages:` with one block of keys for each "
            "stage"
        )
    return [
        _read_stage(common | stage, options, f"{path}, stage {number}")
        for number, stage in enumerate(stages, 1)
    ]


def read_arch(options: TrainOptions) -> str | None:
    """The model that `options.curriculum` names, for runs where the command line names none. Raises
    as `read_stages`."""
    path, content = _read_file(options)
    return None if content.get("arch") is None else _typed(content["arch"], str, f"{path}: arch")


def _read_file(options: TrainOptions) -> tuple[Path, dict[str, Any]]:
    assert options.curriculum is not None
    path = (
        RECIPE_FOLDER / f"{options.curriculum}.yaml"
        if options.curriculum in RECIPES
        else Path(options.curriculum)
    )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(RECIPES)
        raise UserError(
            f"--curriculum {path} does not exist: give a YAML file, or one of the recipes {known}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"--curriculum {path} can't be read as YAML: {' '.join(str(error).split())}"
        ) from error
    return path, content if isinstance(content, dict) else {}


def _read_stage(content: dict[str, Any], options: TrainOptions, where: str) -> Stage:
    hints = get_type_hints(TrainOptions)
    fields = {field.name for field in dataclasses.fields(TrainOptions)} - NOT_OF_A_STAGE
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key in ("name", "data"):
            continue
        if key == "epochs":
            values["max_epoch"] = _typed(value, int, f"{where}: epochs")
        elif key in fields:
            values[key] = _typed(value, hints[key], f"{where}: {key}")
        else:
            known = ", ".join(sorted({"name", "data", "epochs", *fields}))
            raise UserError(f"{where}: {key!r} is not known: choose from {known}")
    data = _read_data(content["data"], where) if "data" in content else []
    if not data and options.data_dir is None:
        raise UserError(
            f"{where}: there is no `data`, and no -i on the command line: name the folder that "
            "holds train/"
        )
    stage = dataclasses.replace(options, **values)
    try:
        options_module.check(stage)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return Stage(str(content.get("name", "")), data or [DataFolder(options.data_dir)], stage)  # type: ignore[arg-type]


def _typed(value: Any, hint: Any, where: str) -> Any:
    """A value of YAML as an option's type: numbers and switches must be such, a mapping becomes a
    list of weights."""
    types = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    kind = types[0]
    if kind is str and isinstance(value, dict):
        return ",".join(f"{name}={weight}" for name, weight in value.items())
    if kind is str and isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 takes 1e-4 for text
        with suppress(ValueError):  # what is no number is told below
            value = float(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if type(value) is kind:
        return value
    wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(
        kind, kind.__name__
    )
    raise UserError(f"{where} is {value!r}: write {wanted}")


def _read_data(content: Any, where: str) -> list[DataFolder]:
    """`data`: a path, or a list of paths and of {path: ..., weight: ...}."""
    folders = []
    for entry in content if isinstance(content, list) else [content]:
        entry = entry if isinstance(entry, dict) else {"path": entry}
        weight = entry.get("weight")
        right = isinstance(entry.get("path"), str) and entry.keys() <= {"path", "weight"}
        if not right or (
            weight is not None
            and (not isinstance(weight, (int, float)) or not 0 < weight < float("inf"))
        ):
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
