"""Ways to fill a clip's holes: fills that need no training, models, and which of them run.

All are causal but what says it goes both ways. Axes: T frames, H W pixels; what a method takes and
gives: see `Method`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from inpaint.evaluation.clip import Method
from inpaint.evaluation.pixels import signed
from inpaint.models.streaming import StreamingModel
from inpaint.options_evaluate import UNTRAINED, ZERO_MEMORY
from inpaint.options_run import LOOK_AHEAD, SHOT
from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.look_ahead import look_through
from inpaint.runtime.stream import HoleFrame, InpaintStream
from inpaint.runtime.windows import fillers_on
from nunif.errors import UserError
from nunif.models import create_model, load_model
from nunif.runtime.backends import TORCH_SUFFIXES
from nunif.runtime.engines import Backend
from nunif.seed import seed_everything
from scene.flow import flow_to, pull
from scene.masks import smooth_fill

UNTRAINED_SEED = 71
RADIUS = 3  # of OpenCV's inpainting, pixels
RING = 5  # pixels around a hole whose mean colour fills it
FLOW_MARGIN = 4  # pixels around a hole whose flow the hole has spoilt: half of a patch of DIS


def telea(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting after Telea, An image inpainting technique based on the fast marching
    method, 2004."""
    return cv2.inpaint(frame, hole.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA)


