"""Where the weights lie among the entries of a model file of any origin, and their names without
what wrappers (torch.compile, data parallel, Lightning) put before them.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from nunif.models.suspicion import printable

logger = logging.getLogger(__name__)

# Entries under which others keep their tensors; averages, which are what is evaluated, before what
# they are of.
_NESTS = (
    "netG",
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "net",
    "network",
    "generator",
    "module",
    "weights",
)
_AVERAGES = tuple(chain.from_iterable((f"{nest}_ema", f"ema_{nest}") for nest in _NESTS))
NESTS = (*_AVERAGES, "ema", "g_ema", *_NESTS)
DEEPEST = 3  # entries within entries that are looked into for further weights
# Parts of names that wrappers give: these wherever they stand,
WRAPPERS = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
PARALLEL_PREFIX = "module."  # this before all names,
# this before those of the network, with those of losses and metrics beside them,
LIGHTNING_PREFIX = "model."
# and these before all names
WRAPPER_PREFIXES = (
    *("network.", "net.", "generator.", "netG.", "G.", "backbone.", "_forward_module."),
    *("ema_model.", "online_model.", "student."),
)
PREFIXES = (PARALLEL_PREFIX, LIGHTNING_PREFIX, *WRAPPER_PREFIXES)
COUNT_OF_AVERAGE = "n_averaged"  # beside the weights of torch's AveragedModel


def find_tensors(content: Any, depth: int = 3) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Dicts of nothing but tensors in what a file holds, the likeliest first, and under which
    entries they lie."""
    if not isinstance(content, Mapping) or not content or not depth:
        return
    if is_tensors(content):
        yield "", content
        return
    for key in NESTS:
        for where, tensors in find_tensors(content.get(key), depth - 1):
            yield f"{key}.{where}".rstrip("."), tensors


def all_mappings(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The dicts in what a file holds, each once, and under which entries they lie."""
    waiting, seen = [("", content, 0)] if isinstance(content, Mapping) else [], set()
    for where, mapping, depth in waiting:
        if id(mapping) in seen:
            continue
        seen.add(id(mapping))
        yield where, mapping
        if depth < DEEPEST:
            nested = [
                (key, value)
                for key, value in mapping.items()
                if isinstance(key, str) and isinstance(value, Mapping)
            ]
            waiting += [
                (f"{where}.{key}" if where else key, value, depth + 1) for key, value in nested
            ]


def other_weights(content: Mapping[Any, Any], where: str, taken: Mapping[str, Tensor]) -> list[str]:
    """Entries beside the one that is taken that hold weights, or have the name of such."""
    found = [
        place
        for place, mapping in all_mappings(content)
        if mapping is not taken
        and is_tensors(mapping)
        and any("." in name or name in taken for name in mapping)
    ]
    named = {place.partition(".")[0] for place in (where, *found)}
    return [key for key in NESTS if key in content and key not in named] + found


def log_left_out(path: Path, where: str, others: list[str]) -> None:
    """Log which weights of a file are not those that are taken, where there are such."""
    if others:
        logger.info(
            "%s: the weights are those of its entry %s; left out: %s",
            path,
            where,
            first_five(others),
        )


def unwrapped(
    tensors: Mapping[str, Tensor], path: Path, *, lightning: bool = False
) -> dict[str, Tensor]:
    """Tensors under the names that they have in the model itself; as they are where two would get
    the same name.

    lightning: they may be Lightning's, with those of losses and metrics beside the network's, which
        are left out.
    """
    found = {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    if len(found) < len(tensors):
        return dict(tensors)
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in found)), None):
        rest = [name for name in found if not name.startswith(prefix)]
        if rest and prefix == LIGHTNING_PREFIX and lightning:
            logger.info(
                "%s: the weights are those of %s*; left out: %s", path, prefix, first_five(rest)
            )
        elif rest and not (prefix == PARALLEL_PREFIX and rest == [COUNT_OF_AVERAGE]):
            break
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in found.items()
            if name.startswith(prefix)
        }
    return found


def is_tensors(content: Mapping[Any, Any]) -> bool:
    """Whether a dict holds tensors by name and nothing else."""
    return all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def first_five(names: list[str]) -> str:
    """Names out of a stranger's file for a message, the first five and how many more."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(printable, names[:5])) + more
