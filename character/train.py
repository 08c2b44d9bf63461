"""The command `train.py character`: one run, or one for each stage of a curriculum."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from character.curriculum import Stage, read_stages
from character.dataset import KeptClips, scan_records
from character.fit import can_fit, fit_frozen
from character.latents import Cut, codec_key, encode_clip, keep_latents
from character.models import CharacterNetwork
from character.models.network import count
from character.models.weights import load_init
from character.options_train import TrainOptions
from character.task import CharacterTask, begin_alike, rest_motion_modules
from nunif.device import create_device
from nunif.errors import UserError
from nunif.models import create_model
from nunif.models.checkpoint import read_model_file
from nunif.places import may_be_folder
from nunif.record_scan import check_bad_share
from nunif.records import BadRecord, Record
from nunif.seed import seed_everything
from nunif.training import stages as nunif_stages
from nunif.training.distributed import first_process_does
from nunif.training.launch import joined
from nunif.training.start import CHECKPOINT_SUFFIX
from nunif.training.trainer import TrainResult, train

logger = logging.getLogger(__name__)

BEGIN_WITH: dict[str, dict[str, Any]] = {
    "tiny": {"stance": True, "image_encoder": {"pixels": 16, "projection_dim": 32}}
}


def main(options: TrainOptions) -> None:
    """The command `train.py character`."""
    if options.dry_run:
        for line in describe(options):
            print(line)
        return
    with joined(options.settled()) as options:
        if options.curriculum is not None:
            train_stages(options, read_stages(options))
        else:
            train_model(options)


def model_name(options: TrainOptions) -> str:
    return f"character.{options.preset}"


def train_model(options: TrainOptions) -> tuple[TrainResult, CharacterNetwork]:
    """Train one model, to the end of the run or of a stage."""
    options = options.settled()  # of a stage too
    seed_everything(options.seed)
    start = _start_of(options)
    model = create_network(options, start)
    task = create_task(model, options, is_fresh=start is None)
    if options.activation_checkpointing:
        model.denoiser.enable_gradient_checkpointing()
        model.reference_net.enable_gradient_checkpointing()
    return train(task, options), model


def _start_of(options: TrainOptions) -> Path | None:
    """The file whose weights it starts from."""
    if options.resume or options.resume_if_there:
        checkpoint = options.model_dir / f"{model_name(options)}{CHECKPOINT_SUFFIX}"
        if options.resume or checkpoint.exists():
            return checkpoint
    return Path(options.checkpoint_file) if options.checkpoint_file is not None else None


# --- the network ----------------------------------------------------------------------------------


def create_network(options: TrainOptions, start: Path | None) -> CharacterNetwork:
    """A network with what the options say, or else the file `start`, whose codec it has.

    Raises:
        UserError: the file holds another model.
    """
    known: Mapping[str, Any] = {}
    if start is not None and start.exists():
        known = read_model_file(start, package="character")[1]
        name = known.get("name", model_name(options))
        if name != model_name(options):
            preset = str(name).rpartition(".")[2]
            raise UserError(f"{start} holds the model {name!r}: give --preset {preset}")
    words = {**(known.get("kwargs") or _begin_with(options)), **_said(options)}
    model = create_model(model_name(options), **words)
    assert isinstance(model, CharacterNetwork)
    if known:
        _take_frozen(model, known["state_dict"])
    elif options.init is not None:
        for line in load_init(model, options.init):
            logger.info("%s", line)
    else:
        rest_motion_modules(model)
        if model.stance is not None:
            begin_alike(model)
    return model


def _begin_with(options: TrainOptions) -> dict[str, Any]:
    """What a preset says of models that begin anew alone: older files do without it."""
    words = BEGIN_WITH.get(options.preset, {})
    # without bodies nobody is known to stand in any way
    return {**words, "stance": False} if words and options.motion == "none" else words


def _said(options: TrainOptions) -> dict[str, Any]:
    """What the options say of the network."""
    motion = None if options.motion == "none" else options.motion
    words = {
        "target": options.target,
        "motion": motion,
        "size": options.size,
        "frames": options.frames,
        "zero_snr": False if options.no_zero_snr else None,
    }
    return {name: value for name, value in words.items() if value is not None}


def _take_frozen(model: CharacterNetwork, weights: Mapping[str, Tensor]) -> None:
    """The codec and CLIP's network of a file: clips are encoded before all else is loaded."""
    for name in ("codec", "image_encoder"):
        part = getattr(model, name)
        own = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in weights.items()
            if key.startswith(f"{name}.")
        }
        part.load_state_dict(own)


