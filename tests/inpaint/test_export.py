"""Exported files: the contract to the letter, the model's numbers, and one clear line for what
can't be done."""

import hashlib
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from inpaint import export
from inpaint.commands import INPAINT
from inpaint.models.steps import make_step
from inpaint.runtime.backends import TorchBackend, open_backend
from inpaint.runtime.stream import HoleFrame, InpaintStream
from inpaint.runtime.windows import open_fillers
from nunif import cli
from nunif.errors import UserError
from nunif.models import create_model, load_model, save_model
from nunif.runtime import export as formats
from nunif.runtime import tensorrt
from nunif.runtime.backends import ContractBackend, OnnxBackend
from nunif.runtime.parity import compare, run_clip
from nunif.video.reader import VideoReader
from nunif.video.writer import write_video
from scene.world import render_scene
from tests.exam import pan_and_back
from tests.models import TINY, less_to_trace, lively, lively_model
from tests.whole_matrix import in_whole_matrix

onnx = pytest.importorskip("onnx", reason="the export needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX files need the package onnxruntime")
pytest.importorskip("onnxscript", reason="the export needs the package onnxscript")

# one process, and once a session, whatever else is run in between: what all share takes minutes,
# most of it the file for any size
pytestmark = [pytest.mark.xdist_group("export"), pytest.mark.timeout(5400)]

CPU = torch.device("cpu")
SIZE = (40, 56)
MEMORY = [1, 2 + 75, 2, 4 * 2 * 3, 16]
TENSORS = {
    "masked_frames": [1, 3, *SIZE],
    "memory": MEMORY,
    "output": [1, 3, *SIZE],
    "new_memory": MEMORY,
}

try:
    tensorrt.import_tensorrt()
    has_tensorrt = True
except UserError:
    has_tensorrt = False
