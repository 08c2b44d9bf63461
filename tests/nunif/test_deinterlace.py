"""Interlaced films: refused, or made whole as libavfilter's bwdif makes them; never handed on as
combs."""

import random
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from nunif.errors import UserError
from nunif.video.reader import BrokenVideo, VideoReader
from tests import videos
from tests.nunif.test_film_io import copy_film
from tests.videos import times_of, write_clip

INTERLACED = {"flags": "+ildct+ilme"}
SOURCES = {
    "h264 tff.mp4": dict(options=INTERLACED | {"x264-params": "tff=1"}),
    "h264 bff.mkv": dict(options=INTERLACED | {"x264-params": "bff=1"}),
    "h264.ts": dict(options=INTERLACED | {"x264-params": "tff=1"}, fps=25),
    "mpeg2.mpg": dict(codec="mpeg2video", options=INTERLACED, fps=25),
    "mpeg2.ts": dict(codec="mpeg2video", options=INTERLACED, fps=25),
    "mpeg4.avi": dict(codec="mpeg4", options=INTERLACED, num_b_frames=0),
    "prores.mov": dict(
        codec="prores_ks", options={"flags": "+ildct"}, pixel_format="yuv422p10le", num_b_frames=0
    ),
    "mjpeg.mov": dict(
        codec="mjpeg", options={"field_order": "tt"}, pixel_format="yuvj420p", num_b_frames=0
    ),
    "ffv1.mkv": dict(codec="ffv1", options={"field_order": "bb"}, num_b_frames=0),
}
FILTER = "bwdif=mode=send_frame:parity=auto:deint=interlaced"
WORD_OF_THE_CONTAINER = {
    "mjpeg.mov": f"setfield=mode=tff,{FILTER}",
    "ffv1.mkv": f"setfield=mode=bff,{FILTER}",
}


def sources() -> list:
    """Their names; PyAV 17, the last one for Python 3.10, doesn't tell the container's word."""
    skip = pytest.mark.skipif(
        not hasattr(av.VideoCodecContext, "field_order"), reason="needs field_order of PyAV 18"
    )
    return [
        pytest.param(name, marks=skip) if name in WORD_OF_THE_CONTAINER else name
        for name in SOURCES
    ]


