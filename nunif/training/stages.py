"""Training in stages, for any task: a YAML file says what each stage changes, every stage starts
from the weights of the one before.

    arch: memory_dstt_v1
    common:
      batch_size: 2
    stages:
      - name: first
        epochs: 20
        learning_rate: 1.0e-4

A key is `name`, `epochs`, an option of the task's command by its name, or one of the task's own.
What neither the stage nor `common` says is as on the command line. `arch`, which may be left out,
is the model of a run that starts from fresh weights, unless the command line names one.
"""

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

import yaml

from nunif import options as options_module
from nunif.errors import UserError
from nunif.models import Model, read_checkpoint, save_model
from nunif.training.distributed import first_process_does, is_first_process
from nunif.training.options import TrainerOptions
from nunif.training.run import TrainResult
from nunif.training.start import CHECKPOINT_SUFFIX
from nunif.training.state import move_aside

logger = logging.getLogger(__name__)

Options = TypeVar("Options", bound=TrainerOptions)

# what concerns the whole run, whatever the task: not a stage's to say
NOT_OF_A_STAGE = {
    "model_dir",
    "resume",
    "resume_if_there",
    "reset_state",
    "checkpoint_file",
    "curriculum",
    "arch",
    "export",
    "max_epoch",
}


# --- the file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageFile:
    """A file of stages that was read. blocks: the keys of each stage, with those that all have in
    common."""

    path: Path
    blocks: list[dict[str, Any]]
    named_arch: Any = None

    @property
    def arch(self) -> str | None:
        """The model it names, if it names one.

        Raises:
            UserError: that is no text.
        """
        if self.named_arch is None:
            return None
        return typed_value(self.named_arch, str, f"{self.path}: arch")

    def place(self, number: int) -> str:
        """The stage of a number, from 1, for messages."""
        return f"{self.path}, stage {number}"


def read_stage_file(name: str, recipes: Mapping[str, Path]) -> StageFile:
    """The file of this path, or the recipe of this name.

    Raises:
        UserError: the file is missing or is no YAML, or has no stages.
    """
    path = recipes.get(name, Path(name))
    content = _read_yaml(path, recipes)
    stages, common = content.get("stages"), content.get("common", {})
    if (
        not isinstance(stages, list)
        or not stages
        or not all(isinstance(block, dict) for block in [*stages, common])
    ):
        raise UserError(
            f"--curriculum {path}: there must be a list `stages:` with one block of keys for each "
            "stage"
        )
    return StageFile(path, [common | stage for stage in stages], content.get("arch"))


