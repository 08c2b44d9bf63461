"""The command `checkpoint`: look into model files, those of Robust Video Matting too, and convert
them between layouts."""

from collections.abc import Mapping
from typing import Any

from matting.models import rvm_weights
from nunif.models import read_model_file
from nunif.models.inspect import describe
from nunif.runtime.checkpoint import convert_as_asked
from nunif.runtime.options import CheckpointOptions


def main(options: CheckpointOptions) -> None:
    """The command `checkpoint`."""
    layout, content = read_model_file(options.model, package="matting")
    if options.output is None:
        more = {}
        given = read_model_file(options.model)[1]["state_dict"]
        if rvm_weights.recognise(given):
            more["mapped"] = _mapped(given, content["state_dict"])
        print(describe(options.model, layout, content, more=more))
        return
    arch = options.arch
    if arch is not None and not arch.startswith("matting."):
        arch = f"matting.{arch}"
    convert_as_asked(content, layout, options, arch=arch)


def _mapped(given: Mapping[str, Any], mapped: Mapping[str, Any]) -> str:
    """How many tensors have found their place. given: under their own names."""
    given_, mapped_ = (
        sum(not name.endswith(rvm_weights.COUNT) for name in names) for names in (given, mapped)
    )
    return f"{mapped_} tensors by their names in Robust Video Matting, {given_ - mapped_} left"
