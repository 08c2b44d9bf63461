"""The command `checkpoint`: look into model files, and convert them between layouts."""

import logging

from inpaint.options_run import CheckpointOptions, full_name
from nunif.models import read_model_file
from nunif.models.checkpoint import NUNIF, SAFETENSORS, SAFETENSORS_SUFFIX
from nunif.models.inspect import convert, describe

logger = logging.getLogger(__name__)


def main(options: CheckpointOptions) -> None:
    """The command `checkpoint`."""
    layout, content = read_model_file(options.model, package="inpaint")
    if options.output is None:
        print(describe(options.model, layout, content))
        return
    arch = None if options.arch is None else full_name(options.arch)
    is_safetensors = options.output.suffix.lower() == SAFETENSORS_SUFFIX
    to = options.to or (SAFETENSORS if is_safetensors else NUNIF)
    convert(content, options.model, options.output, to=to, arch=arch)
    logger.info("%s (%s) is %s (%s) now", options.model, layout, options.output, to)
