"""The memory DSTT: tokens go back where they came from, every block remembers, and training knows
no other numbers than a stream. tests/contract holds what it promises with all others."""

import pytest
import torch
from torch import nn

from inpaint.models.blocks import PatchUnembedding
from nunif.compiler import compile_function
from nunif.models import create_model
from tests.models import lively_model, moving_hole

CLOSE = dict(atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def model():
    return lively_model()


@torch.no_grad()
def stream(model, frames, holes, memory=None):
    outputs = []
    for t in range(frames.shape[1]):
        output, memory = model(frames[:, t : t + 1], holes[:, t : t + 1], memory)
        outputs.append(output)
    return torch.cat(outputs, dim=1), memory


def test_the_compiler_gets_the_network_and_not_the_pyramids(model):
    """With the pyramids of the fill and of the motion in it, inductor takes many minutes and
    more."""
    given = []

    def backend(graph, _):
        given.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    frames, holes = moving_hole(1, 2)
    with torch.no_grad():
        expected, _ = model.stream(frames[:, :1], holes[:, :1], None)
        found, _ = compile_function(model.stream, backend=backend)(
            frames[:, :1], holes[:, :1], None
        )
    torch._dynamo.reset()
    torch.testing.assert_close(found, expected, **CLOSE)
    assert any("conv2d" in name for name in given) and any("attention" in name for name in given)
    assert not [name for name in given if "avg_pool" in name or "grid_sample" in name]


def test_training_clip_equals_stream(model):
    frames, holes = moving_hole(2, 6)
    together, _ = model.train()(frames, holes)
    model.eval()
    torch.testing.assert_close(together.detach(), stream(model, frames, holes)[0], **CLOSE)


def test_gradients_of_clip_equal_those_of_stream(model):
    frames, holes = moving_hole(1, 5)

    def gradients(run):
        model.zero_grad()
        run().square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    def streamed():
        memory, outputs = None, []
        for t in range(5):
            output, memory = model(frames[:, t : t + 1], holes[:, t : t + 1], memory)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    torch.testing.assert_close(
        gradients(lambda: model(frames, holes)[0]), gradients(streamed), atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("size, tokens", [((360, 640), 1620), ((240, 432), 720), ((256, 256), 484)])
def test_token_counts_of_the_paper(model, size, tokens):
    frames, holes = moving_hole(1, 1, *size)
    with torch.no_grad():
        output, memory = model(frames, holes)
    assert memory.shape == (1, 4 + 38, 2, tokens, 32)
    assert output.shape == (1, 1, 3, *size)


def test_vec2patch_equals_linear_and_fold():
    torch.manual_seed(3)
    channels, hidden, h, w = 6, 10, 5, 7
    linear = nn.Linear(hidden, channels * 49)
    fold = nn.Fold((3 * h, 3 * w), kernel_size=7, stride=3, padding=3)
    tokens = torch.randn(2, h * w, hidden)
    expected = fold(linear(tokens).transpose(1, 2))
    ours = PatchUnembedding.from_linear(linear.weight, linear.bias, kernel=7, stride=3)
    actual = ours(tokens.transpose(1, 2).unflatten(2, (h, w)))
    torch.testing.assert_close(actual, expected, **CLOSE)


@pytest.mark.parametrize("block", range(4))
def test_memory_of_every_block_reaches_the_current_frame(model, block):
    """Blocks 0 and 2 are temporal, 1 and 3 spatial; each alone must change the output of the frame
    that follows."""
    frames, holes = moving_hole(1, 3)
    with torch.no_grad():
        _, memory = model(frames[:, :2], holes[:, :2])
        output, _ = model(frames[:, 2:], holes[:, 2:], memory)
        other = memory.clone()
        other[:, block] = -other[:, block]
        changed, _ = model(frames[:, 2:], holes[:, 2:], other)
    assert (changed - output).abs().max() > 1e-3


def test_spatial_blocks_look_everywhere_and_temporal_ones_inside_their_zone(model):
    """A token of the memory's last corner reaches the first corner through a spatial block only."""
    grid, tokens = (4, 6), torch.randn(1, 1, 24, 32)
    memory = torch.randn(1, 2, 24, 32)
    other = memory.clone()
    other[:, :, -1] *= -1
    first_zone = [0, 1, 2, 6, 7, 8]
    for index, reaches in ((0, False), (1, True)):
        with torch.no_grad():
            before, _ = model.blocks[index](tokens, memory, grid)
            after, _ = model.blocks[index](tokens, other, grid)
        difference = (after - before)[0, 0].abs().amax(1)
        assert (difference[first_zone].max() > 1e-4) == reaches
        assert difference[-1] > 1e-4


def test_memory_carries_no_gradient(model):
    frames, holes = moving_hole(1, 2)
    assert not model(frames, holes)[1].requires_grad


def test_sizes_and_parameters():
    counts = {
        name: create_model(f"inpaint.{name}").num_parameters
        for name in ("memory_dstt_v1_small", "memory_dstt_v1_tiny")
    }
    assert counts == {"memory_dstt_v1_small": 7071140, "memory_dstt_v1_tiny": 584340}


def test_an_untrained_model_gives_the_smooth_fill():
    from scene.masks import smooth_fill

    fresh = create_model("inpaint.memory_dstt_v1_tiny").eval()
    frames, holes = moving_hole(1, 1)
    with torch.no_grad():
        output, _ = fresh(frames, holes)
    torch.testing.assert_close(output[0], smooth_fill(frames[0], holes[0]), **CLOSE)
