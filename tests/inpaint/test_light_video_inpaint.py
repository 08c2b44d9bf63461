"""The light video inpainter: names and sizes of its tensors, each step of its arithmetic, and what
the house asks of it."""

import pytest
import torch
from torch import nn

from inpaint.models import light_video_inpaint as light
from nunif.errors import UserError
from nunif.models import create_model, load_model, read_checkpoint, save_model

CLOSE = dict(atol=1e-5, rtol=0)
RECORDED = dict(atol=1e-4, rtol=0)
ARCH = "inpaint.light_video_inpaint_v1"


def block(name, width, hidden, places):
    """The tensors of a block: channels, those inside it, and places of a window or frames."""
    return f"""\
{name}.gmlp.gmlp.proj_in.weight {2 * hidden} {width}
{name}.gmlp.gmlp.proj_in.bias {2 * hidden}
{name}.gmlp.gmlp.proj_spatial.weight {places} {places} 1
{name}.gmlp.gmlp.proj_spatial.bias {places}
{name}.gmlp.gmlp.proj_out.weight {width} {hidden}
{name}.gmlp.gmlp.proj_out.bias {width}
{name}.norm1.weight {width}
{name}.norm2.weight {hidden}
{name}.glu_conv.w1.weight {width} {width} 1 1
{name}.glu_conv.w1.bias {width}
{name}.glu_conv.w2.weight {width} {width // 2} 3 3
{name}.glu_conv.w2.bias {width}"""


# every tensor of a v1 file, in order (nagadomi/nunif, MIT)
TENSORS = f"""
mask_bias 1 96 1 1
patch.weight 96 3 4 4
patch.bias 96
{block("enc1", 96, 192, 256)}
down.weight 192 96 2 2
down.bias 192
{block("enc2.0", 192, 192, 64)}
{block("enc2.1", 192, 384, 12)}
{block("enc2.2", 192, 192, 64)}
{block("enc2.3", 192, 384, 12)}
{block("enc2.4", 192, 192, 64)}
up.weight 384 192 1 1
up.bias 384
{block("dec1", 96, 192, 256)}
to_image.weight 48 96 1 1
to_image.bias 48
"""


def formula_model(base_dim=8, ratio=1):
    """A tiny model whose weights are made by a formula, in evaluation mode."""
    model = create_model(ARCH, base_dim=base_dim, lv2_mlp_ratio=ratio).eval()
    for i, (name, parameter) in enumerate(model.named_parameters()):
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        wave = torch.sin(0.7 * k * k + 0.37 * i * k + i).view(parameter.shape)
        if "norm" in name or name.endswith("proj_spatial.bias"):
            wave = 1 + 0.1 * wave
        elif name.startswith("to_image"):
            wave = 0.04 * wave + (0.5 if name.endswith("bias") else 0)  # pictures mostly in [0, 1]
        elif name.endswith("bias"):
            wave = 0.1 * wave
        else:
            wave = 0.7 * wave / parameter[0].numel() ** 0.5
        with torch.no_grad():
            parameter.copy_(wave)
    return model


@pytest.fixture(scope="module")
def model():
    return formula_model()


