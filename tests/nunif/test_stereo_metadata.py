"""What files say of both eyes' pictures in them, as libav reads it."""

import struct
import zlib
from fractions import Fraction

import av
import pytest

from nunif.video.mp4 import add_to_pictures, box, full_box
from nunif.video.side_data import side_data_of
from nunif.video.stereo_metadata import StereoMark
from nunif.video.writer import VideoWriter
from tests.videos import number_of, numbered_frame, packets_of, sound_of, write_clip

SBS, CROSSED = StereoMark("left_right"), StereoMark("right_left")
HALF_SBS = StereoMark("left_right", is_half=True)
TB, HALF_TB = StereoMark("top_bottom"), StereoMark("top_bottom", is_half=True)
RED_CYAN = StereoMark("anaglyph_cyan_red")
VR180 = StereoMark("left_right", is_vr180=True)
SIDE_BY_SIDE, TOP_BOTTOM = (1, 0), (2, 0)  # AVStereo3D: type and flags


def write(path, mark, *, size=(96, 64), **more):
    rate = Fraction(24)
    with VideoWriter(
        path,
        width=size[0],
        height=size[1],
        rate=rate,
        time_base=1 / rate,
        stereo=mark,
        **more,
    ) as writer:
        for number in range(3):
            writer.write(numbered_frame(number, width=size[0], height=size[1]), number)
    return path


