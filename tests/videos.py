"""Tiny odd videos for the tests. Every frame carries its number in its pixels, so that it is known
after coding.

Axes: H W pixels, 3 = R G B.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

_BITS = 8
HAS_X265 = "libx265" in av.codecs_available
HAS_VPX = "libvpx" in av.codecs_available


def numbered_frame(number: int, *, width: int = 96, height: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: above, the number as 8 black or white columns; below, a pattern that moves
    with the number."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[..., 0] = (columns * 2 + number * 3) % 256
    frame[..., 1] = (rows * 2 + number * 2) % 256
    frame[..., 2] = (columns + rows + number * 5) % 256
    bit = columns[0] * _BITS // width  # (W,)
    frame[: height // 2] = ((number >> bit) & 1)[None, :, None] * 255
    return frame


def number_of(frame: np.ndarray) -> int:
    """Read the number off a frame made by `numbered_frame`, also after lossy coding."""
    height, width = frame.shape[:2]
    number = 0
    for bit in range(_BITS):
        left, right = bit * width // _BITS, (bit + 1) * width // _BITS
        middle = frame[height // 8 : height * 3 // 8, left + 2 : right - 2]
        number |= int(middle.mean() > 127) << bit
    return number


def write_clip(
    path: Path,
    frames: Sequence[np.ndarray] | int = 24,
    *,
    width: int = 96,
    height: int = 64,
    fps: Fraction | int = 24,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    gop: int = 12,
    num_b_frames: int = 2,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    sound: str | None = None,
    sound_start: Fraction = Fraction(0),
    sound_layout: str = "mono",
    sound_rate: int | None = None,
    tags: tuple[int, int, int, int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
) -> Path:
    """Encode frames (or so many numbered ones) at given times, or at a constant rate.

    Args:
        frames: (H, W, 3) RGB, or (H, W, 4) with alpha.
        times: presentation times in units of `time_base`, ascending; variable frame rate.
        sound: encoder of a tone as long as the frames, at 44100 Hz (Opus: 48000); None for a silent
            film.
        sound_start: seconds.
        tags: matrix, range, primaries and transfer, only written and not heeded.
    """
    if isinstance(frames, int):
        frames = [numbered_frame(number, width=width, height=height) for number in range(frames)]
    time_base = time_base or 1 / Fraction(fps)
    # Matroska draws an id, and a film's bytes seed what is made of it
    if Path(path).suffix in (".mkv", ".webm"):
        container_options = {"fflags": "+bitexact"} | (container_options or {})
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.options = encoder_options(codec, num_b_frames) | (options or {})
        coder = stream.codec_context
        coder.time_base = time_base
        coder.gop_size = gop
        coder.max_b_frames = num_b_frames
        if tags:
            coder.colorspace, coder.color_range, coder.color_primaries, coder.color_trc = tags
        if sample_aspect_ratio:
            coder.sample_aspect_ratio = sample_aspect_ratio
        tone: Iterator[list[av.Packet]] = iter(())
        if sound:
            seconds = len(frames) / Fraction(fps)
            tone = _tone(container, sound, sound_layout, sound_rate, sound_start, seconds=seconds)
        for index, rgb in enumerate(frames):
            kind = "rgb24" if rgb.shape[2] == 3 else "rgba"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=kind).reformat(
                format=pixel_format
            )
            frame.pts = index if times is None else times[index]
            frame.time_base = time_base
            container.mux(stream.encode(frame))
            for _ in range(3):
                container.mux(next(tone, []))
        container.mux(stream.encode(None))
        for packets in tone:
            container.mux(packets)
    return path


def encoder_options(codec: str, num_b_frames: int) -> dict[str, str]:
    """Fast, and quiet."""
    if codec not in ("libx264", "libx265"):
        return {}
    quick = {"preset": "ultrafast", "bf": str(num_b_frames)}
    return quick | ({"x265-params": "log-level=none:pools=none"} if codec == "libx265" else {})


def encode_into(
    container: OutputContainer, stream: VideoStream, pictures: Iterable[np.ndarray]
) -> None:
    """All pictures, (H, W, 3) RGB or (H, W, 4) with alpha, one a tick, and the end of the film."""
    for number, picture in enumerate(pictures):
        kind = "rgb24" if picture.shape[2] == 3 else "rgba"
        frame = av.VideoFrame.from_ndarray(picture, kind).reformat(format=stream.pix_fmt, threads=1)
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _tone(
    container: av.container.OutputContainer,
    codec: str,
    layout: str,
    rate: int | None,
    start: Fraction,
    *,
    seconds: Fraction,
) -> Iterator[list[av.Packet]]:
    rate = rate or (48000 if "opus" in codec else 44100)
    stream = container.add_stream(codec, rate=rate, layout=layout)
    stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    sample_format = stream.codec_context.format.name
    scale, kind = {"s16": (32767, np.int16), "s32": (2**31 - 1, np.int32)}.get(
        sample_format[:3], (1, np.float32)
    )

    def packets() -> Iterator[list[av.Packet]]:
        for first in range(0, int(seconds * rate), size):
            wave = 0.3 * np.sin(np.arange(first, first + size) * (2 * np.pi * 440 / rate))
            wave = np.repeat(wave[None], len(stream.codec_context.layout.channels), axis=0)
            samples = (wave * scale).astype(kind)
            samples = samples if sample_format.endswith("p") else samples.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples), format=sample_format, layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = (
                rate,
                first + int(start * rate),
                Fraction(1, rate),
            )
            yield stream.encode(frame)
        yield stream.encode(None)

    return packets()


def sound_of(path: Path, *, stream: int = 0) -> list[tuple[str, Fraction]]:
    """(hash of the bytes, time in seconds) of every packet of sound."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=stream) if packet.size]
        return [
            (hashlib.md5(bytes(packet)).hexdigest(), packet.pts * packet.time_base)
            for packet in packets
        ]


