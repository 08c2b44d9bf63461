"""Weights under the names of Robust Video Matting (github.com/PeterL1n/RobustVideoMatting), whose
files users may bring: rvm_mobilenetv3.pth and rvm_resnet50.pth.

Its names are facts that are needed to open such files. Nothing of its code is here, and its weights
(GPL-3.0) don't come along.
"""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nunif.errors import UserError

COUNT = "num_batches_tracked"  # older files lack it

# What stands before a name there, and here. The backbones are matched by their order.
_PREFIXES = {
    "aspp.aspp1.": "pool.features.",
    "aspp.aspp2.1.": "pool.gate.",
    "decoder.decode4.gru.ih.0.": "decoder.bottom.unit.gates.",
    "decoder.decode4.gru.hh.0.": "decoder.bottom.unit.candidate.",
    "decoder.decode0.conv.": "decoder.top.",
    "project_mat.conv.": "matte_head.",
    "project_seg.conv.": "person_head.",
    "refiner.box_filter.": "refiner.window.",
    "refiner.conv.": "refiner.factor.",
}
for _level in (3, 2, 1):
    _there, _here = f"decoder.decode{_level}", f"decoder.level{_level}"
    _PREFIXES |= {
        f"{_there}.conv.": f"{_here}.convolve.",
        f"{_there}.gru.ih.0.": f"{_here}.memory.unit.gates.",
        f"{_there}.gru.hh.0.": f"{_here}.memory.unit.candidate.",
    }
BACKBONE_THERE, BACKBONE_HERE = "backbone.", "encoder.backbone."


def recognise(state_dict: Mapping[str, Any]) -> bool:
    """Whether tensors have these names, even if some are missing."""
    return any(name.startswith(("decoder.decode", "project_mat.")) for name in state_dict)


def is_resnet(state_dict: Mapping[str, Any]) -> bool:
    """Whether the backbone is a ResNet; otherwise it is MobileNetV3."""
    return any(name.startswith(f"{BACKBONE_THERE}layer") for name in state_dict)


def has_deep_filter(state_dict: Mapping[str, Any]) -> bool:
    """Whether the refiner has weights."""
    return any(name.startswith("refiner.") for name in state_dict)


def convert(
    model: nn.Module, state_dict: Mapping[str, Tensor], *, source: Path | str
) -> dict[str, Tensor]:
    """The tensors under the names of a `MattingNetwork`.

    Raises:
        UserError: a tensor is missing or too much, or has another shape.
    """
    wanted = model.state_dict()
    names = {**_names_of_the_rest(state_dict), **_names_of_the_backbone(wanted, state_dict)}
    unknown = [name for name in state_dict if name not in names and not name.endswith(COUNT)]
    found = {names[name]: tensor for name, tensor in state_dict.items() if name in names}
    missing = [name for name in wanted if name not in found and not name.endswith(COUNT)]
    shapes = [
        f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    problems = [
        f"{what} {', '.join(list_[:5])}" + (f" and {len(list_) - 5} more" if list_[5:] else "")
        for what, list_ in (("missing", missing), ("unknown", unknown), ("another shape", shapes))
        if list_
    ]
    if problems:
        raise UserError(
            f"{source} has the names of Robust Video Matting and does not fit: "
            f"{'; '.join(problems)}"
        )
    counts = [name for name in wanted if name.endswith(COUNT)]
    return {**{name: torch.zeros((), dtype=torch.int64) for name in counts}, **found}


def _names_of_the_rest(state_dict: Mapping[str, Any]) -> dict[str, str]:
    names = {}
    for name in state_dict:
        for there, here in _PREFIXES.items():
            if name.startswith(there):
                names[name] = here + name.removeprefix(there)
    return names


def _names_of_the_backbone(
    wanted: Mapping[str, Any], state_dict: Mapping[str, Any]
) -> dict[str, str]:
    """Module by module, in the order of both networks, which is the same; where a file lacks
    modules, those that are left are told by their tensors' shapes."""
    here = _modules([name for name in wanted if name.startswith(BACKBONE_HERE)])
    names_there = [name for name in state_dict if name.startswith(BACKBONE_THERE)]
    there = _modules(sorted(names_there, key=_place))
    pairs = list(zip(there, here))
    if len(there) != len(here):
        blocks = SequenceMatcher(
            None, _shapes(there, state_dict), _shapes(here, wanted), autojunk=False
        ).get_matching_blocks()
        modules_there, modules_here = list(there), list(here)
        pairs = [
            (modules_there[block.a + i], modules_here[block.b + i])
            for block in blocks
            for i in range(block.size)
        ]
    names = {}
    for module_there, module_here in pairs:
        for leaf in there[module_there]:
            names[f"{module_there}.{leaf}"] = f"{module_here}.{leaf}"
    return names


def _shapes(
    modules: Mapping[str, list[str]], state_dict: Mapping[str, Any]
) -> list[tuple[tuple[int, ...], ...]]:
    """Of each module's first tensor."""
    return [tuple(state_dict[f"{module}.{leaves[0]}"].shape) for module, leaves in modules.items()]


def _modules(names: list[str]) -> dict[str, list[str]]:
    """The names of tensors in their order, by the module that they are in."""
    split = [name.rpartition(".") for name in names]
    return {
        module: [leaf for _, _, leaf in group]
        for module, group in groupby(split, key=lambda parts: parts[0])
    }


def _place(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts the names of layers in the order of the network, whatever order a file has: numbers by
    value; in a ResNet conv1, bn1, conv2, ... and the shortcut last."""
    places = []
    for word in name.split("."):
        number = re.sub(r"\D", "", word)
        kind = re.sub(r"\d", "", word)
        order = {"conv": 0, "bn": 1, "layer": 2}.get(kind, 3)
        is_leaf = word == name.rpartition(".")[2]
        places.append((0, 0, "") if is_leaf else (int(number or 99), order, kind))
    return tuple(places)