def navier_stokes(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """OpenCV's inpainting after Bertalmio et al., Navier-Stokes, fluid dynamics, and image and
    video inpainting, 2001."""
    return cv2.inpaint(frame, hole.astype(np.uint8), RADIUS, cv2.INPAINT_NS)


def smooth(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The smooth fill that the memory DSTT starts from."""
    return np.where(
        hole[..., None], _smooth(frame, hole).round().clip(0, 255).astype(np.uint8), frame
    )


def surround_mean(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Every connected hole in the mean colour of the ring of 5 pixels around it."""
    kernel = np.ones((2 * RING + 1, 2 * RING + 1), np.uint8)
    result = frame.copy()
    count, parts = cv2.connectedComponents(hole.astype(np.uint8))
    for part in range(1, count):
        inside = parts == part
        ring = (cv2.dilate(inside.astype(np.uint8), kernel) > 0) & ~hole
        if ring.any():
            result[inside] = frame[ring].mean(axis=0).round()
    return result


def previous_frame(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Every pixel from the last frame that saw it, at the same place; Telea where none has."""
    return np.stack([filled for filled, _ in _remember(frames, holes, along_flow=False)])


def flow_propagation(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The same carried along the flow from frame to frame; flow in a hole is a smooth fill of that
    around it."""
    return np.stack([filled for filled, _ in _remember(frames, holes, along_flow=True)])


def flow_propagation_both(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """The same from the frame before and the frame after that saw a pixel, weighted by 1 / how many
    frames away that is.

    Not causal. Where only one of them is known that one counts; Telea where none is.
    """
    past = list(_remember(frames, holes, along_flow=True))
    future = list(_remember(frames[::-1], holes[::-1], along_flow=True))[::-1]
    results = []
    for frame, hole, before, after in zip(frames, holes, past, future):
        total = np.zeros(frame.shape, np.float32)
        weight = np.zeros((*hole.shape, 1), np.float32)
        for filled, age in (before, after):
            share = (1 / np.maximum(age, 1))[..., None]  # 0 where it was never seen
            total = total + share * filled
            weight = weight + share
        mean = (total / np.maximum(weight, 1e-6)).round().astype(np.uint8)
        unknown = hole & (weight[..., 0] == 0)
        merged = np.where(hole[..., None], mean, frame)
        results.append(telea(merged, unknown) if unknown.any() else merged)
    return np.stack(results)


def open_model(
    path: Path,
    *,
    device: torch.device,
    forgets: bool = False,
    untrained: bool = False,
    look_ahead: int | str = 0,
) -> Method:
    """The method that a model file is, frame by frame or in windows, at the clip's own size.

    Args:
        forgets: start with an empty memory at every frame. untrained: with fresh weights.
            look_ahead: frames, or SHOT.
    Raises:
        UserError: as `open_backend`; or a model without memory is to forget, or an engine to be
            untrained.
    """
    if untrained:
        if path.suffix.lower() not in TORCH_SUFFIXES:
            raise UserError(
                f"untrained: {path} is an engine, whose weights are part of it: give a model file"
            )
        trained, _ = load_model(path, expect="inpaint.")
        seed_everything(UNTRAINED_SEED)
        backend: Backend = TorchBackend(create_model(trained.name, **trained.kwargs), device=device)
    else:
        backend = open_backend(path, device=device)
    (filler,) = fillers_on(
        backend, look_ahead=LOOK_AHEAD if isinstance(look_ahead, str) else look_ahead
    )
    if forgets and not isinstance(filler, InpaintStream):
        raise UserError(
            f"zero-memory: {path} takes windows of frames and has no memory: leave -m zero-memory "
            "out"
        )

    def fill(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
        items = (
            HoleFrame(i, f, h, starts_shot=forgets or i == 0)
            for i, (f, h) in enumerate(zip(frames, holes))
        )
        if look_ahead != SHOT:
            return np.stack([filled for _, filled in filler.fill(items)])
        assert isinstance(filler, InpaintStream) and backend.multiple is not None
        masked = ((filler.masked(f, h), False) for f, h in zip(frames, holes))
        with look_through(masked, backend.multiple) as keys:
            return np.stack([filled for _, filled in filler.fill(items, keys)])

    return fill


def unrounded(fill: Callable[[Tensor, Tensor], Tensor], *, device: torch.device) -> Method:
    """The method that a function on tensors is, run on a device; its result is float32 in [-1, 1].

    fill: frames (T, 3, H, W) in [-1, 1], holes (T, 1, H, W) 0 or 1 -> pictures (T, 3, H, W).
    """

    @torch.inference_mode()
    def method(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
        missing = torch.from_numpy(holes)[:, None].float()
        filled = fill(signed(frames).to(device), missing.to(device))
        return filled.float().permute(0, 2, 3, 1).cpu().numpy()

    return method


def _by_frame(fill: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Method:
    return lambda frames, holes: np.stack([fill(frame, hole) for frame, hole in zip(frames, holes)])


BASELINES: dict[str, Method] = {  # inpaint.options_evaluate.BASELINES names them
    "telea": _by_frame(telea),
    "navier-stokes": _by_frame(navier_stokes),
    "smooth": _by_frame(smooth),
    "surround-mean": _by_frame(surround_mean),
    "previous-frame": previous_frame,
    "flow-propagation": flow_propagation,
    "flow-propagation-both": flow_propagation_both,
}


def methods_for_films(
    words: Sequence[str],
    *,
    baselines: Sequence[str],
    depths: Sequence[int | str],
    device: torch.device,
) -> tuple[dict[str, Method], list[str]]:
    """All that fill films, by name, and which of them are judged.

    Args:
        words: what is judged: model files, names of baselines, and the special methods that are
            made of the first model file. baselines: names of what runs beside it. depths: how far
            models look ahead, in frames, or SHOT; each model is opened once for each.
    Raises:
        UserError: there is none; or as `open_model`.
    """
    methods = {name: BASELINES[name] for name in baselines}
    judged = []
    special = (ZERO_MEMORY, UNTRAINED)
    files = [Path(word) for word in words if word not in (*BASELINES, *special)]
    for word in words:
        if word in BASELINES:
            methods[word] = BASELINES[word]
            judged.append(word)
            continue
        path = files[0] if word in special else Path(word)
        for depth in [0] if word == ZERO_MEMORY else depths:
            name = (word if word in special else path.stem) + (f"+{depth}" if depth else "")
            while word not in special and name in methods:
                name += "'"
            methods[name] = open_model(
                path,
                device=device,
                forgets=word == ZERO_MEMORY,
                untrained=word == UNTRAINED,
                look_ahead=depth,
            )
            if word not in special:  # they are what a model is compared with
                judged.append(name)
    if not methods:
        raise UserError(
            "there is nothing to judge: give -m a model file or a method, or leave --baselines out"
        )
    return methods, list(dict.fromkeys(judged))


def methods_for_records(model_file: Path | None, *, device: torch.device) -> dict[str, Method]:
    """All that fill records, by name; a model as the trainer judges it, without rounding.

    Raises:
        UserError: as `load_model`.
    """
    methods = {
        "surround mean": BASELINES["surround-mean"],
        "telea": BASELINES["telea"],
        "smooth fill": unrounded(smooth_fill, device=device),
    }
    if model_file is None:
        return methods
    model, _ = load_model(model_file, device=device, expect="inpaint.")

    def carried(frames: Tensor, holes: Tensor) -> Tensor:
        return model(frames[None], holes[None])[0][0]

    def each_by_itself(frames: Tensor, holes: Tensor) -> Tensor:
        return model(frames[:, None], holes[:, None])[0][:, 0]

    methods["model"] = unrounded(carried, device=device)
    if isinstance(model, StreamingModel):
        methods["model, memory off"] = unrounded(each_by_itself, device=device)
    return methods


def _remember(
    frames: np.ndarray, holes: np.ndarray, *, along_flow: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame filled, and how many frames ago each pixel was seen: (H, W) float32, infinite
    where it never was."""
    memory = filled = frames[0]
    known = ~holes[0]
    age = np.zeros(holes.shape[1:], np.float32)
    for t, (frame, hole) in enumerate(zip(frames, holes)):
        if t and along_flow:
            flow = _flow_around(smooth(frame, hole), filled, hole)
            memory = pull(memory, flow, cubic=True)
            age = pull(age, flow)
            known = pull(known.astype(np.float32), flow) > 0.99
        memory = np.where(hole[..., None], memory, frame)
        known = known | ~hole
        age = np.where(hole, age + 1, np.float32(0))
        memory[~known] = 0
        filled = memory if known.all() else telea(memory, ~known)
        yield filled, np.where(known, age, np.float32(np.inf))


def _flow_around(frame: np.ndarray, before: np.ndarray, hole: np.ndarray) -> np.ndarray:
    flow = flow_to(frame, before)
    if not hole.any():
        return flow
    unsure = cv2.dilate(hole.astype(np.uint8), np.ones((2 * FLOW_MARGIN + 1,) * 2, np.uint8)) > 0
    return np.where(unsure[..., None], _smooth(flow, unsure), flow)


def _smooth(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    return (
        smooth_fill(picture, torch.from_numpy(hole)[None, None].float())[0].permute(1, 2, 0).numpy()
    )
