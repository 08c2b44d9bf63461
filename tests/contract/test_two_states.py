"""A network of another kind than those that fill holes: two states of unlike shapes, two results.
It runs in torch, by onnxruntime and as a program of torch.export, and comes out the same."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nunif.errors import UserError
from nunif.models.contract import HEIGHT, WIDTH, Contract
from nunif.runtime.backends import (
    ContractBackend,
    OnnxBackend,
    TorchScriptBackend,
    open_by_suffix,
)
from nunif.runtime.engines import EngineKind
from nunif.runtime.export import Wishes, check_wishes, export_step
from nunif.runtime.parity import compare, run_clip
from nunif.runtime.tensorrt import TensorRTBackend, contract_of
from tests.exam import noise

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason=f"the export needs the package {package}")

pytestmark = pytest.mark.xdist_group("contract")
CPU = torch.device("cpu")
SIZE = (24, 40)


class Recurrent(nn.Module):
    """(frame, slow, fast) -> (picture, new_slow, alpha, new_fast)."""

    multiple = None

    def __init__(self) -> None:
        super().__init__()
        frame, alpha = (1, 3, HEIGHT, WIDTH), (1, 1, HEIGHT, WIDTH)
        slow, fast = (1, 5), (1, 4, *(side // 2 for side in SIZE))
        self.contract = Contract(
            inputs={"frame": frame, "slow": slow, "fast": fast},
            outputs={"picture": frame, "new_slow": slow, "alpha": alpha, "new_fast": fast},
        )
        self.look, self.mix = nn.Conv2d(7, 4, 3, padding=1), nn.Linear(4, 5)
        self.paint = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, frame: Tensor, slow: Tensor, fast: Tensor) -> tuple[Tensor, ...]:
        seen = torch.cat([F.avg_pool2d(frame, 2), fast], 1)
        fast = self.look(seen).tanh()
        slow = 0.9 * slow + 0.1 * self.mix(fast.mean((2, 3)))
        level = slow[:, :, None, None].expand(-1, -1, *frame.shape[-2:])
        large = F.interpolate(fast, size=frame.shape[-2:], mode="nearest")
        picture, alpha = self.paint(torch.cat([frame, large, level], 1)).split([3, 1], 1)
        return picture, slow, alpha.sigmoid(), fast


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Recurrent().eval()


@pytest.fixture(scope="module")
def frames():
    wide = noise(SIZE[0], SIZE[1] + 8)
    return [wide[..., t : t + SIZE[1]] for t in range(8)]


@pytest.fixture(scope="module")
def kind(network):
    names = (network.contract.names,)
    return EngineKind("matting", names, wanted="frame, slow and fast", command="make")


@pytest.fixture(scope="module")
def exported(network, frames, kind, tmp_path_factory):
    return export_step(
        network,
        frames,
        tmp_path_factory.mktemp("exported"),
        Wishes(["onnx", "torch-export", "torchscript"], SIZE, opset=17),
        name="recurrent",
        kind=kind,
        clip="noise",
        about={"model": "recurrent"},
        words={"value_range": "any"},
    )


def in_torch(network):
    return ContractBackend(network, network.contract, device=CPU, description="torch")


def test_its_tensors_fall_into_frames_states_and_results(network):
    contract = network.contract
    assert contract.given == ("frame",) and contract.states == ("slow", "fast")
    assert contract.results == ("picture", "alpha")


def test_what_is_written_computes_the_same(exported):
    folder = exported[0].parent
    assert [path.name for path in exported] == [
        "recurrent_24x40_fp32.onnx",
        "recurrent_24x40_fp32.pt2",
        "recurrent_24x40_fp32.torchscript",
    ]
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    for path in exported:
        entry = entries[path.name]
        assert list(entry["inputs"]) == ["frame", "slow", "fast"]
        assert list(entry["outputs"]) == ["picture", "new_slow", "alpha", "new_fast"]
        assert entry["model"] == "recurrent" and entry["value_range"] == "any"
        parity = entry["parity"]
        assert parity["clip"] == "noise" and parity["frames"] == 8
        assert parity["largest_difference"] <= 1e-6
        assert parity["largest_difference_memory"] <= 1e-6


def test_an_older_operator_set_is_written_and_told(exported):
    onnx = pytest.importorskip("onnx")
    (opset,) = onnx.load(exported[0]).opset_import
    entry = json.loads(exported[0].with_name("manifest.json").read_text())["files"]
    assert opset.version == entry[exported[0].name]["opset"] == 17


def test_every_result_and_every_state_is_carried_by_its_name(network, frames, exported, kind):
    script = TorchScriptBackend(exported[2], device=CPU, kind=kind)
    backends = in_torch(network), OnnxBackend(exported[0], device=CPU, kind=kind), script
    assert script.contract.names == network.contract.names
    assert backends[1].contract.shapes(*SIZE) == network.contract.shapes(*SIZE)
    states = [None, None, None]
    by_hand = network.contract.start(*SIZE)
    for frame in frames:
        with torch.no_grad():
            picture, slow, alpha, fast = network(frame, **by_hand)
        by_hand = {"slow": slow, "fast": fast}
        for i, backend in enumerate(backends):
            results, states[i] = backend.run({"frame": frame}, states[i])
            assert list(results) == ["picture", "alpha"]
            assert (results["picture"] - picture).abs().max() <= 1e-6
            assert (results["alpha"] - alpha).abs().max() <= 1e-6
            for name, value in by_hand.items():
                found = torch.as_tensor(states[i][name].numpy())
                assert found.shape == value.shape and (found - value).abs().max() <= 1e-6


def test_a_wrong_result_or_state_is_found(network, frames, exported):
    """Whichever of them it is."""

    def off_by(name):
        class Off(OnnxBackend):
            def run(self, values, state):
                results, state = super().run(values, state)
                return {k: v + 0.01 * (k == name) for k, v in results.items()}, state

        return run_clip(Off(exported[0], device=CPU), frames)

    for name in ("picture", "alpha"):
        with pytest.raises(UserError, match="x computes something else than the model: .* 0.01,"):
            compare(off_by(name), run_clip(in_torch(network), frames), tolerance=1e-3, name="x")


def test_an_engine_of_another_task_is_refused_in_this_tasks_words(exported, kind):
    other = EngineKind("inpainting", ((("a",), ("b",)),), wanted="a", command="make it")
    with pytest.raises(
        UserError,
        match=r"is no inpainting engine \(its inputs are frame, slow, fast, not a\): "
        "make one with make it",
    ):
        open_by_suffix(
            exported[0], lambda: None, kind=other, device=CPU, precision=None, compiled=False
        )
    shapes = {"frame": ((1, 3, *SIZE), "float32"), "picture": ((1, 3, *SIZE), "float32")}
    with pytest.raises(
        UserError, match="m.engine is no matting engine: its tensors are frame, picture"
    ):
        contract_of(shapes, exported[0].with_name("m.engine"), kind)


def test_an_engines_tensors_are_told_by_their_names_in_any_order(network, exported, kind):
    shapes = {name: (s, "float32") for name, s in network.contract.shapes(*SIZE).items()}
    mixed = dict(sorted(shapes.items()))
    contract = contract_of(mixed, exported[0], kind)
    assert contract.names == network.contract.names
    assert contract.shapes(*SIZE) == network.contract.shapes(*SIZE) and contract.size == SIZE


def test_an_engine_for_any_size_is_not_begun(tmp_path):
    with pytest.raises(UserError, match="--dynamic is for ONNX"):
        check_wishes(Wishes(["tensorrt"], dynamic=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_an_engine_carries_both_states(network, frames, kind, tmp_path):
    *_, engine = export_step(
        network,
        frames,
        tmp_path,
        Wishes(["tensorrt"], SIZE, device=torch.device("cuda")),
        name="recurrent",
        kind=kind,
        clip="noise",
        about={},
        words={},
    )
    backend = TensorRTBackend(engine, device=torch.device("cuda"), kind=kind)
    parity = compare(
        run_clip(backend, frames), run_clip(in_torch(network), frames), tolerance=1e-3, name="x"
    )
    assert parity["largest_difference_memory"] <= 1e-3