def read(path):
    """(type and flags of AVStereo3D or None, whether it says that it is spherical, the stream's
    StereoMode, the aspect of a pixel)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert [number_of(frame.to_ndarray(format="rgb24")) for frame in frames] == [0, 1, 2]
        data = side_data_of(frames[0])
        stereo = data.get("STEREO3D")
        return (
            stereo and struct.unpack_from("2i", bytes(stereo)),
            "SPHERICAL" in data,
            stream.metadata.get("stereo_mode"),
            stream.sample_aspect_ratio,
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("mark", "stereo"),
    [
        (SBS, SIDE_BY_SIDE),
        (HALF_SBS, SIDE_BY_SIDE),
        (TB, TOP_BOTTOM),
        (VR180, SIDE_BY_SIDE),
        (RED_CYAN, None),
        (None, None),
    ],
)
def test_mp4_and_quicktime_say_it_in_st3d_and_sv3d(tmp_path, suffix, mark, stereo):
    path = write(tmp_path / f"film{suffix}", mark)
    assert read(path) == (stereo, mark == VR180, None, None)
    assert (full_box(b"st3d", b"\2") in path.read_bytes()) == (stereo == SIDE_BY_SIDE)
    # cut off a quarter of the sphere's width on the left and on the right
    half_sphere = struct.pack(">4I", 0, 0, 0x3FFFFFFF, 0x3FFFFFFF)
    assert (full_box(b"equi", half_sphere) in path.read_bytes()) == (mark == VR180)


def test_the_right_eye_s_picture_on_the_left_is_4_in_st3d(tmp_path):
    assert full_box(b"st3d", b"\4") in write(tmp_path / "film.mp4", CROSSED).read_bytes()


# DisplayWidth and DisplayHeight are those of one eye's view (RFC 9559); libav multiplies them again
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize(
    ("mark", "mode", "stereo", "aspect"),
    [
        (SBS, "left_right", SIDE_BY_SIDE, 1),
        (CROSSED, "right_left", (1, 1), 1),
        (TB, "top_bottom", TOP_BOTTOM, 1),
        (HALF_SBS, "left_right", SIDE_BY_SIDE, 2),
        (HALF_TB, "top_bottom", TOP_BOTTOM, Fraction(1, 2)),
    ],
)
def test_matroska_says_it_in_stereo_mode_and_how_large_one_eye_s_view_is(
    tmp_path, suffix, mark, mode, stereo, aspect
):
    assert read(write(tmp_path / f"film{suffix}", mark)) == (stereo, False, mode, aspect)


def test_matroska_keeps_the_aspect_of_the_pixels_and_finds_room_for_large_numbers(tmp_path):
    wide = write(tmp_path / "wide.mkv", SBS, sample_aspect_ratio=Fraction(4, 3))
    assert read(wide)[3] == Fraction(4, 3)
    # half of 288 has one byte, 288 has two
    assert read(write(tmp_path / "narrow.mkv", HALF_SBS, size=(288, 64)))[3] == 2


def test_the_checksum_of_matroska_s_tracks_is_renewed(tmp_path):
    data = write(tmp_path / "film.mkv", HALF_SBS).read_bytes()
    start = data[:4096].rindex(b"\x16\x54\xae\x6b") + 4  # the list of contents names it before
    length = 9 - data[start].bit_length()  # of the size, whose first bit that is set is a mark
    size = int.from_bytes(data[start : start + length], "big") - (1 << 7 * length)
    tracks = data[start + length : start + length + size]
    assert tracks[:2] == b"\xbf\x84"
    assert int.from_bytes(tracks[2:6], "little") == zlib.crc32(tracks[6:])


def test_anaglyphs_have_a_word_in_matroska_alone(tmp_path):
    assert read(write(tmp_path / "film.mkv", RED_CYAN))[2] == "anaglyph_cyan_red"
    assert read(write(tmp_path / "film.webm", RED_CYAN))[2] is None


@pytest.mark.parametrize(
    ("name", "mark", "text"),
    [
        ("film.avi", SBS, "film.avi: .avi can't say how both eyes stand in it: .mp4 and .mkv can"),
        ("film.mkv", VR180, "but not that they are VR180: .mp4 says both"),
        ("film.mp4", VR180, ""),
        ("film.avi", RED_CYAN, ""),
    ],
)
def test_a_line_tells_what_a_format_cannot_say(tmp_path, caplog, name, mark, text):
    write(tmp_path / name, mark)
    lines = [line for line in caplog.messages if "eyes" in line]
    assert len(lines) == bool(text) and all(text in line for line in lines)


def test_what_an_exception_leaves_says_it_too(tmp_path):
    rate = Fraction(24)
    with (
        pytest.raises(KeyboardInterrupt),
        VideoWriter(
            tmp_path / "film.mp4", width=96, height=64, rate=rate, time_base=1 / rate, stereo=TB
        ) as writer,
    ):
        for number in range(3):
            writer.write(numbered_frame(number), number)
        raise KeyboardInterrupt
    assert read(tmp_path / "film.unfinished.mp4")[0] == TOP_BOTTOM


@pytest.mark.parametrize("flags", [{}, {"movflags": "faststart"}])
def test_boxes_are_added_to_the_pictures_alone_and_nothing_that_is_pointed_to_moves(
    tmp_path, flags
):
    path = write_clip(
        tmp_path / "film.mp4",
        3,
        sound="aac",
        container_options=flags,
        sample_aspect_ratio=Fraction(4, 3),
    )
    before = path.read_bytes()
    packets, sound = packets_of(path), sound_of(path)
    assert (before.index(b"moov") < before.index(b"mdat")) == bool(flags)
    added = full_box(b"st3d", b"\1")
    add_to_pictures(path, added)
    add_to_pictures(path, added)  # nothing is said twice
    data = path.read_bytes()
    assert data.count(added) == 1
    movie = data[data.index(b"moov") :]
    assert movie.index(b"avcC") < movie.index(added) < movie.index(b"pasp") < movie.index(b"stts")
    assert packets_of(path) == packets and sound_of(path) == sound and read(path)[0] == TOP_BOTTOM
    assert data.count(b"moov") == 1 and data.index(b"moov") > data.index(b"mdat")


def test_boxes_may_be_longer_than_4_gigabytes(tmp_path):
    path = write(tmp_path / "film.mp4", None)
    data = path.read_bytes()
    # libav leaves 8 bytes of free space for it
    start = data.index(struct.pack(">I4s", 8, b"free"))
    (length,) = struct.unpack_from(">I", data, start + 8)
    assert data[start + 12 : start + 16] == b"mdat"
    head = struct.pack(">I4sQ", 1, b"mdat", 8 + length)
    path.write_bytes(data[:start] + head + data[start + 16 :])
    add_to_pictures(path, full_box(b"st3d", b"\2"))
    assert read(path)[0] == SIDE_BY_SIDE


def test_what_is_no_mp4_is_not_touched(tmp_path):
    for content in (b"", b"RIFF0000AVI ", box(b"ftyp", b"isom"), box(b"moov", box(b"mvhd"))):
        path = tmp_path / "film.mp4"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="movie box|no track of pictures|is torn"):
            add_to_pictures(path, full_box(b"st3d", b"\1"))
        assert path.read_bytes() == content


def test_a_view_is_as_large_as_one_eye_s_picture():
    assert SBS.view_size(200, 100, Fraction(1)) == (100, 100)
    assert HALF_SBS.view_size(200, 100, Fraction(1)) == (200, 100)
    assert TB.view_size(200, 100, Fraction(3, 2)) == (300, 50)
    assert HALF_TB.view_size(200, 100, Fraction(1)) == (200, 100)
    assert RED_CYAN.view_size(200, 100, Fraction(1)) == (200, 100)
