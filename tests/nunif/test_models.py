"""Models by name, and files that hold them: round trips, torn and foreign and hostile files."""

import errno
import io
import os
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from nunif.errors import UserError
from nunif.models import (
    Model,
    create_model,
    load_model,
    load_weights,
    read_checkpoint,
    read_model_file,
    register_model,
    save_model,
    save_safetensors,
    save_state_dict,
)
from nunif.models.registry import ForeignLayout, model_names, register_layout


class Tiny(Model):
    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width)


register_model("nunif.test_tiny", Tiny, width=3)
register_model("nunif.test_tiny_wide", Tiny, width=5)


@pytest.fixture
def saved(tmp_path):
    model = create_model("nunif.test_tiny")
    save_model(model, tmp_path / "m.pth", epoch=7, metrics={"loss": 0.5})
    return model, tmp_path / "m.pth"


def test_round_trip(saved):
    model, path = saved
    loaded, metadata = load_model(path)
    assert (
        type(loaded) is Tiny and loaded.name == "nunif.test_tiny" and loaded.kwargs == {"width": 3}
    )
    assert torch.equal(loaded.layer.weight, model.layer.weight) and not loaded.training
    assert metadata["epoch"] == 7 and metadata["metrics"] == {"loss": 0.5}


def test_layout_is_nunifs_and_opens_with_plain_torch(saved):
    content = torch.load(saved[1], weights_only=True)
    assert (
        content["nunif_model"] == 1
        and content["name"] == "nunif.test_tiny"
        and content["kwargs"] == {"width": 3}
    )
    assert isinstance(content["updated_at"], str)
    assert list(content["state_dict"]) == ["layer.weight", "layer.bias"]


def test_a_full_disk_is_one_clear_line_and_the_old_file_stays(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    class FullDisk(io.FileIO):
        written = 0

        def write(self, data):
            self.written += len(data)
            if self.written > 500:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr("nunif.files.open", FullDisk, raising=False)
    with pytest.raises(UserError, match="disk full while writing .*m.pth: free some space"):
        save_model(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["m.pth"]


def test_unknown_names_list_the_known():
    with pytest.raises(
        UserError,
        match=r"unknown model 'inpaint.nothing': known are inpaint.*, inpaint.memory_dstt_v1, ",
    ):
        create_model("inpaint.nothing")
    with pytest.raises(UserError, match="unknown model 'os.path'"):
        create_model("os.path")
    with pytest.raises(UserError, match="can't be built with"):
        create_model("nunif.test_tiny", height=3)


class Evil:
    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return (self.function, ("echo this must never be printed",))


@pytest.mark.parametrize("function", [print, os.system])
def test_a_file_that_carries_code_is_refused(tmp_path, capfd, function):
    path = tmp_path / "evil.pth"
    torch.save({"nunif_model": 1, "name": "x", "kwargs": {}, "state_dict": Evil(function)}, path)
    with pytest.raises(UserError, match="evil.pth carries code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil(function)))
    with pytest.raises(UserError, match="evil.pth"):
        read_checkpoint(path)
    assert "never be printed" not in capfd.readouterr().out


@pytest.mark.parametrize("keep", [0, 3, 10, 300, 1000])
def test_torn_files(saved, keep):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UserError, match="m.pth (is torn or not a model file|is not a model file, or is torn)"
    ):
        read_checkpoint(path)


def test_foreign_and_missing_files(tmp_path):
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "plain.pth")
    with pytest.raises(UserError, match="plain.pth holds no model in this project's layout"):
        read_checkpoint(tmp_path / "plain.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="text.pth"):
        read_checkpoint(tmp_path / "text.pth")
    with pytest.raises(UserError, match="none.pth does not exist"):
        load_model(tmp_path / "none.pth")


def test_weights_of_another_model_are_named(saved):
    wide = create_model("nunif.test_tiny_wide")
    with pytest.raises(UserError, match=r"another shape layer.weight \(3, 2\) for \(5, 2\)"):
        load_weights(wide, saved[0].state_dict(), source="m.pth")
    weights = {f"old.{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(
        UserError, match="missing layer.weight, layer.bias; unknown old.0, .*old.4 and 4 more"
    ):
        load_weights(wide, weights, source="m.pth")
    with pytest.raises(UserError, match="holds the model 'nunif.test_tiny', but one named inpaint"):
        load_model(saved[1], expect="inpaint.")


NAMED = {"nunif_model": 1, "name": "nunif.test_tiny", "kwargs": {}}


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"name": "nunif.gone"}, "m.pth: unknown model 'nunif.gone': known are nunif.test_tiny"),
        ({"name": "os.path"}, "m.pth: unknown model 'os.path'"),
        ({"kwargs": {"height": 3}}, "m.pth: nunif.test_tiny can't be built with .*'height': 3"),
        ({"kwargs": {"width": -1}}, "m.pth: nunif.test_tiny can't be built with .*'width': -1"),
        ({"kwargs": {1: 2}}, "m.pth holds no arguments of nunif.test_tiny"),
        ({"name": 7}, "m.pth holds the model 7, which is no name"),
        (
            {"state_dict": {"layer.weight": 1.5}},
            r"m.pth holds not only tensors: .* has layer.weight \(float\) beside them",
        ),
        ({"state_dict": [1]}, "m.pth holds no weights in its entry state_dict"),
        (
            {"state_dict": {}},
            "m.pth does not fit nunif.test_tiny: missing layer.weight, layer.bias",
        ),
    ],
)
def test_what_a_file_claims_is_doubted_under_its_name(tmp_path, entries, message):
    torch.save({**NAMED, "state_dict": Tiny().state_dict(), **entries}, tmp_path / "m.pth")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "m.pth")


