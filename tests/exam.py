"""An exam for memories: clips whose truth under the hole was seen before the hole came over it.

A figure-sized hole crosses frozen frames, panned frames, and frames in which a figure crosses under
the hole; to remove that figure is what the background has to be remembered for. In its long part
the hole comes to a stand and stays.
"""

import cv2
import numpy as np
import torch

from inpaint.models.motion import warp
from inpaint.models.steps import mask_frame
from scene.metrics import hole_psnr

SIZE = (96, 144)
KINDS = ("frozen", "panned", "crossing")
# frames of the long part; the one at which its hole stands; and at which its pan turns back
LONG, STOP, SWAY = 102, 6, 24


def noise(height, width, seed=0):
    """Soft coloured noise of several scales, (1, 3, H, W) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 0.5), (16, 0.3), (40, 0.2)):
        picture += strength * cv2.resize(
            rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32), (width, height)
        )
    return torch.from_numpy(np.clip(picture, -1, 1)).permute(2, 0, 1)[None]


def scenery(height, width, seed=0):
    """The same, of a grain that does not depend on the size: of 24 pixels, 9, and 3.6."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for side, strength in ((24, 0.5), (9, 0.3), (3.6, 0.2)):
        cells = rng.uniform(-1, 1, (round(height / side), round(width / side), 3))
        picture += strength * cv2.resize(cells.astype(np.float32), (width, height))
    return torch.from_numpy(np.clip(picture, -1, 1)).permute(2, 0, 1)[None]


def walking_hole(num_frames):
    """(T, 1, H, W): a figure of 24x64 pixels that goes from left to right by 8 pixels a frame."""
    holes = torch.zeros(num_frames, 1, *SIZE)
    for t in range(num_frames):
        holes[t, :, 16:80, 16 + 8 * t : 40 + 8 * t] = 1
    return holes


def exam(kind, num_frames=10):
    """Frames (1, T, 3, H, W) and holes whose truth was seen before the hole came over it."""
    wide = noise(SIZE[0] + 60, SIZE[1] + 60)
    step = {"frozen": (0.0, 0.0), "panned": (1.5, 0.75), "crossing": (0.0, 0.0)}[kind]
    frames = []
    for t in range(num_frames):
        motion = torch.zeros(1, 2, *wide.shape[-2:])
        motion[:, 0], motion[:, 1] = step[0] * t, step[1] * t
        frames.append(warp(wide, motion)[..., 20 : 20 + SIZE[0], 20 : 20 + SIZE[1]])
        if (
            kind == "crossing"
        ):  # a figure in front of the background, hidden by the hole in every frame
            frames[-1][..., 20:76, 20 + 8 * t : 36 + 8 * t] = noise(56, 16, seed=5)
    frames, holes = torch.cat(frames), walking_hole(num_frames)
    truth = frames.clone()
    if kind == "crossing":
        truth = torch.where(
            holes > 0, warp(wide, torch.zeros(1, 2, *wide.shape[-2:]))[..., 20:116, 20:164], frames
        )
    return frames[None], truth, holes


def sit(model, kind):
    """Hole-PSNR of a model with its memory, and with every frame by itself."""
    frames, truth, holes = exam(kind)
    with torch.no_grad():
        remembering = model(frames, holes[None])[0][0]
        forgetting = model(frames.transpose(0, 1), holes[:, None])[0][:, 0]
    return score(remembering, truth, holes), score(forgetting, truth, holes)


def score(output, truth, holes):
    """Hole-PSNR from the fifth frame on, right of the place where the hole stood at first."""
    holes = holes.clone()
    holes[:, :, :, :40] = 0
    return hole_psnr(output.clamp(-1, 1).add(1)[4:] / 2, truth.add(1)[4:] / 2, holes[4:])


def long_exam(kind):
    """The same for 102 frames: the figure walks for six of them and then stands in the scene; the
    pan goes to and fro."""
    wide, figure = noise(SIZE[0] + 60, SIZE[1] + 60), noise(56, 16, seed=5)
    frames, truth, holes = [], [], torch.zeros(LONG, 1, *SIZE)
    for t in range(LONG):
        turns, rest = divmod(t, SWAY)
        there = (rest if turns % 2 == 0 else SWAY - rest) if kind == "panned" else 0
        motion = (
            torch.tensor([1.5 * there, 0.75 * there])
            .view(1, 2, 1, 1)
            .expand(1, 2, *wide.shape[-2:])
        )
        frames.append(warp(wide, motion)[..., 20 : 20 + SIZE[0], 20 : 20 + SIZE[1]])
        truth.append(frames[-1].clone())
        top, left = 16 - round(0.75 * there), 16 + 8 * min(t, STOP) - round(1.5 * there)
        holes[t, :, max(0, top) : top + 64, left : left + 24] = 1
        if kind == "crossing":
            frames[-1][..., top + 4 : top + 60, left + 4 : left + 20] = figure
    return torch.cat(frames)[None], torch.cat(truth), holes


def sit_long(model):
    """Of all kinds, by name: hole-PSNR of the first and of the last twelve frames of the long part
    with its hole at rest."""
    clips = [long_exam(kind) for kind in KINDS]
    frames, holes = (
        torch.cat([frames for frames, _, _ in clips]),
        torch.stack([holes for _, _, holes in clips]),
    )
    past, outputs = None, []
    with torch.no_grad():
        for t in range(LONG):
            output, past = model.stream(frames[:, t : t + 1], holes[:, t : t + 1], past)
            outputs.append(output[:, 0].clamp(-1, 1).add(1) / 2)
    filled = torch.stack(outputs, 1)  # (kinds, T, 3, H, W)
    parts = slice(STOP, STOP + 12), slice(LONG - 12, LONG)
    truths = [truth.add(1) / 2 for _, truth, _ in clips]
    return {
        k: [hole_psnr(filled[i, at], truths[i][at], holes[i, at]) for at in parts]
        for i, k in enumerate(KINDS)
    }


def pan_and_back(size, count=80):
    """Masked frames (1, 3, H, W): a pan over more than a picture's width and back, by fractions of
    a pixel."""
    height, width = size
    scene = scenery(height, 3 * width, seed=2)
    for t in range(count):
        motion = torch.zeros(1, 2, *scene.shape[-2:])
        motion[:, 0] = 0.0355 * width * (t % 37 if t % 74 < 37 else 37 - t % 37)
        hole = torch.zeros(1, 1, *size)
        left = 10 + t % (width - 40)
        hole[..., height // 3 : 2 * height // 3, left : left + 20] = 1
        yield mask_frame(warp(scene, motion)[..., :width], hole)
