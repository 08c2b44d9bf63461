"""What the matting networks promise on every back end that runs here: four states with the shapes
that the contract says, whatever ratio is computed at; zeros start a stream; the stream gives what
the clip gives.

A new kind of memory, refiner or block enters `NETWORKS`.

Axes: T frames, H W pixels.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from matting.models import MattingNetwork, zero_states
from matting.models.decoder import UNITS
from matting.models.refiner import REFINERS
from matting.models.steps import NAMES, MattingStep, portable_ratio
from matting.runtime.backends import ENGINES
from nunif.runtime.backends import ContractBackend, OnnxBackend, TorchScriptBackend
from nunif.runtime.engines import Backend
from nunif.runtime.export import trace, write_onnx
from nunif.runtime.parity import to_torch
from nunif.runtime.tensorrt import TensorRTBackend, build_engine
from nunif.runtime.torchscript import write_torchscript
from tests.matting.weights import calibrate, pictures

# one process, so that every file is exported once
pytestmark = pytest.mark.xdist_group("contract")

CPU = torch.device("cpu")
SIZE = (45, 71)  # no multiple of anything
NUM_FRAMES = 20
TINY: dict[str, Any] = dict(variant="mobileone_s0", widths=[8, 8, 8, 8], pooled=16)
NETWORKS: dict[str, dict[str, Any]] = {
    "gru": {"refiner": "fast_guided_filter", "ratio": 0.6},
    "ssm": {"refiner": "deep_guided_filter", "num_blocks": 1, "recurrent": "ssm", "ratio": 0.6},
    "gate": {"recurrent": "gate", "ratio": 1},
    "none": {"recurrent": "none", "ratio": 1},
}
# largest difference of foreground and alpha from those of the whole clip
BACKENDS = {"contract": 5e-5, "torchscript": 5e-5, "onnx": 1e-4, "tensorrt": 2e-3}
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
KINDS = [
    "contract",
    "torchscript",
    pytest.param("onnx", marks=pytest.mark.slow),
    pytest.param("tensorrt", marks=needs_gpu),
]


@dataclass
class Case:
    """A network and what is exported of it, made once."""

    model: MattingNetwork
    step: MattingStep  # of the model
    folder: Path
    opened: dict[str, Backend] = field(default_factory=dict)

    def backend(self, kind: str) -> Backend:
        if kind in ("onnx", "tensorrt") and "ssm" not in self.model.kwargs.values():
            pytest.skip("takes long: only of the network that has most kinds of operators")
        if kind not in self.opened:
            self.opened[kind] = self._open(kind)
        return self.opened[kind]

    def _open(self, kind: str) -> Backend:
        step = self.step
        if kind == "contract":
            return ContractBackend(step, step.contract, device=CPU, description="torch")
        path = self.folder / f"m.{kind}"
        if kind == "torchscript":
            write_torchscript(step, step.contract, SIZE, path)
            return TorchScriptBackend(path, device=CPU, kind=ENGINES)
        if kind == "onnx":
            write_onnx(trace(step, SIZE, dynamic=False), step, path)
            return OnnxBackend(path, device=CPU, kind=ENGINES)
        self.backend("onnx")
        shapes = {name: (s, "float32") for name, s in step.contract.shapes(*SIZE).items()}
        build_engine(self.folder / "m.onnx", path, capabilities=[], expected=shapes)
        return TensorRTBackend(path, device=torch.device("cuda"), kind=ENGINES)


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory) -> Case:
    torch.manual_seed(1)
    words = dict(NETWORKS[request.param])
    ratio = words.pop("ratio")
    model = MattingNetwork(**TINY, **words)
    for block in model.blocks:  # one that is fresh does nothing
        torch.nn.init.normal_(block.linear_out.weight, std=0.3)
    with torch.no_grad():
        model.matte_head.bias[3] = 0.5  # so that alpha is cut off neither here nor there
    calibrate(model, ratio)
    step = MattingStep(model, downsample_ratio=portable_ratio(ratio, SIZE)).eval()
    return Case(model, step.requires_grad_(False), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """(T, 3, H, W)"""
    (wide,) = pictures(1, 3, SIZE[0], SIZE[1] + 2 * NUM_FRAMES, seed=5)
    return torch.stack([wide[..., 2 * t : 2 * t + SIZE[1]] for t in range(NUM_FRAMES)])


def stream(backend: Backend, clip: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
    """Foreground and alpha (T, 4, H, W), and the state after the last frame."""
    found = []
    for frame in clip.split(1):
        results, state = backend.run({"src": frame.to(backend.device)}, state)
        assert list(results) == ["fgr", "pha"]
        found.append(torch.cat([value.cpu() for value in results.values()], 1))
    return torch.cat(found), state


def test_every_memory_and_refiner_is_here():
    assert {words.get("recurrent", "gru") for words in NETWORKS.values()} == UNITS.keys()
    assert {words.get("refiner", "deep_guided_filter") for words in NETWORKS.values()} == set(
        REFINERS
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_are_those_of_the_network(case, kind):
    contract = case.backend(kind).contract
    assert contract.names == NAMES
    assert contract.states == ("r1", "r2", "r3", "r4") and contract.results == ("fgr", "pha")
    shapes = contract.shapes(*SIZE)
    assert shapes["src"] == shapes["fgr"] == (1, 3, *SIZE) and shapes["pha"] == (1, 1, *SIZE)
    computed = [int(side * case.step.ratio) for side in SIZE]
    states = zero_states(case.model, *computed)
    assert [shapes[name] for name in contract.states] == [tuple(s.shape) for s in states]
    assert [shapes[f"new_{name}"] for name in contract.states] == [
        shapes[name] for name in contract.states
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_back_end_streams_what_the_clip_gives(case, kind, clip):
    foreground, alpha, *states = case.model(clip[None], downsample_ratio=case.step.ratio)
    expected = torch.cat([foreground, alpha], 2)[0]
    assert alpha.std() > 0.05
    backend = case.backend(kind)
    found, state = stream(backend, clip)
    assert (found - expected).abs().max() <= BACKENDS[kind]
    for name, wanted in zip(backend.contract.states, states):
        assert (to_torch(state[name]).cpu() - wanted).abs().max() <= 20 * BACKENDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_no_state_and_zeros_start_a_stream_and_a_carried_state_does_not(case, kind, clip):
    backend = case.backend(kind)
    found, state = stream(backend, clip[:3])
    assert torch.equal(stream(backend, clip[:3])[0], found)
    if kind != "onnx":  # which keeps its state in a form of its own
        zeros = backend.contract.start(*SIZE, device=backend.device)
        assert torch.equal(stream(backend, clip[:3], zeros)[0], found)
    on, _ = stream(backend, clip[:3], state)
    carries = case.model.kwargs["recurrent"] not in ("gate", "none")
    assert ((on - found).abs().max() > 0.01) == carries


def test_a_branch_is_gone_before_it_is_exported(case):
    assert case.model.kwargs["fused"]
    assert not [name for name in case.step.state_dict() if "conv_scale" in name]


@pytest.mark.parametrize("side", [561, 564, 614, 1920])
def test_a_ratio_gives_one_size_in_float32_and_in_float64(side):
    ratio = portable_ratio(512 / side, (side, side))
    computed = torch.nn.functional.interpolate(
        torch.zeros(1, 1, 8, side), scale_factor=(1, ratio), mode="bilinear"
    ).shape[-1]
    assert abs(ratio - 512 / side) < 1e-6
    assert computed == int(torch.tensor(ratio, dtype=torch.float32) * side)
    assert computed in (511, 512)