needs_tensorrt = pytest.mark.skipif(
    not has_tensorrt, reason="needs the package tensorrt-rtx, or tensorrt"
)


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    less_to_trace(monkeypatch)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    """The smallest model that has every part: a temporal and a spatial block, and the picture
    memory."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "m.pth"
    save_model(lively(create_model(TINY, channels=16, hidden=16, num_blocks=2)), path)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (frame for frame, _ in render_scene(SIZE[1], SIZE[0], 24)), fps=24, crf=4)
    return path


@pytest.fixture(scope="session")
def folder(model_path, clip, tmp_path_factory):
    """The same model in both precisions and as a torch.export program, then for any size."""
    out = tmp_path_factory.mktemp("out")
    words = ["export", "-m", model_path, "-o", out, "--clip", clip, "--gpu", "-1", "--frames", "24"]
    with pytest.MonkeyPatch.context() as patch:
        less_to_trace(patch)
        for more in (
            ["--format", "onnx,torch-export,torchscript", "--size", "40x56"],
            ["--size", "40x56", "--precision", "fp16"],
            ["--size", "40x56", "--dynamic"],
        ):
            assert cli.run(INPAINT, [str(word) for word in [*words, *more]]) == 0
    return out


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())["files"]


def film(count=24, size=SIZE):
    for t, (frame, _) in enumerate(render_scene(size[1], size[0], count, seed=5)):
        hole = np.zeros(size, bool)
        hole[size[0] // 4 : 3 * size[0] // 4, 4 + t : 20 + t] = True
        yield frame, hole


def differences(backend, other, size=SIZE):
    """Of every number of every picture: (T, H, W, 3)."""
    streams = [InpaintStream(b) for b in (backend, other)]
    pairs = [[stream(*item).astype(int) for stream in streams] for item in film(size=size)]
    return np.abs(np.subtract(*np.array(pairs).swapaxes(0, 1)))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.slow
def test_an_onnx_file_has_the_contracts_tensors(folder, precision):
    model = onnx.load(folder / f"memory_dstt_v1_tiny_40x56_{precision}.onnx")
    onnx.checker.check_model(model)
    tensors = [*model.graph.input, *model.graph.output]
    shapes = {t.name: [d.dim_value for d in t.type.tensor_type.shape.dim] for t in tensors}
    assert shapes == TENSORS
    assert {t.type.tensor_type.elem_type for t in tensors} == {onnx.TensorProto.FLOAT}
    # half precision inside means half the bytes of the weights
    weights = {
        onnx.TensorProto.DataType.Name(w.data_type)
        for w in model.graph.initializer
        if w.name.endswith("weight")
    }
    assert weights == {"FLOAT" if precision == "fp32" else "FLOAT16"}
    assert not {"Col2Im", "Loop", "If", "Scan"} & {node.op_type for node in model.graph.node}


@pytest.mark.slow
def test_the_manifest_tells_all_that_a_program_needs(folder, model_path):
    entries = manifest(folder)
    assert sorted(entries) == [
        "memory_dstt_v1_tiny_40x56_fp16.onnx",
        "memory_dstt_v1_tiny_40x56_fp32.onnx",
        "memory_dstt_v1_tiny_40x56_fp32.pt2",
        "memory_dstt_v1_tiny_40x56_fp32.torchscript",
        "memory_dstt_v1_tiny_any_fp32.onnx",
    ]
    for name, entry in entries.items():
        assert entry["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert entry["bytes"] == (folder / name).stat().st_size
        assert entry["source"] == {
            "file": "m.pth",
            "sha256": hashlib.sha256(model_path.read_bytes()).hexdigest(),
        }
        assert (
            entry["model"] == "inpaint.memory_dstt_v1_tiny"
            and entry["model_kwargs"]["hidden"] == 16
        )
        assert (
            "x / 127.5 - 1" in entry["value_range"]
            and "exactly 0" in entry["hole"]
            and "zero" in entry["start_of_stream"]
        )
        parity = entry["parity"]
        assert parity["frames"] == 24 and parity["clip"] == "clip.mp4"
        assert 0 <= parity["largest_difference"] <= (2e-2 if "fp16" in name else 1e-4)
    tensors = entries["memory_dstt_v1_tiny_40x56_fp16.onnx"]
    assert {
        k: v["shape"] for k, v in [*tensors["inputs"].items(), *tensors["outputs"].items()]
    } == TENSORS
    assert {v["type"] for v in [*tensors["inputs"].values(), *tensors["outputs"].values()]} == {
        "float32"
    }
    assert list(tensors["inputs"]) == ["masked_frames", "memory"] and list(tensors["outputs"]) == [
        "output",
        "new_memory",
    ]
    any_size = entries["memory_dstt_v1_tiny_any_fp32.onnx"]["inputs"]
    assert any_size["masked_frames"]["shape"] == ["batch", 3, "height", "width"]
    assert any_size["memory"]["shape"] == [
        "batch",
        2 + 75,
        2,
        "4 * ceil(height / 24) * ceil(width / 24)",
        16,
    ]


@pytest.mark.slow
def test_torchscript_gives_the_pictures_of_torch(folder, model_path):
    script = open_backend(folder / "memory_dstt_v1_tiny_40x56_fp32.torchscript", device=CPU)
    assert script.size == SIZE
    assert differences(script, open_backend(model_path, device=CPU)).max() <= 1


@pytest.mark.slow
def test_onnxruntime_gives_the_pictures_of_torch(folder, model_path):
    torch_backend = open_backend(model_path, device=CPU)
    for precision, bound in (("fp32", 1), ("fp16", 4)):
        path = folder / f"memory_dstt_v1_tiny_40x56_{precision}.onnx"
        assert differences(open_backend(path, device=CPU), torch_backend).max() <= bound


@pytest.mark.parametrize("size", [SIZE, (64, 96), (33, 75), (24, 24), (5, 9)])
def test_the_file_for_any_size_takes_any_size(folder, model_path, size):
    """Where what is remembered of a pixel just counts or just doesn't, rounding decides: by more
    than that few pixels differ between two versions of torch, too."""
    backend = open_backend(folder / "memory_dstt_v1_tiny_any_fp32.onnx", device=CPU)
    assert backend.size is None
    apart = differences(backend, open_backend(model_path, device=CPU), size=size)
    assert (apart > 1).mean() < 1e-3, (apart.max(), (apart > 1).sum())


def test_the_file_for_any_size_takes_any_number_of_streams(folder):
    """Each is as if it were alone, one that starts among others that go on, too."""
    session = onnxruntime.InferenceSession(
        folder / "memory_dstt_v1_tiny_any_fp32.onnx", disabled_optimizers=["Pad_Fusion"]
    )

    def step(frames, memory):
        return session.run(None, {"masked_frames": frames, "memory": memory})

    scene = [frame.numpy() for frame in pan_and_back(SIZE, 6)]
    memories = [np.zeros(MEMORY, np.float32) for _ in range(3)]
    for t in range(4):
        memories[t % 3][:] = 0  # one after the other starts anew
        frames = scene[t : t + 3]
        together = step(np.concatenate(frames), np.concatenate(memories))
        for i, frame in enumerate(frames):
            alone = step(frame, memories[i])
            for found, expected in zip(together, alone):
                np.testing.assert_allclose(found[i : i + 1], expected, rtol=0, atol=2e-4)
            memories[i] = alone[1]


def test_no_file_tells_of_the_machine_that_wrote_it(folder):
    """Neither where the source lies, nor any other path."""
    for path in map(folder.joinpath, manifest(folder)):
        content = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = b"".join(map(archive.read, archive.namelist()))
        assert b"masked_frames" in content
        for own in (Path(export.__file__).parent, Path(torch.__file__).parent, sys.prefix, folder):
            assert str(own).encode() not in content, path.name
        assert not re.search(rb"[\\/][\w.-]+\.py\b", content), path.name


@pytest.mark.slow
def test_a_pan_and_its_way_back_later_a_file_still_computes_what_the_model_does(folder, model_path):
    """The file for any size; one for a size, whose key pictures are looked at, stands in
    tests/contract."""
    step, pieces = make_step(load_model(model_path)[0]), list(pan_and_back((64, 96)))
    torch_backend = ContractBackend(step, step.contract, device=CPU, description="torch")
    file = OnnxBackend(folder / "memory_dstt_v1_tiny_any_fp32.onnx", device=CPU)
    parity = compare(
        run_clip(file, pieces), run_clip(torch_backend, pieces), tolerance=1e-3, name="any"
    )
    assert parity["frames"] == len(pieces) == 80 and parity["largest_difference"] < 1e-3


def test_a_client_of_forty_lines_gets_the_streams_pictures(folder, clip, tmp_path):
    sys.path.insert(0, str(export.__file__).rpartition("inpaint")[0] + "examples")
    import onnx_client

    engine, mask, out = (
        folder / "memory_dstt_v1_tiny_40x56_fp32.onnx",
        tmp_path / "mask.png",
        tmp_path / "out.mp4",
    )
    hole = np.zeros(SIZE, np.uint8)
    hole[8:32, 16:40] = 255
    cv2.imwrite(str(mask), hole)
    onnx_client.main(str(engine), str(clip), str(mask), str(out))
    stream = InpaintStream.open(engine, gpu=-1)
    with VideoReader(clip) as source, VideoReader(out) as result:
        assert len(result) == 24
        for theirs, frame in zip(result, source):
            ours = stream(frame.rgb, hole > 0)
            # mpeg4, and another conversion to RGB
            assert np.abs(theirs.rgb.astype(int) - ours).mean() < 8


def test_what_is_no_engine_is_refused(tmp_path, folder):
    (tmp_path / "torn.onnx").write_bytes(
        (folder / "memory_dstt_v1_tiny_40x56_fp32.onnx").read_bytes()[:5000]
    )
    with pytest.raises(UserError, match="torn.onnx can't be opened by onnxruntime"):
        open_backend(tmp_path / "torn.onnx", device=CPU)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result]
    )
    onnx.save(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
        ),
        tmp_path / "a.onnx",
    )
    with pytest.raises(
        UserError,
        match=r"is no inpainting engine \(its inputs are x, not masked_frames and perhaps memory\)",
    ):
        open_backend(tmp_path / "a.onnx", device=CPU)


@pytest.mark.parametrize(
    "precision, bound", [("fp32", 1), pytest.param("fp16", 4, marks=in_whole_matrix)]
)
@pytest.mark.slow
def test_a_model_of_windows_exports_windows(tmp_path, precision, bound):
    torch.manual_seed(0)
    model = create_model("inpaint.light_video_inpaint_v1", base_dim=16)
    # a fresh network draws far out of [0, 1], and half precision is relative
    model.to_image.weight.data *= 5e-4
    save_model(model, tmp_path / "light.pth")
    words = [
        "export",
        "-m",
        tmp_path / "light.pth",
        "-o",
        tmp_path,
        "--size",
        "40x56",
        "--precision",
        precision,
        "--gpu",
        "-1",
    ]
    assert cli.run(INPAINT, [str(word) for word in [*words, "--frames", "15"]]) == 0
    ((name, entry),) = manifest(tmp_path).items()
    assert {k: v["shape"] for k, v in entry["inputs"].items()} == {
        "masked_frames": [1, 12, 3, 40, 56]
    }
    assert {k: v["shape"] for k, v in entry["outputs"].items()} == {"output": [1, 12, 3, 40, 56]}
    # the second window reaches back
    assert entry["parity"]["frames"] == 24 and "start_of_stream" not in entry
    pictures = []
    for path in (tmp_path / name, tmp_path / "light.pth"):
        (filler,) = open_fillers(path, device=CPU)
        pictures.append(
            [picture for _, picture in filler.fill(HoleFrame(None, *item) for item in film(15))]
        )
    assert len(pictures[0]) == 15
    assert np.abs(np.subtract(*np.array(pictures, dtype=int))).max() <= bound


def take_file_made_before(monkeypatch, path):
    """An export that begins with a file that stands there already, as making one takes half a
    minute."""
    monkeypatch.setattr(formats, "trace", lambda *_, **__: None)
    monkeypatch.setattr(
        formats, "write_onnx", lambda traced, step, target, **_: shutil.copy(path, target)
    )


def test_a_file_that_computes_something_else_is_not_kept(folder, model_path, tmp_path, monkeypatch):
    class Off(OnnxBackend):
        def run(self, values, state):
            results, state = super().run(values, state)
            return {name: value + 0.01 for name, value in results.items()}, state

    monkeypatch.setattr(formats, "OnnxBackend", Off)
    take_file_made_before(monkeypatch, folder / "memory_dstt_v1_tiny_40x56_fp32.onnx")
    model, _ = load_model(model_path)
    with pytest.raises(
        UserError,
        match=r"computes something else than the model: the pictures differ by up to 0\.01",
    ):
        export.export_model(model, model_path, tmp_path, formats=["onnx"], size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_do_not_pass():
    def frames(value):
        return [(torch.tensor([0.0, value]), torch.zeros(1))]

    with pytest.raises(UserError, match="differ by up to inf"):
        compare(frames(float("nan")), frames(0.0), tolerance=0.1, name="x.onnx")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--size", "640"],
            "--size 640 is no size: write height x width in pixels, such as 360x640",
        ),
        (
            ["--format", "onnx,caffe"],
            "export format 'caffe' is not known: choose from onnx, tensorrt, torch-export, "
            "torchscript",
        ),
        (["--compute-capability", "8.6"], "--compute-capability is for --format tensorrt"),
        (["--format", "tensorrt", "--dynamic"], "--dynamic is for ONNX"),
        (["--format", "torchscript", "--dynamic"], "a TorchScript file has one size"),
        (["--format", "torchscript", "--opset", "17"], "--opset 17 is for --format onnx"),
        (["--opset", "16"], "--opset 16 is out of bounds: give a number at least 17"),
        (["--opset", "99"], "--opset 99 is not known to onnx"),
        (["--frames", "3"], "--frames 3 is out of bounds: give a number at least 12"),
    ],
)
def test_options_that_make_no_sense(model_path, tmp_path, capsys, words, message):
    code = cli.run(
        INPAINT, ["export", "-m", str(model_path), "-o", str(tmp_path / "o"), "--gpu", "-1", *words]
    )
    assert code == 1 and message in capsys.readouterr().err


def test_a_clip_that_is_too_short(model_path, tmp_path):
    write_video(tmp_path / "short.mp4", (frame for frame, _ in render_scene(64, 48, 5)), fps=24)
    model, _ = load_model(model_path)
    with pytest.raises(
        UserError, match="short.mp4 has 5 frames, 12 are compared: choose a longer one"
    ):
        export.export_model(
            model,
            model_path,
            tmp_path / "o",
            formats=["onnx"],
            size=(24, 24),
            clip=tmp_path / "short.mp4",
        )


def test_tensorrt_that_is_not_there_is_said_before_any_work(
    model_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tensorrt, "PACKAGES", ("tensorrt_that_nobody_has",))
    words = [
        "export",
        "-m",
        str(model_path),
        "-o",
        str(tmp_path / "o"),
        "--format",
        "onnx,tensorrt",
    ]
    assert cli.run(INPAINT, words) == 1
    assert "TensorRT is not installed: pip install tensorrt-rtx" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@needs_tensorrt
@pytest.mark.slow
def test_a_tensorrt_engine_is_built_for_the_gpus_asked_for(
    folder, model_path, tmp_path, monkeypatch
):
    take_file_made_before(monkeypatch, folder / "memory_dstt_v1_tiny_40x56_fp16.onnx")
    words = [
        "export",
        "-m",
        model_path,
        "-o",
        tmp_path,
        "--format",
        "tensorrt",
        "--size",
        "40x56",
        "--precision",
        "fp16",
    ]
    code = cli.run(
        INPAINT, [str(word) for word in [*words, "--compute-capability", "8.6,8.9", "--gpu", "-1"]]
    )
    assert code == 0
    name = "memory_dstt_v1_tiny_40x56_fp16_sm86_89.engine"
    entry = manifest(tmp_path)[name]
    assert (tmp_path / name).stat().st_size > 100_000
    assert (
        entry["compute_capability"] == ["8.6", "8.9"]
        and entry["from"] == "memory_dstt_v1_tiny_40x56_fp16.onnx"
    )
    assert "can't be opened without a GPU that it is for" in entry["parity"]["not_run"]


@needs_tensorrt
@pytest.mark.slow
def test_the_network_definition_is_checked_before_it_is_serialised(folder, tmp_path):
    source, target = folder / "memory_dstt_v1_tiny_40x56_fp32.onnx", tmp_path / "e.engine"
    expected = {name: (tuple(shape), "float32") for name, shape in TENSORS.items()}
    assert (
        tensorrt.build_engine(source, target, capabilities=["8.6"], expected=expected) == expected
    )
    target.unlink()
    wrong = {**expected, "output": ((1, 3, 41, 56), "float32")}
    with pytest.raises(
        UserError,
        match=(
            r"the tensor output is float32 \(1, 3, 40, 56\), it should be float32 \(1, 3, 41, "
            r"56\)"
        ),
    ):
        tensorrt.build_engine(source, target, capabilities=["8.6"], expected=wrong)
    with pytest.raises(
        UserError, match=r"--compute-capability 5.2 is not known to tensorrt_rtx .*8.6"
    ):
        tensorrt.build_engine(source, target, capabilities=["5.2"], expected=expected)
    assert not target.exists()


@needs_tensorrt
def test_an_operator_that_tensorrt_refuses_is_named(tmp_path):
    shape = onnx.helper.make_tensor_value_info
    sizes = [
        onnx.numpy_helper.from_array(np.array(v, np.int64), n)
        for n, v in (("size", [4, 4]), ("block", [2, 2]))
    ]
    node = onnx.helper.make_node("Col2Im", ["x", "size", "block"], ["y"], strides=[2, 2])
    x, y = (
        shape("x", onnx.TensorProto.FLOAT, [1, 12, 4]),
        shape("y", onnx.TensorProto.FLOAT, [1, 3, 4, 4]),
    )
    graph = onnx.helper.make_graph([node], "g", [x], [y], sizes)
    onnx.save(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
        ),
        tmp_path / "c.onnx",
    )
    with pytest.raises(UserError, match="TensorRT refuses the operator Col2Im of c.onnx"):
        tensorrt.build_engine(
            tmp_path / "c.onnx", tmp_path / "c.engine", capabilities=["8.6"], expected={}
        )


@needs_tensorrt
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_an_engine_without_a_gpu_says_so(tmp_path):
    (tmp_path / "e.engine").write_bytes(b"x")
    with pytest.raises(
        UserError,
        match="e.engine is a TensorRT engine, which needs a CUDA GPU, and none is used here",
    ):
        open_backend(tmp_path / "e.engine", device=CPU)


@needs_tensorrt
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_an_engine_gives_the_pictures_of_torch(model_path, tmp_path):
    model, _ = load_model(model_path)
    device = torch.device("cuda")
    *_, engine = export.export_model(
        model, model_path, tmp_path, formats=["tensorrt"], size=SIZE, device=device
    )
    backend, reference = (
        open_backend(engine, device=device),
        TorchBackend(load_model(model_path)[0], device=CPU),
    )
    assert differences(backend, reference).max() <= 2


def test_an_engine_for_other_gpus_is_not_opened_on_this_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    cuda = torch.device("cuda")
    assert [tensorrt.runs_on(c, cuda) for c in ([], ["9.0"], ["8.6", "9.0"], ["8.6", "12.0"])] == [
        True,
        True,
        True,
        False,
    ]
    assert not tensorrt.runs_on([], CPU)


def test_a_file_for_any_size_that_does_not_say_of_what_is_refused(folder, tmp_path):
    model = onnx.load(folder / "memory_dstt_v1_tiny_any_fp32.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(UserError, match="a.onnx is for any size but does not say of what"):
        open_backend(tmp_path / "a.onnx", device=CPU)


def test_torch_hub_gives_the_model(model_path):
    root = str(export.__file__).rpartition("inpaint")[0]
    model = torch.hub.load(root, "memory_dstt", source="local", checkpoint=str(model_path))
    expected = load_model(model_path)[0].state_dict()
    assert (
        all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
        and not model.training
    )
    fresh = torch.hub.load(root, "memory_dstt", source="local", arch="memory_dstt_v1_tiny")
    assert fresh.num_parameters == create_model("inpaint.memory_dstt_v1_tiny").num_parameters
    released = Path(root) / "pretrained_models" / "picture_memory_v1.pth"
    for checkpoint in (None, str(released)):
        assert (
            torch.hub.load(
                root, "picture_memory", source="local", checkpoint=checkpoint
            ).num_parameters
            == 0
        )
    with pytest.raises(UserError, match="does not exist"):
        torch.hub.load(root, "memory_dstt", source="local", checkpoint="nowhere.pth")


def test_a_model_of_another_task_is_not_exported(tmp_path, capsys):
    model = lively_model()
    model.name = "waifu2x.upconv"
    save_model(model, tmp_path / "o.pth")
    assert (
        cli.run(INPAINT, ["export", "-m", str(tmp_path / "o.pth"), "-o", str(tmp_path / "o")]) == 1
    )
    assert "holds the model 'waifu2x.upconv'" in capsys.readouterr().err
