"""Models by name, and files that hold them: round trips, torn and foreign and hostile files."""

import errno
import io
import pickle

import pytest
import torch
from torch import nn

from nunif.errors import UserError
from nunif.models import Model, create_model, load_model, load_weights, read_checkpoint, register_model, save_model


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
    with pytest.raises(UserError, match=r"unknown model 'inpaint.nothing': known are inpaint.memory_dstt_v1, "):
        create_model("inpaint.nothing")
    with pytest.raises(UserError, match="unknown model 'os.path'"):
        create_model("os.path")
    with pytest.raises(UserError, match="can't be built with"):
        create_model("nunif.test_tiny", height=3)


class Evil:
    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_file_that_carries_code_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"nunif_model": 1, "name": "x", "kwargs": {}, "state_dict": Evil()}, path)
    with pytest.raises(UserError, match="evil.pth carries code"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="evil.pth"):
        read_checkpoint(path)
    assert "never be printed" not in capsys.readouterr().out


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
    with pytest.raises(UserError, match="holds the model 'nunif.test_tiny', but inpaint"):
        load_model(saved[1], expect="inpaint.")
