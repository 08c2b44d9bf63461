"""HDR10's static metadata and the place of the chroma go into the new file, or a line says not;
judged by PyAV alone."""

import io
import re
import struct
from pathlib import Path

import av
import pytest

from nunif.video.mastering import Mastering
from nunif.video.reader import VideoReader
from tests.nunif.test_film_io import copy_film
from tests.videos import write_clip

# Display P3 with D65, 0.005 to 1000 cd/m2; MaxCLL 1000, MaxFALL 400 (the example of x265's
# documentation)
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
NUMBERS = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000.0)
BT2020_PQ = (9, 1, 9, 16)


def write_hdr10(
    path: Path, *, location: str | None = "topleft", light: str | None = ":cll=1000,400"
) -> Path:
    """Eight frames of H.264 in 10 bits, PQ, with all that HDR10 says."""
    settings = {"x264-params": f"mastering-display={DISPLAY}{light or ''}"}
    if location:
        settings["chroma_sample_location"] = location
    return write_clip(
        path, 8, width=64, height=64, pixel_format="yuv420p10le", tags=BT2020_PQ, options=settings
    )


def said(path: Path) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None]:
    """Display (R G B white, least and most light) and light of a film's first picture."""
    display, light = None, None
    with av.open(str(path)) as container:
        for data in next(container.decode(video=0)).side_data:
            if data.type.name == "MASTERING_DISPLAY_METADATA":
                numbers = struct.unpack("22i", bytes(data))[:20]
                display = tuple(above / below for above, below in zip(numbers[::2], numbers[1::2]))
            if data.type.name == "CONTENT_LIGHT_LEVEL":
                light = struct.unpack("2I", bytes(data))
    return display, light


def chroma_of(path: Path) -> tuple[int, int] | None:
    """Matroska's siting (1 left or top, 2 middle) of a film that is put into Matroska as it is."""
    header = io.BytesIO()
    with av.open(str(path)) as source, av.open(header, "w", format="matroska") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        packet = next(packet for packet in source.demux(video=0) if packet.size)
        packet.stream = stream
        target.mux(packet)
    found = re.search(rb"\x55\xb7\x81(.)\x55\xb8\x81(.)", header.getvalue(), re.DOTALL)
    return None if found is None else (found[1][0], found[2][0])


def copy(source: Path, target: Path, **options) -> None:
    with VideoReader(source) as reader:
        mastering = reader.info.mastering
    copy_film(source, target, mastering=mastering, **options)


def encoder_or_skip(codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip("this libav has no such encoder")


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.mov", "libx265"),
        ("a.mp4", "libx265"),
        ("a.mkv", "libsvtav1"),
        ("b.mp4", "libsvtav1"),
        ("a.ts", "libx265"),
    ],
)
def test_hdr10_is_carried_over(tmp_path, caplog, name, codec):
    encoder_or_skip(codec)
    source = write_hdr10(tmp_path / "s.mkv")
    assert (
        said(source)[0] == pytest.approx(NUMBERS)
        and said(source)[1] == (1000, 400)
        and chroma_of(source) == (1, 1)
    )
    copy(source, tmp_path / name, codec=codec)
    display, light = said(tmp_path / name)
    assert display == pytest.approx(NUMBERS, abs=1e-4) and light == (1000, 400)
    assert chroma_of(tmp_path / name) == (1, 1)
    assert not [line for line in caplog.messages if "can't be kept" in line]


@pytest.mark.parametrize(
    ("location", "siting"),
    [("left", (1, 2)), ("center", (2, 2)), ("topleft", (1, 1)), ("top", (2, 1))],
)
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "ffv1"), ("a.webm", "libvpx-vp9"), ("b.mp4", "libx265")],
)
def test_the_place_of_the_chroma_is_carried_over(tmp_path, location, siting, name, codec):
    encoder_or_skip(codec)
    source = write_clip(tmp_path / "s.mp4", 8, options={"chroma_sample_location": location})
    assert chroma_of(source) == siting
    copy(source, tmp_path / name, codec=codec)
    assert chroma_of(tmp_path / name) == siting


@pytest.mark.parametrize(
    ("name", "codec", "lost"),
    [
        ("a.mkv", "ffv1", ["HDR10 metadata (mastering display, MaxCLL)"]),
        ("a.webm", "libvpx-vp9", ["HDR10 metadata (mastering display, MaxCLL)"]),
        (
            "a.mov",
            "prores_ks",
            ["HDR10 metadata (mastering display, MaxCLL)", "the place of the chroma (topleft)"],
        ),
        (
            "a.avi",
            "mpeg4",
            ["HDR10 metadata (mastering display, MaxCLL)", "the place of the chroma (topleft)"],
        ),
    ],
)
def test_a_line_for_what_the_encoder_does_not_write(tmp_path, caplog, name, codec, lost):
    encoder_or_skip(codec)
    copy(write_hdr10(tmp_path / "s.mkv"), tmp_path / name, codec=codec)
    (line,) = [line for line in caplog.messages if "of the film can't be kept" in line]
    assert (
        all(what in line for what in lost)
        and f"by {codec} in" in line
        and "choose the codec libx265" in line
    )
    assert (chroma_of(tmp_path / name) == (1, 1)) == (len(lost) == 1)


