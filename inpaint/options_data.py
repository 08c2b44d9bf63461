"""The options of commands that make records or look at them. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from inpaint.options_holes import MADE_MASKS, OCCLUSION, parse_masks
from nunif.errors import UserError
from nunif.options import option, parse_size
from nunif.record_options import RecordOptions
from nunif.video.options import FPS_HELP
from scene.depth_options import DepthOptions


def dataset_option(help: str) -> Path:
    """The option of all commands that make records."""
    return option("-i", "--dataset-dir", help=help)


@dataclass(frozen=True)
class GenerateOptions(DepthOptions, RecordOptions):
    """`create_training_data.py video_inpaint`."""

    dataset_dir: Path = dataset_option(
        "a video or a folder of numbered pictures, or a folder of such that are taken one by one"
    )
    depth_normalize: str = option(
        default="clip",
        choices=("clip", "frame"),
        help="scale disparity over the clip, or frame by frame as iw3 does",
    )
    max_fps: float = option(default=30.0, minimum=0.001, help="leave out frames above this rate")
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    seq: int = option(default=16, minimum=1, help="frames of a record")
    skip_first: int = option(default=0, minimum=0, help="frames left out at the beginning")
    skip_interval: int = option(default=16, minimum=0, help="frames left out between records")
    batch_size: int = option(
        default=2, minimum=1, help="frames that the depth estimator takes at once; divides --seq"
    )
    size: int = option(
        default=512, minimum=64, maximum=1080, help="width and height of a record in pixels"
    )
    num_samples: int = option(default=1, minimum=1, maximum=100, help="crops of every clip")
    divergence_level: int = option(
        default=1,
        minimum=1,
        maximum=3,
        help="strength of the stereo effect: 1 = 0 to 5, 2 = 3 to 8, 3 = 6 to 11",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        super().check()
        RecordOptions.check(self)
        if self.seq % self.batch_size:
            raise UserError(
                f"--batch-size {self.batch_size} does not divide --seq {self.seq}: choose a "
                "divisor of it"
            )


@dataclass(frozen=True)
class FramesPreset:
    """How frames become records, and which files are looked at.

    kind: "folders" of pictures, "stills", or "videos"; None takes videos and folders. folders,
        pictures: regular
    expressions for the name of a folder of pictures and of its files. include: folder names, one of
    which must be in the path; exclude: words that must not. groups: so many at random of each
    source, None for all. max_shift in pixels of the result, max_brightness in per cent. layout:
    what is expected, for messages.
    """

    kind: str | None = None
    folders: str = r".*"
    pictures: str = r".*"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seq: int = 16
    step: int = 1
    groups: int | None = None
    skip_interval: int = 0
    max_rotation: float = 2.0
    max_shift: float = 10.0
    max_brightness: float = 5.0
    layout: str = ""


# which twelve of the 67 categories the published recipe took is not known: these are rooms to live
# and work in
ROOMS = (
    "bathroom", "bedroom", "children_room", "classroom", "closet", "corridor",
    "dining_room", "kitchen", "livingroom", "lobby", "meeting_room", "office",
)  # fmt: skip


PRESETS = {
    "gta_im": FramesPreset(
        kind="folders",
        folders=r"\d{4}-\d{2}-\d{2}.*",
        pictures=r"\d+\.jpe?g",
        seq=5,
        layout=(
            "GTA-IM: folders named by date and time with 00000.jpg, 00001.jpg, ... (depth and "
            "masks beside are left)"
        ),
    ),
    "mit_indoor": FramesPreset(
        kind="stills",
        pictures=r".*\.jpe?g",
        include=ROOMS,
        seq=5,
        layout="MIT Indoor Scenes: Images/CATEGORY/*.jpg, of the categories " + ", ".join(ROOMS),
    ),
    "sun3d": FramesPreset(
        kind="folders",
        folders="image",
        pictures=r".*\.(jpe?g|png)",
        seq=5,
        step=3,
        layout="SUN3D: PLACE/SEQUENCE/image/*.jpg (depth/ beside is left)",
    ),
    "thumos14": FramesPreset(
        kind="videos",
        exclude=("ApplyEyeMakeup", "ApplyLipstick"),
        seq=5,
        groups=4,
        layout=(
            "THUMOS14: videos, those of make-up in folders or under names that say "
            "ApplyEyeMakeup or ApplyLipstick"
        ),
    ),
}


@dataclass(frozen=True)
class FramesOptions(RecordOptions):
    """`create_training_data.py frames`."""

    dataset_dir: Path = dataset_option(
        "a folder with folders of numbered pictures, or with videos; or a video"
    )
    preset: str | None = option(
        default=None, choices=tuple(PRESETS), help="how a public dataset is laid out and cut"
    )
    seq: int | None = option(
        default=None, minimum=1, help="frames of a record (default: 16, presets 5)"
    )
    step: int | None = option(
        default=None, minimum=1, help="take every N-th frame (default: 1, sun3d 3)"
    )
    groups: int | None = option(
        default=None, minimum=1, help="records of a source, at random (default: all, thumos14 4)"
    )
    skip_interval: int | None = option(
        default=None, minimum=0, help="frames left out between records (default: 0)"
    )
    stills: bool = option(
        default=False, help="make a record of every single picture, by moving it a little"
    )
    max_rotation: float | None = option(
        default=None, minimum=0, maximum=45, help="of a still, in degrees (default: 2)"
    )
    max_shift: float | None = option(
        default=None, minimum=0, help="of a still, in pixels of the record (default: 10)"
    )
    max_brightness: float | None = option(
        default=None, minimum=0, maximum=99, help="of a still, in per cent (default: 5)"
    )
    include: str = option(
        default="",
        metavar="NAMES",
        help="only sources in folders of these names, separated by commas",
    )
    exclude: str = option(
        default="",
        metavar="WORDS",
        help="no sources with these words in their path, separated by commas",
    )
    size: str = option(
        default="360x640", metavar="HxW", help="height x width of the records: the middle, scaled"
    )

    def check(self) -> None:
        super().check()
        parse_size(self.size)


@dataclass(frozen=True)
class ImagesOptions(RecordOptions):
    """`create_training_data.py inpaint`."""

    dataset_dir: Path = dataset_option(
        "a folder of pictures or videos, looked through to its depth; or one"
    )
    mask: str = option(
        default="rectangle=1,strokes=1,object=1",
        metavar="WEIGHTS",
        help="how often each kind of hole is made",
    )
    size: int = option(
        default=512, minimum=64, maximum=4096, help="width and height of a record in pixels"
    )
    num_samples: int = option(default=1, minimum=1, maximum=100, help="crops of every picture")
    every: float = option(
        default=1.0, minimum=0.01, help="seconds between the frames that are taken of a video"
    )

    def check(self) -> None:
        super().check()
        if OCCLUSION in parse_masks(self.mask):
            raise UserError(
                f"--mask {self.mask}: pictures have no {OCCLUSION}: choose from "
                f"{', '.join(MADE_MASKS)}"
            )


@dataclass(frozen=True)
class ContactSheetOptions:
    """`python -m inpaint contact-sheet`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of records")
    output: Path = option("-o", "--output", help="the picture to be written (.png)")
    max_records: int = option(
        default=16, minimum=1, help="records on the sheet, spread evenly over the folder"
    )


@dataclass(frozen=True)
class SampleVideoOptions:
    """`python -m inpaint sample-video`."""

    output: Path = option("-o", "--output", help="the video to be written (.mp4)")
    width: int = option(default=1920, minimum=64, help="pixels")
    height: int = option(default=1080, minimum=64, help="pixels")
    frames: int = option(default=160, minimum=1, help="length; at 30 frames per second")
    seed: int = option(default=71, help="of the scene")
