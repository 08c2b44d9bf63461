"""Scores of filled clips.

Axes: T frames, H W pixels; frames are (T, H, W, 3) uint8, holes (T, H, W) bool.
"""

import importlib.util
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inpaint.evaluation.pixels import as_uint8, signed
from nunif.errors import UserError
from nunif.evaluation.report import Column, Headline
from scene.flow import pull
from scene.metrics import LUMA, flicker, frame_psnr, frame_ssim, hole_psnr, hole_ssim, score_clip
from scene.perceptual import load_lite

logger = logging.getLogger(__name__)

MIN_UNSEEN = 50  # pixels; fewer are no ground to judge sharpness on
# grey levels per pixel of the truth on the mean; beside a plain wall the faintest shade is "sharp"
MIN_GRADIENT = 2.0

HEADLINE = Headline("hole_psnr", name="hole-PSNR", unit="dB")  # by which methods are compared
TITLE = "Inpainting scores"  # of reports
COLUMNS = {
    "hole_psnr": Column("PSNR of the hole alone in dB, its squared error pooled over the clip."),
    "hole_ssim": Column(
        "Structural similarity in the hole: Gaussian window of 11 pixels on the luma; at most 1."
    ),
    "psnr": Column(
        "PSNR of whole frames in dB, the mean over frames (of records: over the whole tile and "
        "clip at once, as in training). The smaller the hole, the higher it is.",
        by_frame=True,
    ),
    "ssim": Column(
        "Structural similarity of whole frames as papers on video inpainting have it: uniform "
        "window of 65 pixels; at most 1.",
        by_frame=True,
    ),
    "warp_error": Column(
        "1000 x mean squared change along the truth's motion (DIS flow) in the hole, where the "
        "truth is seen in both frames. Comparable only among numbers from this program.",
        best=-math.inf,
    ),
    "flicker": Column(
        "How much more or less than the truth the hole changes from frame to frame, in grey "
        "levels of 255.",
        best=-math.inf,
    ),
    "unseen_sharpness": Column(
        "Gradient beside that of the truth where no frame of the clip shows the place: 1 is as "
        "sharp, 0 flat. Noise is sharp too: look at the pictures.",
        best=1.0,
    ),
    "early": Column("Of long holes: hole_psnr over the first third of their frames."),
    "middle": Column("Of long holes: hole_psnr over the second third of their frames."),
    "late": Column("Of long holes: hole_psnr over the last third of their frames."),
    "lpips": Column(
        "LPIPS (AlexNet) of whole frames: how different a network finds them.",
        best=-math.inf,
        by_frame=True,
    ),
    "lite": Column(
        "The loss of that name on whole frames: difference of a network's features, 0 to 4.",
        best=-math.inf,
        by_frame=True,
    ),
    "fps": Column("Frames filled in a second, on the machine where this was made."),
}

Motion = tuple[np.ndarray, np.ndarray]  # as of `motion_of`
Score = Callable[[np.ndarray, np.ndarray], float]  # output and truth -> mean over the frames


def film_scores(
    output: np.ndarray,
    *,
    truth: np.ndarray,
    holes: np.ndarray,
    motion: Motion,
    unseen: np.ndarray,
    thirds: bool,
    perceptual: dict[str, Score],
) -> dict[str, float]:
    """All scores of a film: `score_film`, with `thirds` also `by_thirds`, and the perceptual
    ones."""
    scores = score_film(output, truth, holes, motion, unseen)
    if thirds:
        scores |= by_thirds(output, truth, holes)
    return scores | {name: score(output, truth) for name, score in perceptual.items()}


def record_scores(
    output: np.ndarray,
    *,
    truth: np.ndarray,
    holes: np.ndarray,
    motion: Motion,
    unseen: np.ndarray,
    perceptual: dict[str, Score],
) -> dict[str, float]:
    """The scores of the trainer's evaluation (`score_clip`), not rounded to grey levels, and all
    others of films, as films hold pictures.

    output: uint8, or float32 in [-1, 1].
    """
    missing = torch.from_numpy(holes)[:, None]
    of_trainer = score_clip(signed(output), signed(truth), missing)
    of_film = film_scores(
        as_uint8(output),
        truth=truth,
        holes=holes,
        motion=motion,
        unseen=unseen,
        thirds=False,
        perceptual=perceptual,
    )
    return of_film | of_trainer


def score_film(
    output: np.ndarray, truth: np.ndarray, holes: np.ndarray, motion: Motion, unseen: np.ndarray
) -> dict[str, float]:
    """The scores of pixels and of motion. What has nothing to count is NaN.

    motion: `motion_of(truth)`; unseen: `never_seen` of the holes.
    """
    x, y = _tensor(output), _tensor(truth)
    missing = torch.from_numpy(holes)[:, None]
    return {
        "hole_psnr": hole_psnr(x, y, missing),
        "hole_ssim": hole_ssim(x, y, missing),
        "psnr": frame_psnr(x, y),
        "ssim": frame_ssim(x, y),
        "warp_error": warping_error(output, holes, motion),
        "flicker": flicker(x, y, missing),
        "unseen_sharpness": unseen_sharpness(output, truth, unseen),
    }


def warping_error(output: np.ndarray, holes: np.ndarray, motion: Motion) -> float:
    """Mean squared difference of every frame and the one before carried along the truth's flow,
    times 1000.

    In [0, 1] colours, over hole pixels that the truth shows in both frames (`is_visible`). After
    Lai et al., Learning blind video temporal consistency, 2018; the flow is DIS, so compare only
    numbers from here. NaN without such pixels.
    """
    total, count = 0.0, 0
    for before, after, hole, flow, seen in zip(output, output[1:], holes[1:], *motion):
        where = hole & seen
        change = (after.astype(np.float32) - pull(before.astype(np.float32), flow))[where] / 255
        total, count = total + float((change**2).sum(dtype=np.float64)), count + change.size
    return 1000 * total / count if count else math.nan