def formula_clip(frames=12, height=40, width=72):
    """Frames (T, 3, H, W) in [0, 1] and holes (T, 1, H, W), a bar that moves to the right."""
    k = torch.arange(frames * 3 * height * width, dtype=torch.float64)
    picture = (
        (0.5 + 0.5 * torch.sin(0.013 * k + 0.5 * torch.sin(0.31 * k)))
        .float()
        .view(frames, 3, height, width)
    )
    holes = torch.zeros(frames, 1, height, width)
    for t in range(frames):
        holes[t, :, height // 4 : height // 2, 5 + t : 17 + t] = 1
    return picture, holes


def house_clip(*arguments, **options):
    """The same as the trainer hands it in: (1, T, 3, H, W) in [-1, 1] and (1, T, 1, H, W)."""
    picture, holes = formula_clip(*arguments, **options)
    return picture[None] * 2 - 1, holes[None]


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


# --- tensors and files ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ARCH, f"{ARCH}_small"])
def test_names_order_and_shapes_of_the_tensors(name):
    state = create_model(name).state_dict()
    assert [
        " ".join(map(str, (key, *tensor.shape))) for key, tensor in state.items()
    ] == TENSORS.split("\n")[1:-1]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


@pytest.mark.parametrize(
    "name, kwargs, count",
    [
        (ARCH, {"base_dim": 96, "lv2_mlp_ratio": 1}, 2311528),
        (f"{ARCH}_small", {"base_dim": 96, "lv2_mlp_ratio": 1}, 2311528),
        (f"{ARCH}_medium", {"base_dim": 128, "lv2_mlp_ratio": 2}, 4580392),
        (f"{ARCH}_large", {"base_dim": 192, "lv2_mlp_ratio": 2}, 10103848),
    ],
)
def test_sizes(name, kwargs, count):
    model = create_model(name)
    assert (model.name, model.kwargs, model.num_parameters, len(model.state_dict())) == (
        name,
        kwargs,
        count,
        93,
    )


def test_a_saved_model_has_the_layout_and_loads_to_the_same_pictures(model, tmp_path):
    save_model(model, tmp_path / "m.pth", train_kwargs=None)
    content = read_checkpoint(tmp_path / "m.pth")
    assert content.keys() == {
        "nunif_model",
        "name",
        "updated_at",
        "kwargs",
        "train_kwargs",
        "state_dict",
    }
    assert (content["name"], content["kwargs"]) == (ARCH, {"base_dim": 8, "lv2_mlp_ratio": 1})
    assert list(content["state_dict"]) == [line.split()[0] for line in TENSORS.split("\n")[1:-1]]
    loaded, _ = load_model(tmp_path / "m.pth")
    picture, holes = formula_clip(2)
    with torch.no_grad():
        assert torch.equal(loaded.infer(picture, holes), model.infer(picture, holes))


def test_a_file_that_lacks_a_tensor_is_refused(model, tmp_path):
    state = dict(model.state_dict())
    del state["mask_bias"]
    save_model(model, tmp_path / "m.pth", state_dict=state)
    with pytest.raises(UserError, match="missing mask_bias"):
        load_model(tmp_path / "m.pth")


def test_fresh_weights():
    torch.manual_seed(0)
    model = create_model(ARCH)
    for name, std in {
        "mask_bias": 0.01,
        "patch.weight": 0.0361,  # sqrt(2 / (96 * 16))
        "enc1.gmlp.gmlp.proj_in.weight": 0.02,
        "enc2.0.gmlp.gmlp.proj_out.weight": 0.02,
        "enc1.gmlp.gmlp.proj_spatial.weight": 6.01e-6,  # 1e-3 / 96 / sqrt(3)
        "enc1.glu_conv.w1.weight": 0.1443,  # sqrt(2 / 96)
        "enc2.3.glu_conv.w2.weight": 0.0340,  # sqrt(2 / (192 * 9))
        "to_image.weight": 0.1443,
    }.items():
        assert model.get_parameter(name).std().item() == pytest.approx(std, rel=0.2), name
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("proj_spatial.bias"):
            assert (parameter == 1).all(), name
        elif name.endswith(".bias") and not name.startswith(("down", "up")):
            assert (parameter == 0).all(), name
    patches = model.to_image.weight.view(3, 16, 96)
    assert (patches == patches[:, :1]).all() and not torch.equal(patches[0], patches[1])


# --- before the network ---------------------------------------------------------------------------


def test_closing_fills_gaps_of_four_pixels_and_no_wider():
    holes = torch.zeros(1, 1, 9, 24)
    holes[..., 2:7, [4, 5, 10, 11, 17, 18]] = 1  # gaps of 4 and 5
    closed, _ = light.preprocess(torch.ones(1, 3, 9, 24), holes, closing=True)
    expected = [0.0 if 4 <= x <= 11 or x in (17, 18) else 1.0 for x in range(24)]
    assert closed[0, 0, 4].tolist() == expected
    as_bool, _ = light.preprocess(torch.ones(1, 3, 9, 24), holes.bool(), closing=True)
    assert torch.equal(as_bool, closed)


@pytest.mark.parametrize(
    "options, expected",
    [
        (dict(), [0, 0, 0, 1, 0, 0, 0, 0]),
        (dict(inner_dilation=1), [0, 0, 1, 1, 0, 0, 0, 0]),
        (dict(outer_dilation=2), [0, 0, 0, 1, 1, 1, 0, 0]),
        (dict(inner_dilation=5, outer_dilation=1), [1, 1, 1, 1, 1, 0, 0, 0]),
        (dict(inner_dilation=-1, outer_dilation=-3), [0, 0, 0, 1, 0, 0, 0, 0]),
        (dict(outer_dilation=8, base_width=32), [0, 0, 0, 1, 1, 1, 0, 0]),
        (dict(outer_dilation=3, base_width=16), [0, 0, 0, 1, 1, 1, 0, 0]),
        (dict(inner_dilation=1, base_width=1920), [0, 0, 1, 1, 0, 0, 0, 0]),
    ],
)
def test_inner_grows_to_the_left_and_outer_to_the_right(options, expected):
    emptied, _ = light.preprocess(torch.ones(1, 3, 1, 8), row(0, 0, 0, 1, 0, 0, 0, 0), **options)
    assert (1 - emptied[0, :, 0]).tolist() == [expected] * 3


def test_soft_mask():
    """Beside a half plane: sums of the tails of 15 normalised taps of sigma 2.6."""
    holes = torch.zeros(1, 1, 3, 40)
    holes[..., :20] = 1
    emptied, soft = light.preprocess(torch.full((1, 3, 3, 40), 0.7), holes)
    assert (soft[..., :20] == 1).all() and (soft[..., 27:] == 0).all()
    expected = [0.422995, 0.279966, 0.165399, 0.08625, 0.039088, 0.014851, 0.004107]
    torch.testing.assert_close(soft[0, 0, 1, 20:27], torch.tensor(expected), **CLOSE)
    assert (emptied[..., :20] == 0).all() and (emptied[..., 20:] == 0.7).all()


def test_no_hole_leaves_the_frames_alone(model):
    frames, holes = house_clip(3)
    with torch.no_grad():
        torch.testing.assert_close(model(frames, holes * 0)[0], frames, **CLOSE)


def test_pad_window_repeats_the_ends():
    for count, expected in ((1, [0] * 12), (2, [0] * 6 + [1] * 6), (9, [0, *range(9), 8, 8])):
        window, given = light.pad_window(torch.arange(count).view(count, 1, 1, 1))
        assert window.flatten().tolist() == expected
        assert window[given].flatten().tolist() == list(range(count))


# --- pieces of the network ------------------------------------------------------------------------


def test_extend_edges_repeats_and_detaches():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    extended = light.extend_edges(x, left=1, right=2, bottom=1)
    assert extended[0, 0].tolist() == [[1, 1, 2, 2, 2], [3, 3, 4, 4, 4], [3, 3, 4, 4, 4]]
    extended.sum().backward()
    assert x.grad.tolist() == [[[[1, 1], [1, 1]]]]


@pytest.mark.parametrize(
    "size, computed", [((64, 128), (128, 192)), ((63, 65), (64, 128)), ((1, 1), (64, 64))]
)
def test_padding_is_never_zero(model, size, computed):
    seen = []
    hook = model.patch.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape[-2:])
    )
    with torch.no_grad():
        output = model.fill_window(torch.zeros(12, 3, *size), torch.zeros(12, 1, *size), crop=False)
    hook.remove()
    assert (tuple(seen[0]), output.shape) == (computed, (12, 3, *size))


