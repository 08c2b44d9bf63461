"""Films with transparency: the alpha goes where the output can hold it, else a line says so; judged
by PyAV alone.

Axes: H W pixels, 4 = R G B alpha.
"""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from nunif.errors import UserError
from nunif.video import picture as pictures
from nunif.video.color import ColorTags
from nunif.video.reader import VideoReader
from nunif.video.writer import VideoWriter
from tests import videos
from tests.nunif.test_film_io import copy_film, noise
from tests.videos import write_clip

ENCODERS = {
    "vp9.webm": ("libvpx-vp9", "yuva420p"),
    "prores.mov": ("prores_ks", "yuva444p10le"),
    "qtrle.mov": ("qtrle", "argb"),
    "png.mov": ("png", "rgba"),
    "grey.mov": ("png", "ya8"),
    "deep.mov": ("png", "rgba64be"),
    "ffv1.mkv": ("ffv1", "gbrap12le"),
}
TRANSPARENT = "transparent in places"

pytestmark = pytest.mark.skipif(not videos.HAS_VPX, reason="this libav has no libvpx")


def ramp(height: int, width: int) -> np.ndarray:
    """(H, W) uint8: transparent on the left, opaque on the right; a single column is half
    transparent."""
    row = np.linspace(0, 255, width) if width > 1 else np.full(1, 128)
    return np.repeat(row[None], height, 0).astype(np.uint8)


def write_alpha(
    path: Path, *, size: tuple[int, int] = (48, 64), count: int = 3, alpha: np.ndarray | None = None
) -> Path:
    """A grey film with `ramp` as its alpha; the name is one of ENCODERS."""
    codec, pixel_format = ENCODERS[path.name]
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        frames = np.empty((count, height, width, 4), np.uint8)
        frames[..., :3] = 60 + 20 * np.arange(count)[:, None, None, None]
        frames[..., 3] = ramp(height, width) if alpha is None else alpha
        videos.encode_into(container, stream, frames)
    return path


