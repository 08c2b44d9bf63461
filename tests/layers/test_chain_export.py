"""The whole chain as two engines, and the example that drives them without this project."""

import json
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from layers.commands import LAYERS
from layers.runtime.stream import RemoveStream
from matting.export import render_pictures
from matting.models.person_finder import PersonFinder
from matting.runtime.finder_export import FinderStep, export_finder
from matting.runtime.person_finder import find_people, load_finder
from nunif.runtime.export import Wishes
from tests.engines import write_fading_engine
from tests.models import less_to_trace

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE, NUM = (32, 48), 6


@cache
def frames_of_somebody():
    return render_pictures(SIZE, NUM)


def test_the_step_finds_what_the_finder_finds():
    finder = PersonFinder()
    finder.load_state_dict(load_finder().state_dict())
    for size in ((40, 64), (64, 40)):
        picture = torch.from_numpy(render_pictures(size, 1)[0]).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            found = FinderStep(finder.eval(), size)(picture)
        torch.testing.assert_close(found, find_people(picture), atol=1e-4, rtol=0)
        assert found.shape == (1, 1, *size)


@pytest.mark.slow
def test_both_engines_are_checked_and_told_of(run, tmp_path, monkeypatch):
    less_to_trace(monkeypatch)
    words = ["-o", tmp_path, "--size", "32x48", "--format", "torchscript", "--gpu", -1]
    code, _, lines = run(LAYERS, "export", *words)
    assert code == 0, lines
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    finder, filler = (
        files[f"{name}_v1_32x48_fp32.torchscript"] for name in ("person_finder", "picture_memory")
    )
    assert finder["inputs"] == {"src": {"shape": [1, 3, *SIZE], "type": "float32"}}
    assert finder["outputs"] == {"people": {"shape": [1, 1, *SIZE], "type": "float32"}}
    for entry in (finder, filler):
        assert entry["parity"]["frames"] == 12
        assert entry["parity"]["largest_difference"] < 1e-3


# --- the example ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """The finder, and a filler made by hand."""
    pytest.importorskip("onnx", reason="the export needs the package onnx")
    pytest.importorskip("onnxruntime", reason="ONNX files need the package onnxruntime")
    folder = tmp_path_factory.mktemp("engines")
    (finder,) = export_finder(folder, Wishes(["onnx"], SIZE))
    return [finder, write_fading_engine(folder / "fading.onnx", SIZE)]


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))
    import live_onnx

    return live_onnx


@pytest.mark.slow
def test_the_example_gives_what_the_stream_gives(engines, example):
    found = [*example.remove(*map(example.open_engine, map(str, engines)), frames_of_somebody())]
    stream = RemoveStream.open(engines[1], gpu=-1)
    holes = [stream.find(frame) for frame in frames_of_somebody()]
    expected = [stream.fill(frame, hole) for frame, hole in zip(frames_of_somebody(), holes)]
    assert 0.02 < np.mean(holes) < 0.9, "somebody is found"
    difference = np.abs(np.array(found, int) - np.array(expected, int))
    assert (difference > 1).mean() < 0.002, "but where a pixel of the hole's edge differs"
    assert np.abs(np.array(found, int) - frames_of_somebody()).max() > 30, "and it is filled"


@pytest.mark.slow
def test_the_example_takes_films(engines, example, tmp_path):
    film, out = (str(tmp_path / name) for name in ("film.mp4", "out.mp4"))
    writer = cv2.VideoWriter(film, cv2.VideoWriter.fourcc(*"mp4v"), 24, SIZE[::-1])
    for frame in frames_of_somebody():
        writer.write(frame[..., ::-1])
    writer.release()
    example.main(*map(str, engines), film, out)
    reader = cv2.VideoCapture(out)
    assert [reader.read()[0] for _ in range(NUM + 1)] == [True] * NUM + [False]
