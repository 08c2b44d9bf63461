"""What every network promises that fills frame by frame, on every back end that runs here: the
stream gives what the whole clip gives, at any size; zeros start it; its state is carried; and an
exported file computes what the network does.

A new network enters `MODELS`.

Axes: B batch, T frames, H W pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from inpaint.models.candidates import TRUST
from inpaint.models.memory_rows import unpack
from inpaint.models.recall import NUM_KEYS
from inpaint.models.steps import STREAMING, make_step, mask_frame
from inpaint.runtime.backends import ENGINES, TorchBackend
from nunif.models import Model, create_model
from nunif.models.registry import model_names
from nunif.runtime.backends import ContractBackend, OnnxBackend, TorchScriptBackend
from nunif.runtime.engines import Backend
from nunif.runtime.export import trace, write_onnx
from nunif.runtime.parity import compare, run_clip, to_torch
from nunif.runtime.tensorrt import TensorRTBackend, build_engine
from nunif.runtime.torchscript import write_torchscript
from tests.exam import noise, pan_and_back
from tests.models import TINY, less_to_trace, lively
from tests.whole_matrix import REASON, WHOLE

# one process, so that every file is exported once
pytestmark = pytest.mark.xdist_group("contract")

CPU = torch.device("cpu")
SIZE = (36, 60)  # no multiple of anything
SIZES = [(48, 72), (50, 71), (37, 23), (5, 9), (1, 1)]
CLOSE = dict(atol=1e-5, rtol=0)
OF_TOKENS = dict(atol=5e-5, rtol=1e-5)  # they go up to about 10


ALONE = "inpaint.picture_memory_v1"  # all of whose operators are in the other networks too


def memory_dstt() -> Model:
    return lively(create_model(TINY, channels=16, hidden=16, num_blocks=2))


def fusion() -> Model:
    """With an opinion, unlike a fresh one, on every candidate."""
    model = create_model("inpaint.fusion_v1", channels=8, trunk=8)
    nn.init.normal_(model.to_logit.weight, std=5.0)
    nn.init.normal_(model.kinds, std=0.5)
    return model


def picture_memory() -> Model:
    return create_model(ALONE)


MODELS = {build.__name__: build for build in (memory_dstt, fusion, picture_memory)}
# largest difference of a picture from that of the whole clip, of a range of 2
BACKENDS = {
    "torch": 1e-5,
    "contract": 1e-5,
    "torchscript": 1e-5,
    "onnx": 2e-4,
    "tensorrt": 2e-3,
}
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
OF_ANY_SIZE = ["torch", "contract"]
OF_ALL = [
    *OF_ANY_SIZE,
    "torchscript",
    pytest.param("onnx", marks=pytest.mark.slow),  # the first of them exports
    pytest.param("tensorrt", marks=needs_gpu),
]
EXPORTED = OF_ALL[2:]


@pytest.fixture(autouse=True)
def small_files(request, monkeypatch):
    """Everything but the files runs the networks as they are."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if parameters.get("kind") in ("onnx", "tensorrt", "torchscript"):
        less_to_trace(monkeypatch)


