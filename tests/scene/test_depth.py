"""Depth estimators with a tiny randomly initialised network. Axes: T frames, B batch, H W
pixels."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from nunif.errors import UserError
from scene.depth import create_estimator
from scene.depth_models import DEPTH_MODELS, MODEL_TYPES, check_model_type
from scene.depth_network import INPUT_SPECS, NetworkEstimator, network_size, prepare
from scene.depth_normalize import affine_chain, per_frame_minmax


def save_tiny(path: Path, **options: object) -> Path:
    """A Depth Anything of 32 channels and 4 layers, saved as save_pretrained does."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=70,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        **options,
    )
    model = DepthAnythingForDepthEstimation(config)
    for parameter in model.parameters():  # as initialised, the output hardly depends on the picture
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.head.conv3.bias.data.fill_(2.0)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def relative_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("relative"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


def clip(num_frames: int = 3, height: int = 90, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def test_a_local_model_gives_normalised_disparity(relative_dir: Path) -> None:
    estimator = create_estimator("Any_V2_S", resolution=60, model_dir=relative_dir)
    assert (estimator.name, estimator.runs_in_workers) == ("Any_V2_S", False)
    disparity = estimator(clip())
    assert disparity.shape == (3, 70, 112)  # 60 up to 70, 124 down to 112
    assert (disparity.dtype, disparity.device.type) == (torch.float32, "cpu")
    assert disparity.min() == 0 and disparity.max() == 1
    assert torch.equal(estimator(clip()), disparity)


def test_the_raw_output_is_what_is_normalised(relative_dir: Path) -> None:
    estimator = create_estimator("Any_V2_S", resolution=56, model_dir=relative_dir, batch_size=2)
    raw = estimator.raw_disparity(clip())
    assert torch.equal(affine_chain(raw), estimator(clip()))
    assert (estimator.run_length, estimator.run_overlap, estimator.scale_jitters) == (2, 0, True)
    # frame by frame
    assert torch.allclose(estimator.raw_disparity(clip()[1:2]), raw[1:2], atol=1e-4)


def test_the_batch_size_changes_nothing(relative_dir: Path) -> None:
    one, many = (
        create_estimator("Any_S", resolution=56, model_dir=relative_dir, batch_size=n)
        for n in (1, 5)
    )
    assert torch.allclose(one(clip()), many(clip()), atol=1e-4)


def test_normalize_frame_stretches_every_frame(relative_dir: Path) -> None:
    disparity = create_estimator("Any_S", resolution=56, model_dir=relative_dir, normalize="frame")(
        clip()
    )
    assert torch.equal(disparity.amin((1, 2)), torch.zeros(3)) and torch.equal(
        disparity.amax((1, 2)), torch.ones(3)
    )
    with pytest.raises(UserError, match="'often': choose from clip, frame"):
        create_estimator("Any_S", model_dir=relative_dir, normalize="often")


def test_metric_models_are_turned_over(tmp_path: Path) -> None:
    metric = create_estimator(
        "Any_V2_N_S",
        resolution=56,
        model_dir=save_tiny(tmp_path, depth_estimation_type="metric", max_depth=20),
    )
    distances = []
    forward = metric._forward
    metric._forward = lambda inputs: distances.append(forward(inputs)) or distances[-1]
    disparity, distance = metric(clip(1))[0], distances[0][0]
    assert disparity.flatten()[distance.argmin()] == 1
    assert disparity.flatten()[distance.argmax()] == 0


def test_a_config_without_max_depth_works(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_depth": None}))
    assert create_estimator("Distill_Any_B", resolution=56, model_dir=tmp_path)(clip(1)).max() == 1


def test_half_precision_files_run_in_float32(tmp_path: Path, relative_dir: Path) -> None:
    DepthAnythingForDepthEstimation.from_pretrained(
        relative_dir, dtype=torch.float16
    ).save_pretrained(tmp_path)
    estimator = create_estimator("Any_S", resolution=56, model_dir=tmp_path)
    assert estimator._forward(torch.zeros(1, 3, 56, 56)).dtype == torch.float32


def test_weights_of_another_kind_are_refused(relative_dir: Path) -> None:
    with pytest.raises(
        UserError,
        match="holds a relative depth_anything model, but Any_V2_K is a metric depth_anything",
    ):
        create_estimator("Any_V2_K", model_dir=relative_dir)
    with pytest.raises(UserError, match="but ZoeD_N is a metric zoedepth one"):
        create_estimator("ZoeD_N", model_dir=relative_dir)
    with pytest.raises(UserError, match="Any_V3_Mono can't be read from --depth-model-dir"):
        create_estimator("Any_V3_Mono", model_dir=relative_dir)


def test_folders_without_a_whole_model_are_refused(tmp_path: Path, relative_dir: Path) -> None:
    with pytest.raises(UserError, match="nowhere is no folder"):
        create_estimator("Any_S", model_dir=tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no model that transformers can load"):
        create_estimator("Any_S", model_dir=tmp_path)
    (tmp_path / "config.json").write_bytes((relative_dir / "config.json").read_bytes())
    with pytest.raises(UserError, match="holds no model that transformers can load"):
        create_estimator("Any_S", model_dir=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(
        (relative_dir / "model.safetensors").read_bytes()[:2000]
    )
    with pytest.raises(UserError, match="holds no model that transformers can load"):
        create_estimator("Any_S", model_dir=tmp_path)


def test_a_checkpoint_of_other_names_is_refused(tmp_path: Path, relative_dir: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((relative_dir / "config.json").read_bytes())
    weights = {
        f"pretrained.{key}": value
        for key, value in load_file(relative_dir / "model.safetensors").items()
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks \d+ of the weights of Any_S"):
        create_estimator("Any_S", model_dir=tmp_path)


@pytest.mark.usefixtures("offline")
def test_a_model_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        create_estimator("Any_V2_L")
    message = str(caught.value)
    for part in (
        "Any_V2_L (depth-anything/Depth-Anything-V2-Large-hf, licence CC-BY-NC-4.0)",
        str(tmp_path),
        "hf download depth-anything/Depth-Anything-V2-Large-hf",
        "--depth-model-dir DIR",
        "--model-type MotionParallax",
    ):
        assert part in message
    assert "\n" not in message


def test_a_licence_that_is_not_free_is_told(
    relative_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "scene.depth"):
        create_estimator("Any_V2_S", model_dir=relative_dir)
        assert not caplog.messages
        create_estimator("Any_V2_B", model_dir=relative_dir)
    assert caplog.messages == ["depth model Any_V2_B: licence of the weights: CC-BY-NC-4.0"]


@pytest.mark.parametrize(
    ("name", "nearest"), [("ZoeD_Any_K", "Any_V2_K_L"), ("Any_V3_Mono", "Any_V2_S")]
)
def test_third_party_code_needs_permission(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(torch.hub, "load", lambda *args, **kwargs: asked.append(args))
    with pytest.raises(UserError, match=f"--allow-third-party-code.*--model-type {nearest}"):
        create_estimator(name)
    assert not asked


class FakeHubModel(torch.nn.Module):
    """Answers like Depth Anything 3: the picture's brightness as distance, sky in the left half."""

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        depth = inputs.mean(2) + 3  # (B, 1, 3, h, w) -> (B, 1, h, w)
        sky = torch.zeros_like(depth)
        sky[..., : depth.shape[-1] // 2] = 1
        return {"depth": depth, "sky": sky}


def test_third_party_code_runs_when_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        torch.hub, "load", lambda *args, **kwargs: asked.append((args, kwargs)) or FakeHubModel()
    )
    disparity = create_estimator("Any_V3_Mono", resolution=56, allow_third_party=True)(clip(1))
    assert disparity.shape == (1, 56, 98) and disparity.max() == 1
    assert torch.equal(disparity[:, :, :49], torch.zeros(1, 56, 49))
    expected = {"trust_repo": True, "verbose": False, "model_name": "da3mono-large"}
    assert asked == [(("nagadomi/Depth-Anything-3_iw3:main", "load_model"), expected)]


def test_a_hub_that_can_not_be_reached_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load", fail)
    with pytest.raises(
        UserError, match=r"ZoeD_Any_N can't be loaded from nagadomi.*no route to host"
    ):
        create_estimator("ZoeD_Any_N", allow_third_party=True)


@pytest.mark.parametrize(
    ("size", "resolution", "multiple", "expected"),
    [
        ((1080, 1920), 392, 14, (392, 686)),
        ((720, 1280), 518, 14, (518, 910)),
        ((1080, 1920), 512, 14, (518, 910)),
        ((240, 432), 392, 14, (392, 700)),
        ((1920, 1080), 392, 14, (686, 392)),
        ((500, 500), 392, 14, (392, 392)),
        ((100, 1000), 392, 14, (392, 1568)),
        ((1080, 1920), 384, 32, (384, 672)),
    ],
)
def test_network_size(
    size: tuple[int, int], resolution: int, multiple: int, expected: tuple[int, int]
) -> None:
    assert network_size(*size, resolution, multiple) == expected


def estimator_of(family: str, forward: Callable[[torch.Tensor], torch.Tensor]) -> NetworkEstimator:
    return NetworkEstimator(
        family,
        forward,
        spec=INPUT_SPECS[family],
        distance=False,
        resolution=INPUT_SPECS[family].resolution,
        device=torch.device("cpu"),
        batch_size=2,
        normalize=per_frame_minmax,
    )


@pytest.mark.parametrize("family", ["depth_anything", "zoe", "depth_pro"])
def test_the_map_lies_where_the_picture_does(family: str) -> None:
    """A network that answers with the picture itself gives it back, whatever was padded, squared
    and cut away."""
    ramp = np.linspace(20, 230, 320)[None, :, None] * np.linspace(0.5, 1, 180)[:, None, None]
    frames = np.broadcast_to(ramp, (180, 320, 3)).astype(np.uint8)[None]
    half = lambda inputs: torch.nn.functional.avg_pool2d(inputs[:, 1], 2)  # noqa: E731  # maps may be smaller
    for forward in (lambda inputs: inputs[:, 1], half):
        disparity = estimator_of(family, forward)(frames)
        assert abs(disparity.shape[2] / disparity.shape[1] - 16 / 9) < 0.1
        picture = torch.nn.functional.interpolate(
            torch.from_numpy(frames[:, None, :, :, 1].copy()).float(),
            disparity.shape[1:],
            mode="bilinear",
            antialias=True,
        )
        assert (disparity - per_frame_minmax(picture[:, 0])).abs().max() < 0.03


def test_zoe_sees_reflected_margins_inside_its_size() -> None:
    inputs, pad = prepare(
        torch.randint(256, (1, 3, 540, 960), dtype=torch.uint8), INPUT_SPECS["zoe"], 384
    )
    assert inputs.shape == (1, 3, 384, 672)
    assert pad == (30, 40)
    assert torch.equal(inputs[:, :, 30 - 5], inputs[:, :, 30 + 5])


def test_a_constant_picture_gives_zeros() -> None:
    grey = np.full((2, 180, 320, 3), 99, np.uint8)
    assert not estimator_of("depth_anything", lambda inputs: inputs[:, 0])(grey).any()
    assert not affine_chain(torch.full((2, 28, 28), 0.3)).any()


def test_half_precision_that_runs_over_is_computed_again() -> None:
    calls = []

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs))
        return inputs[:, 0] if len(calls) > 1 else inputs[:, 0] * float("inf")

    assert torch.isfinite(estimator_of("depth_anything", forward)(clip(1))).all()
    assert calls == [1, 1]


def test_options_without_an_effect_are_refused() -> None:
    with pytest.raises(UserError, match="MotionParallax has no use for --resolution 518"):
        create_estimator("MotionParallax", resolution=518)
    with pytest.raises(UserError, match="DepthPro always works at 1536 px"):
        create_estimator("DepthPro", resolution=518)
    assert create_estimator("MotionParallax").runs_in_workers


def test_names() -> None:
    for name in (
        "Any_S",
        "Any_B",
        "Any_L",
        "Any_V2_S",
        "Any_V2_N",
        "Any_V2_K_B",
        "Distill_Any_B",
        "ZoeD_NK",
    ):
        assert check_model_type(name) == name
    assert DEPTH_MODELS["Any_V2_N"] == DEPTH_MODELS["Any_V2_N_L"]
    assert (
        DEPTH_MODELS["Any_V2_K"].repo_id
        == "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf"
    )
    assert "MotionParallax" in MODEL_TYPES and "VDA_S" not in MODEL_TYPES
    with pytest.raises(
        UserError,
        match="unknown depth model 'Any_V2_X'.*choose --model-type from .*DepthPro.*MotionParallax",
    ):
        check_model_type("Any_V2_X")
    with pytest.raises(UserError, match="DepthPro_S .*choose --model-type DepthPro"):
        check_model_type("DepthPro_S")
    with pytest.raises(
        UserError, match="VDA_Stream_L is a video model.*choose --model-type Any_V2_S"
    ):
        create_estimator("VDA_Stream_L")


def test_the_table_of_names_imports_nothing_heavy() -> None:
    code = (
        "import sys, scene.depth_models; print({'torch', 'transformers', 'numpy', 'cv2'} & "
        "set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True
        ).stdout
        == "set()\n"
    )
