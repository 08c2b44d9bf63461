"""The person finder as an engine for frames of one size: ONNX, TensorRT, TorchScript, torch.export.

    src      (1, 3, H, W) float32, RGB in [0, 1]
    -> people (1, 1, H, W) float32 in [0, 1], how probable a person is

It has no state. What is resized inside is multiplied by matrices, which every engine does alike.

Axes: N squares, S pixels of their sides, H W pixels of the frame.
"""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matting.export import render_pictures
from matting.models.person_finder import SIDE, PersonFinder
from matting.runtime.person_finder import (
    RELEASED,
    load_finder,
    places_of_squares,
    weights_of_square,
)
from nunif.files import make_folder
from nunif.models.contract import HEIGHT, WIDTH, Contract
from nunif.runtime.engines import EngineKind
from nunif.runtime.export import Wishes, about_model, export_step
from nunif.runtime.parity import read_pictures

logger = logging.getLogger(__name__)

FRAME, PEOPLE = "src", "people"
ENGINES = EngineKind(
    title="person finding",
    names=(((FRAME,), (PEOPLE,)),),
    wanted="src",
    command="python -m layers export",
)
# what the manifest says of the tensors, besides their shapes
WORDS = {
    "value_range": "RGB in [0, 1], an 8-bit value x is x / 255: of the frame, brought to this size "
    "by averaging areas; people: from 0 to 1, a finder of holes and no matte",
}


class FinderStep(nn.Module):
    """`find_people` for single frames of one size. src -> people."""

    contract = Contract({FRAME: (1, 3, HEIGHT, WIDTH)}, {PEOPLE: (1, 1, HEIGHT, WIDTH)})

    def __init__(self, finder: PersonFinder, size: tuple[int, int]) -> None:
        """size: (H, W)."""
        super().__init__()
        # not in the layout that torch likes best, which programs of others don't know
        self.finder = finder.to(memory_format=torch.contiguous_format)
        self._axis = 2 if size[0] > size[1] else 3
        self._side, self._length = min(size), max(size)
        self._starts = places_of_squares(self._side, self._length)
        shares = weights_of_square(self._side, self._axis)
        total = torch.zeros(1, 1, *size)
        for start in self._starts:
            total.narrow(self._axis, start, self._side).add_(shares)
        self.register_buffer("into", resizing(self._side, SIDE))
        self.register_buffer("back", resizing(SIDE, self._side))
        # what each square counts at each place, 1 together
        parts = [shares / total.narrow(self._axis, s, self._side) for s in self._starts]
        self.register_buffer("shares", torch.cat(parts))

    into: Tensor
    back: Tensor
    shares: Tensor

    def forward(self, src: Tensor) -> Tensor:
        """(1, 3, H, W) -> (1, 1, H, W)."""
        frame = src.to(self.into.dtype)
        squares = torch.cat([frame.narrow(self._axis, s, self._side) for s in self._starts])
        people = self.finder(self.into @ squares @ self.into.T)  # (N, 1, SIDE, SIDE)
        people = (self.back @ people @ self.back.T) * self.shares  # (N, 1, S, S)
        whole = torch.zeros_like(frame[:, :1])
        for start, part in zip(self._starts, people.split(1)):
            end = self._length - start - self._side
            pads = (start, end) if self._axis == 3 else (0, 0, start, end)
            whole = whole + F.pad(part, pads)
        return whole.clamp(0, 1).float()


def resizing(length: int, new: int) -> Tensor:
    """(new, length): the matrix by which `find_people` resizes each side of a square."""
    rows = torch.eye(length)[None, None]
    resized = F.interpolate(
        rows, (length, new), mode="bilinear", align_corners=False, antialias=new < length
    )
    return resized[0, 0].T.contiguous()


def export_finder(
    folder: Path, wishes: Wishes, *, clip: Path | None = None, num_frames: int = 12
) -> list[Path]:
    """Write the finder in every format, checked, and enter each file in the folder's manifest.json.

    Args:
        wishes: of which `size` is what the finder sees.
        clip: a video to compare on; None renders a person who walks.
    Returns: the files written.
    Raises:
        UserError: a format can't hold the network, the clip is too short, or a file computes
            something else than the network.
    """
    finder = PersonFinder()
    finder.load_state_dict(load_finder().state_dict())  # that one is everybody's
    make_folder(folder)
    pictures = (
        render_pictures(wishes.size, num_frames)
        if clip is None
        else read_pictures(clip, wishes.size, num_frames)
    )
    frames = [torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in pictures]
    return export_step(
        FinderStep(finder.eval(), wishes.size),
        frames,
        folder,
        wishes,
        name="person_finder_v1",
        kind=ENGINES,
        clip=clip.name if clip else "rendered",
        about=about_model(load_finder(), RELEASED),
        words=WORDS,
    )
