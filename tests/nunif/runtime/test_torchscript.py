"""TorchScript files: a program for any device with its contract in it, nothing of the machine that
wrote it, and one clear line for what is none."""

import copy
import re
import zipfile

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nunif.errors import UserError
from nunif.models.contract import HEIGHT, WIDTH, Contract
from nunif.runtime.backends import TorchScriptBackend, open_by_suffix
from nunif.runtime.engines import EngineKind
from nunif.runtime.torchscript import open_torchscript, write_torchscript

CPU, META = torch.device("cpu"), torch.device("meta")
SIZE = (6, 10)
SHAPE = (1, 3, *SIZE)
COLOURS = (0.2, 0.5, 0.3)


class Ramp(nn.Module):
    """With all that binds a trace to a device or makes it wait for one: a weight, what is made
    anew, a constant, and numbers worked out of the frame's size."""

    def __init__(self) -> None:
        super().__init__()
        shape = (1, 3, HEIGHT, WIDTH)
        self.contract = Contract(
            {"frame": shape, "slow": (1, 3)}, {"picture": shape, "new_slow": (1, 3)}
        )
        # and no convolution, which torch 2.9 has no shapes alone for in TorchScript
        self.mix = nn.Linear(3, 3)

    def forward(self, frame: Tensor, slow: Tensor) -> tuple[Tensor, Tensor]:
        width = frame.shape[-1]
        ramp = torch.arange(width, dtype=frame.dtype, device=frame.device) / (width - 1)
        colours = torch.tensor(COLOURS, device=frame.device).view(1, 3, 1, 1)
        around = F.pad(frame, (0, -width % 4, 0, 0))[..., :width]
        slow = 0.5 * slow + frame.mean((2, 3))
        mixed = self.mix((around * colours).to(self.mix.weight.dtype).permute(0, 2, 3, 1))
        return mixed.permute(0, 3, 1, 2).to(frame.dtype) + ramp + slow[..., None, None], slow


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Ramp().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "ramp.torchscript"
    write_torchscript(network, network.contract, SIZE, path)
    return path


def kind(names):
    return EngineKind("matting", (names,), wanted="frame and slow", command="make it")


def to_device(program, device):
    """As in `Module.to`, which makes no parameters of the device "meta" in TorchScript."""
    for module in program.modules():
        for name, tensor in module.named_parameters(recurse=False):
            module._c.setattr(name, tensor.to(device))
    return program


def test_it_computes_the_same_and_carries_its_state(network, path):
    backend = TorchScriptBackend(path, device=CPU, kind=kind(network.contract.names))
    assert backend.size == SIZE and backend.contract.states == ("slow",)
    state, slow = None, torch.zeros(1, 3)
    for seed in range(3):
        frame = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))
        picture, state = backend.step(frame, state)
        expected, slow = network(frame, slow)
        assert torch.equal(picture, expected) and torch.equal(state["slow"], slow)


def test_it_computes_on_the_device_that_it_is_brought_to(path):
    """A trace made on the CPU asks for the CPU at every call. The device without numbers stands for
    a GPU: what lies elsewhere is refused there, and no number can be asked for."""
    program = to_device(open_torchscript(path, CPU)[0], META)
    picture, slow = program(torch.zeros(SHAPE, device=META), torch.zeros(1, 3, device=META))
    assert picture.device == slow.device == META and picture.shape == SHAPE


def test_half_precision_stays_inside(network, tmp_path):
    path = tmp_path / "half.torchscript"
    write_torchscript(copy.deepcopy(network).half(), network.contract, SIZE, path)
    picture, state = TorchScriptBackend(path, device=CPU).step(torch.full(SHAPE, 0.3), None)
    expected, _ = network(torch.full(SHAPE, 0.3), torch.zeros(1, 3))
    assert picture.dtype == state["slow"].dtype == torch.float32
    assert 0 < (picture - expected).abs().max() < 1e-2


def test_a_trace_as_it_is_does_not(network):
    """What the test before is worth."""
    examples = (torch.zeros(SHAPE), torch.zeros(1, 3))
    program = to_device(torch.jit.trace(network, examples, check_trace=False), META)
    with pytest.raises(RuntimeError, match="device|meta"):
        program(*(tensor.to(META) for tensor in examples))


def test_another_shape_or_type_is_refused_by_the_program_itself(path):
    """As a trace would compute something else there."""
    program, _ = open_torchscript(path, CPU)
    for frame in (torch.zeros(1, 3, 6, 9), torch.zeros(SHAPE, dtype=torch.float16)):
        with pytest.raises(
            torch.jit.Error, match=r"frame must be float32 of the shape \[1, 3, 6, 10\]"
        ):
            program(frame, torch.zeros(1, 3))
    backend = TorchScriptBackend(path, device=CPU)
    with pytest.raises(UserError, match=r"TorchScript stopped \(.*frame must be float32"):
        backend.step(torch.zeros(1, 3, 6, 9), None)


def test_it_says_nothing_of_the_machine_that_wrote_it(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        content = b"".join(map(archive.read, names))
    assert not [name for name in names if "debug" in name]
    assert b"archive" not in content and not re.search(rb"/[\w./-]+\.py\b", content)


def test_what_is_no_such_file_is_one_line(tmp_path, network, path):
    torn = tmp_path / "torn.torchscript"
    torn.write_bytes(path.read_bytes()[:2000])
    other = tmp_path / "weights.torchscript"
    torch.save(network.state_dict(), other)
    for broken in (torn, other):
        with pytest.raises(
            UserError, match=f"{broken.name} can't be opened by torch .* export it again"
        ):
            TorchScriptBackend(broken, device=CPU)
    foreign = tmp_path / "foreign.torchscript"
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(2)), foreign)
    with pytest.raises(UserError, match="foreign.torchscript does not say what its tensors are"):
        TorchScriptBackend(foreign, device=CPU)


def test_a_file_of_another_task_is_refused(path):
    with pytest.raises(
        UserError, match=r"is no matting engine \(its inputs are frame, slow, not frame and slow\)"
    ):
        TorchScriptBackend(path, device=CPU, kind=kind((("a",), ("b",))))


def test_it_is_chosen_by_its_suffix(path, network):
    def choose(**options):
        return open_by_suffix(
            path, lambda: None, kind=kind(network.contract.names), device=CPU, **options
        )

    assert isinstance(choose(precision=None, compiled=False), TorchScriptBackend)
    with pytest.raises(UserError, match="--precision is for model files"):
        choose(precision="fp16", compiled=False)
