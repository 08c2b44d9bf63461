"""The back ends of networks that fill holes: see `nunif.runtime.engines` and
`inpaint.models.steps`."""

from pathlib import Path

import torch

from inpaint.models.steps import CONTRACTS, make_step
from nunif.models import Model, load_model
from nunif.runtime.backends import StepBackend, open_by_suffix
from nunif.runtime.engines import Backend, EngineKind

ENGINES = EngineKind(
    title="inpainting",
    names=CONTRACTS,
    wanted="masked_frames and perhaps memory",
    command="python -m inpaint export",
)


class TorchBackend(StepBackend):
    """A model as it is, or through torch.compile."""

    def __init__(
        self, model: Model, *, device: torch.device, precision: str = "fp32", compiled: bool = False
    ) -> None:
        super().__init__(make_step(model), device=device, precision=precision, compiled=compiled)


def open_backend(
    path: Path, *, device: torch.device, precision: str | None = None, compiled: bool = False
) -> Backend:
    """The back end of a file, by its suffix: .pth and .torchscript for torch, .onnx for
    onnxruntime, .engine for TensorRT.

    Args:
        device: where to compute. precision: fp32, fp16 or bf16, for torch; an engine has its own.
        compiled: let torch.compile work on the model; the first two frames then take minutes.

    Raises:
        UserError: the file is missing, of another kind, of a model for another task, or of an
            engine that can't run here; a package that it needs is missing; an option that only
            torch models have.
    """

    def open_model() -> Backend:
        model, _ = load_model(path, device=device, expect="inpaint.")
        return TorchBackend(model, device=device, precision=precision or "fp32", compiled=compiled)

    return open_by_suffix(
        path, open_model, kind=ENGINES, device=device, precision=precision, compiled=compiled
    )
