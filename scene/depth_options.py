"""Which depth estimator to use. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.options import option
from scene.depth_models import MODEL_TYPES, check_model_type


@dataclass(frozen=True)
class DepthOptions:
    """Which depth estimator to use; for the commands that need one."""

    model_type: str = option(
        default="Any_V2_S", metavar="NAME", help=f"depth estimator, one of {', '.join(MODEL_TYPES)}"
    )
    resolution: int | None = option(
        default=None, minimum=14, help="short side of the depth estimator's input in pixels"
    )
    depth_model_dir: Path | None = option(
        default=None, help="folder with the depth model, instead of cache and hub"
    )
    allow_third_party_code: bool = option(
        default=False, help="load depth models that come with program code of their own (torch.hub)"
    )

    def check(self) -> None:
        check_model_type(self.model_type)
