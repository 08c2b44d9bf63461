"""Reading 16 of every 136 frames of a 1080p film: what lies between is passed over where that is
cheaper."""

import hashlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.generator import SEQ, SKIP
from benchmarks.inputs import write_film
from benchmarks.setting import Setting
from nunif.timing import interleave, rows
from nunif.video.reader import Frame, VideoReader

KEYFRAMES = (48, 250)
CLIPS = 6
FILM_FRAMES = CLIPS * (SEQ + SKIP)


def run(setting: Setting) -> dict[str, Any]:
    """CPU milliseconds of a clip, by the distance of the keyframes; the frames are compared."""
    tables = {}
    for every in KEYFRAMES:
        film = write_film(setting.scratch / f"film{every}.mp4", FILM_FRAMES, keyframe_every=every)
        assert digest(film, decode_all=False) == digest(film, decode_all=True)
        alternatives = {
            "every frame decoded": lambda film=film: clips(film, decode_all=True),
            "ours": lambda film=film: clips(film, decode_all=False),
            "every frame decoded, no picture made": lambda film=film: without_pictures(
                film, decode_all=True
            ),
            "ours, no picture made": lambda film=film: without_pictures(film, decode_all=False),
        }
        timings = interleave(
            alternatives, rounds=setting.rounds, name=f"decode, keyframes every {every}"
        )
        tables[str(every)] = rows(timings, baseline="every frame decoded", unit="clip", count=CLIPS)
    return {"keyframes_every": tables}


def clips(film: Path, *, decode_all: bool) -> list[Any]:
    """Read every clip, let go of it, and keep nothing but a digest of its first frame's first
    row."""
    found = []
    with VideoReader(film) as reader:
        if decode_all:
            reader._may_skip = False
        for start in range(0, FILM_FRAMES - SEQ + 1, SEQ + SKIP):
            frames = reader.read(start, start + SEQ)
            found.append([frame.rgb[0].copy() for frame in frames])
    return found


def without_pictures(film: Path, *, decode_all: bool) -> None:
    """The same without turning what the decoder gives into RGB."""
    nothing = Frame(np.zeros((1, 1, 3), np.uint8), 0, 0.0, 0, None)
    with mock.patch.object(VideoReader, "_convert", lambda *_: nothing):
        clips(film, decode_all=decode_all)


def digest(film: Path, *, decode_all: bool) -> str:
    """Of all pixels of all clips."""
    digest = hashlib.sha256()
    with VideoReader(film) as reader:
        reader._may_skip = not decode_all
        for start in range(0, FILM_FRAMES - SEQ + 1, SEQ + SKIP):
            for frame in reader.read(start, start + SEQ):
                digest.update(frame.rgb)
    return digest.hexdigest()