def woven(count: int, *, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Frames of a bright bar that moves 4 pixels from field to field: combs."""
    frames = []
    for number in range(count):
        frame = np.full((height, width, 3), 40, np.uint8)
        for field in (0, 1):
            left = 4 + 4 * (2 * number + field)
            frame[field::2, left : left + 16] = 220
        frames.append(frame)
    return frames


def combs(luma: np.ndarray) -> float:
    """How much neighbouring rows differ more than those two apart, in grey levels."""
    rows = luma.astype(int)
    return float(np.abs(rows[1:-1] - rows[:-2]).mean() - np.abs(rows[2:] - rows[:-2]).mean())


def source(path: Path, count: int = 10) -> Path:
    return write_clip(path, woven(count), **SOURCES[path.name])


def lumas_of(path: Path, **options) -> list[np.ndarray]:
    with VideoReader(path, for_editing=True, **options) as reader:
        return [frame.picture.planes[0] for frame in reader]


@pytest.mark.parametrize("name", sources())
def test_interlaced_films_are_refused_with_advice(tmp_path, name):
    path = source(tmp_path / name)
    with pytest.raises(UserError) as caught:
        VideoReader(path)
    assert str(caught.value) == (
        f"{path} is interlaced, each picture is two woven into one: use --deinterlace, which "
        "makes whole ones of them"
    )


@pytest.mark.parametrize("name", sources())
def test_pictures_are_those_of_the_filter(tmp_path, name):
    path = source(tmp_path / name)
    deep = name == "prores.mov"
    expected = videos.filtered(
        path, WORD_OF_THE_CONTAINER.get(name, FILTER), dtype=np.uint16 if deep else np.uint8
    )
    found = lumas_of(path, deinterlace=True)
    assert len(found) == len(expected) == 10
    for luma, (wanted, *_) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(luma, wanted)
    plain = [
        planes[0] for planes in videos.filtered(path, "", dtype=np.uint16 if deep else np.uint8)
    ]
    scale = 4 if deep else 1
    assert min(map(combs, plain[1:-1])) > 10 * scale and max(map(combs, found[1:-1])) < 2 * scale


def test_times_are_kept_and_the_copy_is_progressive(tmp_path):
    path = source(tmp_path / "h264 tff.mp4")
    with VideoReader(path, deinterlace=True) as reader:
        assert [frame.pts * reader.info.time_base for frame in reader] == times_of(path)
    copy_film(path, tmp_path / "a.mp4", deinterlace=True)
    assert times_of(tmp_path / "a.mp4") == times_of(path)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
    assert max(map(combs, lumas_of(tmp_path / "a.mp4")[1:-1])) < 2


@pytest.mark.parametrize("name", ["h264 tff.mp4", "mpeg2.ts", "mpeg4.avi"])
def test_every_way_of_reading_gives_the_same_pictures(tmp_path, name):
    """Rows are made from the pictures before and after, so none may be passed over."""
    path = source(tmp_path / name, 40)
    whole = lumas_of(path, deinterlace=True)
    for seed in range(3):
        rng = random.Random(seed)
        with VideoReader(path, for_editing=True, deinterlace=True) as reader:
            start = rng.randrange(8)
            while start < len(whole):
                stop = min(len(whole), start + rng.randrange(1, 6))
                for number, frame in enumerate(reader.read(start, stop), start):
                    np.testing.assert_array_equal(frame.picture.planes[0], whole[number])
                start += rng.randrange(12)
    with VideoReader(path, for_editing=True, deinterlace=True, max_fps=8) as reader:
        assert all(
            any(np.array_equal(frame.picture.planes[0], luma) for luma in whole) for frame in reader
        )


def test_a_film_that_is_interlaced_only_later_is_refused_there(tmp_path):
    parts = [
        write_clip(tmp_path / "a.ts", 30, fps=25),
        write_clip(tmp_path / "b.ts", woven(10), fps=25, options=SOURCES["h264.ts"]["options"]),
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoReader(path) as reader:
        for number in range(20):
            reader.read(number, number + 1)
        with pytest.raises(
            UserError, match=r"is interlaced from 1.\d\d s on, .* use --deinterlace"
        ):
            list(reader.read(number, number + 1) for number in range(20, 40))
    lumas = lumas_of(path, deinterlace=True)
    assert len(lumas) == 40 and max(map(combs, lumas[31:39])) < 2


def test_progressive_pictures_pass_as_they_are(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 24)
    for one, other in zip(lumas_of(path), lumas_of(path, deinterlace=True), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_films(tmp_path, count):
    assert len(lumas_of(source(tmp_path / "h264 tff.mp4", count), deinterlace=True)) == count


def test_no_picture_is_made_with_rows_of_a_damaged_one(tmp_path):
    """What can be read is what it would be in a film that ends before the damage, and one that
    begins behind it."""
    options = dict(
        gop=10,
        num_b_frames=0,
        options=INTERLACED | {"x264-params": "tff=1:scenecut=0", "crf": "12"},
    )
    path = write_clip(tmp_path / "a.mp4", woven(30), **options)
    before = lumas_of(write_clip(tmp_path / "b.mp4", woven(30), **options), deinterlace=True)
    videos.damage_packet(path, 14)
    found = {}
    with VideoReader(path, for_editing=True, deinterlace=True) as reader:
        for number in range(30):
            with suppress(BrokenVideo):
                found[number] = reader.read(number, number + 1)[0].picture.planes[0]
    assert sorted(found) == [*range(14), *range(20, 30)]
    for number in [*range(13), *range(21, 30)]:
        np.testing.assert_array_equal(found[number], before[number])
    assert combs(found[20]) < 2 and combs(found[13]) < 2
