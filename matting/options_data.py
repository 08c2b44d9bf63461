"""The options of commands that make records. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option, parse_size
from nunif.record_options import RecordFolderOptions, RecordOptions

MIN_SIDE = 32
LAYOUTS = ("videomatte", "imagematte", "background", "coco", "spd", "youtubevis")


@dataclass(frozen=True)
class WorldOptions(RecordOptions):
    """`create_training_data.py world`."""

    dataset_dir: tuple[Path, ...] = option(
        "-i",
        "--dataset-dir",
        default=(),
        help="films without people in them: a video, a folder of numbered pictures, one picture, "
        "or a folder of such; may be given several times (default: rendered backgrounds)",
    )
    stills: bool = option(
        default=False, help="take every picture in the folders by itself, as a still that moves"
    )
    num: int = option(default=500, minimum=1, help="records in all")
    size: str = option(
        default="288x512", metavar="HxW", help="height x width of the records in pixels"
    )
    seq: int = option(default=16, minimum=1, help="frames of a record")
    people: int | None = option(
        default=None,
        minimum=0,
        maximum=2,
        help="how many are in every record (default: one in 70 %, two in 20 %, nobody in 10 %)",
    )
    shadow: bool = option(default=False, help="people cast shadows, which are a plane of their own")

    def check(self) -> None:
        super().check()
        if min(parse_size(self.size)) < MIN_SIDE:
            raise UserError(
                f"--size {self.size} is too small: give {MIN_SIDE} pixels or more for each side"
            )
        if self.stills and not self.dataset_dir:
            raise UserError("--stills needs pictures: name their folder with -i")


@dataclass(frozen=True)
class ImportOptions(RecordFolderOptions):
    """`create_training_data.py import_matte`."""

    layout: str = option(choices=LAYOUTS, help="how the dataset is laid out")
    dataset_dir: Path = option("-i", "--dataset-dir", help="the folder of the dataset")
    split: str | None = option(
        default=None, help="COCO: which part, such as train2017, where there are several"
    )
    size: int = option(
        default=512,
        minimum=MIN_SIDE,
        help="short side in pixels; larger pictures are reduced to it",
    )
    seq: int = option(
        default=50, minimum=1, help="least number of frames of a record; longer clips are divided"
    )

    def check(self) -> None:
        super().check()
        if self.split is not None and self.layout != "coco":
            raise UserError(f"--split {self.split} is for --layout coco: leave it out")


@dataclass(frozen=True)
class LabelOptions(RecordFolderOptions):
    """`create_training_data.py label_people`."""

    dataset_dir: tuple[Path, ...] = option(
        "-i",
        "--dataset-dir",
        help="films with people in them: a video, a folder of numbered pictures, or a folder of "
        "such; may be given several times",
    )
    size: int = option(
        default=512, minimum=MIN_SIDE, help="short side in pixels; larger frames are reduced to it"
    )
    seq: int = option(
        default=50, minimum=1, help="least number of frames of a record, where a shot has so many"
    )
    gate: bool = option(
        "--no-gate",
        default=True,
        help="also take frames in which nobody is seen for sure, such as torsos; cats and toys are "
        "marked as people then",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")
