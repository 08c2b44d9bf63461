"""Reading, writing and cutting videos."""

import hashlib
import random
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nunif.errors import UserError
from nunif.video.cuts import CUT_MARGIN, find_cuts
from nunif.video.orientation import Orientation
from nunif.video.reader import BrokenVideo, VideoReader, content_hash, list_videos, select_frames
from nunif.video.writer import write_video
from tests import videos
from tests.videos import number_of, numbered_frame, write_clip


def read_all(path: Path, *, max_fps: float | None = None, size: int = 16) -> list[tuple[int, str]]:
    """(pts, hash of the pixels) of every frame."""
    with VideoReader(path, max_fps=max_fps) as reader:
        frames = []
        for start in range(0, len(reader), size):
            frames += reader.read(start, min(start + size, len(reader)))
        return [fingerprint(frame) for frame in frames]


def fingerprint(frame) -> tuple[int, str]:
    return frame.pts, hashlib.md5(frame.rgb.tobytes()).hexdigest()


def numbers(path: Path, **options) -> list[int]:
    with VideoReader(path, **options) as reader:
        return [number_of(frame.rgb) for frame in reader.read(0, len(reader))]


def readable(path: Path, *, size: int = 1) -> tuple[list[int], float | None]:
    """Numbers read off the frames that decode, each checked against its time, and `broken_at`."""
    found = []
    with VideoReader(path) as reader:
        for start in range(0, len(reader) - size + 1, size):
            try:
                for frame in reader.read(start, start + size):
                    assert number_of(frame.rgb) == round(frame.time * 24)
                    found.append(number_of(frame.rgb))
            except BrokenVideo as error:
                assert reader.broken_at <= error.time
        return found, reader.broken_at


# Reading


def test_info_and_times(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 30, width=96, height=64, fps=24)
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height, reader.info.orientation) == (
            96,
            64,
            Orientation(),
        )
        assert (reader.info.codec, reader.info.pixel_format, reader.info.num_packets) == (
            "h264",
            "yuv420p",
            30,
        )
        assert reader.info.fps == pytest.approx(24)
        assert len(reader) == reader.num_frames == 30
        np.testing.assert_allclose(reader.times, np.arange(30) / 24, atol=1e-9)
        frame = reader.read(3, 4)[0]
        assert (
            frame.rgb.shape == (64, 96, 3)
            and frame.rgb.dtype == np.uint8
            and frame.rgb.flags.c_contiguous
        )
        assert frame.time == pytest.approx(3 / 24)
        assert reader.broken_at is None


STREAMS = {
    "h264 gop 12": dict(gop=12),
    "h264 gop 48": dict(gop=48),
    "h264 gop 250": dict(gop=250),
    "h264 pyramid": dict(
        gop=30, num_b_frames=5, options={"preset": "medium", "b-pyramid": "normal", "refs": "4"}
    ),
    "h264 open gop": dict(
        gop=12, num_b_frames=3, options={"preset": "fast", "x264-params": "open-gop=1:scenecut=0"}
    ),
    "h264 intra refresh": dict(gop=20, num_b_frames=0, options={"intra-refresh": "1"}),
    "h264 all intra": dict(gop=1, num_b_frames=0),
    "hevc open gop": dict(codec="libx265", gop=12, num_b_frames=3),
    "mpeg4": dict(codec="mpeg4", gop=12),
    "mpeg2 open gop": dict(codec="mpeg2video", gop=12),
    "vp8 hidden frames": dict(
        codec="libvpx",
        gop=24,
        num_b_frames=0,
        options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"},
    ),
    "vp9": dict(
        codec="libvpx-vp9",
        gop=24,
        num_b_frames=0,
        options={"deadline": "realtime", "cpu-used": "8"},
    ),
}


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("name", STREAMS)
def test_every_way_of_reading_gives_the_same_frames(tmp_path, name, suffix):
    settings = dict(STREAMS[name])
    codec = settings.get("codec", "libx264")
    if (
        codec == "libx265"
        and not videos.HAS_X265
        or codec.startswith("libvpx")
        and not videos.HAS_VPX
    ):
        pytest.skip("this libav has no such encoder")
    if codec.startswith("libvpx") and suffix != ".mkv":
        pytest.skip("vp8 and vp9 live in Matroska")
    path = write_clip(tmp_path / f"a{suffix}", 90, **settings)

    with VideoReader(path) as reader:
        count = len(reader)
        whole = reader.read(0, count)  # at once, no gap
    assert [number_of(frame.rgb) for frame in whole] == list(range(90))
    whole = [fingerprint(frame) for frame in whole]

    for seed in range(3):
        rng = random.Random(seed)
        with VideoReader(path) as reader:
            start = rng.randrange(20)
            while start < count:
                stop = min(count, start + rng.randrange(1, 10))
                assert [fingerprint(frame) for frame in reader.read(start, stop)] == whole[
                    start:stop
                ]
                start += rng.randrange(30)  # overlaps, touches, leaves small and large gaps
            assert reader.broken_at is None


