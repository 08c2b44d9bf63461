"""A filler as an engine, for the house that puts the tasks together."""

from pathlib import Path

from inpaint.export import export_model
from nunif.models import load_model
from nunif.runtime.export import Wishes


def export_filler(
    source: Path, folder: Path, wishes: Wishes, *, clip: Path | None = None, num_frames: int = 12
) -> list[Path]:
    """Write the model of a file in every format, checked; see `inpaint.export.export_model`.

    Returns: the files written.
    Raises:
        UserError: as there, and where the file holds no model that fills.
    """
    model, _ = load_model(source, expect="inpaint.")
    return export_model(
        model,
        source,
        folder,
        formats=list(wishes.formats),
        size=wishes.size,
        precision=wishes.precision,
        clip=clip,
        num_frames=num_frames,
        capabilities=None if wishes.capabilities is None else list(wishes.capabilities),
        device=wishes.device,
        opset=wishes.opset,
    )
