"""Published weights as the start of a model: those of MIMO, or of Stable Diffusion 1.5 with
AnimateDiff's layers, from a folder of the user's.

    DIR/denoising_unet.pth, reference_unet.pth, pose_guider.pth, motion_module.pth    MIMO
    DIR/sd15/unet, DIR/sd15/vae, DIR/image_encoder, DIR/motion_adapter                diffusers

Each part is taken from the first of its places that is there; motion modules may also lie in a file
motion_module.* of AnimateDiff.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from character.models.network import CharacterNetwork
from character.models.pieces import MOTION
from nunif.errors import UserError
from nunif.models import read_model_file
from nunif.models.checkpoint import read_shapes
from nunif.models.fit import describe_mismatch

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
# what diffusers and transformers call the weights in a folder
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
# motion modules as AnimateDiff and MIMO name them, and as diffusers does
RENAMES = (
    (".temporal_transformer.", "."),
    (".attention_blocks.0.", ".attn1."),
    (".attention_blocks.1.", ".attn2."),
    (".norms.0.", ".norm1."),
    (".norms.1.", ".norm2."),
    (".ff_norm.", ".norm3."),
)
# the autoencoder's attention, before diffusers 0.17
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
# counted up from 0, or a formula: nothing that is learned
FORMULAS = re.compile(r"\.(pos_encoder|pos_embed)\.pe$|\.position_ids$")
# the reference network's head, which nothing depends on; MIMO's and Animate Anyone's files lack it
REFERENCE_HEAD = {
    f"{part}.{kind}" for part in ("conv_norm_out", "conv_out") for kind in ("weight", "bias")
}


@dataclass(frozen=True)
class Part:
    """A module of `CharacterNetwork` by its name, and where its weights may lie: each place is some
    files or folders, which are read together. is_needed: without them there is nothing to start
    from. may_lack: names of weights that need not be there."""

    module: str
    places: tuple[tuple[str, ...], ...]
    is_needed: bool = True
    may_lack: frozenset[str] = frozenset()


MOTIONS = ("motion_module", "motion_adapter")
PARTS = (
    Part("denoiser", (("denoising_unet", *MOTIONS), ("sd15/unet", *MOTIONS))),
    Part(
        "reference_net",
        (("reference_unet",), ("sd15/unet",)),
        may_lack=frozenset(REFERENCE_HEAD),
    ),
    Part("pose_guider", (("pose_guider",),), is_needed=False),
    Part("codec.vae", (("sd15/vae",), ("vae",), ("sd-vae-ft-mse",))),
    Part("image_encoder.clip", (("image_encoder",),)),
)


def load_init(network: CharacterNetwork, folder: Path, *, only_names: bool = False) -> list[str]:
    """Put the weights of a folder into a network, in place, and tell which part came from where.

    only_names: the network is on the meta device: names and shapes are looked at, numbers are not
        read.

    Raises:
        UserError: a part is not there, is torn, or does not fit: names the weights that are
            missing, left over or of another shape.
    """
    if not folder.is_dir():
        raise UserError(f"--init {folder} is no folder: give one with the weights to start from")
    lines = []
    for part in PARTS:
        paths = _find(folder, part)
        if not paths:
            lines.append(f"{part.module}: begins anew, {folder} has nothing for it")
            continue
        tensors: dict[str, Tensor] = {}
        for path in reversed(paths):  # what a UNet's file says of its motion modules counts
            tensors |= read_shapes(path) if only_names else read_model_file(path)[1]["state_dict"]
        source = " and ".join(map(str, paths))
        names = fill(network.get_submodule(part.module), tensors, part=part, source=source)
        line = f"{part.module}: {len(names.found)} tensors of {source}, 0 missing, 0 unexpected"
        if names.lacking:
            line += f"; {len(names.lacking)} that nothing depends on are not there"
        lines.append(line)
    return lines


def _find(folder: Path, part: Part) -> list[Path]:
    """The files of the first place of a part that is there; of those behind its first only the
    ones that are.

    Raises UserError where there is none and the part is needed.
    """
    for first, *others in part.places:
        if path := _weights_at(folder / first):
            more = [_weights_at(folder / other) for other in others]
            return [path, *(other for other in more if other)]
    if part.is_needed:
        wanted = " or ".join(first for first, *_ in part.places)
        raise UserError(
            f"--init {folder} has no weights for the {part.module}: put {wanted} there, a file "
            f"({', '.join(SUFFIXES)}) or a folder of diffusers"
        )
    return []


def _weights_at(place: Path) -> Path | None:
    """A file by its name without a suffix, or the weights of a folder."""
    stems = [place.name, *(f"{place.name}/{stem}" for stem in STEMS)]
    candidates = [place.parent / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def our_name(name: str) -> str:
    """A weight of the published files by diffusers' name of today."""
    if f".{MOTION}." in name:
        for theirs, ours in RENAMES:
            name = name.replace(theirs, ours)
        return name
    head, dot, word = name.rpartition(".")
    head, middle, last = head.rpartition(".")
    if last in OLD_ATTENTION and head.endswith("mid_block.attentions.0"):
        return f"{head}{middle}{OLD_ATTENTION[last]}{dot}{word}"
    return name


def key_map(module: nn.Module, names: Iterable[str], may_lack: Iterable[str] = ()) -> "KeyMap":
    """Which weight of a module each name of a file stands for."""
    wanted = {name for name in module.state_dict() if not FORMULAS.search(name)}
    found = {name: our_name(name) for name in names if not FORMULAS.search(name)}
    given = set(found.values())
    return KeyMap(
        found={name: ours for name, ours in found.items() if ours in wanted},
        missing=sorted(wanted - given - set(may_lack)),
        lacking=sorted((wanted - given) & set(may_lack)),
        unexpected=sorted(name for name, ours in found.items() if ours not in wanted),
    )


@dataclass(frozen=True)
class KeyMap:
    """found: a file's names to ours. missing: ours that the file lacks; lacking: those of them that
    it may lack. unexpected: the file's that are none of ours."""

    found: dict[str, str]
    missing: list[str]
    lacking: list[str]
    unexpected: list[str]


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, part: Part, source: str) -> KeyMap:
    """Put the weights of files into a module, in place, and tell which.

    A first convolution of a file that knows fewer channels than the module's learns nothing of the
    new ones: their weights are zero.

    Raises:
        UserError: they don't fit, and nothing is changed.
    """
    names = key_map(module, tensors, part.may_lack)
    own = module.state_dict()
    given = {ours: tensors[name] for name, ours in names.found.items()}
    if "conv_in.weight" in given and part.module == "denoiser":
        given["conv_in.weight"] = _widened(given["conv_in.weight"], own["conv_in.weight"])
    expected = {name: own[name].shape for name in (*given, *names.missing)}
    if problem := describe_mismatch(
        expected, given | {name: torch.empty(0) for name in names.unexpected}
    ):
        raise UserError(f"{source} does not fit the {part.module}: {problem}")
    module.load_state_dict({**own, **given})
    return names


def _widened(weights: Tensor, wanted: Tensor) -> Tensor:
    """A convolution's weights (out, in, ., .) with as many more inputs, of weight zero, as it takes
    to make them those of another."""
    more = wanted.shape[1] - weights.shape[1]
    if more <= 0 or wanted.shape[0] != weights.shape[0]:
        return weights
    return torch.cat([weights, weights.new_zeros(weights.shape[0], more, *weights.shape[2:])], 1)
