"""The options of `create_training_data.py layers`. Nothing here imports torch."""

from dataclasses import dataclass, fields
from pathlib import Path

from layers.options_remove import filler_option
from layers.options_split import DEPTH, SplitOptions
from nunif.options import option
from nunif.record_options import RecordFolderOptions
from nunif.runtime.options import MaskOptions
from scene.depth_options import DepthOptions

MIN_SIDE = 32


@dataclass(frozen=True)
class LayerRecordOptions(RecordFolderOptions, DepthOptions, MaskOptions):
    """`create_training_data.py layers`."""

    dataset_dir: tuple[Path, ...] = option(
        "-i",
        "--dataset-dir",
        help="films with people in them: a video, a folder of numbered pictures, or a folder of "
        "such; may be given several times",
    )
    masks: Path | None = option(
        default=None,
        metavar="PATH",
        help="who is cut out, in white, greys are half transparent: of one film a video, a folder "
        "of numbered pictures, or one picture; of several, or a folder of films, a folder with "
        "masks of each, by its name",
    )
    matting: Path | None = option(
        default=None,
        metavar="MODEL",
        help="a matting model (.pth) that cuts out (default: the person finder that comes along, "
        "whose edges are soft and wide)",
    )
    occluders: str | None = option(
        default=None,
        metavar=f"PATH|{DEPTH}",
        help=f"what stands before the people: masks as --masks, or {DEPTH}: what is nearer where "
        "it meets them (default: nothing)",
    )
    model: Path | None = filler_option()
    gate: bool = option(
        "--no-gate",
        default=True,
        help="find people too where no head is seen: cats, teddies and cups are taken for people "
        "then",
    )
    size: int = option(
        default=512, minimum=MIN_SIDE, help="short side in pixels; larger frames are reduced to it"
    )
    seq: int = option(
        default=16, minimum=1, help="least number of frames of a record, where a shot has so many"
    )
    look_ahead: int | None = option(
        default=None,
        minimum=0,
        maximum=999,
        help="frames that are read ahead, so that the scene is filled from what is seen later too "
        "(default: 8; engines 0)",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        RecordFolderOptions.check(self)
        for film in self.dataset_dir:
            self.split(film, self.masks, self.occluders).check()

    def split(self, film: Path, masks: Path | None, occluders: str | None) -> SplitOptions:
        """How one film is taken apart."""
        own = {field.name for field in fields(self)}
        shared = [field.name for field in fields(SplitOptions) if field.name in own]
        values = {name: getattr(self, name) for name in shared}
        values |= {"masks": masks, "occluders": occluders}
        return SplitOptions(input=film, output=self.data_dir, **values)