WRAPPER_PREFIXES = (
    *("network.", "net.", "generator.", "netG.", "G.", "backbone.", "_forward_module."),
    *("ema_model.", "online_model.", "student."),
)


def halved(weights):
    return {name: tensor / 2 for name, tensor in weights.items()}


def prefixed(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "nest",
    [
        lambda w: w,
        lambda w: {"netG": w},
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": {"state_dict": w}},
        lambda w: prefixed("module.", w),
        lambda w: {"netG": prefixed("module.", w), "step": torch.zeros(1)},
        lambda w: prefixed("_orig_mod.", w),
        lambda w: prefixed("module._orig_mod.", w),
        lambda w: prefixed("_orig_mod.module.", w),
        lambda w: {
            name.replace("layer.", "layer._orig_mod."): tensor for name, tensor in w.items()
        },  # one layer compiled
        lambda w: prefixed("_fsdp_wrapped_module.", w),
        lambda w: {
            "n_averaged": torch.tensor(3),
            **prefixed("module.", w),
        },  # torch's AveragedModel
        lambda w: {
            "model_state_dict": w,
            "optimizer_state_dict": {"state": {}, "param_groups": []},
            "loss": 0.5,
        },
        lambda w: {"net": prefixed("module.", w), "acc": 3.0, "epoch": 1},
        lambda w: {"params_ema": w, "params": {name: tensor * 0 for name, tensor in w.items()}},
        lambda w: {
            "model": {name: tensor * 0 for name, tensor in w.items()},
            "model_ema": prefixed("module.", w),
        },
        lambda w: {"model": w, "ema": {"decay": 0.999, "updates": 3}},
        lambda w: {"model": halved(w), "ema_model": w},
        lambda w: {"params": halved(w), "ema_params": w},
        lambda w: {"netG": halved(w), "netG_ema": prefixed("module.", w)},
        lambda w: {"g": halved(w), "g_ema": w},
        lambda w: {"state_dict": {"model": halved(w), "ema_model": w}},
        lambda w: {"pytorch-lightning_version": "2.5", "state_dict": prefixed("model.", w)},
        lambda w: {
            "state_dict": {
                **prefixed("model._orig_mod.", w),
                "loss.features.weight": torch.zeros(1),
            }
        },
        lambda w: prefixed("model.module.", w),
        *(lambda w, prefix=prefix: prefixed(prefix, w) for prefix in WRAPPER_PREFIXES),
        lambda w: prefixed("module.network.", w),
        lambda w: prefixed("_forward_module._orig_mod.module.", w),
        lambda w: {"state_dict": {**prefixed("model.net.", w), "loss.weight": torch.zeros(1)}},
    ],
)
def test_plain_tensors_are_found_where_others_keep_them(tmp_path, nest):
    weights = dict(Tiny().state_dict())
    torch.save(nest(weights), tmp_path / "plain.pth")
    layout, content = read_model_file(tmp_path / "plain.pth")
    assert layout == "state-dict" and list(content) == ["state_dict"]
    assert list(content["state_dict"]) == ["layer.weight", "layer.bias"]
    assert torch.equal(content["state_dict"]["layer.weight"], weights["layer.weight"])


