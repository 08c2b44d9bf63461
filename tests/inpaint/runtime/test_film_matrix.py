"""Films of every kind to files of every kind, through `apply` and `stereo`: what a film has, its
copy has, or a line says so.

What a file holds is read here with libav alone. By default some of the matrix is run: all of it
with FILM_MATRIX=1.

Axes: H W pixels, 3 = R G B.
"""

import functools
import os
import random
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from inpaint.commands import INPAINT
from nunif import cli
from nunif.models import create_model, save_model
from tests import videos
from tests.videos import DISPLAY_MATRICES, write_clip

T, FPS = 9, 25
MS = Fraction(1, 1000)
UNEVEN = [0, 40, 80, 130, 170, 250, 290, 330, 370]

# coder and pixel format, by the containers that take them
_WEB = [("libvpx-vp9", "yuv420p"), ("libvpx-vp9", "yuva420p"), ("libvpx", "yuv420p")]
_H264 = [("libx264", "yuv420p"), ("libx264", "yuv444p"), ("libx264", "yuv420p10le")]
_OTHERS = [("libx265", "yuv420p10le"), ("mpeg4", "yuv420p")]
_PRORES = [("prores_ks", "yuv422p10le"), ("prores_ks", "yuva444p10le")]
_EDIT = [("qtrle", "rgb24"), ("png", "rgba"), ("mjpeg", "yuvj422p")]
_LOSSLESS = [("ffv1", "yuv422p10le"), ("ffv1", "gbrp10le"), ("ffv1", "gray"), ("ffv1", "bgra")]
PICTURES = {
    ".mp4": [
        *_H264,
        *_OTHERS,
        ("libx264", "yuvj420p"),
        ("libvpx-vp9", "yuv420p"),
        ("libsvtav1", "yuv420p10le"),
    ],
    ".mov": [*_H264, *_OTHERS, *_PRORES, *_EDIT],
    ".mkv": [
        *_H264,
        *_OTHERS,
        *_PRORES,
        *_WEB,
        *_LOSSLESS,
        ("mjpeg", "yuvj420p"),
        ("libsvtav1", "yuv420p"),
    ],
    ".webm": [*_WEB, ("libsvtav1", "yuv420p")],
    ".ts": [*_H264, ("libx265", "yuv420p10le"), ("mpeg2video", "yuv420p")],
    ".avi": [("libx264", "yuv420p"), ("mpeg4", "yuv420p"), ("mjpeg", "yuvj420p"), *_LOSSLESS[:2]],
    ".mpg": [("mpeg2video", "yuv420p"), ("mpeg1video", "yuv420p")],
}
SOUNDS = {
    ".mp4": ["aac", "ac3"],
    ".mov": ["aac", "pcm_s16le"],
    ".mkv": ["aac", "flac", "pcm_s16le"],
    ".webm": ["libopus"],
    ".ts": ["aac", "ac3", "mp2"],
    ".avi": ["libmp3lame", "ac3", "pcm_s16le"],
    ".mpg": ["mp2", "ac3"],
}
_EVEN_ONLY = frozenset({".avi", ".mpg"})
# matrix, range, primaries, transfer in libav's numbers
TAGS = {
    "unsaid": None,
    "BT.709": (1, 1, 1, 1),
    "BT.601 full": (5, 2, 5, 6),
    "PQ": (9, 1, 9, 16),
    "HLG": (9, 1, 9, 18),
    "P3": (1, 1, 12, 13),
}
AXES: dict[str, list] = {
    "layout": ["mono", "stereo", "5.1(side)", "quad"],
    "late": [Fraction(0), Fraction(3, 10)],
    "matrix": DISPLAY_MATRICES,
    "aspect": [None, Fraction(1), Fraction(4, 3), Fraction(10, 11)],
    "times": ["even", "uneven", "NTSC"],
    "tags": list(TAGS),
    "output": ["out.mp4", "out.mkv", "out.mov", "out.webm", "out.ts", "out.avi", "out.mpg", "out"],
    "command": ["apply", "stereo"],
}
_DRAWN, _NUM_USUAL = 4000, 16
_MOST_OFF = 12  # mean difference in grey levels of what isn't a hole; coders lose some


