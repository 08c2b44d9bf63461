"""Every channel of a film's sound is heard in the copy, whatever the layout; where one can't be,
that is said."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.layout import AudioLayout

from tests.nunif.test_film_io import copy_film
from tests.videos import heard, numbered_frame

RATE = 48000
LOWEST, APART = 60, 20  # Hz: a tone for each channel, low enough for LFE


def tones(num_channels: int) -> list[int]:
    return [LOWEST + APART * channel for channel in range(num_channels)]


def write_chord(path: Path, layout: str, *, codec: str, unnamed: bool = False) -> Path:
    """A film of a second whose channels each have a tone of their own."""
    num_channels = AudioLayout(layout).nb_channels
    wave = np.stack(
        [0.3 * np.sin(2 * np.pi * tone * np.arange(RATE) / RATE) for tone in tones(num_channels)]
    )
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=24)
        pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream(
            codec, rate=RATE, layout=f"{num_channels} channels" if unnamed else layout
        )
        sound.codec_context.open()
        size = sound.codec_context.frame_size or 1024
        for number in range(24):
            container.mux(
                pictures.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24"))
            )
        container.mux(pictures.encode(None))
        for first in range(0, RATE, size):
            block = wave[:, first : first + size]
            samples = np.ascontiguousarray((block * 32767).astype(np.int16).T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                samples, format="s16", layout=sound.codec_context.layout.name
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            container.mux(sound.encode(frame))  # in the encoder's own format
        container.mux(sound.encode(None))
    return path


def heard_tones(path: Path) -> list[set[int]]:
    """Of each channel, the tones in it."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        num_channels, rate = stream.codec_context.channels, stream.codec_context.sample_rate
        interleaved = av.AudioResampler(format="flt", layout=stream.codec_context.layout, rate=rate)
        pieces = [
            piece.to_ndarray()
            for frame in container.decode(stream)
            for piece in interleaved.resample(frame)
        ]
    wave = np.concatenate(pieces, axis=1).reshape(-1, num_channels).T.astype(np.float64)
    wave = wave[:, rate // 4 : rate // 4 + rate // 2]  # half a second: bins of 2 Hz
    loudness = np.abs(np.fft.rfft(wave * np.hanning(wave.shape[1]))) / wave.shape[1]
    loudness /= loudness.max()
    return [{tone for tone in tones(24) if channel[tone // 2] > 0.1} for channel in loudness]


OF_FLAC = ("mono", "stereo", "2.1", "3.0(back)", "quad(side)", "6.0", "6.1", "7.1", "7.1(wide)")


@pytest.mark.parametrize(
    ("layout", "codec", "target"),
    [
        *((layout, "ac3", "a.webm") for layout in ("5.1(side)", "5.0(side)", "4.0")),
        *((layout, "flac", "a.webm") for layout in OF_FLAC),
        ("hexagonal", "pcm_s16le", "a.webm"),
        ("5.1(side)", "flac", "a.ts"),
        ("7.1", "pcm_s16le", "a.ts"),
    ],
)
def test_no_channel_is_lost(tmp_path, layout, codec, target, caplog):
    source = write_chord(tmp_path / "source.mkv", layout, codec=codec)
    with caplog.at_level(logging.WARNING):
        copy_film(source, tmp_path / target)
    num_channels = AudioLayout(layout).nb_channels
    found = heard_tones(tmp_path / target)
    assert len(found) == num_channels
    missing = set(tones(num_channels)) - set().union(*found)
    assert not missing or (
        "is lost" in caplog.text
        and len(missing) == caplog.text.partition(" is lost")[0].split("), ")[1].count(" ") + 1
    )
    # two that are mixed into one, or into others, are told of too
    apart = {frozenset(channel) for channel in found if channel}
    assert len(apart) == num_channels or " become " in caplog.text
    if layout in ("5.1(side)", "stereo", "6.1", "7.1", "quad(side)", "5.0(side)"):
        assert not missing and caplog.messages == []
        assert found == [{tone} for tone in tones(num_channels)]  # each in its own place


def test_fewer_channels_are_told(tmp_path, caplog):
    source = write_chord(tmp_path / "source.mkv", "7.1", codec="flac")
    with caplog.at_level(logging.WARNING):
        copy_film(source, tmp_path / "a.mpg")
    (line,) = caplog.messages
    assert line.startswith(f"{source}: of the sound, 8 channels (7.1) become 6 (5.1)")
    assert line.endswith(": ac3 takes no other; .mkv keeps it")
    assert len(heard_tones(tmp_path / "a.mpg")) == 6


@pytest.mark.parametrize(
    ("codec", "layout", "target"), [("flac", "5.1", "a.avi"), ("libopus", "5.1", "a.avi")]
)
@pytest.mark.parametrize("first", ["source.mkv", "source.mp4"])
def test_of_several_encoders_one_is_taken_that_keeps_the_channels(
    tmp_path, first, codec, layout, target, caplog
):
    source = write_chord(tmp_path / first, layout, codec=codec)
    with caplog.at_level(logging.INFO):
        copy_film(source, tmp_path / target)
    assert (
        f"{source}: the sound ({'opus' if codec == 'libopus' else codec}) is coded anew as ac3"
        in caplog.messages
    )
    assert len(heard_tones(tmp_path / target)) == 6


@pytest.mark.parametrize(
    ("codec", "layout", "first"),
    [
        ("ac3", "stereo", "source.avi"),
        ("aac", "stereo", "source.avi"),
        ("mp2", "stereo", "source.mp4"),
        ("eac3", "5.1", "s.mkv"),
    ],
)
def test_sound_in_avi_is_in_time(tmp_path, codec, layout, first):
    """AVI makes times up: for packets copied from some files, half of what they are."""
    source = write_chord(tmp_path / first, layout, codec=codec)
    copy_film(source, tmp_path / "a.avi")
    start, end, loudness = heard(tmp_path / "a.avi")
    assert (
        start == pytest.approx(0, abs=0.06) and end == pytest.approx(1, abs=0.08) and loudness > 0.1
    )


@pytest.mark.parametrize("layout", ["mono", "quad", "5.1(side)"])
def test_sound_that_only_seems_to_fit(tmp_path, layout, caplog):
    """MP4 takes PCM into its header and refuses it later."""
    source = write_chord(tmp_path / "source.mkv", layout, codec="pcm_s16le")
    copy_film(source, tmp_path / "a.mp4")
    assert len(heard_tones(tmp_path / "a.mp4")) == AudioLayout(layout).nb_channels


def test_channels_without_names(tmp_path):
    source = write_chord(tmp_path / "source.avi", "5.1", codec="pcm_s16le", unnamed=True)
    copy_film(source, tmp_path / "a.webm")
    found = heard_tones(tmp_path / "a.webm")
    assert len(found) == 6 and set().union(*found) == set(tones(6))


@pytest.mark.parametrize("target", ["a.mp4", "a.mkv", "a.mov", "a.ts", "a.avi"])
def test_copied_sound_keeps_its_layout(tmp_path, target):
    source = write_chord(tmp_path / "source.mkv", "5.1(side)", codec="ac3")
    copy_film(source, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        coder = container.streams.audio[0].codec_context
        assert (coder.name, coder.layout.name) == ("ac3", "5.1(side)")