def describe(options: TrainOptions) -> list[str]:
    """Lines on a preset's networks, which are built without weights: their sizes, and which weights
    of --init they would take.

    Raises:
        UserError: these don't fit.
    """
    with torch.device("meta"):
        words = {**_begin_with(options), **_said(options)}
        model = create_model(model_name(options), **words)
    assert isinstance(model, CharacterNetwork)
    lines = describe_sizes(model)
    if options.init is not None:
        lines += load_init(model, options.init, only_names=True)
    return lines


def describe_sizes(model: CharacterNetwork) -> list[str]:
    """Lines on the sizes of its networks."""
    parts = {
        "denoiser": model.denoiser,
        "reference network": model.reference_net,
        "pose guider": model.pose_guider,
        "skin codes": model.skin,
        "image encoder": model.image_encoder,
        "codec": model.codec,
    }
    lines = [f"{name:20} {count(part) / 1e6:10.2f} M" for name, part in parts.items()]
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    sites = f"{len(model.sites)} + {len(model.sites)} sites of reference attention"
    return [
        *lines,
        f"{'learned of all':20} {learned / 1e6:10.2f} M",
        f"{sites}, {model.num_frame_norms} norms of single frames",
    ]


# --- the data -------------------------------------------------------------------------------------


def create_task(model: CharacterNetwork, options: TrainOptions, *, is_fresh: bool) -> CharacterTask:
    """Read the dataset's folders train/ and eval/, and keep their latents.

    is_fresh: the model's frozen parts may be fitted to the data.

    Raises:
        UserError: a folder is missing, or holds no record that can be used.
    """
    assert options.data_dir is not None
    if not may_be_folder(options.data_dir):
        raise UserError(
            f"{options.data_dir} does not exist: give the folder that holds train/ and eval/"
        )
    cut = cut_of(model, options)
    train_records = _records(options.data_dir / "train", cut, options)
    eval_records = None if options.skip_eval else _records(options.data_dir / "eval", cut, options)
    if is_fresh and can_fit(model):
        weights = first_process_does(lambda: fit_frozen(model, train_records, cut))
        model.load_state_dict(weights, strict=False)
    device = create_device(options.gpu)
    model.to(device)
    keep = partial(_keep, model, device, options)
    cuts = [cut._replace(number=number) for number in range(options.crops)]
    train_set = replace(keep(train_records, cuts), still_share=options.still_share or 0.0)
    eval_set = None
    if eval_records is not None:
        eval_set = keep(eval_records, [cut._replace(is_first=True)])
    model.cpu()
    return CharacterTask(model, train_set, eval_set, options)


def cut_of(model: CharacterNetwork, options: TrainOptions) -> Cut:
    """The first of the clips that are cut out of a record."""
    num_frames = options.frames or model.clip_length
    if num_frames > model.positions:
        raise UserError(
            f"--frames {num_frames} is more than the {model.positions} that {model.name} can tell "
            "apart"
        )
    size = options.size or model.size
    if size % model.size_multiple:
        raise UserError(f"--size {size} is no multiple of {model.size_multiple}, as it must be")
    return Cut(0, num_frames, options.frame_step, size, options.motion != "none", False)


def _records(folder: Path, cut: Cut, options: TrainOptions) -> list[Record]:
    length = (cut.num_frames - 1) * cut.frame_step + 1
    found, bad = first_process_does(
        lambda: scan_records(folder, min_frames=length, cache=options.cache)
    )
    _check_share(folder, len(found), bad, options)
    return found


def _keep(
    model: CharacterNetwork,
    device: torch.device,
    options: TrainOptions,
    records: list[Record],
    cuts: list[Cut],
) -> KeptClips:
    key = codec_key(model.codec.state_dict(), model.image_encoder.state_dict())
    encode = partial(
        encode_clip,
        encode=lambda x: model.encode(x.to(device)),
        embed=lambda x: model.embed(x.to(device)),
    )
    files, bad = first_process_does(
        lambda: keep_latents(records, cuts, options.latents, key, encode)
    )
    folder = records[0].path.parent
    _check_share(folder, len(records) - len(bad), bad, options)
    return KeptClips(files)


def _check_share(folder: Path, num_found: int, bad: list[BadRecord], options: TrainOptions) -> None:
    """Tell of records that can't be used. Raises UserError if they are too many."""
    for problem in bad:
        logger.warning("left out: %s", problem)
    check_bad_share(folder, num_found, bad, options.max_bad_share)


# --- stages ---------------------------------------------------------------------------------------


def train_stages(options: TrainOptions, stages: list[Stage]) -> TrainResult:
    """Train stage by stage, see `nunif.training.stages.train_stages`."""
    latents = options.latents  # of all stages in one place
    return nunif_stages.train_stages(
        stages,
        options,
        model_name(options),
        lambda stage, own: train_model(
            replace(
                own,
                latents_dir=latents,
                init=own.init if own.checkpoint_file is None and not own.resume else None,
            )
        ),
    )
