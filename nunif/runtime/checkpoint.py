"""What the command `checkpoint` of every task does, whatever their models are."""

import logging
from collections.abc import Mapping
from typing import Any

from nunif.models.checkpoint import NUNIF, SAFETENSORS, SAFETENSORS_SUFFIX
from nunif.models.inspect import convert, halved
from nunif.runtime.options import CheckpointOptions

logger = logging.getLogger(__name__)


def convert_as_asked(
    content: Mapping[str, Any], layout: str, options: CheckpointOptions, *, arch: str | None
) -> None:
    """`convert` to options.output, in the layout that its name asks for where none is named, and
    say so. content, layout: of options.model, as `read_model_file` gives them. arch: the full name
    of the model, if it was given. Raises UserError as `convert` and `halved`."""
    assert options.output is not None
    is_safetensors = options.output.suffix.lower() == SAFETENSORS_SUFFIX
    to = options.to or (SAFETENSORS if is_safetensors else NUNIF)
    if options.half:
        content = {**content, "state_dict": halved(content["state_dict"], options.model)}
    convert(content, options.model, options.output, to=to, arch=arch)
    logger.info("%s (%s) is %s (%s) now", options.model, layout, options.output, to)
