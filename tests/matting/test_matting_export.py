"""`python -m matting export`, and what `convert` makes of its files."""

import json

import cv2
import numpy as np
import pytest
import torch

from matting.commands import MATTING
from matting.models import MattingNetwork
from nunif import cli
from nunif.models import register_model, save_model
from tests.matting.weights import calibrate, pictures

NAME = "matting.test_matting_export"
TINY = {"variant": "mobileone_s0", "widths": [8, 8, 8, 8], "pooled": 16}
SIZE = (40, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model m.pth and a film of pictures."""
    folder = tmp_path_factory.mktemp("export")
    register_model(NAME, MattingNetwork, **TINY)
    torch.manual_seed(1)
    model = calibrate(MattingNetwork(**TINY), 0.5)
    model.name, model.kwargs = NAME, dict(TINY)
    save_model(model, folder / "m.pth")
    (folder / "film").mkdir()
    for number, picture in enumerate(pictures(3, 3, *SIZE, seed=2)):
        data = (picture * 255).byte().permute(1, 2, 0).numpy()
        cv2.imwrite(str(folder / "film" / f"{number}.png"), data)
    return folder


def export(run, folder, out, *more):
    return run(
        MATTING, "export", "-m", folder / "m.pth", "-o", out, "--gpu", -1,
        "--downsample-ratio", 0.5, *more,
    )  # fmt: skip


def convert(run, folder, model, out, *more):
    return run(
        MATTING, "convert", "-i", folder / "film", "-o", out, "-m", model, "--gpu", -1, *more
    )


def pngs(folder):
    return np.stack([cv2.imread(str(path), -1) for path in sorted(folder.glob("*.png"))])


@pytest.fixture(scope="module")
def exported(folder):
    """Once for all tests, as a program of torch, which is written quickly."""
    out = folder / "exported"
    words = f"export -m {folder / 'm.pth'} -o {out} --size 40x64 --format torchscript --gpu -1"
    assert cli.run(MATTING, [*words.split(), "--downsample-ratio", "0.5"]) == 0
    return out / "test_matting_export_40x64_fp32.torchscript"


def test_convert_takes_an_exported_file(run, folder, exported, tmp_path):
    (entry,) = json.loads(exported.with_name("manifest.json").read_text())["files"].values()
    assert entry["downsample_ratio"] == 0.5 and entry["model_kwargs"]["fused"]
    assert entry["inputs"]["r1"]["shape"] == [1, 4, 10, 16]
    assert entry["inputs"]["r4"]["shape"] == [1, 8, 2, 2]
    assert entry["parity"]["frames"] == 20 and entry["parity"]["largest_difference"] <= 1e-4
    for model, name, more in (
        (exported, "a", ["--seq-chunk", 2]),
        (folder / "m.pth", "b", ["--downsample-ratio", 0.5]),
    ):
        code, _, lines = convert(run, folder, model, tmp_path / name, *more)
        assert code == 0, lines
    found, wanted = pngs(tmp_path / "a"), pngs(tmp_path / "b")
    assert found.shape == (3, *SIZE, 4) and wanted[..., 3].std() > 10
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_what_an_exported_file_cannot_do_is_said(run, folder, exported, tmp_path):
    for more, message in (
        (["--downsample-ratio", 0.25], "--downsample-ratio 0.25 is for model files (.pth); "),
        (["--max-width", 32], "--max-width 32 is for model files (.pth); "),
        (["--precision", "fp16"], "--precision is for model files (.pth); "),
    ):
        code, _, lines = convert(run, folder, exported, tmp_path / "x", *more)
        assert code == 1 and message in lines[-1]
    code, _, lines = convert(run, folder, tmp_path / "no.onnx", tmp_path / "x")
    assert code == 1 and "no.onnx does not exist: give a model file (.pth)" in lines[-1]
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other" / "0.png"), np.zeros((30, 50, 3), np.uint8))
    code, _, lines = run(
        MATTING, "convert", "-i", tmp_path / "other", "-o", tmp_path / "x", "-m", exported,
        "--gpu", -1,
    )  # fmt: skip
    assert code == 1 and not (tmp_path / "x").exists()
    assert lines[-1].endswith(
        "the engine works at 64x40 pixels, the frames are 50x30: use an engine made with "
        "--size 30x50"
    )


@pytest.mark.parametrize(
    "more, message",
    [
        (["--height", "40"], "--height and --width belong together: give both, or --size HxW"),
        (["--size", "4"], "--size 4 is no size"),
        (["--format", "coreml"], "export format 'coreml' is not known"),
        (["-o", "x.engine"], "-o x.engine: give an .onnx, or a folder"),
    ],
)
def test_wishes_that_cannot_be_are_one_line(run, folder, tmp_path, more, message):
    code, _, lines = export(run, folder, tmp_path / "e", *more)
    assert code == 1 and message in lines[-1]


@pytest.mark.slow
def test_one_onnx_file_by_height_and_width(run, folder, tmp_path):
    """No length follows from a number that is handed in, which TensorRT refuses."""
    onnx = pytest.importorskip("onnx", reason="the export needs the package onnx")
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"the export needs the package {package}")
    path = tmp_path / "e" / "n.onnx"
    code, _, lines = run(
        MATTING, "export", "-i", folder / "m.pth", "-o", path, "--height", 40, "--width", 64,
        "--downsample-ratio", 0.5, "--gpu", -1,
    )  # fmt: skip
    assert code == 0, lines
    assert sorted(p.name for p in path.parent.iterdir()) == ["manifest.json", "n.onnx"]
    inputs = onnx.load(path).graph.input
    assert [value.name for value in inputs] == ["src", "r1", "r2", "r3", "r4"]
    for value in inputs:
        assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim)
    (entry,) = json.loads(path.with_name("manifest.json").read_text())["files"].values()
    assert entry["parity"]["largest_difference"] <= 1e-4
    for model, name, more in (
        (path, "a", []),
        (folder / "m.pth", "b", ["--downsample-ratio", 0.5]),
    ):
        assert convert(run, folder, model, tmp_path / name, *more)[0] == 0
    assert np.abs(pngs(tmp_path / "a").astype(int) - pngs(tmp_path / "b")).max() <= 1
