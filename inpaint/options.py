"""The options of every command of the task. Nothing here imports torch."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from inpaint.depth_models import MODEL_TYPES, check_model_type
from inpaint.releases import RELEASES
from nunif.errors import UserError
from nunif.options import changed, option
from nunif.training.options import TrainerOptions

FRAMES_PER_DRAW = 12  # of a record in training
FPS_HELP = "frames per second of a folder of pictures, as 23.976 or 30000/1001 (default: 24)"
RECIPES = ("realtime_memory", "fusion")  # files of inpaint/recipes


def _deinterlace() -> bool:
    """The option of all commands that read films."""
    return option(default=False, help="make whole pictures of interlaced films, by bwdif; without it they are refused")


@dataclass(frozen=True)
class DepthOptions:
    """Which depth estimator to use; for the commands that need one."""

    model_type: str = option(default="Any_V2_S", metavar="NAME", help=f"depth estimator, one of {', '.join(MODEL_TYPES)}")
    resolution: int | None = option(default=None, minimum=14, help="short side of the depth estimator's input in pixels")
    depth_model_dir: Path | None = option(default=None, help="folder with the depth model, instead of cache and hub")
    allow_third_party_code: bool = option(
        default=False, help="load depth models that come with program code of their own (torch.hub)"
    )

    def check(self) -> None:
        check_model_type(self.model_type)


@dataclass(frozen=True)
class GenerateOptions(DepthOptions):
    """`create_training_data.py video_inpaint`."""

    dataset_dir: Path = option(
        "-i", "--dataset-dir", help="a video or a folder of numbered pictures, or a folder of such that are taken one by one"
    )
    data_dir: Path = option("-o", "--data-dir", help="the folder that gets the records, such as data/NAME/train")
    prefix: str = option(default="", help="first word of the records' names")
    depth_normalize: str = option(
        default="clip", choices=("clip", "frame"), help="scale disparity over the clip, or frame by frame as iw3 does"
    )
    max_fps: float = option(default=30.0, minimum=0.001, help="leave out frames above this rate")
    deinterlace: bool = _deinterlace()
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    seq: int = option(default=16, minimum=1, help="frames of a record")
    skip_first: int = option(default=0, minimum=0, help="frames left out at the beginning")
    skip_interval: int = option(default=16, minimum=0, help="frames left out between records")
    batch_size: int = option(default=2, minimum=1, help="frames that the depth estimator takes at once; divides --seq")
    size: int = option(default=512, minimum=64, maximum=1080, help="width and height of a record in pixels")
    num_samples: int = option(default=1, minimum=1, maximum=100, help="crops of every clip")
    divergence_level: int = option(
        default=1, minimum=1, maximum=3, help="strength of the stereo effect: 1 = 0 to 5, 2 = 3 to 8, 3 = 6 to 11"
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")
    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
    max_workers: int = option(default=max(1, (os.cpu_count() or 2) // 2), minimum=1, help="threads that make and write records")

    def check(self) -> None:
        super().check()
        if self.seq % self.batch_size:
            raise UserError(f"--batch-size {self.batch_size} does not divide --seq {self.seq}: choose a divisor of it")


EXPORT_FORMATS = ("onnx", "tensorrt", "torch-export")


def parse_formats(text: str) -> list[str]:
    """ "onnx,tensorrt" -> ["onnx", "tensorrt"].

    Raises:
        UserError: an unknown format.
    """
    formats = [word.strip() for word in text.split(",")]
    for name in formats:
        if name not in EXPORT_FORMATS:
            raise UserError(f"export format {name!r} is not known: choose from {', '.join(EXPORT_FORMATS)}")
    return formats


def parse_size(text: str) -> tuple[int, int]:
    """ "360x640" -> (360, 640), height before width as in the tensors.

    Raises:
        UserError: not two numbers of 8 or more.
    """
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and int(side) >= 8 for side in sides):
        raise UserError(f"--size {text} is no size: write height x width in pixels, such as 360x640")
    return int(sides[0]), int(sides[1])


@dataclass(frozen=True)
class FramesPreset:
    """How frames become records, and which files are looked at.

    kind: "folders" of pictures, "stills", or "videos"; None takes videos and folders. folders, pictures: regular
    expressions for the name of a folder of pictures and of its files. include: folder names, one of which must be in the
    path; exclude: words that must not. groups: so many at random of each source, None for all. max_shift in pixels of
    the result, max_brightness in per cent. layout: what is expected, for messages.
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