@functools.cache
def _opens(coder: str, layout: str) -> bool:
    if coder not in av.codecs_available:
        return False
    trial = av.CodecContext.create(coder, "w")
    trial.sample_rate, trial.layout, trial.format = (
        48000,
        layout,
        av.Codec(coder, "w").audio_formats[0],
    )
    trial.time_base = Fraction(1, 48000)
    try:
        trial.open()
        return True
    except av.FFmpegError:
        return False


def is_possible(case: dict) -> bool:
    """Whether a film of this kind can be made here."""
    (coder, _), sound = case["coding"], case["sound"]
    is_even = case["times"] != "uneven"
    return (
        coder in av.codecs_available
        and (sound is None or _opens(sound, case["layout"]))
        and (case["container"] not in _EVEN_ONLY or (is_even and not case["late"]))
        and (is_even or not coder.startswith("mpeg"))
    )


@functools.cache
def all_cases() -> list[dict]:
    """Cases in which about every two values of two axes that can be had together are so, those with
    the most pairs first."""
    chance = random.Random(0)
    drawn = [case for case in (draw(chance) for _ in range(_DRAWN)) if is_possible(case)]
    seen: set[tuple] = set()
    found = []
    for fewest in (50, 40, 30, 20, 10, 5, 1):
        for case in drawn:
            new = set(combinations(case.items(), 2)) - seen
            if len(new) >= fewest:
                seen |= new
                found.append(case)
    return found


def draw(chance: random.Random) -> dict:
    container = chance.choice(list(PICTURES))
    case = {name: chance.choice(values) for name, values in AXES.items()}
    case |= {"container": container, "coding": chance.choice(PICTURES[container])}
    case["sound"] = chance.choice([None, *SOUNDS[container]])
    if container not in (".mp4", ".mov"):
        case["matrix"] = DISPLAY_MATRICES[0]
    if case["sound"] is None:
        case |= {"layout": "mono", "late": Fraction(0)}
    return case


@dataclass(frozen=True)
class Facts:
    """What a file says and holds, by libav. Sizes as displayed."""

    size: tuple[int, int]  # W H
    aspect: Fraction  # width to height of a pixel
    times: list[float]  # seconds after the first picture
    end: float  # when the last picture ends
    tags: tuple[int, ...]  # matrix, primaries, transfer
    bits: int
    has_alpha: bool
    num_colours: int
    is_rgb: bool
    # channels; first sample and end in seconds after the first picture
    sounds: list[tuple[int, float, float]]
    upright: list[np.ndarray]  # (H, W, 3) uint8


def facts_of(path: Path) -> Facts:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [
            packet for packet in container.demux(stream) if packet.size and not packet.is_discard
        ]
        shown = sorted(
            (packet.pts * stream.time_base, packet.duration * stream.time_base)
            for packet in packets
        )
    (start, _), (last, duration) = shown[0], shown[-1]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        tags = tags_of(frames[0], stream.codec_context)
        aspect = stream.sample_aspect_ratio or Fraction(1)
    matrix = matrix_of(frames[0])
    pictures = [turn(frame.to_ndarray(format="rgb24"), matrix) for frame in frames]
    with av.open(str(path)) as container:
        components = av.VideoFormat(pixel_format_of(container), 16, 16).components
        is_rgb = bool(frames[0].format.is_rgb)
    sounds = []
    with av.open(str(path)) as container:
        num_sounds = len(container.streams.audio)
    for number in range(num_sounds):
        with av.open(str(path)) as container:
            heard = list(container.decode(audio=number))
        seconds = heard[0].time, heard[-1].time + heard[-1].samples / heard[-1].sample_rate
        sounds.append((len(heard[0].layout.channels), *(float(time - start) for time in seconds)))
    return Facts(
        size=pictures[0].shape[1::-1],
        aspect=1 / aspect if matrix[0] == 0 else aspect,
        times=[float(time - start) for time, _ in shown],
        end=float(last + duration - start),
        tags=tags,
        bits=max(component.bits for component in components),
        has_alpha=any(component.is_alpha for component in components),
        num_colours=sum(not component.is_alpha for component in components),
        is_rgb=is_rgb,
        sounds=sounds,
        upright=pictures,
    )


