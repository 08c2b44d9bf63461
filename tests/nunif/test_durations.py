"""The last picture of a film may last for seconds (a GIF that ends on a still, a screen recording):
it does in the copy."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nunif.errors import UserError
from nunif.video.matroska import count_pictures
from nunif.video.reader import VideoReader
from nunif.video.writer import VideoWriter
from tests import videos
from tests.nunif.test_film_io import copy_film
from tests.videos import number_of, times_of, write_clip

MS = Fraction(1, 1000)


def write_lasting(
    path: Path,
    times: list[int],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    num_b_frames: int = 0,
):
    """Numbered pictures at times in ms; the last entry is when the last of them ends."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.time_base = MS
        stream.codec_context.flags |= 1 << 8  # each frame has a duration
        stream.codec_context.max_b_frames = num_b_frames
        for number, (start, stop) in enumerate(zip(times, times[1:])):
            frame = av.VideoFrame.from_ndarray(
                videos.numbered_frame(number), format="rgb24"
            ).reformat(format=pixel_format)
            frame.pts, frame.time_base, frame.duration = start, MS, stop - start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def seconds_of(path: Path) -> float:
    """How long a file lasts by its header; for a lone picture stream also what that says of
    itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.duration is not None:
            assert float(stream.duration * stream.time_base) == pytest.approx(
                container.duration / av.time_base, abs=0.002
            )
        return container.duration / av.time_base


def check_end(times: list[int], path: Path) -> None:
    assert [float(time) for time in times_of(path)] == pytest.approx(
        [time / 1000 for time in times[:-1]], abs=0.0011
    )
    assert seconds_of(path) == pytest.approx(times[-1] / 1000, abs=0.0011)


SCREEN = [*range(0, 361, 40), 2360]
GIF = [0, 100, 200, 300, 400, 3400]
UNEVEN = [0, 10, 45, 165, 198, 208, 243, 363, 396, 5000]
SOURCES = {
    "screen.mp4": (SCREEN, {}),
    "screen.mkv": (SCREEN, {}),
    "reordered.mkv": (SCREEN, dict(num_b_frames=3)),
    "screen.webm": (SCREEN, dict(codec="libvpx-vp9")),
    "screen.mov": (SCREEN, dict(codec="png", pixel_format="rgb24")),
    "still.gif": (GIF, dict(codec="gif", pixel_format="rgb8")),
    "uneven.mp4": (UNEVEN, {}),
    "even.mp4": ([*range(0, 401, 40)], {}),
    "steps.mkv": ([0, 100, 350, 450, 490, 2990], {}),
    "short end.mp4": ([0, 400, 800, 1200, 1210], {}),
    "one.gif": ([0, 1500], dict(codec="gif", pixel_format="rgb8")),
}


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.mov", "a.webm"])
@pytest.mark.parametrize("name", SOURCES)
def test_the_last_picture_lasts_as_long(tmp_path, name, target, caplog):
    if name.endswith(".webm") and not videos.HAS_VPX:
        pytest.skip("this libav has no such encoder")
    times, options = SOURCES[name]
    source = write_lasting(tmp_path / name, times, **options)
    assert seconds_of(source) == pytest.approx(times[-1] / 1000)
    copy_film(source, tmp_path / target, pixel_format="yuv420p")
    check_end(times, tmp_path / target)
    assert caplog.messages == []
    copy_film(tmp_path / target, tmp_path / "again.mkv")  # what was written can be read
    copy_film(tmp_path / "again.mkv", tmp_path / "again.mp4")
    check_end(times, tmp_path / "again.mp4")
    with VideoReader(tmp_path / "again.mp4") as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(
            range(len(times) - 1)
        ) and reader.broken_at is None


@pytest.mark.parametrize("codec", ["ffv1", "mpeg4", "libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("count", [9, 10, 11, 12])  # which picture is coded last
def test_every_encoder_and_order(tmp_path, codec, name, count):
    if codec not in av.codecs_available or (codec, name) == ("ffv1", "a.mp4"):
        pytest.skip("this libav has no such encoder, or the container no such codec")
    times = [*range(0, 40 * count, 40), 40 * count + 2000]
    source = write_lasting(tmp_path / "source.mkv", times)
    copy_film(source, tmp_path / name, codec=codec)
    check_end(times, tmp_path / name)


def test_frames_say_how_long_they_last(tmp_path):
    source = write_lasting(tmp_path / "source.mkv", UNEVEN)
    with VideoReader(source) as reader:
        assert [frame.duration for frame in reader] == np.diff(UNEVEN).tolist()
    with VideoReader(source, max_fps=20) as reader:
        assert sum(frame.duration for frame in reader) == UNEVEN[-1]


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_where_it_cannot_last_that_is_said(tmp_path, name, caplog):
    copy_film(write_lasting(tmp_path / "source.mp4", SCREEN), tmp_path / name)
    suffix = Path(name).suffix
    assert caplog.messages == [
        f"{tmp_path / name}: {suffix} doesn't say how long a picture lasts; the last one will not "
        "stay for its 2.00 s: "
        "choose .mp4 or .mkv"
    ]
    caplog.clear()
    copy_film(write_lasting(tmp_path / "source.mp4", [*range(0, 401, 40)]), tmp_path / name)
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["a.avi", "a.mpg"])
def test_a_varying_rate_where_there_is_but_one(tmp_path, name, caplog):
    """A long last picture, or a gap, doesn't stretch the whole film; what can't stand at its time
    is told."""
    copy_film(
        write_lasting(tmp_path / "source.mp4", [*range(0, 361, 40), 2000, 2040, 4000]),
        tmp_path / name,
    )
    with VideoReader(tmp_path / name) as reader:
        assert reader.times[9] == pytest.approx(0.36, abs=0.02)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        times = [*range(0, 361, 40), *range(365, 600, 5), 605]
        copy_film(write_lasting(tmp_path / "source.mp4", times), tmp_path / name, rate=Fraction(25))
    assert (
        "beside their times" in caplog.text
        and "knows one rate only: choose .mp4 or .mkv" in caplog.text
    )


# A file that is cut off also ends before its header says


def test_pictures_are_counted(tmp_path):
    """Also where the sound comes first."""
    path = write_clip(tmp_path / "a.mkv", 30, sound="aac")
    assert count_pictures(path) == 30
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        streams = {
            stream.index: target.add_stream_from_template(stream, opaque=True)
            for stream in (*source.streams.audio, *source.streams.video)
        }
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    assert count_pictures(tmp_path / "b.mkv") == 30


def test_torn_files_are_not_counted(tmp_path):
    path = write_clip(tmp_path / "a.mkv", 30)
    data = path.read_bytes()
    torn = [data[:share] for share in range(0, len(data), len(data) // 40)] + [
        b"",
        b"RIFF" + data,
        bytes(100),
        b"\x1a" * 100,
    ]
    for content in torn:
        path.write_bytes(content)
        assert count_pictures(path) is None


def test_a_cut_off_film_is_still_found_out(tmp_path):
    source = write_lasting(tmp_path / "a.mkv", [*range(0, 4000, 40), 6000])
    with VideoReader(source) as reader:
        assert reader.broken_at is None and reader.read(99, 100)[0].duration == 6000 - 3960
    videos.truncate(source, 0.7)
    with VideoReader(source) as reader:
        assert reader.broken_at is not None


def test_a_lost_end_inside_a_whole_file_is_found_out(tmp_path):
    """The file's length is right, but its last pictures are overwritten."""
    source = write_lasting(tmp_path / "a.mkv", [*range(0, 4000, 40), 4040])
    position = videos.packets_of(source)[80][0]
    data = bytearray(source.read_bytes())
    tail = data.rindex(b"\x1cS\xbbk")  # Cues, behind the last cluster
    data[position:tail] = bytes(tail - position)
    source.write_bytes(data)
    with VideoReader(source) as reader:
        assert reader.broken_at is not None


def test_an_unfinished_film_lasts_as_long_as_its_last_picture(tmp_path):
    options = dict(width=96, height=64, rate=Fraction(25), time_base=MS)
    with pytest.raises(UserError), VideoWriter(tmp_path / "a.mp4", **options) as writer:
        writer.write(videos.numbered_frame(0), 0, 40)
        writer.write(videos.numbered_frame(1), 40, 1000)
        raise UserError("enough")
    assert seconds_of(tmp_path / "a.unfinished.mp4") == pytest.approx(1.04)