# which twelve of the 67 categories the published recipe took is not known: these are rooms to live and work in
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
        layout="GTA-IM: folders named by date and time with 00000.jpg, 00001.jpg, ... (depth and masks beside are left)",
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
        layout="THUMOS14: videos, those of make-up in folders or under names that say ApplyEyeMakeup or ApplyLipstick",
    ),
}


@dataclass(frozen=True)
class RecordOptions:
    """Where records go, what they are called, and what decides their bytes; for the commands that make them."""

    deinterlace: bool = _deinterlace()
    data_dir: Path = option("-o", "--data-dir", help="the folder that gets the records, such as data/NAME/train")
    prefix: str = option(default="", help="first word of the records' names")
    seed: int = option(default=71, help="of all random draws; the same seed makes the same records")
    max_workers: int = option(default=max(1, (os.cpu_count() or 2) // 2), minimum=1, help="threads that make and write records")


@dataclass(frozen=True)
class FramesOptions(RecordOptions):
    """`create_training_data.py frames`."""

    dataset_dir: Path = option(
        "-i", "--dataset-dir", help="a folder with folders of numbered pictures, or with videos; or a video"
    )
    preset: str | None = option(default=None, choices=tuple(PRESETS), help="how a public dataset is laid out and cut")
    seq: int | None = option(default=None, minimum=1, help="frames of a record (default: 16, presets 5)")
    step: int | None = option(default=None, minimum=1, help="take every N-th frame (default: 1, sun3d 3)")
    groups: int | None = option(default=None, minimum=1, help="records of a source, at random (default: all, thumos14 4)")
    skip_interval: int | None = option(default=None, minimum=0, help="frames left out between records (default: 0)")
    stills: bool = option(default=False, help="make a record of every single picture, by moving it a little")
    max_rotation: float | None = option(default=None, minimum=0, maximum=45, help="of a still, in degrees (default: 2)")
    max_shift: float | None = option(default=None, minimum=0, help="of a still, in pixels of the record (default: 10)")
    max_brightness: float | None = option(default=None, minimum=0, maximum=99, help="of a still, in per cent (default: 5)")
    include: str = option(default="", metavar="NAMES", help="only sources in folders of these names, separated by commas")
    exclude: str = option(default="", metavar="WORDS", help="no sources with these words in their path, separated by commas")
    size: str = option(default="360x640", metavar="HxW", help="height x width of the records: the middle, scaled")

    def check(self) -> None:
        parse_size(self.size)


@dataclass(frozen=True)
class ImagesOptions(RecordOptions):
    """`create_training_data.py inpaint`."""

    dataset_dir: Path = option(
        "-i", "--dataset-dir", help="a folder of pictures or videos, looked through to its depth; or one"
    )
    mask: str = option(default="rectangle=1,strokes=1,object=1", metavar="WEIGHTS", help="how often each kind of hole is made")
    size: int = option(default=512, minimum=64, maximum=4096, help="width and height of a record in pixels")
    num_samples: int = option(default=1, minimum=1, maximum=100, help="crops of every picture")
    every: float = option(default=1.0, minimum=0.01, help="seconds between the frames that are taken of a video")

    def check(self) -> None:
        if OCCLUSION in parse_masks(self.mask):
            raise UserError(f"--mask {self.mask}: pictures have no {OCCLUSION}: choose from {', '.join(MADE_MASKS)}")


PICTURE_LOSSES = ("l1", "charbonnier", "psnr")
MOTION_LOSSES = ("temporal", "smooth", "warp")  # before the picture loss
DETAIL_LOSSES = ("dct", "fft", "lpips", "lite", "timm")  # behind it


def parse_loss(name: str) -> list[str]:
    """The terms of a loss: "temporal_l1dctlpips" -> ["temporal", "l1", "dct", "lpips"]. Names as in nagadomi/nunif.

    Raises:
        UserError: another name.
    """
    before, picture, behind = ("|".join(words) for words in (MOTION_LOSSES, PICTURE_LOSSES, DETAIL_LOSSES))
    match = re.fullmatch(f"((?:(?:{before})_)*)({picture})((?:{behind})*)", name)
    terms = match and [*re.findall(before, match[1]), match[2], *re.findall(behind, match[3])]
    if not terms or len(set(terms)) < len(terms):
        raise UserError(
            f"--loss {name} is not known: write any of {', '.join(f'{word}_' for word in MOTION_LOSSES)}, then "
            f"one of {', '.join(PICTURE_LOSSES)}, then any of {', '.join(DETAIL_LOSSES)}, each once, such as temporal_l1dct"
        )
    return terms


OCCLUSION = "occlusion"  # the holes that records bring along
MADE_MASKS = ("rectangle", "strokes", "object", "strips")  # inpaint.hole_shapes.SHAPES, without its cv2
MASK_KINDS = (OCCLUSION, *MADE_MASKS)


def parse_masks(text: str) -> dict[str, float]:
    """ "occlusion=2,object=1" -> {"occlusion": 2.0, "object": 1.0}; a name alone weighs 1.

    Raises:
        UserError: an unknown kind, a weight that is no number, or nothing but zeros.
    """
    masks = {}
    for word in text.split(","):
        name, _, weight = (part.strip() for part in word.partition("="))
        if name not in MASK_KINDS:
            raise UserError(f"--mask {text}: {name!r} is not known: choose from {', '.join(MASK_KINDS)}")
        try:
            masks[name] = float(weight or 1)
        except ValueError:
            raise UserError(f"--mask {text}: {weight!r} is no number: write {name}=1") from None
    if not all(0 <= weight < float("inf") for weight in masks.values()) or not any(masks.values()):
        raise UserError(f"--mask {text}: weights are 0 or more, and not all 0")
    return masks


def parse_tile(text: str) -> tuple[int, int]:
    """ "256" -> (256, 256), "360x640" -> (360, 640), height before width.

    Raises:
        UserError: not one or two numbers of 32 or more.
    """
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.isascii() and side.isdigit() and int(side) >= 32 for side in sides):
        raise UserError(f"--tile-size {text} is no size: write one number, or height x width such as 360x640, from 32 on")
    return int(sides[0]), int(sides[-1])


def parse_brightness(text: str) -> tuple[float, float]:
    """ "0.25,1.15" -> (0.25, 1.15).

    Raises:
        UserError: not two numbers in order, above 0 and up to 4.
    """
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low, high = -1.0, -1.0
    if not 0 < low <= high <= 4:
        raise UserError(f"--brightness {text}: give two factors in order, above 0 and up to 4, such as 0.25,1.15")
    return low, high


@dataclass(frozen=True)
class TrainOptions(TrainerOptions):
    """`train.py inpaint`."""

    UNREMARKABLE = TrainerOptions.UNREMARKABLE | {
        "arch", "export", "curriculum", "compile", "activation_checkpointing",
    }  # fmt: skip

    data_dir: Path | None = option(
        "-i", "--data-dir", default=None, help="the dataset: a folder with train/ and eval/ (or --curriculum names them)"
    )
    curriculum: str | None = option(
        default=None,
        metavar="FILE",
        help="train in the stages of this YAML file, or of a recipe that comes along: " + ", ".join(RECIPES),
    )
    video: bool = option(default=False, help="train on clips; without it on single pictures")
    arch: str | None = option(
        default=None, help="the model (default: that of --checkpoint-file, else of --curriculum, else memory_dstt_v1)"
    )
    checkpoint_file: str | None = option(
        default=None,
        metavar="FILE",
        help="start from these weights: a model file, its http(s) address, or a known release: " + ", ".join(RELEASES),
    )
    mask: str = option(
        default=OCCLUSION,
        metavar="WEIGHTS",
        help="holes to train on, as occlusion=2,object=1: how often those of the records (occlusion), and made-up ones: "
        + ", ".join(MADE_MASKS),
    )
    loss: str = option(
        default="temporal_l1",
        metavar="NAME",
        help="what is made small: any of temporal_, smooth_, warp_, then l1, charbonnier or psnr, then any of dct, fft, lpips, "
        "lite, timm (warp_ takes optical flow on the CPU; lpips and timm need weights that are downloaded, lite only packages)",
    )
    discriminator: str | None = option(
        default=None, choices=("t_patch_gan",), help="train against a discriminator of this kind"
    )
    discriminator_weight: float = option(
        default=0.1, minimum=0, help="its share: the strength of its gradient at the last layer beside that of the loss"
    )
    generator_warmup_iteration: int = option(
        default=500, minimum=0, help="training batches before the discriminator begins to take part"
    )
    clip_length: int | None = option(
        default=None, minimum=1, help=f"frames of a training clip (default: the model's, {FRAMES_PER_DRAW} for most)"
    )
    stream_length: int | None = option(
        default=None,
        minimum=1,
        help="frames of the stream that a training clip is the end of: what comes before it only fills the memory, so that "
        "long memories are trained at the cost of short clips (default: that of the clip)",
    )
    tile_size: str = option(
        default="256", metavar="N or HxW", help="size of the training tiles in pixels: one number, or height x width"
    )
    brightness: str = option(
        default="1,1",
        metavar="LOW,HIGH",
        help="each training clip gets a brightness drawn between these factors, as 0.25,1.15: so that models are as good "
        "in the dark",
    )
    batch_size: int = option(default=1, minimum=1, help="clips, or without --video pictures, per forward pass")
    num_samples: int | None = option(
        default=20000, minimum=1, help="frames drawn per epoch; a record counts as those that are used of it"
    )
    compile: bool = option(default=False, help="torch.compile the model: minutes at the start, faster steps afterwards")
    activation_checkpointing: bool = option(
        default=False, help="compute parts of the model again in the backward pass: much less GPU memory, a third slower"
    )
    export: str | None = option(
        default=None, metavar="NAMES", help=f"at the end, write the best model as {','.join(EXPORT_FORMATS)} or some of them"
    )

    def check(self) -> None:
        super().check()
        parse_masks(self.mask)
        parse_loss(self.loss)
        parse_tile(self.tile_size)
        parse_brightness(self.brightness)
        if self.clip_length not in (None, 1) and not self.video:
            raise UserError(f"--clip-length {self.clip_length} is for --video: add it, single pictures have no length")
        if self.stream_length is not None and not self.video:
            raise UserError(f"--stream-length {self.stream_length} is for --video: add it, single pictures have no length")
        if self.data_dir is None and self.curriculum is None:
            raise UserError("-i is missing: give the folder that holds train/ and eval/")
        if self.curriculum is not None and self.reset_state:
            raise UserError("--reset-state does not go with --curriculum: give --checkpoint-file to start from weights")
        if self.export is not None:
            parse_formats(self.export)

    def no_effect(self, *, on_cpu: bool | None = None) -> list[str]:
        lines = super().no_effect(on_cpu=on_cpu)
        if self.discriminator is None:
            given = [flag for flag in ("--discriminator-weight", "--generator-warmup-iteration") if flag in changed(self)]
            lines += [f"{flag} has no effect without --discriminator" for flag in given]
        return lines

    @property
    def frames_per_draw(self) -> int:
        """Frames that are used of a record at a time."""
        return self.clip_length or (FRAMES_PER_DRAW if self.video else 1)

    def draws_per_epoch(self, num_train_samples: int) -> int:
        """Records drawn per epoch: as nunif counts, --num-samples is in frames."""
        return max(1, (self.num_samples or 0) // self.frames_per_draw)


LOOK_AHEAD = 8  # frames that films are filled from behind a hole; docs/ablation.md tells why
SHOT = "shot"


def parse_objects(text: str | None) -> tuple[int, ...]:
    """ "1,8" -> (1, 8); None -> (), which is all.

    Raises:
        UserError: something that is no number of an object.
    """
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) < 65536 for word in words):
        raise UserError(f"--objects {text}: give the numbers of objects in the masks, such as 1,8")
    return tuple(dict.fromkeys(int(word) for word in words))


