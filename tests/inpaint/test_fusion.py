"""The fusion: what it learns from, and that it begins as the weighing by hand. tests/contract holds
what it promises with all others."""

import pytest
import torch
from torch import nn

from inpaint.models.fusion import LEARNED_SIDE
from inpaint.models.recall import empty_memory
from inpaint.models.streaming import ahead_of_clip, prepare, recall_clip
from nunif.models import create_model
from tests.exam import noise

CLOSE = dict(atol=1e-5, rtol=0)
NAME = "inpaint.fusion_v1"


@pytest.fixture(scope="module")
def model():
    """With an opinion, unlike a fresh one, on every candidate."""
    torch.manual_seed(0)
    model = create_model(NAME).eval()
    nn.init.normal_(model.to_logit.weight, std=5.0)
    nn.init.normal_(model.kinds, std=0.5)
    return model


def clip(batch=1, frames=4, height=48, width=64, seed=1):
    """Noise that is panned by a pixel a frame, and a hole that walks the other way."""
    pictures = torch.cat([noise(height, width + frames, seed=seed + i) for i in range(batch)])
    holes = torch.zeros(batch, frames, 1, height, width)
    for t in range(frames):
        holes[
            :, t, :, height // 4 : height // 2 + 1, width // 2 - 2 * t : width // 2 + 14 - 2 * t
        ] = 1
    return torch.stack([pictures[..., t : t + width] for t in range(frames)], 1), holes


@torch.no_grad()
def stream(model, frames, holes, ahead=None):
    """Frame by frame as live streams do it. ahead: of every frame."""
    past, outputs = None, []
    for t in range(frames.shape[1]):
        known = None if ahead is None else ahead[t]
        output, past = model.stream(frames[:, t : t + 1], holes[:, t : t + 1], past, known)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


def test_what_is_seen_stays_as_it_is(model):
    frames, holes = clip(3, 6, 50, 71)
    with torch.no_grad():
        together, _ = model(frames, holes)
    assert torch.equal(
        together[holes.expand_as(together) == 0], frames[holes.expand_as(frames) == 0]
    )


def test_memory_shape_is_a_row_of_numbers_for_every_cell():
    fusion = create_model(NAME)
    assert fusion.memory_shape(360, 640) == (1, 1, 1, 46 * 80, 5 * 3 * 64 + 3 * 2 * 16)
    assert fusion.memory_shape(1, 1) == (1, 1, 1, 4, 1056)


def test_every_second_clip_is_learned_from_with_its_frames_to_come(model):
    """The seed decides. The other clips, and all that is evaluated, know the past alone."""
    frames, holes = clip(1, 4, 32, 48)
    causal = stream(model, frames, holes)
    knowing = stream(
        model, frames, holes, ahead_of_clip(*prepare(frames, holes, model.size_multiple))
    )
    assert (knowing - causal)[:, :-1].abs().amax(dim=(0, 2, 3, 4)).min() > 0.01
    # behind the last one comes nothing
    torch.testing.assert_close(knowing[:, -1], causal[:, -1], **CLOSE)
    kinds = {"knowing": knowing, "causal": causal}

    def kind_for(seed):
        torch.manual_seed(seed)
        output = model(frames, holes)[0].detach()
        return next(
            name for name, expected in kinds.items() if (output - expected).abs().max() < 1e-4
        )

    model.train()
    found = [kind_for(seed) for seed in range(12)]
    assert 3 <= found.count("knowing") <= 9 and [kind_for(seed) for seed in range(4)] == found[:4]
    model.eval()
    assert [kind_for(seed) for seed in range(6)] == ["causal"] * 6