def times_of(path: Path) -> list[Fraction]:
    """Presentation times in seconds of all pictures, in order."""
    with av.open(str(path)) as container:
        return sorted(
            packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size
        )


def heard(path: Path) -> tuple[float, float, float]:
    """Of the decoded sound: time in seconds of the first that is not silent, of its end, and its
    loudness."""
    with av.open(str(path)) as container:
        pieces = []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            scale = {"s16": 2**15, "s32": 2**31}.get(frame.format.name[:3], 1)
            num_channels = 1 if frame.format.is_planar else len(frame.layout.channels)
            samples = samples[0][::num_channels]
            times = (
                float(frame.pts * frame.time_base) + np.arange(frame.samples) / frame.sample_rate
            )
            pieces.append(np.stack([times, samples / scale]))
        times, samples = np.concatenate(pieces, axis=1)
        loud = np.flatnonzero(np.abs(samples) > 0.05)
        return (
            times[loud[0]],
            times[loud[-1]],
            float(np.sqrt((samples[loud[0] : loud[-1]] ** 2).mean())),
        )


# (a, b, c, d) of every quarter turn, mirrored or not: a pixel (p, q) goes to (a p + c q, b p + d q)
DISPLAY_MATRICES = [
    (1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0),
    (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0),
]  # fmt: skip
# The filters that ffmpeg follows them with.
_AUTOROTATE = [
    "",
    "transpose=clock",
    "hflip,vflip,copy",
    "transpose=cclock",
    "hflip",
    "vflip,copy",  # which turns it by counting lines backwards
    "transpose=cclock_flip",
    "transpose=clock_flip",
]


def set_display_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Put a display matrix into an mp4."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    a, b, c, d = (round(value * (1 << 16)) for value in (a, b, c, d))
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def set_rotation(path: Path, degrees: int) -> Path:
    """Mark an mp4 as a phone does that was held sideways: to be turned by 90, 180 or 270 degrees
    clockwise."""
    return set_display_matrix(path, *DISPLAY_MATRICES[degrees // 90])


def autorotated(path: Path) -> list[tuple[np.ndarray, ...]]:
    """The planes of a yuv420p mp4 of `set_display_matrix` as ffmpeg shows them, by libavfilter."""
    data = path.read_bytes()
    fields = struct.unpack(">9i", data[data.index(b"tkhd") + 44 :][:36])
    matrix = tuple(round(fields[place] / (1 << 16)) for place in (0, 1, 3, 4))
    return filtered(path, _AUTOROTATE[DISPLAY_MATRICES.index(matrix)])


def filtered(path: Path, filters: str, *, dtype: type = np.uint8) -> list[tuple[np.ndarray, ...]]:
    """The planes of all pictures of a film, put through filters of libavfilter
    ("hflip,vflip=...")."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        last = graph.add_buffer(template=stream)
        for name, _, arguments in (step.partition("=") for step in filters.split(",") if step):
            following = graph.add(name, arguments or None)
            last.link_to(following)
            last = following
        last.link_to(graph.add("buffersink"))
        graph.configure()
        shown = []
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    shown.append(graph.pull())
                except (av.FFmpegError, EOFError):
                    break
    return [
        tuple(
            np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width].copy()
            for plane in picture.planes
        )
        for picture in shown
    ]


def write_sound(path: Path, *, codec: str = "aac", with_cover: bool = False) -> Path:
    """A second of sound and no picture, if wanted with cover art (an mp3's)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3" if with_cover else codec, rate=44100, layout="mono")
        size = stream.codec_context.frame_size or 1152
        for index in range(20):
            samples = np.zeros((1, size), dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, index * size, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if with_cover:
        sound = path.read_bytes()
        if sound.startswith(b"ID3"):
            sound = sound[10 + _from_synchsafe(sound[6:10]) :]
        body = b"\0image/png\0\x03\0" + _png()
        picture = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
        path.write_bytes(b"ID3\x03\0\0" + _to_synchsafe(len(picture)) + picture + sound)
    return path


def _png() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    encoder.width = encoder.height = 16
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 200, dtype=np.uint8), format="rgb24")
    return b"".join(bytes(packet) for packet in encoder.encode(frame) + encoder.encode(None))


def _to_synchsafe(value: int) -> bytes:
    return bytes(value >> shift & 127 for shift in (21, 14, 7, 0))


def _from_synchsafe(data: bytes) -> int:
    return sum(byte << shift for byte, shift in zip(data, (21, 14, 7, 0), strict=True))


def packets_of(path: Path) -> list[tuple[int, int, int, bool]]:
    """(byte position, size, pts, is keyframe) of every coded picture, in the file's order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def truncate(path: Path, share: float) -> Path:
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damage_packet(path: Path, number: int) -> Path:
    """Overwrite the middle third of a coded picture with zeros."""
    position, size, _, _ = packets_of(path)[number]
    data = bytearray(path.read_bytes())
    data[position + size // 3 : position + 2 * size // 3] = bytes(2 * size // 3 - size // 3)
    path.write_bytes(data)
    return path


def shots(
    lengths: Sequence[int], *, width: int = 160, height: int = 120, seed: int = 0
) -> list[np.ndarray]:
    """Frames of shots that follow each other by hard cuts: each pans over a different random
    scene."""
    rng = np.random.default_rng(seed)
    frames = []
    for length in lengths:
        coarse = rng.integers(0, 256, (12, 24, 3))
        scene = np.kron(coarse, np.ones((height // 8, width // 8, 1), dtype=np.int64)).astype(
            np.uint8
        )
        frames += [scene[:height, 2 * i : 2 * i + width] for i in range(length)]
    return frames