@dataclass(frozen=True)
class MaskOptions:
    """How masks are read; for the commands that take them."""

    objects: str | None = option(
        default=None,
        metavar="NUMBERS",
        help="of masks that number objects, as the palettes of DAVIS and VOC do: which are missing, as 1,8 "
        "(default: all but 0 and 255)",
    )
    large_holes: bool = option(
        default=False, help="masks that mark nearly the whole picture are meant so, and not by a mistake"
    )

    def check(self) -> None:
        parse_objects(self.objects)


def parse_look_ahead(text: str, *, shots: bool) -> int | str:
    """ "8" -> 8, "shot" -> "shot" where that can be had.

    Raises:
        UserError: neither.
    """
    if text == SHOT and shots:
        return SHOT
    if not (text.isascii() and text.isdigit() and int(text) <= 999):
        raise UserError(f"--look-ahead {text}: give a number of frames up to 999" + (f", or {SHOT}" if shots else ""))
    return int(text)


CAUSAL_BASELINES = ("telea", "navier-stokes", "smooth", "surround-mean", "previous-frame", "flow-propagation")
BASELINES = (*CAUSAL_BASELINES, "flow-propagation-both")
ZERO_MEMORY, UNTRAINED = "zero-memory", "untrained"
LONG = "long"  # the family that shows how a memory ages
HOLE_FAMILIES = ("static", "moving", "occlusion", LONG)