def test_packets_before_the_keyframe_are_not_decoded(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", 96, gop=12, num_b_frames=0)
    with VideoReader(path) as reader:
        fed = []
        original = VideoReader._feed
        monkeypatch.setattr(
            VideoReader, "_feed", lambda self: (fed.append(self._position), original(self))
        )
        reader.read(2, 4)
        reader.read(75, 77)
    assert fed[0] == 0 and [packet for packet in fed if packet > 20][0] == 72
    assert len(fed) < 15


def test_only_the_request_is_held(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 120, gop=250)
    with VideoReader(path) as reader:
        for start in range(0, 104, 8):
            reader.read(start, start + 16)
            assert len(reader._ready) == 16
            assert len(reader._decoded) <= 8


def test_overlapping_requests_return_the_same_objects(tmp_path):
    with VideoReader(write_clip(tmp_path / "a.mp4", 24)) as reader:
        first = reader.read(0, 12)
        second = reader.read(8, 16)
        assert all(a is b for a, b in zip(first[8:], second[:4], strict=True))


def test_reading_goes_forward_only(tmp_path):
    with VideoReader(write_clip(tmp_path / "a.mp4", 24)) as reader:
        reader.read(10, 12)
        with pytest.raises(ValueError, match=r"frames \[9, 12\) don't lie in \[10, 24\]"):
            reader.read(9, 12)
        with pytest.raises(ValueError, match="forward"):
            reader.read(20, 25)


def test_a_reader_that_is_rewound_gives_the_same_frames_again(tmp_path):
    with VideoReader(write_clip(tmp_path / "a.mp4", 24)) as reader:
        before = reader.read(3, 5)[0].rgb
        assert number_of(reader.read(23, 24)[0].rgb) == 23
        reader.rewind()
        assert np.array_equal(reader.read(3, 4)[0].rgb, before)
    with pytest.raises(ValueError, match="has been closed"):
        reader.rewind()


def test_variable_frame_rate_has_no_duplicates(tmp_path):
    times = np.cumsum([0] + [10, 35, 120, 33] * 10).tolist()  # ms
    path = write_clip(tmp_path / "a.mkv", len(times) + 0, times=times, time_base=Fraction(1, 1000))
    with VideoReader(path) as reader:
        assert [number_of(frame.rgb) for frame in reader.read(0, len(reader))] == list(range(41))
        np.testing.assert_allclose(reader.times * 1000, times, atol=1e-6)
    kept = numbers(path, max_fps=30)
    steps = np.diff([times[number] for number in kept])
    assert kept == sorted(set(kept)) and steps.min() >= 32


@pytest.mark.parametrize(
    ("fps", "expected_fps"),
    [
        (Fraction(60000, 1001), Fraction(30000, 1001)),
        (60, 30),
        (50, 25),
        (48, 24),
        (30, 30),
        (25, 25),
    ],
)
def test_max_fps_with_a_time_base_of_milliseconds(tmp_path, fps, expected_fps):
    path = write_clip(tmp_path / "a.mkv", 60, fps=fps)
    step = round(Fraction(fps) / expected_fps)
    assert numbers(path, max_fps=30) == list(range(0, 60, step))
    with VideoReader(path, max_fps=30) as reader:
        assert np.ptp(np.diff(reader.times)) < 0.0021


@pytest.mark.parametrize(("fps", "step"), [(Fraction(60000, 1001), 2), (30, 1), (24, 1), (120, 4)])
def test_select_frames_is_exact_over_an_hour(fps, step):
    count = int(3600 * fps)
    pts = np.array([round(i * 1000 / Fraction(fps)) for i in range(count)])
    kept = select_frames(pts, time_base=Fraction(1, 1000), max_fps=30)
    assert kept.tolist() == list(range(0, count, step))


def test_select_frames_keeps_all_without_a_limit():
    assert select_frames(
        np.array([3, 4, 9]), time_base=Fraction(1, 1000), max_fps=None
    ).tolist() == [0, 1, 2]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_flag(tmp_path, degrees):
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    frame[:16, :16] = 255  # bright top left corner as coded
    path = videos.set_rotation(write_clip(tmp_path / "a.mp4", [frame] * 4), degrees)
    with VideoReader(path) as reader:
        shape = (64, 48) if degrees != 180 else (48, 64)
        assert (reader.info.height, reader.info.width, reader.info.orientation.degrees) == (
            *shape,
            degrees,
        )
        rgb = reader.read(0, 1)[0].rgb
    assert rgb.shape == (*shape, 3) and rgb.flags.c_contiguous
    # Clockwise, the top left corner goes to the top right, the bottom right, the bottom left.
    corner = {90: rgb[:12, -12:], 180: rgb[-12:, -12:], 270: rgb[-12:, :12]}[degrees]
    assert corner.mean() > 240 and rgb.mean() < 60


@pytest.mark.parametrize(
    ("pixel_format", "width", "height"),
    [
        ("yuv420p10le", 96, 64),
        ("yuv444p", 97, 63),
        ("yuv444p10le", 95, 61),
        ("yuv422p", 96, 63),
        ("yuv420p", 64, 96),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path, pixel_format, width, height):
    path = write_clip(tmp_path / "a.mp4", 6, pixel_format=pixel_format, width=width, height=height)
    with VideoReader(path) as reader:
        frames = reader.read(0, 6)
        assert reader.info.pixel_format == pixel_format
    assert [number_of(frame.rgb) for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[0].rgb.shape == (height, width, 3) and frames[0].rgb.dtype == np.uint8
    difference = np.abs(frames[5].rgb.astype(int) - numbered_frame(5, width=width, height=height))
    assert np.median(difference) < 12


def with_times_of_coding(source, target):
    """A copy whose pictures have the times at which they are decoded."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = round(number / 24 / packet.time_base)
                packet.stream = stream
                new.mux(packet)
    return target


def test_packets_that_give_no_picture_of_their_own(tmp_path):
    """As the second fields of H.264 whose fields come apart (PAFF); here they say that nothing has
    changed (MPEG-4's N-VOP)."""
    source, path = (
        write_clip(tmp_path / "a.avi", 40, codec="mpeg4", num_b_frames=0),
        tmp_path / "b.mkv",
    )
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(packet for packet in old.demux(video=0) if packet.size):
            for part, data in enumerate((bytes(packet), b"\0\0\1\xb6\x50\x4f")):
                if number == 39 and part:
                    break
                one = av.Packet(data)
                one.stream, one.time_base, one.is_keyframe = (
                    stream,
                    Fraction(1, 48),
                    packet.is_keyframe and not part,
                )
                one.pts = one.dts = 2 * number + part
                new.mux(one)
    assert numbers(path) == list(range(40))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.avi", "mpeg4"),
        ("a.avi", "libx264"),
        ("a.h264", "libx264"),
        ("a.mpg", "mpeg2video"),
        ("a.mkv", "libx264"),
    ],
)
def test_files_without_proper_times(tmp_path, name, codec, caplog):
    """In AVI, and in Matroska made from it, times are those of coding: pictures came out of
    order."""
    path = write_clip(tmp_path / name, 40, codec=codec)
    if name == "a.mkv":
        path = with_times_of_coding(path, tmp_path / "b.mkv")
        VideoReader(path).close()
        assert any("its times aren't those of its pictures" in line for line in caplog.messages)
    assert numbers(path) == list(range(40))
    with VideoReader(path) as reader:
        assert [number_of(frame.rgb) for frame in reader.read(20, 25)] == [20, 21, 22, 23, 24]
        assert reader.times[24] == pytest.approx(1, abs=0.05)


def test_names_that_look_like_protocols(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    path = write_clip(tmp_path / "x.mp4", 4).rename(folder / "größe %03d #1.mp4")
    assert numbers(path) == [0, 1, 2, 3]


# Damage


def test_truncated_mp4_gives_what_is_there(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 80, container_options={"movflags": "faststart"})
    videos.truncate(path, 0.6)
    found, broken_at = readable(path)
    assert 30 < len(found) < 70 and found == list(range(len(found)))
    assert (len(found) - 4) / 24 <= broken_at <= (len(found) + 4) / 24
    with (
        VideoReader(path) as reader,
        pytest.raises(BrokenVideo, match=r"a.mp4 is damaged at \d\.\d\d s"),
    ):
        reader.read(0, len(reader))


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_a_truncated_film_whose_header_says_its_length_says_so(tmp_path, suffix):
    path = videos.truncate(write_clip(tmp_path / f"a{suffix}", 80), 0.6)
    found, broken_at = readable(path)
    assert 30 < len(found) < 70
    assert broken_at == pytest.approx((len(found) - 1) / 24, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("number", [24, 40, 41, 42, 43, 95])
def test_damage_reaches_to_the_next_keyframe_and_no_further(tmp_path, number, suffix):
    path = write_clip(tmp_path / f"a{suffix}", 96, gop=24, options={"crf": "12"})
    before = read_all(path)
    packets = videos.packets_of(path)
    order = sorted(packet[2] for packet in packets)
    hit = order.index(packets[number][2])
    videos.damage_packet(path, number)
    found, broken_at = readable(path)
    lost = sorted(set(range(96)) - set(found))
    assert hit in lost and set(lost) <= set(range(24 * (hit // 24), 24 * (hit // 24) + 24))
    assert broken_at == pytest.approx(lost[0] / 24, abs=0.01)
    with VideoReader(path) as reader:  # what is returned has not suffered
        for frame in found:
            assert fingerprint(reader.read(frame, frame + 1)[0]) == before[frame]


def test_damage_shows_alike_whatever_was_read_before(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 200, gop=50, num_b_frames=3, options={"crf": "12"})
    rng = random.Random(0)
    for number in rng.sample(range(200), 6):
        videos.damage_packet(path, number)
    assert len(readable(path)[0]) < 190

    def clips(starts: range) -> dict[int, list | None]:
        result = {}
        with VideoReader(path) as reader:
            for start in starts:
                try:
                    result[start] = [fingerprint(frame) for frame in reader.read(start, start + 8)]
                except BrokenVideo:
                    result[start] = None
        return result

    every = clips(range(0, 192, 8))
    assert None in every.values() and any(every.values())
    for starts in (range(0, 192, 24), range(64, 192, 64), range(160, 192, 8)):
        assert clips(starts) == {start: every[start] for start in starts}


def test_bit_flips_never_put_a_frame_in_anothers_place(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 96, gop=24, options={"crf": "12"})
    clean = path.read_bytes()
    for seed in range(6):
        rng = random.Random(seed)
        data = bytearray(clean)
        for _ in range(8):
            data[rng.randrange(len(data) // 3, 2 * len(data) // 3)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        with VideoReader(path) as reader:
            times = []
            for start in range(0, len(reader) - 7, 8):
                with suppress(BrokenVideo):
                    times += [frame.time for frame in reader.read(start, start + 8)]
            assert times == sorted(set(times)) and len(times) >= 24
            assert set(times) <= set(reader.times.tolist())


@pytest.mark.parametrize("max_fps", [None, 12])
def test_reading_goes_on_behind_the_damage(tmp_path, max_fps):
    path = videos.damage_packet(
        write_clip(tmp_path / "a.mp4", 72, gop=24, num_b_frames=0, options={"crf": "12"}), 30
    )
    step = 1 if max_fps is None else 2
    with VideoReader(path, max_fps=max_fps) as reader:
        with pytest.raises(BrokenVideo) as caught:
            reader.read(28 // step, 40 // step)
        assert (
            caught.value.time == pytest.approx(30 / 24, abs=0.001)
            and reader.broken_at == caught.value.time
        )
        frames = reader.read(48 // step, 60 // step)
    assert [number_of(frame.rgb) for frame in frames] == list(range(48, 60, step))


# What isn't a video


def make_nothing(path: Path) -> None:
    pass


def make_without_moov(path: Path) -> None:
    videos.truncate(write_clip(path), 0.5)


def make_moving(path: Path) -> None:
    first, *others = [Image.fromarray(videos.numbered_frame(number)) for number in range(3)]
    first.save(path, save_all=True, append_images=others)


REFUSED = {
    "moving.webp": (make_moving, "is an animated WebP"),
    "missing.mp4": (make_nothing, "doesn't exist"),
    "folder.mp4": (Path.mkdir, "is a folder"),
    "empty.mp4": (Path.touch, r"is empty \(0 bytes\)"),
    "text.mp4": (lambda path: path.write_text("no video at all\n" * 100), "isn't a video"),
    "notes.txt": (lambda path: path.write_text("no video at all\n" * 100), "isn't a video"),
    "random.mkv": (
        lambda path: path.write_bytes(random.Random(3).randbytes(20_000)),
        "isn't a video|no picture",
    ),
    "no_moov.mp4": (make_without_moov, "cut off before its index was written"),
    "sound.m4a": (videos.write_sound, "no picture stream"),
    "cover.mp3": (lambda path: videos.write_sound(path, with_cover=True), "no picture stream"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_line_and_name_the_file(tmp_path, name, capfd):
    make, text = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(UserError, match=text) as caught:
        VideoReader(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_which_nothing_decodes(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 24, num_b_frames=0)
    data = bytearray(path.read_bytes())
    for position, size, _, _ in videos.packets_of(path):
        data[position + 4 : position + size] = b"\xff" * (size - 4)
    path.write_bytes(data)
    with pytest.raises(UserError, match="can't be decoded, not a single picture"):
        VideoReader(path)


def test_list_videos(tmp_path):
    for name in ("b.MP4", "a.webm", ".hidden.mp4", "notes.txt", "c.mkv"):
        (tmp_path / name).touch()
    (tmp_path / "d.mp4").mkdir()
    assert [path.name for path in list_videos(tmp_path)] == ["a.webm", "b.MP4", "c.mkv"]
    assert list_videos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(UserError, match="doesn't exist"):
        list_videos(tmp_path / "e.mp4")
    with pytest.raises(UserError, match="holds no video"):
        list_videos(tmp_path / "d.mp4")


def test_content_hash(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"one")
    (tmp_path / "b.mp4").write_bytes(b"one")
    (tmp_path / "c.mp4").write_bytes(b"two")
    digests = [content_hash(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] == "8e83ed46"
    with pytest.raises(UserError, match="can't be read"):
        content_hash(tmp_path / "d.mp4")


# Writing


def test_written_frames_are_read_back(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(
        path, (numbered_frame(number) for number in range(30)), fps=Fraction(30000, 1001), crf=4
    )
    with VideoReader(path) as reader:
        frames = reader.read(0, 30)
        assert reader.info.fps == pytest.approx(30000 / 1001, rel=1e-4)
    assert [number_of(frame.rgb) for frame in frames] == list(range(30))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    "color", [(200, 30, 30), (30, 200, 30), (30, 30, 200), (255, 255, 255), (0, 0, 0)]
)
def test_colors_come_back(tmp_path, color):
    frame = np.full((48, 64, 3), color, dtype=np.uint8)
    write_video(tmp_path / "a.mp4", [frame] * 3, fps=24, pixel_format="yuv444p", crf=1)
    with VideoReader(tmp_path / "a.mp4") as reader:
        rgb = reader.read(1, 2)[0].rgb
    np.testing.assert_allclose(rgb.mean(axis=(0, 1)), color, atol=2.5)


def test_gop(tmp_path):
    write_video(
        tmp_path / "a.mp4", (numbered_frame(number) for number in range(30)), fps=24, gop=10
    )
    keys = [
        index for index, packet in enumerate(videos.packets_of(tmp_path / "a.mp4")) if packet[3]
    ]
    assert keys == [0, 10, 20]


def test_lossless_writing(tmp_path):
    frames = [numbered_frame(number, width=33, height=31) for number in range(4)]
    write_video(tmp_path / "a.mkv", frames, fps=24, codec="ffv1", pixel_format="bgr0", crf=None)
    with VideoReader(tmp_path / "a.mkv") as reader:
        for frame, expected in zip(reader.read(0, 4), frames, strict=True):
            np.testing.assert_array_equal(frame.rgb, expected)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("a.mp4", dict(), "33x31 can't be yuv420p; choose yuv444p or an even size"),
        ("a.mp4", dict(codec="libx999", pixel_format="yuv444p"), "codec libx999"),
        ("a.xyz", dict(pixel_format="yuv444p"), "choose another suffix, codec or pixel format"),
        ("a.mp4", dict(pixel_format="yuv999"), "pixel format yuv999"),
        ("missing/a.mp4", dict(pixel_format="yuv444p"), "missing"),
    ],
)
def test_writer_refusals(tmp_path, name, options, text):
    frames = [numbered_frame(0, width=33, height=31)]
    with pytest.raises(UserError, match=text):
        write_video(tmp_path / name, frames, fps=24, **options)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_no_file(tmp_path):
    with pytest.raises(UserError, match="there is no frame"):
        write_video(tmp_path / "a.mp4", [], fps=24)


def test_an_interrupted_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def frames():
        yield from (numbered_frame(number) for number in range(5))
        raise RuntimeError("the network is gone")

    with pytest.raises(RuntimeError, match="the network is gone"):
        write_video(path, frames(), fps=24)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"] and path.read_bytes() == b"old"
    with pytest.raises(ValueError, match="frame 1 is 48x32, the first was 96x64"):
        write_video(path, [numbered_frame(0), numbered_frame(1, width=48, height=32)], fps=24)


# Cuts


@pytest.mark.parametrize("position", range(CUT_MARGIN, 22 - CUT_MARGIN))
def test_a_cut_is_found_wherever_it_is(position):
    assert find_cuts(videos.shots([position, 22 - position])) == [position]


@pytest.mark.parametrize("position", [0, 1, 20, 21])
def test_a_cut_in_the_margin_is_not_reported(position):
    assert find_cuts(videos.shots([position, 22 - position])) == []


def test_two_cuts_and_a_flash():
    assert find_cuts(videos.shots([7, 8, 7])) == [7, 15]
    assert find_cuts(videos.shots([10, 1, 11])) == [10, 11]


def test_pans_and_moving_objects_are_no_cuts():
    assert find_cuts(videos.shots([22])) == []
    rng = np.random.default_rng(1)
    scene = np.kron(rng.integers(0, 256, (18, 60, 3)), np.ones((20, 20, 1), dtype=np.int64)).astype(
        np.uint8
    )
    # a fast pan, wider than 256
    assert find_cuts([scene[:, 24 * i : 24 * i + 640] for i in range(22)]) == []
    frames = [scene[:, :640].copy() for _ in range(22)]
    for index, frame in enumerate(frames):
        frame[100:260, 20 * index : 20 * index + 160] = (250, 20, 20)
    assert find_cuts(frames) == []


@pytest.mark.parametrize("count", range(5))
def test_runs_shorter_than_the_window(count):
    assert find_cuts(videos.shots([count // 2, count - count // 2])) == []


def test_cut_is_found_after_coding(tmp_path):
    write_video(tmp_path / "a.mp4", videos.shots([11, 11]), fps=24)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert find_cuts([frame.rgb for frame in reader.read(0, 22)]) == [11]


def test_libavs_own_log_stays_silent(tmp_path, caplog):
    """torchvision up to 0.24 turns it on when it is imported."""
    path = write_clip(tmp_path / "a.mp4", 4)
    path.write_bytes(path.read_bytes()[:1000])
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with pytest.raises(UserError, match="isn't a video that can be read"):
            VideoReader(path)
        assert av.logging.get_level() is None
    finally:
        av.logging.set_level(before)
    assert not [record for record in caplog.records if record.name.startswith("libav")]
