"""DSTT: the same numbers as the published definition, which is written out here with
torch.nn.Linear and torch.nn.Fold.

Axes: B batch, T frames, N tokens of a frame, C channels, H W pixels.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inpaint.models.dstt import DSTT, from_official
from nunif.errors import UserError
from nunif.models import create_model
from tests.models import moving_hole

SMALL = dict(channels=32, hidden=32, num_blocks=4)


class Attention(nn.Module):
    def __init__(self, hidden, heads, temporal):
        super().__init__()
        self.query_embedding, self.value_embedding = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
        )
        self.key_embedding, self.output_linear = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, hidden),
        )
        self.heads, self.temporal = heads, temporal

    def forward(self, x, grid):
        """x: (B, T, N, C). Every set of tokens that see each other is gathered by its numbers, one
        after the other."""
        frames, (h, w) = x.shape[1], grid
        place = torch.arange(h * w).view(h, w)
        if self.temporal:
            zones = [
                place[i : i + h // 2, j : j + w // 2].flatten()
                for i in (0, h // 2)
                for j in (0, w // 2)
            ]
            sets = [
                (torch.arange(frames).repeat_interleave(len(z)), z.repeat(frames)) for z in zones
            ]
        else:
            sets = [(torch.full((h * w,), t), place.flatten()) for t in range(frames)]
        output = torch.empty_like(x)
        for t, n in sets:
            tokens = x[:, t, n]  # (B, tokens that see each other, C)
            query, key, value = (
                layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
                for layer in (self.query_embedding, self.key_embedding, self.value_embedding)
            )
            scores = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]), dim=-1)
            output[:, t, n] = (scores @ value).transpose(1, 2).flatten(2)
        return self.output_linear(output)


class Block(nn.Module):
    def __init__(self, hidden, heads, temporal):
        super().__init__()
        self.attention = Attention(hidden, heads, temporal)
        self.ffn = nn.ModuleDict()
        self.ffn["conv"] = nn.Sequential(
            nn.Linear(hidden, 4 * hidden),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(4 * hidden, hidden),
            nn.Identity(),
        )
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x, grid):
        x = self.norm1(x)
        x = x + self.attention(x, grid)
        return x + self.ffn["conv"](self.norm2(x))


class Enlarged(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


class Published(nn.Module):
    """netG of the published code, by its description: names, sizes and order of the layers."""

    def __init__(self, channels=256, hidden=512, num_blocks=8, heads=4):
        super().__init__()
        c = channels
        self.transformer = nn.ModuleList(
            Block(hidden, heads, temporal=i % 2 == 0) for i in range(num_blocks)
        )
        self.patch2vec = nn.Conv2d(c // 2, hidden, 7, 3, 3)
        self.vec2patch = nn.ModuleDict({"embedding": nn.Linear(hidden, 49 * c // 2)})
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c // 4, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c // 4, c // 4, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c // 4, c // 2, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c // 2, c, 3, 1, 1),
            nn.LeakyReLU(0.2),
        )
        self.hier_enc = nn.ModuleDict({"layers": nn.ModuleList()})
        for i, groups in enumerate((1, 2, 4, 8, 1)):
            inside, outside = c if i == 0 else 2 * c, c // 2 if i == 4 else c
            self.hier_enc["layers"] += [
                nn.Conv2d(inside, outside, 3, 1, 1, groups=groups),
                nn.LeakyReLU(0.2),
            ]
        self.decoder = nn.Sequential(
            Enlarged(c // 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c // 2, c // 4, 3, 1, 1),
            nn.LeakyReLU(0.2),
            Enlarged(c // 4),
            nn.LeakyReLU(0.2),
            nn.Conv2d(c // 4, 3, 3, 1, 1),
        )

    def forward(self, masked):
        b, t, _, height, width = masked.shape
        encoded = self.encoder(masked.flatten(0, 1))
        x = encoded
        for i, groups in enumerate((1, 2, 4, 8, 1)):
            if i > 0:  # in each group, the first features beside the newest
                parts = zip(encoded.chunk(groups, dim=1), x.chunk(groups, dim=1))
                x = torch.cat([part for pair in parts for part in pair], dim=1)
            x = self.hier_enc["layers"][2 * i + 1](self.hier_enc["layers"][2 * i](x))
        tokens = self.patch2vec(x)
        grid = tuple(tokens.shape[2:])
        tokens = tokens.flatten(2).transpose(1, 2).unflatten(0, (b, t))
        self.token_shape = (grid, tokens.shape[-1])
        for block in self.transformer:
            tokens = block(tokens, grid)
        columns = self.vec2patch["embedding"](tokens.flatten(0, 1)).transpose(1, 2)
        folded = nn.Fold((height // 4, width // 4), kernel_size=7, stride=3, padding=3)(columns)
        return torch.tanh(self.decoder(x + folded)).unflatten(0, (b, t))


def published(*, seed=0, **sizes):
    """Random weights large enough for every part, biases too, to show in the output."""
    torch.manual_seed(seed)
    net = Published(**sizes).eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
        elif parameter.ndim == 1:
            nn.init.normal_(parameter, mean=1, std=0.2)
        elif parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter, a=0.2)
        elif "vec2patch" not in name:
            nn.init.normal_(parameter, std=2 / math.sqrt(parameter.shape[1]))
    net.decoder[6].weight.mul_(0.1)  # so that tanh hides nothing
    return net


def ours_of(net, **sizes):
    model = create_model("inpaint.dstt_v1", **sizes).eval().requires_grad_(False)
    model.load_state_dict(from_official(model, net.state_dict()))
    return model


@pytest.fixture(scope="module")
def pair():
    net = published(**SMALL)
    return net, ours_of(net, **SMALL)


@pytest.mark.parametrize(
    "batch, frames, height, width", [(1, 1, 24, 24), (2, 3, 48, 72), (1, 2, 240, 432)]
)
def test_equals_the_published_definition(pair, batch, frames, height, width):
    net, model = pair
    picture, holes = moving_hole(batch, frames, height, width)
    expected = net(picture * (1 - holes))
    output, memory = model(picture, holes)
    assert 0.1 < expected.std() < 0.7  # the output is alive
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)
    assert memory is None


@pytest.mark.slow
def test_equals_the_published_definition_in_full_size():
    net = published()
    picture, holes = moving_hole(1, 1, 240, 432)
    expected = net(picture * (1 - holes))
    assert net.token_shape == ((20, 36), 512)
    torch.testing.assert_close(ours_of(net)(picture, holes)[0], expected, atol=1e-4, rtol=0)


def test_full_size_has_the_papers_tokens_and_parameters():
    with torch.device("meta"):
        model, net = create_model("inpaint.dstt_v1").eval(), Published()
    tokens = []
    model.blocks[0].register_forward_pre_hook(
        lambda _, inputs: tokens.append((tuple(inputs[0].shape), inputs[1]))
    )
    frames, holes = (
        torch.zeros(1, 2, 3, 240, 432, device="meta"),
        torch.zeros(1, 2, 1, 240, 432, device="meta"),
    )
    assert model(frames, holes)[0].shape == (1, 2, 3, 240, 432)
    assert tokens == [((1, 2, 720, 512), (20, 36))]
    assert model.num_parameters == sum(p.numel() for p in net.parameters()) == 34_529_155


def test_frames_see_each_other_both_ways_and_clips_of_a_batch_do_not(pair):
    _, model = pair
    picture, holes = moving_hole(2, 3)
    before, _ = model(picture, holes)
    other = picture.clone()
    other[1, 1] *= -1
    changed = (model(other, holes)[0] - before).abs().amax((2, 3, 4))
    assert (changed[1] > 1e-3).all() and changed[0].max() < 1e-5


@pytest.mark.parametrize("size", [(50, 71), (5, 9), (1, 1)])
def test_any_size(pair, size):
    picture, holes = moving_hole(1, 2, *size)
    output, _ = pair[1](picture, holes)
    assert output.shape == (1, 2, 3, *size)


def test_padding_repeats_the_last_row_and_column(pair):
    picture, holes = moving_hole(1, 2, 48, 72)
    picture[..., 40:, :], picture[..., 60:] = picture[..., 39:40, :], picture[..., 59:60]
    holes[..., 40:, :], holes[..., 60:] = holes[..., 39:40, :], holes[..., 59:60]
    whole, _ = pair[1](picture, holes)
    cropped, _ = pair[1](picture[..., :40, :60], holes[..., :40, :60])
    torch.testing.assert_close(cropped, whole[..., :40, :60], atol=1e-5, rtol=0)


def test_what_stands_in_the_hole_is_not_seen(pair):
    picture, holes = moving_hole(1, 3)
    other = torch.where(holes > 0, torch.ones_like(picture), picture)
    torch.testing.assert_close(
        pair[1](other, holes)[0], pair[1](picture, holes)[0], atol=1e-6, rtol=0
    )


def test_half_precision_weights_take_and_give_float32(pair):
    model = ours_of(pair[0], **SMALL).to(torch.bfloat16)
    picture, holes = moving_hole(1, 3)
    output, _ = model(picture, holes)
    assert output.dtype == torch.float32
    assert (output - pair[1](picture, holes)[0]).abs().mean() < 0.1


def test_weights_that_do_not_fit_are_named_as_published(pair):
    model = create_model("inpaint.dstt_v1", **SMALL)
    weights = pair[0].state_dict()
    for i in (0, 2, 4, 6):
        del weights[f"encoder.{i}.weight"], weights[f"encoder.{i}.bias"]
    weights |= {"extra": torch.zeros(1), "vec2patch.embedding.bias": torch.zeros(7)}
    with pytest.raises(UserError) as error:
        from_official(model, weights, source="dstt.pth")
    assert str(error.value) == (
        "dstt.pth does not fit the published DSTT: missing encoder.0.weight, encoder.0.bias, "
        "encoder.2.weight, "
        "encoder.2.bias, encoder.4.weight and 3 more; unknown extra; another shape "
        "vec2patch.embedding.bias (7,) for (784,)"
    )


def test_a_fresh_model_learns_a_clip():
    torch.manual_seed(0)
    model = create_model("inpaint.dstt_v1", **SMALL).train()
    assert isinstance(model, DSTT) and model.clip_length == 12
    picture, holes = moving_hole(1, 2, 24, 24)
    truth = torch.full_like(picture, 0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = (model(truth, holes)[0] - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
