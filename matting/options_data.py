"""The options of commands that make records. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option, parse_size
from nunif.record_options import RecordOptions

MIN_SIDE = 32


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
        help="in every record (default: one in 70 %, two in 20 %, nobody in 10 %)",
    )
    shadow: bool = option(default=False, help="people cast shadows, which are a plane of their own")

    def check(self) -> None:
        if min(parse_size(self.size)) < MIN_SIDE:
            raise UserError(
                f"--size {self.size} is too small: give {MIN_SIDE} pixels or more for each side"
            )
        if self.stills and not self.dataset_dir:
            raise UserError("--stills needs pictures: name their folder with -i")