def tags_of(frame: av.VideoFrame, coder: av.VideoCodecContext) -> tuple[int, ...]:
    return int(frame.colorspace), int(coder.color_primaries), int(coder.color_trc)


def pixel_format_of(container: av.container.InputContainer) -> str:
    """Of the first picture, with the alpha that VP9 keeps aside."""
    stream = container.streams.video[0]
    has_alpha = {key.lower(): value for key, value in stream.metadata.items()}.get(
        "alpha_mode"
    ) == "1"
    decoder = av.CodecContext.create("libvpx-vp9", "r") if has_alpha else stream.codec_context
    return next(
        frame.format.name for packet in container.demux(stream) for frame in decoder.decode(packet)
    )


def matrix_of(frame: av.VideoFrame) -> tuple[int, ...]:
    data = {
        entry.type.name: bytes(entry)
        for entry in (frame.side_data[i] for i in range(len(frame.side_data)))
    }
    if "DISPLAYMATRIX" not in data:
        return DISPLAY_MATRICES[0]
    fields = np.frombuffer(data["DISPLAYMATRIX"], np.int32)
    return tuple(round(int(fields[place]) / (1 << 16)) for place in (0, 1, 3, 4))


def turn(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """A picture as its display matrix shows it: pixel (p, q) goes to (a p + c q, b p + d q)."""
    a, b, c, d = matrix
    if a == 0:
        picture = picture.transpose(1, 0, 2)
        across, down = c, b
    else:
        across, down = a, d
    return picture[::down, ::across]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.pth"
    save_model(create_model("inpaint.picture_memory_v1"), path)
    return path


def write_source(folder: Path, case: dict) -> Path:
    coder, pixel_format = case["coding"]
    frames = [videos.numbered_frame(number) for number in range(T)]
    if any(component.is_alpha for component in av.VideoFormat(pixel_format, 16, 16).components):
        frames = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in frames]
        for frame in frames:
            frame[-16:, -16:, 3] = 0
    timing = {
        "even": dict(fps=FPS),
        "NTSC": dict(fps=Fraction(30000, 1001)),
        "uneven": dict(fps=FPS, times=UNEVEN, time_base=MS),
    }[case["times"]]
    path = write_clip(
        folder / f"film{case['container']}",
        frames,
        codec=coder,
        pixel_format=pixel_format,
        num_b_frames=2 if coder in ("libx264", "libx265", "mpeg2video") else 0,
        sound=case["sound"],
        sound_layout=case["layout"],
        sound_start=case["late"],
        tags=TAGS[case["tags"]],
        sample_aspect_ratio=case["aspect"],
        options={"auto-alt-ref": "0"} if coder.startswith("libvpx") else {},
        **timing,
    )
    if case["matrix"] != DISPLAY_MATRICES[0]:
        videos.set_display_matrix(path, *case["matrix"])
    return path


