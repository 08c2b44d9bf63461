"""Ways to fill a clip's holes: fills that need no training, models, and which of them run.

All are causal but what says it goes both ways. Axes: T frames, H W pixels; what a method takes and
gives: see `Fill`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from inpaint.evaluation.clip import Fill, Method
from inpaint.options_evaluate import UNTRAINED, ZERO_MEMORY, name_methods
from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.look_ahead import look_through
from inpaint.runtime.options import LOOK_AHEAD, SHOT
from inpaint.runtime.stream import HoleFrame, InpaintStream
from inpaint.runtime.windows import fillers_on
from nunif.errors import UserError
from nunif.files import file_sha256
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
    """The smooth fill that the memory DSTT starts from. frame: uint8 or uint16."""
    filled = _smooth(frame, hole).round().clip(0, np.iinfo(frame.dtype).max)
    return np.where(hole[..., None], filled.astype(frame.dtype), frame)


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
) -> Fill:
    """What a model file makes of clips, frame by frame or in windows, at their own size. It takes
    and gives uint16 as well.

    Args:
        forgets: start with an empty memory at every frame. untrained: with fresh weights.
            look_ahead: frames, or SHOT.
    Raises:
        UserError: as `open_backend`; or a model without memory is to forget, or an engine to be
            untrained.
    """
    backend = _untrained(path, device) if untrained else open_backend(path, device=device)
    return fill_by(backend, path, forgets=forgets, look_ahead=look_ahead)


def fill_by(
    backend: Backend, path: Path, *, forgets: bool = False, look_ahead: int | str = 0
) -> Fill:
    """See `open_model`. path: of the back end, for messages."""
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


def _untrained(path: Path, device: torch.device) -> Backend:
    """The model of a file with fresh weights, always the same."""
    if path.suffix.lower() not in TORCH_SUFFIXES:
        raise UserError(
            f"untrained: {path} is an engine, whose weights are part of it: give a model file"
        )
    trained, _ = load_model(path, expect="inpaint.")
    seed_everything(UNTRAINED_SEED)
    return TorchBackend(create_model(trained.name, **trained.kwargs), device=device)


def unrounded(fill: Fill) -> Fill:
    """The same without rounding to grey levels of 8 bits: in 16 bits, given as float32 in
    [-1, 1]."""

    def fine(frames: np.ndarray, holes: np.ndarray) -> np.ndarray:
        filled = fill(frames.astype(np.uint16) * 257, holes)
        return (filled / 32767.5 - 1).astype(np.float32)

    return fine


def _by_frame(fill: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Fill:
    return lambda frames, holes: np.stack([fill(frame, hole) for frame, hole in zip(frames, holes)])


BASELINES: dict[str, Fill] = {  # inpaint.options_evaluate.BASELINES names them
    "telea": _by_frame(telea),
    "navier-stokes": _by_frame(navier_stokes),
    "smooth": _by_frame(smooth),
    "surround-mean": _by_frame(surround_mean),
    "previous-frame": previous_frame,
    "flow-propagation": flow_propagation,
    "flow-propagation-both": flow_propagation_both,
}


class Methods(NamedTuple):
    """All that fill clips, by name, and which of them are judged."""

    by_name: dict[str, Method]
    judged: list[str]


def open_methods(
    words: Sequence[str],
    *,
    baselines: Sequence[str],
    depths: Sequence[int | str],
    device: torch.device,
    rounded: bool = True,
) -> Methods:
    """
    Args:
        words: what is judged: model files, as NAME=FILE too, names of baselines, and the special
            methods that are made of the first model file. baselines: names of what runs beside it.
            depths: how far models look ahead, in frames, or SHOT.
        rounded: whether pictures are scored as films hold them, or as networks give them.
    Raises:
        UserError: there is none; two of one name; or as `open_model`.
    """
    methods = {name: _baseline(name, rounded) for name in baselines}
    judged = []
    named = name_methods(words)
    first = next((path for path in named.values() if path is not None), None)
    for word, file in named.items():
        if word in BASELINES:
            methods[word] = _baseline(word, rounded)
            judged.append(word)
            continue
        path = first if file is None else file
        assert path is not None
        is_untrained, forgets = word == UNTRAINED and file is None, word == ZERO_MEMORY
        backend = _untrained(path, device) if is_untrained else open_backend(path, device=device)
        content = [file_sha256(path), device.type, rounded, is_untrained, forgets]
        for depth in [0] if forgets else depths:
            name = word + (f"+{depth}" if depth else "")
            if name in methods:
                raise UserError(
                    f"two methods would be called {name}: call one of them otherwise, with "
                    "-m NAME=FILE"
                )
            fill = fill_by(backend, path, forgets=forgets, look_ahead=depth)
            methods[name] = Method(fill if rounded else unrounded(fill), [*content, depth])
            if file is not None:  # the special ones are what a model is compared with
                judged.append(name)
    if not methods:
        raise UserError(
            "there is nothing to judge: give -m a model file or a method, or leave --baselines out"
        )
    return Methods(methods, judged)


def _baseline(name: str, rounded: bool) -> Method:
    # the others give grey levels of films
    fine = not rounded and name == "smooth"
    return Method(unrounded(BASELINES[name]) if fine else BASELINES[name], [name, fine])


def has_memory(path: Path, *, device: torch.device) -> bool:
    """Whether a model goes frame by frame and remembers, so that it can be made to forget. Raises
    as `open_backend`."""
    return open_backend(path, device=device).window is None


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