@dataclass
class Case:
    """A network and what it fills. files: its exports, made and opened once."""

    model: Model
    files: dict[str, object]

    @property
    def of_memory(self) -> dict[str, float]:
        """How close memories are."""
        return OF_TOKENS if type(self.model).__name__ == "MemoryDSTT" else CLOSE

    def backend(self, kind: str) -> Backend:
        if kind in ("onnx", "tensorrt") and not WHOLE and self.model.name == ALONE:
            pytest.skip(f"of this network, which the others hold, {REASON}")
        step = make_step(self.model)
        if kind == "torch":
            return TorchBackend(self.model, device=CPU)
        if kind == "contract":
            return ContractBackend(step, step.contract, device=CPU, description="torch")
        if kind == "torchscript":
            if kind not in self.files:
                path = self.files["folder"] / "m.torchscript"
                write_torchscript(step, step.contract, SIZE, path)
                # opened once: torch's optimizer works on a program at its first calls
                self.files[kind] = TorchScriptBackend(path, device=CPU, kind=ENGINES)
            return self.files[kind]
        onnx_path = self.files["folder"] / "m.onnx"
        if "onnx" not in self.files:
            self.write_onnx(onnx_path)
            self.files["onnx"] = OnnxBackend(onnx_path, device=CPU, kind=ENGINES)
        if kind == "onnx":
            return self.files["onnx"]
        if "tensorrt" not in self.files:
            path = self.files["folder"] / "m.engine"
            shapes = {name: (s, "float32") for name, s in step.contract.shapes(*SIZE).items()}
            build_engine(onnx_path, path, capabilities=[], expected=shapes)
            self.files["tensorrt"] = path
        return TensorRTBackend(self.files["tensorrt"], device=torch.device("cuda"), kind=ENGINES)

    def write_onnx(self, path: Path, **options: int) -> None:
        """From one trace, which takes longest."""
        step = make_step(self.model)
        if "traced" not in self.files:
            self.files["traced"] = trace(step, SIZE, dynamic=False)
        write_onnx(self.files["traced"], step, path, **options)


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory) -> Case:
    torch.manual_seed(0)
    model = MODELS[request.param]().eval().requires_grad_(False)
    return Case(model, {"folder": tmp_path_factory.mktemp(request.param)})


def clip(batch=1, frames=6, size=SIZE, seed=1):
    """Frames (B, T, 3, H, W) of noise that is panned by a pixel a frame, and a hole that walks the
    other way."""
    height, width = size
    wide = torch.cat([noise(height, width + frames, seed=seed + i) for i in range(batch)])
    holes = torch.zeros(batch, frames, 1, height, width)
    for t in range(frames):
        left = max(0, width // 2 - 2 * t)
        holes[:, t, :, height // 4 : height // 2 + 1, left : left + 14] = 1
    return torch.stack([wide[..., t : t + width] for t in range(frames)], 1), holes


def forward(model, frames, holes, memory=None):
    """Frame by frame, the memory handed on as a tensor."""
    outputs = []
    for frame, hole in zip(frames.split(1, dim=1), holes.split(1, dim=1)):
        output, memory = model(frame, hole, memory)
        outputs.append(output)
    return torch.cat(outputs, dim=1), memory


def pieces_of(frames, holes):
    """What a back end is handed: (1, 3, H, W) each, 0 in the hole."""
    return [mask_frame(*item) for item in zip(frames.unbind(1), holes.unbind(1))]


def stream(backend, frames, holes, state=None):
    """The pictures (1, T, 3, H, W) of a back end, and its state."""
    outputs = []
    for masked in pieces_of(frames, holes):
        output, state = backend.step(masked.to(backend.device), state)
        outputs.append(output.cpu())
    return torch.stack(outputs, dim=1), state


def in_holes(pictures, holes):
    return pictures[holes.expand_as(pictures) > 0]


def test_every_network_that_streams_is_here():
    with torch.device("meta"):
        registered = [create_model(name) for name in model_names("inpaint")]
    streaming = {type(model).__name__ for model in registered if model.streams}
    assert streaming == {type(build()).__name__ for build in MODELS.values()}


# --- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_stream_gives_what_the_clip_gives_wherever_it_is_cut(case, size, batch):
    frames, holes = clip(batch, 6, size)
    together, memory = case.model(frames, holes)
    one_by_one, last_memory = forward(case.model, frames, holes)
    torch.testing.assert_close(one_by_one, together, **CLOSE)
    torch.testing.assert_close(last_memory, memory, **case.of_memory)
    for cut in (1, 4):
        _, before = case.model(frames[:, :cut], holes[:, :cut])
        rest, _ = case.model(frames[:, cut:], holes[:, cut:], before)
        torch.testing.assert_close(rest, together[:, cut:], **CLOSE)
    assert together.shape == (batch, 6, 3, *size)
    assert memory.shape == (batch, *case.model.memory_shape(*size)[1:])


@pytest.mark.parametrize("size", SIZES)
def test_what_is_quicker_to_go_on_with_gives_the_same(case, size):
    """`stream`, which remembers in a form of its own."""
    frames, holes = clip(2, 6, size)
    expected, _ = case.model(frames, holes)
    outputs, past = [], None
    for frame, hole in zip(frames.split(1, dim=1), holes.split(1, dim=1)):
        output, past = case.model.stream(frame, hole, past)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, **CLOSE)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 12])
