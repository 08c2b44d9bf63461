"""The matting task from outside: `convert_video` as people know it, torch.hub, and the command
`checkpoint`."""

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

import matting
from matting import MattingNetwork, convert_video
from matting.commands import MATTING
from nunif.errors import UserError
from nunif.models import save_model
from tests.matting.test_network import foreign_weights
from tests.matting.weights import calibrate, pictures
from tests.videos import times_of, write_clip

ROOT = str(Path(__file__).resolve().parents[2])
TINY = {"widths": [8, 8, 8, 8], "pooled": 16}
SIZE = (40, 64)


@pytest.fixture(scope="module")
def network() -> MattingNetwork:
    torch.manual_seed(1)
    return calibrate(MattingNetwork("mobileone", **TINY), 1)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "input.mp4"
    clip = (pictures(5, 3, *SIZE, seed=2) * 255).byte().permute(0, 2, 3, 1).numpy()
    write_clip(path, list(clip))
    return path


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_a_film_as_in_the_examples_that_people_know(network, film, tmp_path):
    keys = list(network.state_dict())
    convert_video(
        network,
        input_source=str(film),
        output_type="video",
        output_composition=str(tmp_path / "com.mp4"),
        output_alpha=str(tmp_path / "pha.mp4"),
        output_foreground=str(tmp_path / "fgr.mp4"),
        output_video_mbps=4,
        downsample_ratio=None,
        seq_chunk=3,
    )
    assert list(network.state_dict()) == keys and not network.kwargs["fused"]
    composed, alpha, front = (frames_of(tmp_path / f"{n}.mp4") for n in ("com", "pha", "fgr"))
    assert composed.shape == alpha.shape == front.shape == (5, *SIZE, 3)
    assert times_of(tmp_path / "com.mp4") == times_of(film)
    share = alpha / 255.0
    green = np.array([120, 255, 155])
    wanted = share * front + (1 - share) * green
    assert alpha.std() > 10 and np.abs(composed - wanted).mean() < 12  # chroma is halved


def test_bits_are_spent_as_asked(network, film, tmp_path):
    for mbps in (0.05, 5):
        convert_video(
            network, film, output_alpha=tmp_path / f"{mbps}.mp4", output_video_mbps=mbps,
            progress=False,
        )  # fmt: skip
    sizes = [(tmp_path / f"{mbps}.mp4").stat().st_size for mbps in (0.05, 5)]
    assert sizes[1] > 1.5 * sizes[0]


def test_pictures_alone_and_smaller(network, film, tmp_path):
    convert_video(
        network,
        film,
        input_resize=(48, 32),  # width, height
        output_type="png_sequence",
        output_composition=tmp_path / "com",
        output_alpha=tmp_path / "alpha.d",
        output_video_mbps=4,
        dtype=torch.float64,
    )
    both = [
        np.stack([cv2.imread(str(path), -1) for path in sorted((tmp_path / name).iterdir())])
        for name in ("com", "alpha.d")
    ]
    assert both[0].shape == (5, 32, 48, 4)
    assert np.array_equal(both[0][..., 3], both[1][..., 0])


def test_what_cannot_be_written_is_said(network, film, tmp_path):
    for words, message in (
        ({}, "nothing is to be written: name output_composition, output_alpha"),
        ({"output_alpha": tmp_path / "a"}, "a has no suffix such as .mp4, which a film needs"),
        ({"output_type": "gif", "output_alpha": "a.gif"}, "output_type 'gif' is not known"),
        ({"output_alpha": "a.mp4", "downsample_ratio": 2}, "--downsample-ratio 2 is out of bounds"),
    ):
        with pytest.raises(UserError, match=message):
            convert_video(network, film, **words)


def test_the_package_is_light():
    assert {"MattingNetwork", "convert_video", "reparameterize_model"} <= set(matting.__all__)
    code = "import sys, matting, matting.commands; print('torch' in sys.modules)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


HUB = {
    "mobileone_rvm": "matting.mobileone_s0",
    "mamba_rvm": "matting.mamba_s0",
    "rvm_mobilenetv3": "matting.mobilenetv3",
    "rvm_resnet50": "matting.resnet50",
}


@pytest.mark.parametrize("entry", HUB)
def test_torch_hub(entry, tmp_path):
    with torch.device("meta"):
        model = torch.hub.load(ROOT, entry, source="local", **TINY)
    assert model.name == HUB[entry] and not model.training
    assert model.decoder.state_channels == [4, 4, 4, 8]
    with pytest.raises(UserError, match="pretrained=True: there are no published weights of "):
        torch.hub.load(ROOT, entry, pretrained=True, source="local")


def test_torch_hub_opens_files_and_gives_the_converter(tmp_path):
    weights = foreign_weights("mobilenetv3")
    torch.save(weights, tmp_path / "rvm.pth")
    model = torch.hub.load(
        ROOT, "rvm_mobilenetv3", checkpoint=str(tmp_path / "rvm.pth"), source="local"
    )
    wanted = weights["project_mat.conv.bias"]
    assert torch.equal(model.state_dict()["matte_head.bias"], wanted)
    with pytest.raises(UserError, match="holds the model 'matting.mobilenetv3', but one named"):
        torch.hub.load(ROOT, "mamba_rvm", checkpoint=str(tmp_path / "rvm.pth"), source="local")
    assert torch.hub.load(ROOT, "converter", source="local") is convert_video


@pytest.mark.parametrize("deep", [True, False])
def test_files_of_others_are_told(run, tmp_path, deep):
    weights = foreign_weights("mobilenetv3", deep=deep)
    torch.save(weights, tmp_path / "rvm.pth")
    code, out, _ = run(MATTING, "checkpoint", tmp_path / "rvm.pth")
    kind, count = ("deep", 326) if deep else ("fast", 313)
    assert code == 0
    assert f"Robust Video Matting, mobilenetv3, {kind} filter" in out
    assert f"{count} tensors by their names in Robust Video Matting, 0 left" in out
    # the only tensor of a module, whose absence must not move all behind it
    del weights["backbone.features.3.block.0.0.weight"]
    torch.save(weights, tmp_path / "torn.pth")
    code, _, lines = run(MATTING, "checkpoint", tmp_path / "torn.pth")
    assert code == 1 and len(lines) == 1
    assert lines[0].endswith("does not fit: missing encoder.backbone.blocks.1.1.conv_pw.weight")


def test_a_model_file_is_told_and_converted(run, network, tmp_path):
    network.name, before = "matting.mobileone_s0", network.name
    save_model(network, tmp_path / "m.pth")
    network.name = before
    code, out, _ = run(MATTING, "checkpoint", tmp_path / "m.pth")
    assert code == 0 and "matting.mobileone_s0" in out and "mapped" not in out
    code, _, lines = run(
        MATTING, "checkpoint", tmp_path / "m.pth", "-o", tmp_path / "m.safetensors"
    )
    assert code == 0 and lines[-1].endswith("m.safetensors (safetensors) now")