def test_windows_are_cut_row_by_row():
    x = torch.stack([torch.arange(16.0), -torch.arange(16.0)]).view(1, 2, 4, 4)
    tokens = light.to_windows(x, 2)
    assert tokens[..., 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert torch.equal(tokens[..., 1], -tokens[..., 0])
    assert torch.equal(light.from_windows(tokens, 2, (4, 4)), x)


@pytest.mark.parametrize("shift, mean", [(False, 1.0), (True, 0.25)])
def test_shifted_windows_see_zeros_beyond_the_border(shift, mean, monkeypatch):
    mlp = light.SpatialMLP(2, 1, window=4, shift=shift)
    monkeypatch.setattr(
        mlp.gmlp, "forward", lambda tokens, *norms: tokens.mean(1, keepdim=True).expand_as(tokens)
    )
    assert (
        mlp(torch.ones(1, 2, 4, 4), None, None).tolist() == torch.full((1, 2, 4, 4), mean).tolist()
    )


def test_temporal_tokens_are_the_frames_of_a_window(monkeypatch):
    mlp = light.TemporalMLP(3, 2)
    monkeypatch.setattr(mlp.gmlp, "forward", lambda tokens, *norms: tokens.flip(1))
    x = torch.randn(24, 3, 2, 5)
    assert torch.equal(mlp(x, None, None), torch.cat([x[:12].flip(0), x[12:].flip(0)]))


def test_gated_mlp():
    torch.manual_seed(0)
    mlp, norm1, norm2 = light.GatedMLP(4, 5, 2), light.Norm(4), light.Norm(8)
    for parameter in (*mlp.parameters(), *norm1.parameters(), *norm2.parameters()):
        nn.init.normal_(parameter)
    z = torch.randn(3, 5, 4)

    def normalise(x, weight):
        return (
            (x - x.mean(-1, keepdim=True))
            / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
            * weight
        )

    wide = normalise(z, norm1.weight) @ mlp.proj_in.weight.T + mlp.proj_in.bias
    wide = wide * (1 + torch.erf(wide / 2**0.5)) / 2
    mixed = torch.einsum(
        "ji,nic->njc", mlp.proj_spatial.weight[..., 0], normalise(wide[..., 8:], norm2.weight)
    )
    gate = mixed + mlp.proj_spatial.bias[:, None]
    expected = (wide[..., :8] * gate) @ mlp.proj_out.weight.T + mlp.proj_out.bias + z
    torch.testing.assert_close(mlp(z, norm1, norm2), expected, atol=1e-4, rtol=1e-5)


def test_glu_conv():
    layer = light.GLUConv(2)
    with torch.no_grad():
        layer.w1.weight.copy_(torch.eye(2).view(2, 2, 1, 1))
        layer.w2.weight.fill_(1)
        layer.w2.bias.copy_(torch.tensor([0.0, 10.0]))
    x = torch.tensor([[2.0, 4.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # the gate's 0 halves the value
    sums = [3 * (1 + 1 + 2), 3 * (1 + 2 + 2)]
    assert layer(x).flatten().tolist() == [*sums, *(value + 10 for value in sums)]


def test_a_block_adds_its_input_twice(model):
    block = light.Block(light.SpatialMLP(2, 1, window=4, shift=False), 2, 1)
    with torch.no_grad():
        block.gmlp.gmlp.proj_out.weight.zero_()
        block.glu_conv.w2.weight.zero_()
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(x), 2 * x)


def test_norm_stays_in_the_type_of_autocast():
    norm, x = light.Norm(4), torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.bfloat16
    assert norm(x).dtype == torch.float32
    assert list(norm.state_dict()) == ["weight"]


# --- a window -------------------------------------------------------------------------------------


def flat_model(values):
    """A model that draws the same patch of 48 values everywhere."""
    model = formula_model()
    with torch.no_grad():
        model.to_image.weight.zero_()
        model.to_image.bias.copy_(values)
    return model


def test_channels_go_to_colour_row_and_column():
    model = flat_model(torch.arange(48.0) / 48)
    with torch.no_grad():
        drawn = model.fill_window(torch.zeros(12, 3, 4, 8), torch.ones(12, 1, 4, 8), crop=False)
    expected = torch.arange(48.0).view(3, 4, 4).repeat(1, 1, 2) / 48
    torch.testing.assert_close(drawn, expected.expand(12, -1, -1, -1), **CLOSE)


def test_blend():
    """out = frame * (1 - soft) + drawn * soft, kept in [0, 1] in evaluation only."""
    model = flat_model(torch.full((48,), 1.5))
    x, soft = torch.full((12, 3, 1, 4), 0.2), row(0, 0.25, 0.5, 1).expand(12, -1, -1, -1)
    with torch.no_grad():
        evaluated = model.fill_window(x, soft, crop=False)
        trained = model.train().fill_window(x, soft, crop=False)
    torch.testing.assert_close(trained, row(0.2, 0.525, 0.85, 1.5).expand(12, 3, -1, -1), **CLOSE)
    torch.testing.assert_close(evaluated, row(0.2, 0.525, 0.85, 1.0).expand(12, 3, -1, -1), **CLOSE)


def test_crop_leaves_16_pixels_off_each_side(model):
    x, soft = light.preprocess(*formula_clip())
    with torch.no_grad():
        whole, cropped = (model.fill_window(x, soft, crop=crop) for crop in (False, True))
    assert cropped.shape == (12, 3, 8, 40)
    assert torch.equal(cropped, whole[..., 16:24, 16:56])


def test_of_a_patch_with_a_hole_nothing_is_read(model):
    """The seen pixels of such a patch are blended, but change no other pixel."""
    frames, holes = formula_clip()
    holes.zero_()[:, :, 9, 9] = 1  # in the patch of rows and columns 8 to 11
    other = frames.clone()
    other[:, :, 11, 10] = 1 - other[:, :, 11, 10]
    with torch.no_grad():
        difference = (model.infer(other, holes) - model.infer(frames, holes)).abs().amax((0, 1))
    assert difference[11, 10] > 0.1
    difference[11, 10] = 0
    assert (difference == 0).all()
    other = frames.clone()
    other[:, :, 12, 10] = 1 - other[:, :, 12, 10]  # in the patch below
    with torch.no_grad():
        assert (model.infer(other, holes) - model.infer(frames, holes)).abs()[
            ..., 9, 9
        ].max() > 1e-4


def test_a_patch_counts_as_hole_above_a_soft_mask_of_099(model):
    x = formula_clip()[0]
    other = x.clone()
    other[:, :, 8:12, 8:12] = 0
    for value, is_read in ((0.98, True), (0.995, False)):
        soft = torch.zeros(12, 1, 40, 72)
        soft[..., 11, 8] = value  # one pixel of the patch
        soft[..., 12, 10] = 0.5  # and one of the patch below, to see the drawing there
        with torch.no_grad():
            difference = (
                model.fill_window(x, soft, crop=False) - model.fill_window(other, soft, crop=False)
            ).abs()
        assert (difference[..., 12, 10].max() > 1e-3) == is_read


def test_frames_at_once_are_computed_together_at_the_finest_level(model):
    counts = []
    hooks = [
        layer.register_forward_hook(lambda m, i, o: counts.append(len(o)))
        for layer in (model.enc1, model.dec1)
    ]
    with torch.no_grad():
        model.infer(*formula_clip(3))
        model(*house_clip(3))
    for hook in hooks:
        hook.remove()
    assert counts == [2] * 12 + [12] * 2


def test_recorded_numbers(model):
    """Of a version that gives the source's pictures to the bit, with the source's own size and
    random weights.

    For other weights it can only be compared with itself; this keeps its arithmetic as it was then.
    """
    frames, holes = formula_clip()
    x, soft = light.preprocess(frames, holes, closing=True, inner_dilation=1, outer_dilation=2)
    with torch.no_grad():
        drawn = model.train().fill_window(x, soft, crop=False)
        filled = model.eval().infer(frames[:9], holes[:9])
    missing = soft.expand_as(drawn) == 1
    summary = torch.stack(
        [drawn[missing].mean(), drawn[missing].std(), filled.mean(), filled.std()]
    )
    torch.testing.assert_close(
        summary, torch.tensor([0.47234, 0.43069, 0.49929, 0.34916]), **RECORDED
    )
    assert int(missing.sum()) == 5400
    for (picture, t, y, x), colours in {
        ("drawn", 0, 12, 10): [1.11145, 0.48063, 0.47075],
        ("drawn", 6, 15, 14): [0.3784, 0.41726, 0.36333],
        ("drawn", 11, 18, 20): [0.4396, 0.61958, 0.37499],
        ("filled", 0, 8, 7): [0.79121, 0.81168, 0.69769],
        ("filled", 4, 12, 12): [0.45183, 0.57347, 0.66055],
        ("filled", 8, 18, 20): [0.41982, 0.43342, 0.24792],
    }.items():
        pixel = {"drawn": drawn, "filled": filled}[picture][t, :, y, x]
        torch.testing.assert_close(pixel, torch.tensor(colours), **RECORDED)


# --- what the house asks --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 12])
def test_forward_equals_infer(model, count):
    picture, holes = formula_clip(count)
    with torch.no_grad():
        prediction, memory = model(picture[None] * 2 - 1, holes[None])
        expected = model.infer(picture, holes)
        at_once = model.infer(picture, holes, frames_at_once=None)
    assert (prediction.shape, prediction.dtype, memory) == (
        (1, count, 3, 40, 72),
        torch.float32,
        None,
    )
    torch.testing.assert_close(prediction[0], expected * 2 - 1, **CLOSE)
    torch.testing.assert_close(at_once, expected, **CLOSE)


def test_all_twelve_frames_are_looked_at(model):
    frames, holes = house_clip()
    other = frames.clone()
    other[:, 11] = -other[:, 11]
    with torch.no_grad():
        difference = (model(other, holes)[0] - model(frames, holes)[0])[0, 0].abs()
    assert difference.max() > 1e-4


def test_more_than_twelve_frames_are_refused(model):
    with pytest.raises(UserError, match="13 frames do not fit: this model fills windows of 12"):
        model(*house_clip(13))
    with pytest.raises(UserError, match="13 frames do not fit"):
        model.infer(*formula_clip(13))
    assert model.clip_length == 12


def test_a_memory_is_refused(model):
    with pytest.raises(ValueError, match="keeps no memory"):
        model(*house_clip(1), torch.zeros(1))


def test_clips_of_a_batch_never_see_each_other(model):
    frames, holes = (torch.cat([x, x.flip(-1), x.flip(-2)]) for x in house_clip(7))
    with torch.no_grad():
        together, _ = model(frames, holes)
        for i in range(3):
            torch.testing.assert_close(
                together[i : i + 1], model(frames[i : i + 1], holes[i : i + 1])[0], **CLOSE
            )


def test_what_stands_in_the_hole_is_not_seen(model):
    frames, holes = house_clip(3)
    other = torch.where(holes > 0, -frames, frames)
    with torch.no_grad():
        assert torch.equal(model(other, holes)[0], model(frames, holes)[0])


def test_gradients_reach_every_parameter():
    model = formula_model().train()
    frames, holes = house_clip()
    prediction, _ = model(frames, holes)
    prediction.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_training_goes_beyond_the_range_and_evaluation_does_not():
    model = flat_model(torch.full((48,), -1.0))
    frames, holes = house_clip(2)
    with torch.no_grad():
        assert model(frames, holes)[0].min() == -1
        assert model.train()(frames, holes)[0].min() == -3


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 1e-2), (torch.bfloat16, 1e-1)])
def test_half_precision_is_close(model, dtype, tolerance):
    frames, holes = house_clip()
    half = formula_model().to(dtype)
    with torch.no_grad():
        expected = model(frames, holes)[0]
        by_weights = half(frames, holes)[0]
        by_border = half(frames.to(dtype), holes.to(dtype))[0]
        with torch.autocast("cpu", dtype):
            by_autocast = model(frames, holes)[0]
    assert (by_weights.dtype, by_autocast.dtype, by_border.dtype) == (
        torch.float32,
        torch.float32,
        dtype,
    )
    for output in (by_weights, by_autocast, by_border.float()):
        torch.testing.assert_close(output, expected, atol=tolerance, rtol=0)
