"""The options of `python -m layers export`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.options import option
from nunif.runtime.options import EngineOptions


@dataclass(frozen=True)
class ExportOptions(EngineOptions):
    """`python -m layers export`."""

    model: Path | None = option(  # type: ignore[assignment]
        "-m",
        "--model",
        default=None,
        help="what fills: a model file (.pth) (default: picture_memory_v1, which comes along)",
    )