def _read_yaml(path: Path, recipes: Collection[str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(recipes)
        raise UserError(
            f"--curriculum {path} does not exist: give a YAML file, or one of the recipes {known}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"--curriculum {path} can't be read as YAML: {' '.join(str(error).split())}"
        ) from error
    return content if isinstance(content, dict) else {}


def stage_options(
    block: Mapping[str, Any],
    options: Options,
    where: str,
    *,
    own_keys: Collection[str] = (),
    not_of_a_stage: Collection[str] = (),
) -> Options:
    """The options of one stage: those of the command line, changed as its block says, not yet
    checked.

    own_keys: keys that the task reads itself. not_of_a_stage: options of the task that concern the
        whole run. where: the stage, for messages.

    Raises:
        UserError: an unknown key, or a value of another type.
    """
    hints = get_type_hints(type(options))
    names = {field.name for field in dataclasses.fields(options)}
    names -= {*NOT_OF_A_STAGE, *not_of_a_stage}
    own = {"name", *own_keys}
    values: dict[str, Any] = {}
    for key, value in block.items():
        if key in own:
            continue
        if key == "epochs":
            values["max_epoch"] = typed_value(value, int, f"{where}: epochs")
        elif key in names:
            values[key] = typed_value(value, hints[key], f"{where}: {key}")
        else:
            known = ", ".join(sorted({*own, "epochs", *names}))
            raise UserError(f"{where}: {key!r} is not known: choose from {known}")
    return dataclasses.replace(options, **values)


def check_stage(options: TrainerOptions, where: str) -> None:
    """
    Raises:
        UserError: what is wrong with the options of a stage, and in which.
    """
    try:
        options_module.check(options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def typed_value(value: Any, hint: Any, where: str) -> Any:
    """A value of YAML as an option's type: numbers and switches must be such, a mapping becomes a
    list of weights.

    Raises:
        UserError: it is of another type.
    """
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


# --- the runs -------------------------------------------------------------------------------------


class Stage(Protocol):
    """One stage: its name, which may be empty, and its options, which are checked; `model_dir` is
    that of the whole run. A task's stages may hold more, such as its data."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> TrainerOptions: ...


AnyStage = TypeVar("AnyStage", bound=Stage)


def final_paths(folder: Path, num_stages: int) -> list[Path]:
    """Where the last weights of each stage are kept."""
    return [folder / f"stage{number}_final.pth" for number in range(1, num_stages + 1)]


def count_done(finals: Sequence[Path], *, resume: bool) -> int:
    """How many stages are done, of those whose last weights are kept here: with --resume, all
    before the first that has no such file."""
    if not resume:
        return 0
    return next((number for number, path in enumerate(finals) if not path.exists()), len(finals))


def train_stages(
    stages: Sequence[AnyStage],
    options: Options,
    model_name: str,
    train_stage: Callable[[AnyStage, Any], tuple[TrainResult, Model]],
) -> TrainResult:
    """Train stage by stage, each in its folder stageN/, and keep each one's last weights as
    stageN_final.pth.

    With --resume, stages that have such a file are done, and the first that has none goes on from
    its checkpoint.

    options: of the whole run. train_stage: trains one, with the options given, to its end.

    Raises:
        UserError: it starts from a file that it would replace.
    """
    finals = final_paths(options.model_dir, len(stages))
    num_done = count_done(finals, resume=options.resume)
    if not options.resume:
        first_process_does(partial(_move_stages_aside, finals, model_name, options.checkpoint_file))
    result = None
    for number, (stage, final) in enumerate(zip(stages, finals), 1):
        name = f", {stage.name}" if stage.name else ""
        title = f"stage {number} of {len(stages)}{name}"
        if number <= num_done and number < len(stages):
            logger.info("%s: done, %s", title, final)
            _tell_changes(stage.options, final, model_name, title)
            continue
        folder = options.model_dir / f"stage{number}"
        start = finals[number - 2] if number > 1 else options.checkpoint_file
        resume = options.resume and (folder / f"{model_name}{CHECKPOINT_SUFFIX}").exists()
        logger.info("%s, in %s", title, folder)
        own_options = dataclasses.replace(
            stage.options,
            model_dir=folder,
            resume=resume,
            checkpoint_file=None if resume or start is None else str(start),
        )
        result, model = train_stage(stage, own_options)
        first_process_does(partial(_keep_last_weights, result, model, final, stage=number))
        if is_first_process():
            logger.info("%s: done, %s", title, final)
    assert result is not None  # the last stage is always looked at
    return result


def _keep_last_weights(result: TrainResult, model: Model, final: Path, *, stage: int) -> None:
    last = read_checkpoint(result.checkpoint_path, package=_package(model.name))
    save_model(
        model,
        final,
        state_dict=last["state_dict"],
        train_kwargs=last["train_kwargs"],
        stage=stage,
    )


def _move_stages_aside(finals: Sequence[Path], model_name: str, start: str | None) -> None:
    """Nothing of an earlier run may be taken for this one's, should this one be interrupted and
    resumed."""
    if start is not None and any(final.exists() and final.samefile(start) for final in finals):
        raise UserError(
            f"--checkpoint-file {start} would be replaced by this run: choose another --model-dir"
        )
    for number, final in enumerate(finals, 1):
        for path in (final, final.parent / f"stage{number}" / f"{model_name}{CHECKPOINT_SUFFIX}"):
            move_aside(path, lambda stamp, stem=path.stem: f"{stem}.{stamp}.pth.bk")  # type: ignore[misc]


def _tell_changes(options: TrainerOptions, final: Path, model_name: str, title: str) -> None:
    """Warn where a stage that is done was trained with other options than the file says now."""
    before = read_checkpoint(final, package=_package(model_name)).get("train_kwargs") or {}
    # its epochs are all there is of it, so here they matter
    unremarkable = options.UNREMARKABLE - {"max_epoch"}
    for name, value in options_module.to_dict(options).items():
        if name in before and name not in unremarkable and before[name] != value:
            logger.warning(
                "%s was trained with --%s %s, not %s: it is not trained again",
                title,
                name.replace("_", "-"),
                before[name],
                value,
            )


def _package(model_name: str) -> str:
    return model_name.partition(".")[0]