def test_files_without_tensors_are_no_model_files(tmp_path):
    endless = {"step": 1}
    endless["model"] = endless
    for content in (
        {},
        {"epoch": 3},
        [torch.zeros(1)],
        torch.zeros(1),
        {3: torch.zeros(1)},
        endless,
    ):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(
            UserError, match="odd.pth holds no model in this project's layout, .*, nor only tensors"
        ):
            read_model_file(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    "names",
    [
        ["module.a", "b"],
        ["model.a", "b"],
        ["_orig_mod.a", "a"],
        *([f"{p}a", "b.c"] for p in WRAPPER_PREFIXES),
    ],
)
def test_a_prefix_that_only_some_tensors_have_stays(tmp_path, names):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "plain.pth")
    assert list(read_model_file(tmp_path / "plain.pth")[1]["state_dict"]) == names


def test_weights_that_are_left_out_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    weights = dict(Tiny().state_dict())
    torch.save({"params": weights, "params_ema": weights}, tmp_path / "a.pth")
    torch.save(
        {"state_dict": {**prefixed("model.", weights), "loss.weight": torch.zeros(1)}},
        tmp_path / "b.pth",
    )
    callbacks = {"EMA": {"ema_state_dict": halved(weights)}, "stop": {"best": torch.zeros(1)}}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    torch.save(
        {"state_dict": weights, "callbacks": callbacks, "optimizer_states": [optimizer]},
        tmp_path / "c.pth",
    )
    torch.save(
        {"net": weights, "shadow\n": halved(weights), "swa": {"m": prefixed("module.", weights)}},
        tmp_path / "d.pth",
    )
    torch.save(
        {"model": weights, "ema": {"decay": 0.9, "shadow_params": list(weights.values())}},
        tmp_path / "e.pth",
    )
    torch.save(
        {**NAMED, "state_dict": weights, "state_dict_ema": halved(weights)}, tmp_path / "f.pth"
    )
    safetensors.torch.save_file(
        {**prefixed("model.", weights), "loss.w": torch.zeros(1)}, tmp_path / "g.safetensors"
    )
    for name in ("a.pth", "b.pth", "c.pth", "d.pth", "e.pth", "f.pth", "g.safetensors"):
        content = read_model_file(tmp_path / name)[1]
        assert torch.equal(content["state_dict"]["layer.weight"], weights["layer.weight"])
        assert len(content["state_dict"]) == 2
    assert caplog.messages == [
        f"{tmp_path / 'a.pth'}: the weights are those of its entry params_ema; left out: params",
        f"{tmp_path / 'b.pth'}: the weights are those of model.*; left out: loss.weight",
        f"{tmp_path / 'c.pth'}: the weights are those of its entry state_dict; left out: "
        "callbacks.EMA.ema_state_dict",
        f"{tmp_path / 'd.pth'}: the weights are those of its entry net; left out: shadow?, swa.m",
        f"{tmp_path / 'e.pth'}: the weights are those of its entry model; left out: ema",
        f"{tmp_path / 'f.pth'}: the weights are those of its entry state_dict; left out: "
        "state_dict_ema",
        f"{tmp_path / 'g.safetensors'}: the weights are those of model.*; left out: loss.w",
    ]


@pytest.mark.parametrize("prefix", ["net.", "module.backbone.", "model."])
def test_wrapped_names_in_safetensors(tmp_path, prefix):
    safetensors.torch.save_file(prefixed(prefix, Tiny().state_dict()), tmp_path / "m.safetensors")
    assert sorted(read_model_file(tmp_path / "m.safetensors")[1]["state_dict"]) == [
        "layer.bias",
        "layer.weight",
    ]


def test_no_model_of_ours_has_names_that_a_wrapper_could_have_given(tmp_path):
    for name in model_names("inpaint"):
        with torch.device("meta"):
            names = list(create_model(name).state_dict())
        save_state_dict({name: torch.zeros(1) for name in names}, tmp_path / "m.pth")
        if names:
            assert list(read_model_file(tmp_path / "m.pth")[1]["state_dict"]) == names