def copy(
    source: Path, case: dict, model: Path, folder: Path, size: tuple[int, int]
) -> tuple[Path, tuple]:
    """Run the command. Returns the output and (rows, columns) of the film that stay as they are."""
    words = [
        case["command"],
        "-i",
        source,
        "-o",
        folder / case["output"],
        "--model",
        model,
        "--gpu",
        "-1",
    ]
    if case["command"] == "apply":
        mask = np.zeros(size[::-1], np.uint8)
        mask[size[1] // 2 : size[1] // 2 + 12, size[0] // 2 : size[0] // 2 + 12] = 255
        cv2.imwrite(str(folder / "mask.png"), mask)
        words += ["--mask", folder / "mask.png"]
    else:
        words += ["--model-type", "MotionParallax"]
    assert cli.run(INPAINT, [str(word) for word in words]) == 0
    return folder / case["output"]


def losses(before: Facts, after: Facts, *, is_stereo: bool) -> list[tuple[str, str]]:
    """What the copy lacks, and a pattern of the line that tells of it."""
    found = []

    def check(is_kept: bool, what: str, line: str) -> None:
        if not is_kept:
            found.append((what, line))

    # of both eyes Matroska says at how many whole pixels one is shown
    rounding = Fraction(1, 2 * before.size[0]) if is_stereo else 0
    check(
        abs(before.aspect - after.aspect) <= rounding,
        f"aspect {before.aspect} -> {after.aspect}",
        "aspect of the film",
    )
    apart = max(abs(old - new) for old, new in zip(before.times, after.times, strict=True))
    check(apart < 0.0011, f"times {before.times} -> {after.times}", "beside their times")
    check(
        abs(before.end - after.end) < 0.05,
        f"end {before.end} -> {after.end}",
        "last one|beside their times",
    )
    for name, old, new in zip(
        ("matrix", "primaries", "transfer"), before.tags, after.tags, strict=True
    ):
        is_free = name == "matrix" and (before.num_colours == 1 or before.is_rgb)
        check(is_free or old in (2, new), f"{name} {old} -> {new}", f"colours are .*{name} {old}")
    check(before.bits <= after.bits, f"bits {before.bits} -> {after.bits}", "bits become")
    check(not before.has_alpha or after.has_alpha, "alpha", "the alpha is left out")
    check(len(before.sounds) == len(after.sounds), "sounds", "sound")
    for (channels, start, end), (new_channels, new_start, new_end) in zip(
        before.sounds, after.sounds
    ):
        check(
            channels == new_channels,
            f"channels {channels} -> {new_channels}",
            f"{channels} channels .* become",
        )
        check(
            abs(start - new_start) < 0.06, f"sound from {start} -> {new_start}", "the sound will be"
        )
        check(abs(end - new_end) < 0.07, f"sound to {end} -> {new_end}", "the sound will be")
    return found


def losses_of_folder(
    before: Facts, pictures: list[Path], *, is_uneven: bool
) -> list[tuple[str, str]]:
    """The same of a folder of pictures."""
    picture = cv2.imread(str(pictures[0]), cv2.IMREAD_UNCHANGED)
    assert len(pictures) == len(before.times)
    return [
        *[("sound", "has sound")] * bool(before.sounds),
        *[("aspect", "aspect of the film")] * (before.aspect != 1),
        *[("times", "uneven times")] * is_uneven,
        *[("transfer", "PNGs don't say so")] * (before.tags[2] in (16, 18) or before.tags[1] == 12),
        *[("bits", "bits")] * (before.bits > 8 and picture.dtype != np.uint16),
        *[("alpha", "alpha")] * (before.has_alpha and picture.shape[2] != 4),
    ]


def problems_of(case: dict, model: Path, folder: Path, caplog) -> list[str]:
    """What is wrong with a copy of a film."""
    source = write_source(folder, case)
    before = facts_of(source)
    caplog.clear()
    with caplog.at_level("INFO"):
        output = copy(source, case, model, folder, before.size)
    lines = "\n".join(caplog.messages)
    if output.is_dir():
        lost = losses_of_folder(
            before, sorted(output.iterdir()), is_uneven=case["times"] == "uneven"
        )
        return [what for what, line in lost if not re.search(line, lines)]
    after = facts_of(output)
    lost = losses(before, after, is_stereo=case["command"] == "stereo")
    problems = [what for what, line in lost if not re.search(line, lines)]
    size = before.size[0] * (2 if case["command"] == "stereo" else 1), before.size[1]
    if after.size != size:
        problems.append(f"size {size} -> {after.size}")
    for old, new in zip(before.upright, after.upright, strict=True):
        off = np.abs(old.astype(int) - new[:, : old.shape[1]])[
            : old.shape[0] // 2
        ].mean()  # the hole is below
        if off > _MOST_OFF:
            return [*problems, f"pictures differ by {off:.0f}"]
    return problems


@pytest.mark.parametrize("number", range(len(all_cases())))
def test_a_copy_has_what_the_film_has_or_a_line_says_so(number, model, tmp_path, caplog):
    if number >= _NUM_USUAL and not os.environ.get("FILM_MATRIX"):
        pytest.skip("FILM_MATRIX=1 runs the whole matrix")
    assert problems_of(all_cases()[number], model, tmp_path, caplog) == []