def test_of_any_length(case, num_frames, batch):
    frames, holes = clip(batch, num_frames)
    together, memory = case.model(frames, holes)
    one_by_one, last_memory = forward(case.model, frames, holes)
    torch.testing.assert_close(one_by_one, together, **CLOSE)
    torch.testing.assert_close(last_memory, memory, **case.of_memory)
    torch.testing.assert_close(case.model.remember(frames, holes), memory, **case.of_memory)


def test_a_start_is_a_start_whatever_stands_in_the_memory(case):
    frames, holes = clip(1, 3)
    _, memory = case.model(frames[:, :2], holes[:, :2])
    last = (frames[:, 2:], holes[:, 2:])
    fresh, _ = case.model(*last)
    known, _ = case.model(*last, memory)
    for started, expected in ((False, fresh), (True, known)):
        found, _ = case.model(*last, memory, started=torch.tensor(started))
        assert torch.equal(found, expected)
    assert (known - fresh).abs().max() > 0.05


def test_streams_side_by_side_start_each_by_itself(case):
    """As files that take several at once promise: zeros are a start for that stream alone."""
    frames, holes = clip(2, 3)
    step, (first, second, third) = make_step(case.model), pieces_of(frames, holes)
    _, memory = step(first, step.contract.start(*SIZE)["memory"].expand(2, -1, -1, -1, -1))
    _, memory = step(second, memory)
    memory[1] = 0
    together = step(third, memory)
    for i in range(2):
        alone = step(third[i : i + 1], memory[i : i + 1])
        for found, expected in zip(together, alone):
            torch.testing.assert_close(found[i : i + 1], expected, **case.of_memory)


def test_clips_of_a_batch_never_see_each_other(case):
    frames, holes = clip(3, 4)
    other = frames.clone()
    other[1] = -other[1]
    (before, memory), (after, memory_after) = case.model(frames, holes), case.model(other, holes)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], **CLOSE)
    torch.testing.assert_close(memory_after[[0, 2]], memory[[0, 2]], **case.of_memory)
    assert (after[1] - before[1]).abs().max() > 0.1


def test_what_stands_in_the_hole_is_not_seen(case):
    frames, holes = clip(1, 3)
    other = torch.where(holes > 0, torch.ones_like(frames), frames)
    torch.testing.assert_close(case.model(other, holes)[0], case.model(frames, holes)[0], **CLOSE)


def test_frames_to_come_change_nothing(case):
    frames, holes = clip(1, 5)
    other = frames.clone()
    other[:, 4] = 0
    before, after = case.model(frames, holes)[0], case.model(other, holes)[0]
    torch.testing.assert_close(after[:, :4], before[:, :4], **CLOSE)


# --- the back ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OF_ALL)
def test_the_tensors_are_those_of_the_field(case, kind):
    backend = case.backend(kind)
    contract = backend.contract
    assert contract.names == STREAMING and contract.states == ("memory",)
    assert backend.window is None
    assert backend.size == (None if kind in OF_ANY_SIZE else SIZE)
    memory = case.model.memory_shape(*SIZE)
    frame = (1, 3, *SIZE)
    assert contract.shapes(*SIZE) == dict(
        masked_frames=frame, memory=memory, output=frame, new_memory=memory
    )


@pytest.mark.parametrize("kind", OF_ALL)
def test_a_back_end_streams_what_the_clip_gives(case, kind):
    frames, holes = clip()
    expected, memory = case.model(frames, holes)
    backend = case.backend(kind)
    found, state = stream(backend, frames, holes)
    assert (found - expected).abs().max() <= BACKENDS[kind]
    if kind != "torch":  # which keeps what is quicker to go on with
        carried = to_torch(state["memory"]).cpu()
        if kind == "contract":
            torch.testing.assert_close(carried, memory, atol=1e-5, rtol=1e-5)
        assert (carried - memory).abs().max() <= 100 * BACKENDS[kind] and memory.abs().max() > 0.1
    first, state = stream(backend, frames[:, :3], holes[:, :3])
    rest, _ = stream(backend, frames[:, 3:], holes[:, 3:], state)
    assert torch.equal(torch.cat([first, rest], dim=1), found)


