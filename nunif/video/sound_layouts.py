"""Which rate and which layout of channels an encoder of sound takes, and what is lost by that.

A kind of sound is its rate and libav's name of its layout, such as (48000, "5.1").
"""

from fractions import Fraction

import av
import numpy as np
from av.audio.layout import AudioLayout

# Layouts that an encoder may take, the usual ones of as many channels first.
_LAYOUTS = (
    "7.1", "7.1(wide)", "7.1(wide-side)", "octagonal",
    "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)",
    "5.1", "5.1(side)", "6.0", "6.0(front)", "hexagonal",
    "5.0", "5.0(side)", "4.1",
    "quad", "quad(side)", "4.0", "3.1",
    "3.0", "2.1", "3.0(back)", "stereo", "mono",
)  # fmt: skip
_TRIAL_SAMPLES = 1024
_OPUS_RATE = 48_000  # also what all containers and players take


def coded_as(encoder: str, kind: tuple[int, str]) -> tuple[int, str]:
    """The rate and the layout nearest to those of decoded sound that an encoder takes."""
    rates = av.Codec(encoder, "w").audio_rates
    rate = kind[0] if not rates or kind[0] in rates else _OPUS_RATE
    return rate, _layout_for(encoder, kind[1], rate)


def num_kept(kind: tuple[int, str], encoder: str) -> int:
    """How many channels an encoder keeps of sound of this rate and layout."""
    return AudioLayout(coded_as(encoder, kind)[1]).nb_channels


def _layout_for(encoder: str, layout: str, rate: int) -> str:
    """The layout itself where the encoder takes it, else one of as many channels, else one of
    fewer."""
    wanted = AudioLayout(layout)
    num_channels = wanted.nb_channels
    names = {channel.name for channel in wanted.channels}
    known = [(name, AudioLayout(name)) for name in _LAYOUTS]
    as_many = [(name, other) for name, other in known if other.nb_channels == num_channels]
    # keeps the order of equals
    as_many.sort(key=lambda item: -len(names & {channel.name for channel in item[1].channels}))
    fewer = [name for name, other in known if other.nb_channels < num_channels]
    for candidate in [layout, *(name for name, _ in as_many), *fewer]:
        if _opens(encoder, candidate, rate) and _silenced(layout, candidate, rate) != names:
            return candidate
    return "stereo"


def _opens(encoder: str, layout: str, rate: int) -> bool:
    trial = av.CodecContext.create(encoder, "w")
    formats = av.Codec(encoder, "w").audio_formats
    assert isinstance(trial, av.AudioCodecContext) and formats
    trial.sample_rate, trial.layout, trial.format = rate, layout, formats[0]
    trial.time_base = Fraction(1, rate)
    try:
        trial.open()
        return True
    except (av.FFmpegError, ValueError):
        return False


def _silenced(source: str, target: str, rate: int) -> set[str]:
    """Channels that aren't heard any more after a change of layout; all of them where it can't be
    made."""
    return _lost_of(source, _heard(source, target, rate))


def _lost_of(source: str, heard: np.ndarray) -> set[str]:
    """heard: as of `_heard`."""
    names = [channel.name for channel in AudioLayout(source).channels]
    return {name for name, levels in zip(names, heard) if not levels.any()}


def _heard(source: str, target: str, rate: int) -> np.ndarray:
    """How loud each channel is in each after a change of layout, (source, target) float; found by
    trying, all 0 where it can't be made."""
    before, after = AudioLayout(source).nb_channels, AudioLayout(target).nb_channels
    levels = np.zeros((before, after))
    for number in range(before):
        samples = np.zeros((_TRIAL_SAMPLES, before), np.float32)
        samples[:, number] = 0.5
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=source)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        try:
            heard = av.AudioResampler(format="flt", layout=target, rate=rate).resample(frame)
        except (av.FFmpegError, ValueError):
            return np.zeros((before, after))
        for piece in heard:
            levels[number] += np.abs(piece.to_ndarray().reshape(-1, after)).mean(axis=0)
    return levels


def describe_change(source: str, target: str, rate: int) -> str | None:
    """What is lost where sound gets another layout; None: nothing."""
    heard = _heard(source, target, rate)
    before, after = heard.shape
    num_apart = int(np.linalg.matrix_rank(heard, tol=1e-3))
    if num_apart == before:
        return None
    lost = sorted(_lost_of(source, heard))
    text = f"{before} channels ({source}) become {after} ({target})"
    if lost:
        text += f", {' '.join(lost)} is lost"
    elif num_apart < min(before, after):
        text += f", {num_apart} of which can be told apart: others are mixed into them"
    return text