@pytest.mark.parametrize("entry, type_name", [(None, "NoneType"), (3, "int")])
def test_what_stands_between_weights_is_named(tmp_path, entry, type_name):
    weights, path = {**Tiny().state_dict(), "layer._extra": entry}, tmp_path / "m.pth"
    for content, where in (
        (weights, "it has"),
        ({"epoch": 3, "net": {"state_dict": weights}}, "its entry net.state_dict has"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError) as caught:
            read_model_file(path)
        assert str(caught.value).startswith(
            f"{path} holds not only tensors: {where} layer._extra ({type_name}) beside them; "
        )
        assert str(caught.value).endswith("if torch.is_tensor(value)}, FILE)")
    torch.save({**NAMED, "state_dict": weights}, path)
    with pytest.raises(
        UserError,
        match=(
            rf"m.pth holds not only tensors: .* state_dict has layer._extra \({type_name}\) "
            r"beside"
        ),
    ):
        load_model(path)


class Normed(Model):
    """With a buffer of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)


register_model("nunif.test_tiny_normed", Normed)
NORMED = {"nunif_model": 1, "name": "nunif.test_tiny_normed", "kwargs": {}}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, suffix, value):
    weights, path = Normed().state_dict(), tmp_path / f"m{suffix}"
    weights["norm.running_var"][1:3] = value
    message = (
        r"m\..*holds weights that are not finite \(norm.running_var: 2 of 4 are NaN or "
        r"infinite\): .* an earlier checkpoint"
    )
    for named in (True, False):
        if suffix == ".pth":
            torch.save({**NORMED, "state_dict": weights} if named else {"net": weights}, path)
        else:
            save_safetensors(
                weights, path, **({"name": "nunif.test_tiny_normed", "kwargs": {}} if named else {})
            )
        with pytest.raises(UserError, match=message):
            load_model(path)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int8, torch.int64, torch.complex64, torch.float8_e4m3fn]
)
def test_types_that_are_no_weights_are_refused(tmp_path, dtype):
    weights = Normed().state_dict()
    weights["norm.bias"] = torch.zeros(4).to(dtype)
    torch.save({**NORMED, "state_dict": weights}, tmp_path / "m.pth")
    text = (
        f"m.pth holds norm.bias as {str(dtype)[6:]}, where nunif.test_tiny_normed has float32: "
        "take a file whose weights are"
    )
    with pytest.raises(UserError, match=text):
        load_model(tmp_path / "m.pth")
    if dtype.is_complex:
        weights = {
            **Normed().state_dict(),
            "norm.num_batches_tracked": torch.tensor(3, dtype=dtype),
        }
        with pytest.raises(
            UserError, match="holds norm.num_batches_tracked as complex64, where .* has int64"
        ):
            load_weights(create_model("nunif.test_tiny_normed"), weights, source="m.pth")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_load(tmp_path, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in Normed().state_dict().items()}
    weights["norm.num_batches_tracked"] = torch.tensor(7)
    torch.save({**NORMED, "state_dict": weights}, tmp_path / "m.pth")
    loaded, _ = load_model(tmp_path / "m.pth")
    assert loaded.norm.weight.dtype == torch.float32 and loaded.norm.num_batches_tracked == 7


@pytest.mark.parametrize("is_zip", [True, False])
def test_another_pickle_protocol_is_not_called_code(tmp_path, is_zip):
    path, words = (
        tmp_path / "m.pth",
        {"pickle_protocol": 4, "_use_new_zipfile_serialization": is_zip},
    )
    torch.save(Normed().state_dict(), path, **words)
    with pytest.raises(
        UserError,
        match=(
            "m.pth was saved with pickle protocol 4, which is not read here: save it again .* "
            "no pic"
        ),
    ):
        read_model_file(path)
    torch.save({**Normed().state_dict(), "call": Evil(os.system)}, path, **words)
    with pytest.raises(UserError, match=r"m.pth carries code, .* \((posix|nt).system\)"):
        read_model_file(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_compiled_models_weights_in_a_file_that_names_its_model(tmp_path, suffix):
    model, path = create_model("nunif.test_tiny"), tmp_path / f"m{suffix}"
    compiled = prefixed("_orig_mod.", model.state_dict())
    if suffix == ".pth":
        save_model(model, path, state_dict=compiled)
    else:
        save_safetensors(compiled, path, name=model.name, kwargs=model.kwargs)
    loaded, _ = load_model(path)
    assert torch.equal(loaded.layer.weight, model.layer.weight)


def test_what_is_found_in_a_nest_is_checked_as_the_rest(tmp_path):
    bomb = torch.zeros(1).expand(10**9)
    torch.save({"model_state_dict": {"_orig_mod.layer.weight": bomb}}, tmp_path / "m.pth")
    with pytest.raises(
        UserError, match="m.pth holds tensors of 4,000,000,000 bytes that a file of"
    ):
        read_model_file(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin"])
def test_safetensors_round_trip(saved, tmp_path, name):
    model, path = saved[0], tmp_path / name
    save_safetensors(
        model.state_dict(),
        path,
        name=model.name,
        kwargs=model.kwargs,
        epoch=7,
        metrics={"loss": 0.5},
    )
    loaded, metadata = load_model(path, expect="nunif.")
    assert loaded.name == "nunif.test_tiny" and loaded.kwargs == {"width": 3}
    assert torch.equal(loaded.layer.weight, model.layer.weight)
    assert (
        metadata["epoch"] == 7 and metadata["metrics"] == {"loss": 0.5} and metadata["updated_at"]
    )
    with safetensors.safe_open(path, "pt") as file:
        assert (
            file.metadata()["name"] == "nunif.test_tiny"
            and file.metadata()["kwargs"] == '{"width": 3}'
        )


def test_safetensors_of_shared_and_turned_tensors(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    save_safetensors({"a": weight.T, "b": weight}, tmp_path / "m.safetensors")
    layout, content = read_model_file(tmp_path / "m.safetensors")
    assert layout == "safetensors" and "name" not in content
    assert torch.equal(content["state_dict"]["a"], weight.T) and torch.equal(
        content["state_dict"]["b"], weight
    )
    with pytest.raises(
        UserError, match="m.safetensors holds no model in this project's layout, only tensors"
    ):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data[:8] + b"!" + data[9:],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: b"hello",
    ],
)
def test_damaged_safetensors(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    save_safetensors(Tiny().state_dict(), path, name="nunif.test_tiny", kwargs={})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        UserError,
        match=r"m\.safetensors is torn or not a safetensors file \(.+\): fetch or make it again",
    ):
        load_model(path)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ("{", r"metadata that is no JSON"),
        ("[3]", "holds no arguments"),
        ("null", "holds no arguments"),
    ],
)
def test_safetensors_with_odd_metadata(tmp_path, kwargs, message):
    metadata = {"name": "nunif.test_tiny", "kwargs": kwargs}
    safetensors.torch.save_file(dict(Tiny().state_dict()), tmp_path / "m.safetensors", metadata)
    with pytest.raises(UserError, match=f"m.safetensors .*{message}"):
        load_model(tmp_path / "m.safetensors")


def test_state_dict_files_open_with_plain_torch(saved, tmp_path):
    save_state_dict(saved[0].state_dict(), tmp_path / "plain.pth")
    content = torch.load(tmp_path / "plain.pth", weights_only=True)
    assert type(content) is dict and list(content) == ["layer.weight", "layer.bias"]


def test_foreign_layouts_are_recognised_for_their_package_only(tmp_path, monkeypatch):
    def convert(model, state_dict, *, source):
        assert model.layer.weight.is_meta and source == tmp_path / "foreign.pth"
        return {name.replace("fc", "layer"): tensor for name, tensor in state_dict.items()}

    monkeypatch.setattr("nunif.models.registry._layouts", {})
    register_layout(
        ForeignLayout(
            "another project's", "nunif.test_tiny", lambda weights: "fc.weight" in weights, convert
        )
    )
    weights = Tiny().state_dict()
    torch.save(
        {name.replace("layer", "fc"): tensor for name, tensor in weights.items()},
        tmp_path / "foreign.pth",
    )
    layout, content = read_model_file(tmp_path / "foreign.pth", package="nunif")
    assert (
        layout == "another project's"
        and content["name"] == "nunif.test_tiny"
        and content["kwargs"] == {"width": 3}
    )
    loaded, _ = load_model(tmp_path / "foreign.pth", expect="nunif.")
    assert torch.equal(loaded.layer.weight, weights["layer.weight"])
    assert read_model_file(tmp_path / "foreign.pth")[0] == "state-dict"
    assert read_model_file(tmp_path / "foreign.pth", package="inpaint")[0] == "state-dict"
