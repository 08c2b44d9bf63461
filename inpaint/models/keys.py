"""Key pictures of a picture memory: how one learns, when another comes into use.

Axes: B batch, K keys, H W pixels, h w half as many. A key is (B, 5, H, W): colours, trust, age; a
    place (B, 3, h, w): the frame's motion to the key, and the frames since the key was in use.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from inpaint.models.candidates import COLOUR, TRUST
from inpaint.models.motion import (
    NEARLY_ALL,
    Grid,
    enlarge,
    follow,
    inside,
    ramp,
    turn_back,
    warp_inside,
)

# The constants below were chosen on eleven real clips of 48 frames with three families of holes.
CONTRADICTED = (0.2, 0.4)  # a difference to what is seen, and
OBEYED = 1 / 8  # how much trust it costs a frame
SAME = (0.04, 0.08)  # a difference that is grain, where
STILL = (0.05, 0.15)  # so many pixels of motion are none, and
MEAN = 0.25  # how fast grain goes
IN_VIEW = 0.75  # a key is given up when less of the picture lies in it, or
BETTER = 0.05  # when the key in reserve knows so much more of it, or
WRONG = 0.5  # when so much of what is seen contradicts it
IDLE = 300.0  # frames after which a key in reserve makes place for a newer one


def move_on(places: Tensor, motion: Tensor, grid: Grid) -> Tensor:
    """Where the frame stands in every key, (B, K, 3, h, w), as far as the motion to the frame
    before tells; all have been idle so long."""
    b, k = places.shape[:2]
    each = motion[:, None].expand(-1, k, -1, -1, -1).flatten(0, 1)
    moved = follow(each, places.flatten(0, 1), grid).unflatten(0, (b, k))
    return torch.cat([moved, places[:, :, 2:] + 1], dim=2)


def learn(
    key: Tensor, place: Tensor, seen: Tensor, visible: Tensor, grid: Grid, half: Grid
) -> tuple[Tensor, Tensor]:
    """A key brought up to date with what a frame sees, which stands in it by `place` (B, 2, h, w).

    Returns: the key, and whether it is still of use, (B,) bool.
    """
    back = enlarge(turn_back(place, half), seen)
    now, within = warp_inside(torch.cat([seen, visible], 1), back, grid)
    sees = now[:, TRUST] * within > NEARLY_ALL
    colour, trust, age = key.split([3, 1, 1], dim=1)
    now = now[:, COLOUR]
    difference = F.avg_pool2d((now - colour).abs().mean(1, keepdim=True), 3, 1, 1)
    wrong, compared = ramp(difference, *CONTRADICTED), (sees & (trust > 0.5)).to(now.dtype)
    against = compared * wrong
    # one way where it is confirmed, the other where it is contradicted
    obeyed = torch.add(compared, against, alpha=-2)
    trust = torch.add(trust, obeyed, alpha=OBEYED).clamp(0, 1)
    replaced = sees & (trust < 0.5)
    # as long as all is seen and stands still, grain is averaged out; later, what is seen would
    # drift away from what is hidden
    moved = enlarge(place.abs().amax(1, keepdim=True), seen)
    same = (
        compared
        * (1 - ramp(difference, *SAME))
        * (1 - ramp(moved, *STILL))
        * visible.amin(dim=(2, 3), keepdim=True)
    )
    colour = torch.where(replaced, now, torch.lerp(colour, now, MEAN * same))
    trust, age = torch.where(replaced, 1.0, trust), torch.where(sees, 0.0, age + 1)
    in_view = _in_view(place, half).flatten()
    contradicted = against.mean(dim=(1, 2, 3)) / compared.mean(dim=(1, 2, 3)).clamp(min=1e-6)
    return torch.cat([colour, trust, age], 1), (in_view >= IN_VIEW) & (contradicted <= WRONG)


def choose_key(
    keys: Tensor, places: Tensor, fits: Tensor, present: Tensor, half: Grid
) -> tuple[Tensor, Tensor]:
    """Keep the key in use as long as it fits, and best; else the one in reserve if that fits, else
    the present picture.

    The reserve is kept until it was idle for long, so that a view comes back to it from afar.
    """
    fits = fits.view(-1, 1, 1, 1)
    present_place = torch.zeros_like(places[:, 0])
    if keys.shape[1] == 1:
        new, place = (
            torch.where(fits, keys[:, 0], present),
            torch.where(fits, places[:, 0], present_place),
        )
        return new[:, None], place[:, None]
    (key, reserve), (place, reserve_place) = keys.unbind(1), places.unbind(1)
    in_view = _in_view(reserve_place, half) >= IN_VIEW
    empty = reserve[:, TRUST].amax(dim=(1, 2, 3), keepdim=True) < 0.5
    back = ~empty & in_view & (~fits | knows_more(keys, places, half))
    fresh = ~fits & ~back
    put_by = back | (
        fresh & (empty | (reserve_place[:, 2:].amax(dim=(1, 2, 3), keepdim=True) > IDLE))
    )
    new_keys = (
        torch.where(back, reserve, torch.where(fresh, present, key)),
        torch.where(put_by, key, reserve),
    )
    new_places = (
        torch.where(back, reserve_place, torch.where(fresh, present_place, place)),
        torch.where(put_by, place, reserve_place),
    )
    return torch.stack(new_keys, 1), torch.stack(new_places, 1)


def knows_more(keys: Tensor, places: Tensor, half: Grid) -> Tensor:
    """Whether the key in reserve, if there is one, knows clearly more of the picture than the one
    in use, (B, 1, 1, 1)."""
    if keys.shape[1] == 1:
        return torch.zeros_like(keys[:, 0, :1, :1, :1]) > 0
    first, reserve = (
        _in_view(places[:, i], half) * keys[:, i, TRUST].mean(dim=(1, 2, 3), keepdim=True)
        for i in (0, 1)
    )
    return reserve > first + BETTER


def _in_view(place: Tensor, half: Grid) -> Tensor:
    """How much of the picture lies in a key, (B, 1, 1, 1)."""
    return inside(place[:, :2] / 2, half).mean(dim=(1, 2, 3), keepdim=True)