def unseen_sharpness(output: np.ndarray, truth: np.ndarray, unseen: np.ndarray) -> float:
    """Mean gradient of the output's luma over that of the truth, where no frame shows the place: 1
    as sharp, 0 flat.

    PSNR rewards blur there; this does not, and says nothing of whether what was made up is right:
    noise is sharp too. The gradient is the length of the differences to the pixel on the right and
    to the one below, counted where all three are unseen, so that a seam at the hole's edge is no
    sharpness. NaN for fewer than 50 such pixels in the clip, and where the
    truth is flat: less than 2 grey levels on the mean.
    """
    inner = unseen[:, :-1, :-1] & unseen[:, :-1, 1:] & unseen[:, 1:, :-1]
    count = int(inner.sum())
    if count < MIN_UNSEEN:
        return math.nan
    made, true = 0.0, 0.0
    for t in np.flatnonzero(inner.any(axis=(1, 2))):
        made += float(_gradient(output[t])[inner[t]].sum(dtype=np.float64))
        true += float(_gradient(truth[t])[inner[t]].sum(dtype=np.float64))
    return made / true if true >= MIN_GRADIENT * count else math.nan


def never_seen(holes: np.ndarray, motion: Motion, motion_reversed: Motion) -> np.ndarray:
    """The hole pixels that can't be traced to a frame where they are no hole, neither back nor
    ahead: (T, H, W) bool.

    A pixel is traced along the truth's flow from frame to frame, as long as it is seen in the next
    one (`is_visible`).
    motion: `motion_of(truth)`; motion_reversed: that of the truth from its end,
        `motion_of(truth[::-1])`.
    """
    past, future = _traced(holes, motion), _traced(holes[::-1], motion_reversed)[::-1]
    return holes & ~past & ~future


def by_thirds(output: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> dict[str, float]:
    """The hole-PSNR over the early, middle and late third of the frames that have a hole; NaN in a
    third without any."""
    x, y = _tensor(output), _tensor(truth)
    missing = torch.from_numpy(holes)[:, None]
    thirds = np.array_split(np.flatnonzero(holes.any(axis=(1, 2))), 3)
    return {
        name: hole_psnr(x[t], y[t], missing[t])
        for name, t in zip(("early", "middle", "late"), thirds)
    }


def curve_of(output: np.ndarray, truth: np.ndarray, holes: np.ndarray) -> list[float]:
    """The hole-PSNR of every frame by itself; NaN where it has no hole."""
    x, y = _tensor(output), _tensor(truth)
    missing = torch.from_numpy(holes)[:, None]
    return [hole_psnr(x[t : t + 1], y[t : t + 1], missing[t : t + 1]) for t in range(len(x))]


def open_perceptual() -> dict[str, Score]:
    """The scores by networks' features whose packages and weights are on the disk; a line says why
    others are left out."""
    opened = {"lpips": open_lpips(), "lite": open_lite()}
    return {name: score for name, score in opened.items() if score is not None}


def open_lpips() -> Score | None:
    """LPIPS with AlexNet, mean over whole frames, where its package and its weights are on the
    disk; else None, and a line."""
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    if importlib.util.find_spec("lpips") is None or not any(weights.glob("alexnet-owt-*.pth")):
        logger.info(
            "no LPIPS: it needs pip install lpips, and alexnet-owt-7be5be79.pth of torchvision in "
            "%s",
            weights,
        )
        return None
    import lpips

    network = lpips.LPIPS(net="alex", verbose=False).eval()

    @torch.inference_mode()
    def score(output: np.ndarray, truth: np.ndarray) -> float:
        pairs = zip(_tensor(output), _tensor(truth))
        return float(np.mean([network(x[None], y[None], normalize=True).item() for x, y in pairs]))

    return score


def open_lite() -> Score | None:
    """What the loss `lite` measures, mean over whole frames, where its packages are there; else
    None, and a line."""
    try:
        distance = load_lite()
    except UserError as problem:
        logger.info("no score: %s", problem)
        return None

    @torch.inference_mode()
    def score(output: np.ndarray, truth: np.ndarray) -> float:
        pairs = zip(_tensor(output) * 2 - 1, _tensor(truth) * 2 - 1)
        return float(np.mean([distance(x[None], y[None]).item() for x, y in pairs]))

    return score


def _traced(holes: np.ndarray, motion: Motion) -> np.ndarray:
    """Whether a pixel is no hole or comes from where an earlier frame has none, (T, H, W) bool."""
    # carried along in parts: rounded at every frame, an edge that moves by less than half a pixel
    # would not move at all
    share = (~holes[0]).astype(np.float32)
    shares = [share]
    for hole, flow, seen in zip(holes[1:], *motion):
        share = np.where(hole, pull(share, flow) * seen, np.float32(1))
        shares.append(share)
    return np.stack(shares) > 0.5


def _gradient(frame: np.ndarray) -> np.ndarray:
    """Length of the luma's differences to the right and down, (H - 1, W - 1)."""
    luma = frame.astype(np.float32) @ np.array(LUMA, np.float32)
    return np.hypot(luma[:-1, 1:] - luma[:-1, :-1], luma[1:, :-1] - luma[:-1, :-1])


def _tensor(frames: np.ndarray) -> Tensor:
    """(T, 3, H, W) in [0, 1]."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255)