def test_a_film_that_says_nothing_gets_nothing(tmp_path, caplog):
    source = write_clip(tmp_path / "s.mp4", 8)
    with VideoReader(source) as reader:
        # H.264 that says nothing of the chroma means the left
        assert (
            reader.info.mastering == Mastering(chroma_location="left") and not reader.info.dynamic
        )
    copy(source, tmp_path / "a.mp4")
    assert (
        said(tmp_path / "a.mp4") == (None, None)
        and chroma_of(tmp_path / "a.mp4") == (1, 2)
        and not caplog.messages
    )


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi", "a.ts"])
@pytest.mark.parametrize("size", [(64, 64), (63, 65)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray"])
def test_films_of_any_size_and_format_are_still_written(tmp_path, name, size, pixel_format):
    if size[0] % 2 and pixel_format == "yuv420p":
        pixel_format = "yuv444p10le"
    source = write_clip(
        tmp_path / "s.mkv",
        4,
        width=size[1],
        height=size[0],
        codec="ffv1",
        pixel_format=pixel_format,
        num_b_frames=0,
    )
    copy(source, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


def test_the_display_alone(tmp_path):
    source = write_hdr10(tmp_path / "s.mkv", location=None, light=None)
    copy(source, tmp_path / "a.mp4")
    assert said(tmp_path / "a.mp4") == (pytest.approx(NUMBERS), None)


@pytest.mark.parametrize(
    ("pixel_format", "name", "codec", "lost"),
    [
        ("yuv420p10le", "a.avi", "mpeg4", "10 bits become 8"),
        ("yuv420p10le", "a.webm", "libvpx-vp9", "10 bits become 8"),
        ("yuv444p", "a.avi", "mpeg4", "chroma of 1x1 pixels becomes one of 2x2"),
        ("yuv422p10le", "a.mpg", "mpeg2video", "10 bits become 8"),
        ("gbrp10le", "a.mkv", "libsvtav1", "chroma of 1x1 pixels becomes one of 2x2"),
        *((name, "a.mp4", "libx264", "") for name in ("yuv420p10le", "yuv444p", "bgr0", "gray")),
        ("gbrp10le", "a.mkv", "ffv1", ""),
        ("yuv422p", "a.mov", "prores_ks", ""),
    ],
)
def test_fewer_bits_and_less_chroma_are_told_of(tmp_path, caplog, pixel_format, name, codec, lost):
    encoder_or_skip(codec)
    source = write_clip(
        tmp_path / "s.mkv",
        4,
        width=64,
        height=64,
        codec="ffv1",
        pixel_format=pixel_format,
        num_b_frames=0,
    )
    copy(source, tmp_path / name, codec=codec)
    lines = [
        line
        for line in caplog.messages
        if f"{tmp_path / name}: the film's " in line and f"what {codec} takes" in line
    ]
    assert [lost in line for line in lines] == [True] * bool(lost)


# Dolby Vision and HDR10+


def bits(*fields: tuple[int, int]) -> bytes:
    """Numbers of so many bits each, filled up to whole bytes."""
    text = "".join(f"{value:0{length}b}" for value, length in fields)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


# SMPTE ST 2094-40 in an SEI message of ITU-T T.35: country, provider, what of it, application; then
# one window
HDR10_PLUS = b"\xb5\x00\x3c\x00\x01\x04\x01" + bits(
    (1, 2),
    (400, 27),
    (0, 1),
    (5000, 17),
    (5000, 17),
    (5000, 17),
    (2000, 17),
    (0, 4),
    (0, 10),
    (0, 1),
    (0, 1),
    (0, 1),
)


def escaped(data: bytes) -> bytes:
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", data)


def write_plus(path: Path) -> Path:
    """H.265 with HDR10+ in front of every picture."""
    raw = write_clip(
        path.with_suffix(".hevc"),
        4,
        width=64,
        height=64,
        codec="libx265",
        pixel_format="yuv420p10le",
        tags=BT2020_PQ,
    )
    head = b"\0\0\0\1\x4e\x01" + escaped(b"\x04" + bytes([len(HDR10_PLUS)]) + HDR10_PLUS) + b"\x80"
    with av.open(str(raw)) as source, open(path, "wb") as target:
        for packet in source.demux(video=0):
            if packet.size:
                target.write(insert_before_slice(bytes(packet), head))
    return path


def insert_before_slice(packet: bytes, message: bytes) -> bytes:
    for start in re.finditer(rb"\x00?\x00\x00\x01", packet):
        if (packet[start.end()] >> 1) & 63 < 32:  # a slice of a picture
            return packet[: start.start()] + message + packet[start.start() :]
    return packet


def test_hdr10_plus_is_named(tmp_path):
    encoder_or_skip("libx265")
    with VideoReader(write_plus(tmp_path / "s.h265"), for_editing=True) as reader:
        assert reader.info.dynamic == ("HDR10+",) and len(list(reader)) == 4


def with_dolby_vision(path: Path) -> Path:
    """Put a box of Dolby Vision (profile 8, level 5, compatible with HDR10) into an mp4 whose index
    stands at its end."""
    data = bytearray(path.read_bytes())
    box = (
        struct.pack(">I4s", 32, b"dvvC") + bytes([1, 0, 8 << 1, 5 << 3 | 0b101, 1 << 4]) + bytes(19)
    )
    assert data.index(b"mdat") < data.index(b"moov")
    entry = data.index(b"hev1") - 4
    end = entry + struct.unpack_from(">I", data, entry)[0]
    data[end:end] = box
    for name in (b"hev1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        start = data.index(name) - 4
        struct.pack_into(">I", data, start, struct.unpack_from(">I", data, start)[0] + len(box))
    path.write_bytes(data)
    return path


def test_dolby_vision_is_named(tmp_path):
    encoder_or_skip("libx265")
    path = write_clip(
        tmp_path / "s.mp4",
        4,
        width=64,
        height=64,
        codec="libx265",
        pixel_format="yuv420p10le",
        tags=BT2020_PQ,
    )
    with VideoReader(path, for_editing=True) as reader:
        assert reader.info.dynamic == ()
    with VideoReader(with_dolby_vision(path), for_editing=True) as reader:
        assert reader.info.dynamic == ("Dolby Vision",) and len(list(reader)) == 4
