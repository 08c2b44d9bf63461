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
from nunif.models.registry import ForeignLayout, register_layout


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
    assert type(loaded) is Tiny and loaded.name == "nunif.test_tiny" and loaded.kwargs == {"width": 3}
    assert torch.equal(loaded.layer.weight, model.layer.weight) and not loaded.training
    assert metadata["epoch"] == 7 and metadata["metrics"] == {"loss": 0.5}


def test_layout_is_nunifs_and_opens_with_plain_torch(saved):
    content = torch.load(saved[1], weights_only=True)
    assert content["nunif_model"] == 1 and content["name"] == "nunif.test_tiny" and content["kwargs"] == {"width": 3}
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
    with pytest.raises(UserError, match=r"unknown model 'inpaint.nothing': known are inpaint.*, inpaint.memory_dstt_v1, "):
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
    with pytest.raises(UserError, match="m.pth (is torn or not a model file|is not a model file, or is torn)"):
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
    with pytest.raises(UserError, match="missing layer.weight, layer.bias; unknown old.0, .*old.4 and 4 more"):
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
        ({"state_dict": {"layer.weight": 1.5}}, "m.pth holds no weights in its entry state_dict"),
        ({"state_dict": [1]}, "m.pth holds no weights in its entry state_dict"),
        ({"state_dict": {}}, "m.pth does not fit nunif.test_tiny: missing layer.weight, layer.bias"),
    ],
)
def test_what_a_file_claims_is_doubted_under_its_name(tmp_path, entries, message):
    torch.save({**NAMED, "state_dict": Tiny().state_dict(), **entries}, tmp_path / "m.pth")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "m.pth")


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
        lambda w: {name.replace("layer.", "layer._orig_mod."): tensor for name, tensor in w.items()},  # one layer compiled
        lambda w: prefixed("_fsdp_wrapped_module.", w),
        lambda w: {"n_averaged": torch.tensor(3), **prefixed("module.", w)},  # torch's AveragedModel
        lambda w: {"model_state_dict": w, "optimizer_state_dict": {"state": {}, "param_groups": []}, "loss": 0.5},
        lambda w: {"net": prefixed("module.", w), "acc": 3.0, "epoch": 1},
        lambda w: {"params_ema": w, "params": {name: tensor * 0 for name, tensor in w.items()}},
        lambda w: {"model": {name: tensor * 0 for name, tensor in w.items()}, "model_ema": prefixed("module.", w)},
        lambda w: {"model": w, "ema": {"decay": 0.999, "updates": 3}},
        lambda w: {"pytorch-lightning_version": "2.5", "state_dict": prefixed("model.", w)},
        lambda w: {"state_dict": {**prefixed("model._orig_mod.", w), "loss.features.weight": torch.zeros(1)}},
        lambda w: prefixed("model.module.", w),
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
    for content in ({}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1), {3: torch.zeros(1)}, endless):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(UserError, match="odd.pth holds no model in this project's layout, .*, nor only tensors"):
            read_model_file(tmp_path / "odd.pth")


@pytest.mark.parametrize("names", [["module.a", "b"], ["model.a", "b"], ["_orig_mod.a", "a"]])
def test_a_prefix_that_only_some_tensors_have_stays(tmp_path, names):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "plain.pth")
    assert list(read_model_file(tmp_path / "plain.pth")[1]["state_dict"]) == names


def test_weights_that_are_left_out_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    weights = dict(Tiny().state_dict())
    torch.save({"params": weights, "params_ema": weights}, tmp_path / "a.pth")
    torch.save({"state_dict": {**prefixed("model.", weights), "loss.weight": torch.zeros(1)}}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        read_model_file(tmp_path / name)
    assert caplog.messages == [
        f"{tmp_path / 'a.pth'}: the weights are those of its entry params_ema; left out: params",
        f"{tmp_path / 'b.pth'}: the weights are those of model.*; left out: loss.weight",
    ]


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
    with pytest.raises(UserError, match="m.pth holds tensors of 4,000,000,000 bytes that a file of"):
        read_model_file(tmp_path / "m.pth")


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin"])
def test_safetensors_round_trip(saved, tmp_path, name):
    model, path = saved[0], tmp_path / name
    save_safetensors(model.state_dict(), path, name=model.name, kwargs=model.kwargs, epoch=7, metrics={"loss": 0.5})
    loaded, metadata = load_model(path, expect="nunif.")
    assert loaded.name == "nunif.test_tiny" and loaded.kwargs == {"width": 3}
    assert torch.equal(loaded.layer.weight, model.layer.weight)
    assert metadata["epoch"] == 7 and metadata["metrics"] == {"loss": 0.5} and metadata["updated_at"]
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata()["name"] == "nunif.test_tiny" and file.metadata()["kwargs"] == '{"width": 3}'


def test_safetensors_of_shared_and_turned_tensors(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    save_safetensors({"a": weight.T, "b": weight}, tmp_path / "m.safetensors")
    layout, content = read_model_file(tmp_path / "m.safetensors")
    assert layout == "safetensors" and "name" not in content
    assert torch.equal(content["state_dict"]["a"], weight.T) and torch.equal(content["state_dict"]["b"], weight)
    with pytest.raises(UserError, match="m.safetensors holds no model in this project's layout, only tensors"):
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
    with pytest.raises(UserError, match=r"m\.safetensors is torn or not a safetensors file \(.+\): fetch or make it again"):
        load_model(path)


@pytest.mark.parametrize(
    "kwargs, message", [("{", r"metadata that is no JSON"), ("[3]", "holds no arguments"), ("null", "holds no arguments")]
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
    register_layout(ForeignLayout("another project's", "nunif.test_tiny", lambda weights: "fc.weight" in weights, convert))
    weights = Tiny().state_dict()
    torch.save({name.replace("layer", "fc"): tensor for name, tensor in weights.items()}, tmp_path / "foreign.pth")
    layout, content = read_model_file(tmp_path / "foreign.pth", package="nunif")
    assert layout == "another project's" and content["name"] == "nunif.test_tiny" and content["kwargs"] == {"width": 3}
    loaded, _ = load_model(tmp_path / "foreign.pth", expect="nunif.")
    assert torch.equal(loaded.layer.weight, weights["layer.weight"])
    assert read_model_file(tmp_path / "foreign.pth")[0] == "state-dict"
    assert read_model_file(tmp_path / "foreign.pth", package="inpaint")[0] == "state-dict"
