"""An exam for memories: clips whose truth under the hole was seen before the hole came over it.

A figure-sized hole crosses frozen frames, panned frames, and frames in which a figure crosses under the hole; to remove
that figure is what the background has to be remembered for.
"""

import cv2
import numpy as np
import torch

from inpaint.metrics import hole_psnr
from inpaint.models.motion import warp

SIZE = (96, 144)
KINDS = ("frozen", "panned", "crossing")


def noise(height, width, seed=0):
    """Soft coloured noise of several scales, (1, 3, H, W) in [-1, 1]."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((6, 0.5), (16, 0.3), (40, 0.2)):
        picture += strength * cv2.resize(rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32), (width, height))
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
        if kind == "crossing":  # a figure in front of the background, hidden by the hole in every frame
            frames[-1][..., 20:76, 20 + 8 * t : 36 + 8 * t] = noise(56, 16, seed=5)
    frames, holes = torch.cat(frames), walking_hole(num_frames)
    truth = frames.clone()
    if kind == "crossing":
        truth = torch.where(holes > 0, warp(wide, torch.zeros(1, 2, *wide.shape[-2:]))[..., 20:116, 20:164], frames)
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
