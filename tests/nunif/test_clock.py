"""Films whose clock begins anywhere, and joined ones whose clock starts over: pictures and sound
from 0, whole and in time."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nunif.errors import UserError
from nunif.video.reader import VideoReader
from tests.nunif.test_film_io import copy_film
from tests.videos import heard, number_of, numbered_frame, sound_of, times_of, write_clip

BROADCAST = {
    "h264.ts": dict(sound="aac"),
    "h264.m2ts": dict(sound="ac3"),
    "mpeg2.ts": dict(codec="mpeg2video", sound="mp2", fps=25),
    "mpeg2.mpg": dict(codec="mpeg2video", sound="mp2", fps=25),
}


def clip(path: Path, *, start: str = "1.4", count: int = 48, **options) -> Path:
    """Numbered frames with a tone as long, on a clock that begins at so many seconds."""
    return write_clip(
        path,
        count,
        container_options={} if path.suffix == ".mpg" else {"output_ts_offset": start},
        **options,
    )


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def numbers_of(path: Path) -> list[int]:
    with VideoReader(path) as reader:
        assert reader.broken_at is None
        return [number_of(frame.rgb) for frame in reader]


def check_in_time(path: Path, *, seconds: float, fps: Fraction, first: float = 0.0) -> None:
    """Pictures and sound begin at 0 (`first`: where the container puts it), go on evenly and are
    whole."""
    times = [float(time) for time in times_of(path)]
    assert times[0] == pytest.approx(first, abs=0.001)
    np.testing.assert_allclose(np.diff(times), float(1 / fps), atol=0.0011)
    assert times[-1] - times[0] == pytest.approx(seconds - float(1 / fps), abs=0.002)
    begins, ends, loudness = heard(path)
    assert begins - first == pytest.approx(0, abs=0.03) and ends - first == pytest.approx(
        seconds, abs=0.06
    )
    assert loudness == pytest.approx(0.21, abs=0.02)  # no silence between


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.webm", "a.ts"])
@pytest.mark.parametrize("name", BROADCAST)
def test_a_broadcasts_clock_begins_at_0(tmp_path, name, target):
    source = clip(tmp_path / name, **BROADCAST[name])
    assert times_of(source)[0] > Fraction(1, 2)
    copy_film(source, tmp_path / target)
    fps = Fraction(BROADCAST[name].get("fps", 24))
    check_in_time(
        tmp_path / target,
        seconds=float(48 / fps),
        fps=fps,
        first=2 / float(fps) if target == "a.ts" else 0,
    )


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.webm"])
@pytest.mark.parametrize("name", BROADCAST)
@pytest.mark.parametrize("num_parts", [2, 3])
def test_joined_films_are_whole(tmp_path, name, target, num_parts, caplog):
    part = clip(tmp_path / f"part-{name}", **BROADCAST[name])
    source = join(tmp_path / name, *[part] * num_parts)
    fps = Fraction(BROADCAST[name].get("fps", 24))
    with caplog.at_level(logging.INFO, "nunif.video"):
        assert numbers_of(source) == list(range(48)) * num_parts
    joints = ", ".join(f"{48 * number / float(fps):.2f} s" for number in range(1, num_parts))
    assert caplog.messages == [
        f"{source}: its clock starts over at {joints}; the parts are put one behind the other"
    ]
    copy_film(source, tmp_path / target)
    check_in_time(tmp_path / target, seconds=float(48 * num_parts / fps), fps=fps)


def test_every_part_of_a_joined_film_has_its_sound(tmp_path):
    part = clip(tmp_path / "part.ts", sound="aac")
    copy_film(join(tmp_path / "source.ts", part, part), tmp_path / "a.mp4")
    copy_film(part, tmp_path / "part.mp4")
    wanted = [digest for digest, _ in sound_of(tmp_path / "part.mp4")]
    found = sound_of(tmp_path / "a.mp4")
    digests = [digest for digest, _ in found]
    assert digests[:88] == wanted
    # an encoder's run-up
    assert digests[88:] == wanted[-len(digests[88:]) :] and len(digests) >= 2 * len(wanted) - 2
    steps = np.diff([float(time) for _, time in found])
    assert steps.min() > 0 and steps.max() < 0.05


@pytest.mark.parametrize(
    ("first", "second"), [("1.4", "700"), ("700", "1.4"), ("95442", "30"), ("95442", "95442")]
)
def test_parts_with_clocks_of_their_own(tmp_path, first, second):
    """Far ahead, far back, and where the clock of 33 bits runs over in the middle."""
    parts = [
        clip(tmp_path / "one.ts", sound="aac", start=first, fps=25),
        clip(tmp_path / "two.ts", sound="aac", start=second, fps=25),
    ]
    source = join(tmp_path / "source.ts", *parts)
    assert numbers_of(source) == list(range(48)) * 2
    copy_film(source, tmp_path / "a.mp4")
    check_in_time(tmp_path / "a.mp4", seconds=96 / 25, fps=Fraction(25))


def test_a_part_without_sound(tmp_path):
    silent, loud = clip(tmp_path / "silent.ts"), clip(tmp_path / "loud.ts", sound="aac")
    for order, begins in [((silent, loud), 2), ((loud, silent), 0)]:
        copy_film(join(tmp_path / "source.ts", *order), tmp_path / "a.mp4")
        assert len(times_of(tmp_path / "a.mp4")) == 96
        first, last, _ = heard(tmp_path / "a.mp4")
        assert first == pytest.approx(begins, abs=0.03) and last == pytest.approx(
            begins + 2, abs=0.06
        )


def test_sound_that_goes_on_behind_its_pictures_is_not_cut(tmp_path):
    """The next part waits for it."""
    late = clip(tmp_path / "late.ts", sound="aac", sound_start=Fraction(1))
    part = clip(tmp_path / "part.ts", sound="aac")
    copy_film(join(tmp_path / "source.ts", late, part), tmp_path / "a.mp4")
    assert heard(tmp_path / "a.mp4")[1] == pytest.approx(5, abs=0.1)
    times = times_of(tmp_path / "a.mp4")
    assert len(times) == 96 and len(sound_of(tmp_path / "a.mp4")) == len(sound_of(late)) + len(
        sound_of(part)
    )
    assert float(times[48]) == pytest.approx(3, abs=0.1)


def test_a_recording_that_begins_in_the_middle(tmp_path):
    """Pictures before the first keyframe can't be shown; what is heard meanwhile stays, and in
    time."""
    part = clip(tmp_path / "part.ts", sound="aac")
    data = part.read_bytes()
    packets = len(data) // 188
    source = tmp_path / "source.ts"
    # the tables, and all but the first eighth
    source.write_bytes(data[: 3 * 188] + data[packets // 8 * 188 :])
    numbers = numbers_of(source)
    assert numbers == list(range(12, 48))
    copy_film(source, tmp_path / "a.mp4")
    first, last, _ = heard(tmp_path / "a.mp4")
    begins = float(times_of(tmp_path / "a.mp4")[0])
    assert first == pytest.approx(0, abs=0.03) and 0.1 < begins < 0.5
    assert last == pytest.approx(begins + 1.5, abs=0.06)  # 36 frames


def test_a_second_picture_stream_is_said_to_be_left_out(tmp_path, caplog):
    one = clip(tmp_path / "one.ts", sound="aac")
    other = write_clip(tmp_path / "two.ts", 24, container_options={"mpegts_start_pid": "0x200"})
    source = join(tmp_path / "source.ts", one, other)
    assert numbers_of(source) == list(range(48))
    assert caplog.messages[0].startswith(
        f"{source}: another picture stream begins where the first ends"
    )


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_joined_films_of_two_sizes_are_refused_at_the_joint(tmp_path, codec):
    one = write_clip(tmp_path / "one.ts", 30, fps=25, codec=codec)
    two = write_clip(tmp_path / "two.ts", 30, fps=25, codec=codec, width=64, height=48)
    source = join(tmp_path / "source.ts", one, two)
    with pytest.raises(UserError) as caught:
        copy_film(source, tmp_path / "a.mp4")
    text = (
        f"{source} changes its size from 96x64 to 64x48 at 1.20 s: cut it there, each part is "
        "a film of its own"
    )
    assert str(caught.value) == text
    assert numbers_of(tmp_path / "a.unfinished.mp4") == list(
        range(len(times_of(tmp_path / "a.unfinished.mp4")))
    )
    assert len(times_of(tmp_path / "a.unfinished.mp4")) >= 26


def with_subtitles(path: Path, *, at: tuple[int, ...] = (4, 12), count: int = 24) -> Path:
    """A second of broadcast, whose clock begins at 1.4 s, with a subtitle for some of its
    frames."""
    with av.open(str(path), "w", container_options={"output_ts_offset": "1.4"}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        text = container.add_mux_stream("dvbsub")
        container.start_encoding()
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), "rgb24").reformat(
                format="yuv420p", threads=1
            )
            frame.pts = number
            container.mux(stream.encode(frame))
            if number in at:
                # of an empty page
                packet = av.Packet(b"\x0f\x10\x00\x01\x00\x02\x00\x10\x0f\x80\x00\x01\x00\x00")
                packet.stream, packet.time_base = text, Fraction(1, 1000)
                packet.pts = packet.dts = number * 1000 // 24
                packet.duration = 100
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("parts", [1, 3])
def test_subtitles_go_with_the_pictures(tmp_path, parts):
    source = join(tmp_path / "j.ts", *[with_subtitles(tmp_path / "a.ts")] * parts)
    copy_film(source, tmp_path / "a.mkv", sound_from=source, extras=True)
    with av.open(str(tmp_path / "a.mkv")) as container:
        said = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(subtitles=0)
            if packet.size
        ]
    assert times_of(tmp_path / "a.mkv")[0] == 0
    np.testing.assert_allclose(
        said, [part + number / 24 for part in range(parts) for number in (4, 12)], atol=0.002
    )


def test_segments_of_a_stream_are_whole(tmp_path):
    """As of HLS: the clock goes on from one to the next, but what the demuxer counts by begins
    anew."""
    whole = write_clip(tmp_path / "whole.ts", 40, fps=24, gop=10, num_b_frames=0)
    paths = []
    with av.open(str(whole)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for first in range(0, 40, 10):
            paths.append(tmp_path / f"{first}.ts")
            with av.open(str(paths[-1]), "w", options={"mpegts_copyts": "1"}) as part:
                stream = part.add_stream_from_template(source.streams.video[0])
                for packet in packets[first : first + 10]:
                    packet.stream = stream
                    part.mux(packet)
    (tmp_path / "film.ts").write_bytes(b"".join(path.read_bytes() for path in paths))
    with VideoReader(tmp_path / "film.ts") as reader:
        assert [number_of(frame.rgb) for frame in reader] == list(
            range(40)
        ) and reader.broken_at is None


def test_sound_that_changes_its_rate_at_a_joint_is_coded_anew(tmp_path):
    one = write_clip(tmp_path / "one.ts", 24, sound="aac", sound_rate=48000)
    two = write_clip(tmp_path / "two.ts", 24, sound="aac", sound_rate=44100, sound_layout="stereo")
    copy_film(join(tmp_path / "film.ts", one, two), tmp_path / "copy.mkv")
    start, end, loudness = heard(tmp_path / "copy.mkv")
    assert (
        start == pytest.approx(0, abs=0.06)
        and end == pytest.approx(2, abs=0.1)
        and loudness == pytest.approx(0.23, abs=0.05)
    )
    with av.open(str(tmp_path / "copy.mkv")) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    late = np.concatenate(frames)[int(1.2 * 48000) : int(1.7 * 48000)]
    assert np.argmax(np.abs(np.fft.rfft(late))) * 48000 / len(late) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("codecs", [("aac", "mp2"), ("ac3", "mp2", "aac")])
def test_sound_that_changes_its_codec_at_a_joint_is_coded_anew(tmp_path, codecs, caplog):
    parts = [write_clip(tmp_path / f"{codec}.ts", 24, sound=codec) for codec in codecs]
    with caplog.at_level(logging.INFO, "nunif.video"):
        copy_film(join(tmp_path / "film.ts", *parts), tmp_path / "copy.mp4")
    check_in_time(tmp_path / "copy.mp4", seconds=len(codecs), fps=Fraction(24))
    assert f"({', '.join(codecs)}) is coded anew as aac" in caplog.messages[-1]


def test_a_recording_of_a_live_stream_begins_late_and_a_line_says_so(tmp_path, caplog):
    times = range(5000, 5480, 40)
    source = write_clip(tmp_path / "a.mkv", 12, times=times, time_base=Fraction(1, 1000))
    with VideoReader(source) as reader:
        assert len(reader) == 12
    (line,) = caplog.messages
    assert line.startswith(f"{source}: its clock begins at 5.00 s, ") and "-c copy" in line


def test_what_changes_in_mid_film_is_told(tmp_path, caplog):
    one = write_clip(tmp_path / "one.ts", 12)
    two = write_clip(
        tmp_path / "two.ts", 12, pixel_format="yuv444p", sample_aspect_ratio=Fraction(4, 3)
    )
    copy_film(join(tmp_path / "film.ts", one, two), tmp_path / "copy.mkv")
    told = [
        line.partition("film.ts changes its ")[2].partition(" at about")[0]
        for line in caplog.messages
    ]
    assert sorted(filter(None, told)) == [
        "pixel format from yuv420p to yuv444p",
        "pixels' aspect from 1 to 4/3",
    ]
