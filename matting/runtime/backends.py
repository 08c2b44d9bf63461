"""Exported networks that tell who is in a picture: see `nunif.runtime.engines` and
`matting.models.steps`."""

import torch

from matting.models.steps import NAMES
from matting.options_run import ConvertOptions
from nunif.errors import UserError
from nunif.runtime.backends import open_exported
from nunif.runtime.engines import Backend, EngineKind

ENGINES = EngineKind(
    title="matting",
    names=(NAMES,),
    wanted="src and r1 to r4",
    command="python -m matting export",
)


def open_engine(options: ConvertOptions, device: torch.device) -> Backend:
    """An exported network.

    Raises:
        UserError: see `nunif.runtime.backends.open_by_suffix`; an option of model files alone.
    """
    for flag, value in (
        ("--downsample-ratio", options.downsample_ratio),
        ("--max-width", options.max_width),
    ):
        if value is not None:
            raise UserError(
                f"{flag} {value} is for model files (.pth); {options.model.name} was exported with "
                "its own ratio: leave it out"
            )
    return open_exported(
        options.model,
        kind=ENGINES,
        device=device,
        precision=options.precision,
        compiled=options.compile,
    )
