"""The command `checkpoint`: look into model files, and convert them between layouts."""

from inpaint.options_run import full_name
from nunif.models import read_model_file
from nunif.models.inspect import describe
from nunif.runtime.checkpoint import convert_as_asked
from nunif.runtime.options import CheckpointOptions


def main(options: CheckpointOptions) -> None:
    """The command `checkpoint`."""
    layout, content = read_model_file(options.model, package="inpaint")
    if options.output is None:
        print(describe(options.model, layout, content))
        return
    arch = None if options.arch is None else full_name(options.arch)
    convert_as_asked(content, layout, options, arch=arch)
