"""The examples that drive an engine without this project give the pictures of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from inpaint.runtime.stream import InpaintStream
from tests.engines import write_fading_engine

pytest.importorskip("onnx", reason="the export needs the package onnx")
ort = pytest.importorskip("onnxruntime", reason="ONNX files need the package onnxruntime")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SIZE = (24, 40)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return write_fading_engine(tmp_path_factory.mktemp("engine") / "fading.onnx", SIZE)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (6, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def mask():
    """Grey: 128 is missing, 127 is not."""
    mask = np.zeros(SIZE, np.uint8)
    mask[4:20, 10:25], mask[0:3] = 128, 127
    return mask


@pytest.fixture(scope="module")
def client():
    sys.path.insert(0, str(EXAMPLES))
    import onnx_client

    return onnx_client


@pytest.fixture(scope="module")
def expected(engine, frames, mask):
    stream = InpaintStream.open(engine, gpu=-1)
    pictures = np.stack([stream(frame, mask > 127) for frame in frames])
    changed = (pictures != frames).any(-1)
    assert changed[:, mask > 127].mean() > 0.9 and not changed[:, mask <= 127].any()
    assert {0, 255} <= {*pictures[:, mask > 127].ravel().tolist()}, "clamped at both ends"
    return pictures


def test_the_client_in_python(client, engine, frames, mask, expected):
    found = np.stack([*client.fill(client.open_engine(str(engine)), frames, mask > 127)])
    np.testing.assert_array_equal(found, expected)


def test_it_takes_films(client, engine, mask, tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    writer = cv2.VideoWriter(
        str(tmp_path / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 24, SIZE[::-1]
    )
    for _ in range(5):
        writer.write(np.full((*SIZE, 3), 200, np.uint8))
    writer.release()
    names = [str(engine), *(str(tmp_path / name) for name in ("film.mp4", "mask.png", "out.mp4"))]
    client.main(*names)
    reader = cv2.VideoCapture(names[-1])
    assert [reader.read()[0] for _ in range(6)] == [True] * 5 + [False]


# --- in C++ ---------------------------------------------------------------------------------------


def find_onnxruntime(folder: Path) -> list[str] | None:
    """What the compiler is to be told: ONNXRUNTIME names an unpacked release, else the headers are
    where the compiler looks by itself. The library may be that of the Python package."""
    root = os.environ.get("ONNXRUNTIME")
    words = [f"-I{root}/include"] if root else []
    probe = folder / "probe.cpp"
    probe.write_text("#include <onnxruntime_cxx_api.h>\n")
    if subprocess.run(["g++", "-std=c++17", "-E", *words, probe], capture_output=True).returncode:
        return None
    if root and Path(root, "lib").is_dir():
        return [*words, f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-lonnxruntime"]
    for library in Path(ort.__file__).parent.glob("capi/libonnxruntime.so.*"):
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / name).symlink_to(library)
        words += [f"-L{folder}", f"-Wl,-rpath,{folder}"]
    return [*words, "-lonnxruntime"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler, g++")
    folder = tmp_path_factory.mktemp("compiled")
    words = find_onnxruntime(folder)
    if words is None:
        pytest.skip("needs the C++ headers of onnxruntime: ONNXRUNTIME=FOLDER of a release")
    path = folder / "onnx_client"
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += [EXAMPLES / "onnx_client.cpp", *words, "-o", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def call(program, *words):
    return subprocess.run([program, *words], capture_output=True, text=True)


def test_the_client_in_cpp(program, engine, frames, mask, expected, tmp_path):
    film, grey, out = (tmp_path / name for name in ("film.rgb", "mask.gray", "out.rgb"))
    film.write_bytes(frames.tobytes())
    grey.write_bytes(mask.tobytes())
    done = call(program, engine, film, grey, out)
    assert (done.returncode, done.stderr) == (0, "")
    found = np.frombuffer(out.read_bytes(), np.uint8).reshape(frames.shape)
    np.testing.assert_array_equal(found, expected)


def test_what_it_can_not_work_with_is_one_line(program, engine, frames, mask, tmp_path):
    film, grey, out = (tmp_path / name for name in ("film.rgb", "mask.gray", "out.rgb"))
    film.write_bytes(frames.tobytes()[:-7])
    grey.write_bytes(mask.tobytes())
    done = call(program, engine, film, grey, out)
    assert done.returncode == 1 and "the film ends inside a frame" in done.stderr
    grey.write_bytes(mask.tobytes()[:-7])
    done = call(program, engine, film, grey, out)
    assert done.returncode == 1 and "the mask is not of the engine" in done.stderr
    assert call(program, engine).stderr.startswith("usage: onnx_client")