def rgba_of(path: Path) -> list[np.ndarray]:
    """The film's pictures, (H, W, 4) uint8, with the decoder that knows VP9's alpha."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        if decoder.name == "vp9":
            decoder = av.CodecContext.create("libvpx-vp9", "r")
            decoder.extradata = stream.codec_context.extradata
        frames = [
            frame
            for packet in container.demux(stream)
            if packet.size
            for frame in decoder.decode(packet)
        ]
        return [
            frame.reformat(format="rgba", threads=1).to_ndarray()
            for frame in [*frames, *decoder.decode(None)]
        ]


@pytest.mark.parametrize("size", [(48, 64), (47, 65), (2, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("source", ENCODERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webm", {}),
        ("a.mkv", dict(codec="ffv1")),
        ("a.mov", dict(codec="prores_ks")),
        ("b.mov", dict(codec="png")),
        ("c.mov", dict(codec="qtrle")),
        ("b.mkv", dict(codec="libvpx-vp9")),
    ],
)
def test_alpha_is_carried_at_every_size(tmp_path, caplog, source, size, name, options):
    copy_film(write_alpha(tmp_path / source, size=size), tmp_path / name, **options)
    found = rgba_of(tmp_path / name)
    assert len(found) == 3
    for number, rgba in enumerate(found):
        assert np.abs(rgba[..., 3].astype(int) - ramp(*size)).max() <= 6
        seen = rgba[..., 3] > 100
        assert np.abs(rgba[seen][:, :3].mean() - (60 + 20 * number)) <= 6
    assert not [line for line in caplog.messages if TRANSPARENT in line]


@pytest.mark.parametrize("source", ENCODERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("a.mov", {}),
        ("a.mkv", {}),
        ("a.avi", {}),
        ("a.ts", {}),
        ("b.mp4", dict(codec="libvpx-vp9")),
        ("b.webm", dict(pixel_format="yuv420p")),
    ],
)
def test_a_line_where_alpha_is_lost(tmp_path, caplog, source, name, options):
    copy_film(write_alpha(tmp_path / source, count=9), tmp_path / name, **options)
    found = rgba_of(tmp_path / name)
    assert len(found) == 9 and min(rgba[..., 3].min() for rgba in found) == 255
    (line,) = [line for line in caplog.messages if TRANSPARENT in line]
    assert (
        str(tmp_path / name) in line and "the alpha is left out; to keep it write a .webm" in line
    )


@pytest.mark.parametrize("source", ["qtrle.mov", "prores.mov", "vp9.webm"])
def test_no_line_where_all_is_opaque(tmp_path, caplog, source):
    opaque = np.full((48, 64), 255, np.uint8)
    copy_film(write_alpha(tmp_path / source, alpha=opaque), tmp_path / "a.mp4")
    # lossy alpha may come out as 254
    assert not [line for line in caplog.messages if TRANSPARENT in line] or source == "vp9.webm"


@pytest.mark.parametrize("size", [(48, 64), (47, 65), (5, 7)], ids=str)
@pytest.mark.parametrize("name", ["a.webm", "a.mp4", "a.mkv", "a.mov", "a.avi", "a.ts", "a.mpg"])
def test_a_gif_becomes_a_film_of_any_kind(tmp_path, name, size):
    stills = [Image.fromarray(np.full((*size, 3), 50 * number, np.uint8)) for number in range(4)]
    stills[0].save(tmp_path / "a.gif", save_all=True, append_images=stills[1:], duration=40)
    copy_film(
        tmp_path / "a.gif", tmp_path / name, **(dict(rate=Fraction(25)) if name == "a.mpg" else {})
    )
    found = rgba_of(tmp_path / name)
    assert [round(rgba[..., :3].mean() / 50) for rgba in found] == [0, 1, 2, 3] and found[
        0
    ].shape == (*size, 4)


def test_transparent_gif_to_webm(tmp_path):
    still = np.zeros((20, 32, 4), np.uint8)
    still[:, 16:] = [200, 40, 40, 255]
    images = [Image.fromarray(np.roll(still, number, axis=1)) for number in range(3)]
    images[0].save(
        tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=40, disposal=2
    )
    expected = [rgba[..., 3] for rgba in rgba_of(tmp_path / "a.gif")]
    assert expected[0].min() == 0 and expected[0].max() == 255
    copy_film(tmp_path / "a.gif", tmp_path / "a.webm")
    for rgba, alpha in zip(rgba_of(tmp_path / "a.webm"), expected, strict=True):
        assert np.abs(rgba[..., 3].astype(int) - alpha).mean() < 4


def test_reading_without_editing_leaves_alpha_to_the_usual_decoder(tmp_path):
    path = write_alpha(tmp_path / "vp9.webm")
    with VideoReader(path) as reader, VideoReader(path, for_editing=True) as editor:
        assert (reader.info.pixel_format, editor.info.pixel_format) == ("yuv420p", "yuva420p")
        assert np.array_equal(reader.read(1, 2)[0].rgb, editor.read(1, 2)[0].rgb)
        # forward in leaps, as the commands read
        assert len(editor.read(2, 3)) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("gbrap", "yuva420p"), ("yuva444p10le", "gbrap12le"), ("gbrap16le", "yuva444p")],
)
def test_alpha_outlives_a_change_of_colour_model(old, new):
    color = ColorTags(matrix=1, range=1)
    picture = noise(old, 8, 8, color=color)
    before, after = pictures.alpha_of(picture), pictures.alpha_of(pictures.convert(picture, new))
    whole = {"uint8": 255, "uint16": 65535}
    shares = [alpha / whole[str(alpha.dtype)] for alpha in (before, after)]
    np.testing.assert_allclose(*shares, atol=1 / 255)
    assert pictures.is_see_through(picture) and not pictures.is_see_through(noise("gbrp", 8, 8))


def test_what_no_encoder_opens_is_not_advised(tmp_path):
    """libvpx names gbrap and never takes it: neither the choice nor the advice may name it."""
    with pytest.raises(UserError, match="the codec takes ") as error:
        VideoWriter(
            tmp_path / "a.webm",
            width=64,
            height=48,
            rate=Fraction(25),
            time_base=Fraction(1, 25),
            pixel_format="gbrap",
        )
    advice = str(error.value).partition("the codec takes ")[2].partition(")")[0].split()
    assert "yuva420p" in advice and "gbrap" not in advice
    for name in advice:
        with VideoWriter(
            tmp_path / "b.webm",
            width=64,
            height=48,
            rate=Fraction(25),
            time_base=Fraction(1, 25),
            pixel_format=name,
        ) as writer:
            writer.write(videos.numbered_frame(1, width=64, height=48), 0)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("libx264", "a.mp4"),
        ("libx265", "a.mp4"),
        ("libvpx-vp9", "a.webm"),
        ("prores_ks", "a.mov"),
        ("ffv1", "a.mkv"),
        ("mpeg4", "a.avi"),
        ("qtrle", "a.mov"),
        ("png", "a.mov"),
        ("ffvhuff", "a.avi"),
    ],
)
@pytest.mark.parametrize(
    "like", ["yuv420p", "yuv422p10le", "gbrp", "yuva444p12le", "gray", "gbrap16le"]
)
@pytest.mark.parametrize("size", [(32, 64), (33, 65)], ids=str)
def test_the_chosen_format_opens_whenever_one_does(tmp_path, codec, name, like, size):
    if codec not in av.codecs_available:
        pytest.skip("this libav has no such encoder")
    height, width = size
    same = dict(width=width, height=height, rate=Fraction(25), time_base=Fraction(1, 25))
    with VideoWriter(tmp_path / name, codec=codec, like_pixel_format=like, **same) as writer:
        for number in range(4):
            writer.write(videos.numbered_frame(number, width=width, height=height), number)
    assert [rgba.shape for rgba in rgba_of(tmp_path / name)] == [(*size, 4)] * 4


def test_a_film_without_alpha_is_written_as_before(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    copy_film(write_clip(tmp_path / "a.mp4", 3), tmp_path / "a.webm")
    with av.open(str(tmp_path / "a.webm")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}
    assert not caplog.messages
