"""The whole chain where it runs without us: the finder and the filler as two engines."""

import logging
from dataclasses import replace

from inpaint.runtime.filler_export import export_filler
from layers.options_export import ExportOptions
from layers.runtime.finders import SHORT_SIDE, seen_size
from layers.runtime.stream import FILLER
from matting.runtime.finder_export import export_finder
from nunif.device import create_device
from nunif.options import parse_size
from nunif.runtime import tensorrt
from nunif.runtime.export import Wishes, check_wishes
from nunif.runtime.opset import OPSET
from nunif.runtime.options import parse_formats

logger = logging.getLogger(__name__)


def main(options: ExportOptions) -> None:
    """The command `export`."""
    capabilities = options.compute_capability
    wishes = Wishes(
        formats=parse_formats(options.format),
        size=parse_size(options.size),
        precision=options.precision,
        capabilities=None if capabilities is None else tensorrt.parse_capabilities(capabilities),
        device=create_device(options.gpu),
        opset=options.opset or OPSET,
    )
    check_wishes(wishes)
    seen = replace(wishes, size=seen_size(*wishes.size, SHORT_SIDE))
    more = {"clip": options.clip, "num_frames": options.frames}
    files = export_finder(options.output, seen, **more)  # type: ignore[arg-type]
    files += export_filler(options.model or FILLER, options.output, wishes, **more)  # type: ignore[arg-type]
    logger.info(
        "%d engines, of which examples/live_onnx.py tells how they work together", len(files)
    )