@pytest.mark.parametrize("kind", OF_ALL)
def test_a_step_by_names_is_a_step(case, kind):
    backend = case.backend(kind)
    (piece,) = pieces_of(*clip(frames=1))
    results, _ = backend.run({"masked_frames": piece.to(backend.device)}, None)
    output, _ = backend.step(piece.to(backend.device), None)
    assert list(results) == ["output"] and torch.equal(results["output"], output)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", OF_ANY_SIZE)
def test_a_back_end_takes_any_size(case, kind, size):
    frames, holes = clip(size=size)
    expected, _ = case.model(frames, holes)
    found, _ = stream(case.backend(kind), frames, holes)
    assert (found - expected).abs().max() <= BACKENDS[kind]


@pytest.mark.parametrize("kind", OF_ALL)
def test_no_state_is_a_new_stream_and_a_carried_one_is_not(case, kind):
    backend = case.backend(kind)
    frames, holes = clip()
    found, state = stream(backend, frames, holes)
    again, _ = stream(backend, frames, holes)
    on, _ = stream(backend, frames, holes, state)
    assert torch.equal(again, found)
    assert in_holes((on - found).abs(), holes).max() > 0.05


@pytest.mark.parametrize(
    "kind", ["contract", "torchscript", pytest.param("tensorrt", marks=needs_gpu)]
)
def test_zeros_are_a_new_stream(case, kind):
    backend = case.backend(kind)
    frames, holes = clip(frames=2)
    zeros = backend.contract.start(*SIZE, device=backend.device)
    assert list(zeros) == ["memory"] and not zeros["memory"].any()
    assert torch.equal(stream(backend, frames, holes)[0], stream(backend, frames, holes, zeros)[0])


@pytest.mark.parametrize("kind", EXPORTED)
def test_a_file_computes_what_the_network_does(case, kind):
    """States too, over as many frames as an export is checked on."""
    pieces = pieces_of(*clip(frames=12))
    parity = compare(
        run_clip(case.backend(kind), pieces),
        run_clip(case.backend("contract"), pieces),
        tolerance=1e-3,
        name=kind,
    )
    assert parity["frames"] == 12
    assert parity["largest_difference"] <= BACKENDS[kind]
    assert parity["largest_difference_memory"] <= 100 * BACKENDS[kind]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["fusion"], indirect=True)
@pytest.mark.parametrize("kind", ["onnx"])
def test_so_it_does_a_pan_and_its_way_back_later(case, kind):
    """Its memory carried all the way, and key pictures replaced and taken back."""
    pieces, memories = list(pan_and_back(SIZE)), []

    def reference():
        for output, memory in run_clip(case.backend("contract"), pieces):
            memories[:] = [memory]
            yield output, memory

    parity = compare(run_clip(case.backend(kind), pieces), reference(), tolerance=1e-3, name=kind)
    assert parity["frames"] == 80 and parity["largest_difference"] < 1e-3
    keys = unpack(memories[0][:, 0, 0], 8, (6, 8), NUM_KEYS)
    # there is one in reserve
    assert keys.keys[0, 1, TRUST].max() > 0.9 and keys.places[0, 1, 2].min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["memory_dstt"], indirect=True)
@pytest.mark.parametrize("kind", ["onnx"])
def test_so_does_one_of_the_oldest_operator_set(case, kind, tmp_path):
    """Of the network that has most kinds of operators."""
    case.write_onnx(tmp_path / "old.onnx", opset=17)
    pieces = pieces_of(*clip(frames=12))
    found = run_clip(OnnxBackend(tmp_path / "old.onnx", device=CPU, kind=ENGINES), pieces)
    expected = run_clip(case.backend("contract"), pieces)
    parity = compare(found, expected, tolerance=BACKENDS[kind], name="old.onnx")
    assert parity["largest_difference_memory"] <= 100 * BACKENDS[kind]