def test_of_a_large_frame_a_square_around_the_hole_is_learned_from(model):
    """And the memory is that of whole frames."""
    frames, holes = clip(2, 3, 32, 320)
    holes[:] = 0
    holes[:, 1:, :, 8:24, 20:300] = 1
    with torch.no_grad():
        whole, memory = model(frames, holes)
        steps, _ = recall_clip(
            *prepare(frames, holes, model.size_multiple), empty_memory(frames[:, 0])
        )
        by_hand = torch.stack([step.picture for step in steps], 1)
        model.train()
        torch.manual_seed(1)  # which knows the past alone
        learned, _ = model(frames, holes)
        assert torch.equal(model.remember(frames, holes), memory)
        half = model.remember(frames[:, :2], holes[:, :2])
        torch.testing.assert_close(
            model.remember(frames[:, 2:], holes[:, 2:], half), memory, **CLOSE
        )
        model.eval()
    squares = set()
    for one, all_of_it, hand in zip(
        learned.flatten(0, 1), whole.flatten(0, 1), by_hand.flatten(0, 1)
    ):
        columns = ((one - hand).abs().amax(dim=(0, 1)) > 0).nonzero().flatten()
        if len(columns):
            first, last = int(columns[0]), int(columns[-1])
            assert last - first < LEARNED_SIDE
            square = slice(first, last + 1)  # whose edge cuts off a part of what the network sees
            off, learned_off = ((x - all_of_it)[..., square].abs().mean() for x in (hand, one))
            assert learned_off < 0.8 * off
            squares.add(first)
    assert len(squares) >= 3 and torch.equal(learned[:, 0], frames[:, 0])


@pytest.mark.parametrize("knows_future", [False, True])
def test_untrained_it_is_the_weighing_by_hand(knows_future):
    """Up to a hundredth that every candidate gets, so that each can be learned to be chosen."""
    fresh = create_model(NAME).eval()
    frames, holes = clip(2, 6)
    x, mask = prepare(frames, holes, fresh.size_multiple)
    ahead = ahead_of_clip(x, mask) if knows_future else None
    steps, _ = recall_clip(x, mask, empty_memory(x[:, 0]), ahead)
    by_hand = torch.stack([step.picture for step in steps], 1)
    difference = (stream(fresh, frames, holes, ahead) - by_hand).abs()
    assert 0 < difference.max() < 0.02 and difference[holes.expand_as(difference) == 0].max() == 0


def test_memory_carries_no_gradient(model):
    frames, holes = clip(1, 2)
    prediction, memory = model(frames, holes)
    assert prediction.requires_grad and not memory.requires_grad


def test_after_a_step_gradients_reach_every_parameter():
    """At first only the last layer's, as it is zero: nothing is made up before something is
    learned."""
    torch.manual_seed(0)
    fresh = create_model(NAME).train()
    frames, holes = clip(1, 4)

    def backward():
        # which knows the frames to come, so that all five kinds of candidates take part
        torch.manual_seed(0)
        fresh.zero_grad()
        ((fresh(frames, holes)[0] - frames) * holes).abs().sum().backward()
        return {
            name
            for name, parameter in fresh.named_parameters()
            if parameter.grad.abs().max() > 1e-4
        }

    assert backward() == {"to_logit.weight"}
    torch.optim.Adam(fresh.parameters(), lr=0.1).step()
    # what is added to all logits alike changes no share
    assert backward() == {name for name, _ in fresh.named_parameters()} - {"to_logit.bias"}
    assert (fresh.kinds.grad.flatten(1).abs().amax(1) > 0).tolist() == [True] * 5


def test_the_picture_memory_alone_is_a_model_too():
    """The weighing by hand, in a clip, handed on and in streams that look ahead; nothing in it can
    be trained."""
    memory_alone = create_model("inpaint.picture_memory_v1").eval()
    frames, holes = clip(2, 6)
    x, mask = prepare(frames, holes, memory_alone.size_multiple)
    steps, _ = recall_clip(x, mask, empty_memory(x[:, 0]))
    by_hand = torch.stack([step.picture for step in steps], 1)
    together, memory = memory_alone(frames, holes)
    torch.testing.assert_close(together, by_hand, **CLOSE)
    ahead = ahead_of_clip(x, mask)
    knowing = torch.stack(
        [step.picture for step in recall_clip(x, mask, empty_memory(x[:, 0]), ahead)[0]], 1
    )
    torch.testing.assert_close(stream(memory_alone, frames, holes, ahead), knowing, **CLOSE)
    assert (knowing - by_hand).abs().max() > 0.01
    assert memory_alone.num_parameters == 0 and memory_alone.memory_shape(48, 64) == (
        1,
        *memory.shape[1:],
    )


def test_parameters():
    assert create_model(NAME).num_parameters == 188_929