def parse_names(flag: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """ "static,moving" -> ("static", "moving"); "none" alone is no name.

    Raises:
        UserError: a name that is not in `known`.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(","))) if text != "none" else ()
    for name in names:
        if name not in known:
            raise UserError(f"{flag} {text}: {name!r} is not known: choose from {', '.join(known)}")
    return names


@dataclass(frozen=True)
class EvaluateOptions(MaskOptions):
    """`python -m inpaint evaluate`."""

    data_dir: Path = option("-i", "--data-dir", help="films or folders of pictures, one of them or a folder; or of records")
    model: tuple[str, ...] = option(
        "-m",
        "--model",
        default=(),
        metavar="MODEL",
        help="what is judged, may be given several times: a model file, .onnx or .engine; zero-memory (the first of them, "
        "its memory emptied before every frame); untrained (the first of them with fresh weights); " + ", ".join(BASELINES),
    )
    look_ahead: str = option(
        default="0",
        metavar="LIST",
        help="each model file is judged once looking so many frames ahead, as 0,8,shot: see apply",
    )
    baselines: str = option(
        default=",".join(CAUSAL_BASELINES),
        metavar="NAMES",
        help="what needs no training and runs beside it, or none; the default's are causal, flow-propagation-both is not",
    )
    masks: Path | None = option(
        default=None, metavar="DIR", help="masks of the films, by their names: a video, a folder of pictures, or one picture"
    )
    holes: str = option(
        default="static,moving,occlusion",
        metavar="NAMES",
        help=f"without --masks: holes that are made up, any of {', '.join(HOLE_FAMILIES)}; {LONG} is for 120 --frames or more",
    )
    size: str | None = option(default=None, metavar="HxW", help="scale the films, 240x432 in papers (default: their own size)")
    frames: int = option(default=40, minimum=2, help="of a film, at most")
    deinterlace: bool = _deinterlace()
    start: int = option(default=0, minimum=0, help="the first frame that is used of a film")
    seed: int = option(default=71, help="of the holes")
    output: Path | None = option("-o", "--output", default=None, help="folder for report.html, CSV, JSON, and pictures")
    tile_size: int = option(default=256, minimum=32, help="of records: width and height of the evaluated tiles in pixels")
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")

    def check(self) -> None:
        super().check()
        parse_names("--baselines", self.baselines, BASELINES)
        parse_names("--holes", self.holes, HOLE_FAMILIES)
        if self.size is not None:
            parse_size(self.size)
        for word in (ZERO_MEMORY, UNTRAINED):
            if word in self.model and not self.model_files:
                raise UserError(f"-m {word} needs the model that it is made of: add -m FILE")
        for word in self.look_ahead.split(","):
            parse_look_ahead(word, shots=True)

    @property
    def model_files(self) -> list[Path]:
        """What of --model is a file and no name."""
        return [Path(name) for name in self.model if name not in (*BASELINES, ZERO_MEMORY, UNTRAINED)]


FILE_LAYOUTS = ("nunif", "state-dict", "safetensors")  # nunif.models.checkpoint.LAYOUTS, without its torch


def full_name(arch: str) -> str:
    """ "memory_dstt_v1" -> "inpaint.memory_dstt_v1"; full names stay as they are."""
    return arch if arch.startswith("inpaint.") else f"inpaint.{arch}"


@dataclass(frozen=True)
class CheckpointOptions:
    """`python -m inpaint checkpoint`."""

    model: Path = option("FILE", help="the file to look into")
    output: Path | None = option("-o", "--output", default=None, metavar="FILE", help="write its model to this file")
    to: str | None = option(
        default=None,
        choices=FILE_LAYOUTS,
        help="layout of that file (default: safetensors for a name that ends so, else nunif, which is ours)",
    )
    arch: str | None = option(default=None, help="the model, where the file holds only tensors and does not tell")

    def check(self) -> None:
        for flag, value in (("--to", self.to), ("--arch", self.arch)):
            if value is not None and self.output is None:
                raise UserError(f"{flag} is for the file that -o writes: add -o FILE or leave it out")


@dataclass(frozen=True)
class FilmOptions:
    """A film in, a film out, and the model between; for the commands that run one."""

    input: Path = option("-i", "--input", help="the film: a video, or a folder of numbered pictures")
    output: Path = option("-o", "--output", help="the video to be written; a name without suffix is a folder of PNGs")
    model: Path = option("-m", "--model", help="model file (.pth), or an .onnx or .engine made by export")
    max_width: int | None = option(
        default=None, minimum=8, help="compute wider films at this width; only the holes are taken from the result"
    )
    precision: str | None = option(
        default=None, choices=("fp32", "fp16", "bf16"), help="what a model file computes in (default: fp32)"
    )
    compile: bool = option(default=False, help="torch.compile the model: minutes at the start, faster afterwards")
    codec: str | None = option(default=None, help="libav's name of the encoder (default: by the suffix, libx264 for .mp4)")
    quality: int | None = option(default=None, minimum=0, maximum=63, help="CRF of the encoder, lower is better")
    pixel_format: str | None = option(default=None, help="such as yuv420p10le (default: the film's, if the encoder has it)")
    fps: str | None = option(default=None, metavar="RATE", help=FPS_HELP)
    extras: bool = option("--no-extras", default=True, help="leave out the film's subtitles, chapters, tags and attachments")
    deinterlace: bool = _deinterlace()
    gpu: int = option(default=0, minimum=-1, help="number of the GPU, -1 for the CPU")


@dataclass(frozen=True)
class ApplyOptions(MaskOptions, FilmOptions):
    """`python -m inpaint apply`."""

    mask: Path = option(help="what is missing, in white: a video, a folder of numbered pictures, or one picture for all frames")
    dilate: int = option(default=0, minimum=0, help="pixels by which the holes grow; 4 is usual for masks of objects")
    invert_mask: bool = option(default=False, help="black is missing")
    find_cuts: bool = option("--no-cuts", default=True, help="keep the memory across cuts instead of starting afresh there")
    compare: bool = option(default=False, help="write NAME.compare too: the film with its holes painted, the result beside it")
    look_ahead: str | None = option(
        default=None,
        metavar=f"N or {SHOT}",
        help="frames that are read ahead, so that a hole is filled from what is seen after it too; 0 is how a live stream is "
        f"filled; {SHOT}: go through each shot first, for what is seen long before or after a hole that stays "
        f"(default: {LOOK_AHEAD}; engines 0)",
    )

    def check(self) -> None:
        super().check()
        if self.look_ahead is not None:
            parse_look_ahead(self.look_ahead, shots=True)


VIEWS = ("right", "left", "both")
LAYOUTS = ("sbs", "half-sbs", "tb", "half-tb", "anaglyph")


@dataclass(frozen=True)
class StereoOptions(DepthOptions, FilmOptions):
    """`python -m inpaint stereo`."""

    layout: str = option(
        default="sbs", choices=LAYOUTS, help="side by side, top and bottom, each full or half, or red-cyan anaglyph"
    )
    view: str = option(default="right", choices=VIEWS, help="the eye that is made; the film is the other's, or in the middle")
    divergence: float = option(
        default=2.0, minimum=0, maximum=20, help="strength: how far apart the eyes see what is nearest, in percent of the width"
    )
    convergence: float = option(
        default=0.5, minimum=0, maximum=1, help="what lies on the screen: 0 the farthest, 1 the nearest thing"
    )
    edge_dilation: int = option(default=2, minimum=0, maximum=16, help="pixels of the depth map by which near things grow")
    dilate: int = option(default=2, minimum=0, maximum=64, help="pixels by which holes grow away from near things")
    batch_size: int = option(default=2, minimum=1, help="frames that the depth estimator takes at once")
    look_ahead: int | None = option(
        default=None,
        minimum=0,
        maximum=999,
        help="frames that are read ahead, so that a hole is filled from what is seen after it too "
        f"(default: {LOOK_AHEAD}; engines 0)",
    )


@dataclass(frozen=True)
class ExportOptions:
    """`python -m inpaint export`."""

    model: Path = option("-m", "--model", help="model file (.pth)")
    output: Path = option("-o", "--output", metavar="DIR", help="folder for the files and their manifest.json")
    format: str = option(default="onnx", metavar="NAMES", help=f"what to write: {','.join(EXPORT_FORMATS)} or some of them")
    size: str = option(default="360x640", metavar="HxW", help="height x width of the frames in pixels")
    precision: str = option(default="fp32", choices=("fp32", "fp16"), help="what is computed in; the tensors stay float32")
    dynamic: bool = option(default=False, help="an ONNX file for any height and width")
    clip: Path | None = option(default=None, metavar="VIDEO", help="compare on this video (default: a rendered clip)")
    frames: int = option(default=12, minimum=12, help="frames that are compared, the memory carried")
    compute_capability: str | None = option(
        default=None,
        metavar="LIST",
        help="GPUs that a TensorRT-RTX engine is for, as 8.6,8.9 (default: this one, else 8.0 to 12.0)",
    )
    gpu: int = option(default=0, minimum=-1, help="number of the GPU for the comparison, -1 for the CPU")

    def check(self) -> None:
        formats = parse_formats(self.format)
        parse_size(self.size)
        if self.compute_capability is not None and "tensorrt" not in formats:
            raise UserError("--compute-capability is for --format tensorrt: add it or leave the option out")


@dataclass(frozen=True)
class ContactSheetOptions:
    """`python -m inpaint contact-sheet`."""

    data_dir: Path = option("-i", "--data-dir", help="a folder of records")
    output: Path = option("-o", "--output", help="the picture to be written (.png)")
    max_records: int = option(default=16, minimum=1, help="records on the sheet, spread evenly over the folder")


@dataclass(frozen=True)
class SampleVideoOptions:
    """`python -m inpaint sample-video`."""

    output: Path = option("-o", "--output", help="the video to be written (.mp4)")
    width: int = option(default=1920, minimum=64, help="pixels")
    height: int = option(default=1080, minimum=64, help="pixels")
    frames: int = option(default=160, minimum=1, help="length; at 30 frames per second")
    seed: int = option(default=71, help="of the scene")


@dataclass(frozen=True)
class DemoOptions:
    """`python -m inpaint demo`."""

    video: Path | None = option(default=None, help="your own video (default: a rendered sample clip)")
    output: Path = option("-o", "--output", default=Path("demo"), help="folder for all that the demo makes")
