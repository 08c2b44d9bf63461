"""Names that are no UTF-8 or as long as the file system takes, links, and file systems without
locks."""

import csv
import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from inpaint.commands import CREATE_TRAINING_DATA, INPAINT, TRAIN
from inpaint.contact_sheet import main as contact_sheet
from inpaint.dataset import scan_records
from inpaint.models.steps import make_step
from inpaint.options_data import ContactSheetOptions
from matting.runtime.convert import background_frames
from nunif import files
from nunif.errors import UserError
from nunif.image import encode_binary, encode_rgb, read_rgb
from nunif.models import load_model, save_safetensors
from nunif.runtime import export
from nunif.runtime.backends import OnnxBackend
from nunif.seed import derive_seed
from nunif.shards.commands import CREATE_TRAINING_DATA as SHARDS
from nunif.video.folder import FolderWriter
from tests.models import lively_model, save_lively_model
from tests.records import make_records
from tests.videos import times_of, write_clip

# "test" in the letters of Shift-JIS, which are no UTF-8
NAME = os.fsdecode(b"\x83e\x83X\x83g")
any_bytes = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="file names are Unicode here"
)
SQUARE = np.pad(np.ones((8, 8), bool), 12)
SIZES = ["--seq", 4, "--size", "32x32", "--prefix", "p"]


@pytest.fixture
def place(tmp_path):
    """A folder with such a name."""
    (tmp_path / NAME).mkdir()
    return tmp_path / NAME


def sources(folder):
    """What the records in a folder say that they come from, read as any program would read JSON."""
    return sorted(
        {
            json.loads(path.read_bytes().decode("utf-8"))["source"]
            for path in folder.glob("*/record.json")
        }
    )


def write_pictures(folder, count=4, *, size=(32, 48), seed=0):
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed)
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(
            encode_rgb(noise.integers(0, 255, (*size, 3), np.uint8))
        )
    return folder


# --- any bytes ------------------------------------------------------------------------------------


@any_bytes
def test_records_of_films_and_pictures_with_any_name(run, place):
    write_clip(place / f"{NAME}.mp4", 8)
    write_pictures(place / "plain" / NAME)
    code, _, lines = run(CREATE_TRAINING_DATA, "frames", "-i", place, "-o", place / "train", *SIZES)
    assert code == 0, lines
    assert sources(place / "train") == sorted([f"plain/{NAME}", f"{NAME}.mp4"])
    write_pictures(place / "one", 1).joinpath("000.png").rename(place / "one" / f"{NAME}.png")
    code, _, lines = run(
        CREATE_TRAINING_DATA, "inpaint", "-i", place / "one", "-o", place / "single", "--size", 64
    )
    assert code == 0 and sources(place / "single") == [f"{NAME}.png"], lines
    words = [
        "--seq",
        4,
        "--size",
        64,
        "--skip-interval",
        0,
        "--model-type",
        "MotionParallax",
        "--gpu",
        -1,
    ]
    code, _, lines = run(
        CREATE_TRAINING_DATA,
        "video_inpaint",
        "-i",
        place,
        "-o",
        place / "video",
        "--prefix",
        NAME,
        *words,
    )
    # whether it gives records or why not; both are written down under such a name
    assert code == 0 or "gives no records" in lines[-1], lines
    assert any(name.startswith((NAME, f".skipped-{NAME}")) for name in os.listdir(place / "video"))


@any_bytes
@pytest.mark.slow
def test_training_and_pictures_of_records_with_any_name(run, place):
    for half, count in (("train", 2), ("eval", 1)):
        for i, record in enumerate(make_records(place / half, count, frames=12, size=32)):
            record.rename(record.with_name(f"{NAME}{i}"))
    words = [
        "-i",
        place,
        "--model-dir",
        place / "model",
        "--video",
        "--arch",
        "fusion_v1",
        "--tile-size",
        32,
        "--gpu",
        -1,
    ]
    words += ["--max-epoch", 1, "--num-samples", 24, "--mask", "object", "--num-workers", 0]
    code, _, lines = run(TRAIN, "inpaint", *words)
    assert code == 0, lines
    assert any("TensorBoard can't write where a name is not UTF-8" in line for line in lines)
    log = (place / "model" / "train.log").read_bytes().decode("utf-8")
    assert r"\udc83e\udc83X" in log
    contact_sheet(ContactSheetOptions(data_dir=place / "train", output=place / "sheet.png"))
    assert read_rgb(place / "sheet.png").any()


@any_bytes
def test_a_film_is_filled_under_any_name(run, place):
    film, mask = write_clip(place / f"{NAME}.mp4", 4, width=32, height=32), place / f"{NAME}.png"
    mask.write_bytes(encode_binary(SQUARE))
    model = save_lively_model(place / f"{NAME}.pth")
    words = ["-i", film, "--mask", mask, "--model", model, "--gpu", -1, "--compare"]
    code, _, lines = run(INPAINT, "apply", *words, "-o", place / f"out{NAME}.mp4")
    assert code == 0, lines
    assert (
        len(times_of(place / f"out{NAME}.mp4"))
        == len(times_of(place / f"out{NAME}.compare.mp4"))
        == 4
    )


@any_bytes
def test_shards_with_any_name(run, place):
    pytest.importorskip("pyarrow", reason="shards need pyarrow: pip install -e .[shards]")
    make_records(place / "train", 2)
    for command, source, target in [("pack", "train", "shards"), ("unpack", "shards", "again")]:
        code, _, lines = run(SHARDS, command, "-i", place / source, "-o", place / target)
        assert code == 0, lines
    assert run(SHARDS, "index", place / "shards")[0] == 0
    assert len(scan_records(place / "shards")[0]) == len(scan_records(place / "again")[0]) == 2


@any_bytes
def test_a_background_with_any_name(place):
    (place / f"{NAME}.png").write_bytes(encode_binary(SQUARE))
    with ExitStack() as stack:
        behind = next(background_frames(str(place / f"{NAME}.png"), (32, 32), 1, stack))
    assert ((behind[..., 0] == 255) == SQUARE).all()


@any_bytes
def test_scores_of_films_with_any_name(run, place):
    write_pictures(place / "films" / NAME, 3, size=(48, 64))
    words = ["-i", place / "films", "-o", place / "scores"]
    more = "--holes moving --baselines telea --gpu -1"
    code, out, lines = run(INPAINT, "evaluate", *words, *more.split())
    assert code == 0, lines
    rows = json.loads((place / "scores" / "scores.json").read_bytes().decode("utf-8"))["clips"]
    assert {row["clip"] for row in rows} == {NAME}
    with open(place / "scores" / "scores.csv", encoding="utf-8") as file:
        assert {row["clip"] for row in csv.DictReader(file)} == {r"\udc83e\udc83X\udc83g"}
    assert r"\udc83e\udc83X\udc83g" in (place / "scores" / "report.html").read_text(
        encoding="utf-8"
    )


@any_bytes
def test_model_files_and_their_manifest_with_any_name(place):
    model = lively_model()
    save_safetensors(
        model.state_dict(),
        place / f"{NAME}.safetensors",
        name=model.name,
        kwargs=model.kwargs,
        epoch=7,
    )
    loaded, entries = load_model(place / f"{NAME}.safetensors")
    assert torch.equal(
        loaded.state_dict()["to_tokens.weight"], model.state_dict()["to_tokens.weight"]
    )
    assert entries["epoch"] == 7
    export.add_to_manifest(place, f"{NAME}.onnx", {"source": {"file": f"{NAME}.pth"}})
    (name, entry), *_ = json.loads((place / "manifest.json").read_bytes().decode("utf-8"))[
        "files"
    ].items()
    assert (name, entry["source"]["file"]) == (f"{NAME}.onnx", f"{NAME}.pth")


class Plain(torch.nn.Module):
    def forward(self, masked_frames):
        return masked_frames * 0.5


@any_bytes
def test_exported_files_with_any_name(place):
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    assert ort is not None
    frames = [
        onnx.helper.make_tensor_value_info(name, 1, [1, 2, 3, 8, 8])
        for name in ("masked_frames", "output")
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["masked_frames"], ["output"])], "g", frames[:1], frames[1:]
    )
    made = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    (place / f"{NAME}.onnx").write_bytes(made.SerializeToString())
    output, _ = OnnxBackend(place / f"{NAME}.onnx", device=torch.device("cpu")).step(
        torch.ones(1, 2, 3, 8, 8), None
    )
    assert (output == -1).all()


@any_bytes
def test_a_program_of_torch_with_any_name(place):
    step = make_step(lively_model())
    traced = torch.export.export(Plain(), (torch.zeros(1, 3, 8, 8),))
    source = {
        "size": (8, 8),
        "dynamic": False,
        "opset": 20,
        "check": lambda backend, name: {"not_run": "not run"},
        "common": {},
    }
    exported = export.Export(step=step, stem=place / NAME, **source)
    exported.traced = traced
    export.to_torch_export(exported)
    with open(place / f"{NAME}.pt2", "rb") as file:
        assert torch.equal(
            torch.export.load(file).module()(torch.ones(1, 3, 8, 8)), torch.full((1, 3, 8, 8), 0.5)
        )


@any_bytes
@pytest.mark.slow
def test_what_is_printed_survives_any_name(place):
    """A terminal that takes no other than its own encoding's letters."""
    write_pictures(place / "films" / NAME, 3, size=(48, 64))
    words = "--holes moving --baselines telea --gpu -1".split()
    command = [sys.executable, "-m", "inpaint", "evaluate", "-i", str(place / "films"), *words]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=1500)
    assert done.returncode == 0 and b"telea" in done.stdout, done.stderr[-2000:]


def test_seeds_of_other_names_are_what_they_were():
    assert derive_seed("eval-holes", "clip", 71) == 5580775885520023774
    assert derive_seed("eval-holes", "\udc83", 71) != derive_seed("eval-holes", "\udc84", 71)


# --- as long as the file system takes -------------------------------------------------------------


LONG = 250


def long_name(suffix, length=LONG):
    return "n" * (length - len(suffix)) + suffix


@pytest.mark.parametrize("length", [140, 143, 200, 250, 255])
def test_files_are_written_whole_under_names_of_any_length(tmp_path, length):
    path = tmp_path / long_name(".json", length)
    files.write_json(path, {"a": 1})
    files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2} and os.listdir(tmp_path) == [path.name]
    files.write_whole_folder(
        tmp_path / long_name("", length), lambda folder: (folder / "one").write_text("1")
    )
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("letter", ["n", "\u00e9", "\u65e5", "\U0001f600"])
def test_longer_names_are_no_longer_than_the_file_system_takes(tmp_path, letter):
    """143 bytes is what encrypted home folders take (eCryptfs)."""
    for length in range(4, 251, 7):
        path = tmp_path / (letter * (length // len(letter.encode())) + ".mp4")
        most = max(143, len(path.name.encode()))
        names = [
            files.partial_path(path),
            files.longer_name(path, after=".unfinished"),
            files.longer_name(path, suffix=".soft"),
        ]
        assert all(len(name.name.encode()) <= most for name in names)
        assert [name.suffix for name in names] == [".mp4", ".mp4", ".soft"]
    short = tmp_path / f"a.v2{letter}.mp4"
    assert files.longer_name(short, after=".unfinished").name == f"a.v2{letter}.unfinished.mp4"
    others = [
        files.longer_name(tmp_path / f"{letter * 60}{'n' * 130}{end}.mp4"[:-4], after=".compare")
        for end in "ab"
    ]
    assert len({name.name for name in others}) == 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ""])
def test_a_film_is_filled_under_a_long_name(run, tmp_path, suffix):
    film, mask = write_clip(tmp_path / "a.mp4", 4, width=32, height=32), tmp_path / "m.png"
    mask.write_bytes(encode_binary(SQUARE))
    words = [
        "-i",
        film,
        "--mask",
        mask,
        "--model",
        save_lively_model(tmp_path / "m.pth"),
        "--gpu",
        -1,
        "--compare",
    ]
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / long_name(suffix)
    code, _, lines = run(INPAINT, "apply", *words, "-o", output)
    assert code == 0, lines
    assert len(os.listdir(tmp_path / "out")) == 2 and (
        len(os.listdir(output)) == 4 if not suffix else len(times_of(output)) == 4
    )
    too_long = tmp_path / "out" / long_name(suffix, 260)
    code, _, lines = run(INPAINT, "apply", *words, "-o", too_long)
    assert (
        code == 1
        and lines[-1].startswith("error: ")
        and "name is too long for this file system, choose a shorter one" in lines[-1]
    )


def test_what_was_finished_is_kept_under_a_long_name(tmp_path):
    with pytest.raises(KeyboardInterrupt), FolderWriter(tmp_path / long_name("")) as writer:
        writer.write(np.zeros((8, 8, 3), np.uint8))
        raise KeyboardInterrupt
    (left,) = os.listdir(tmp_path)
    assert left.endswith(".unfinished") and os.listdir(tmp_path / left) == ["000000.png"]


def test_records_with_a_long_prefix(run, tmp_path):
    write_clip(tmp_path / "a.mp4", 8)
    prefix = "n" * 220  # the records' names have 251 bytes
    code, _, lines = run(
        CREATE_TRAINING_DATA,
        "frames",
        "-i",
        tmp_path / "a.mp4",
        "-o",
        tmp_path / "t",
        *SIZES[:-1],
        prefix,
    )
    assert code == 0, lines
    assert {len(record.path.name) for record in scan_records(tmp_path / "t")[0]} == {
        220 + len("_frames_01234567_000000")
    }


# --- file systems without locks -------------------------------------------------------------------


@pytest.fixture
def without_locks(monkeypatch, request):
    """What network drives and containers answer that have no locks."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


NO_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]


@pytest.mark.parametrize("without_locks", NO_LOCKS, indirect=True, ids=os.strerror)
def test_a_lock_where_the_file_system_has_none(tmp_path, without_locks, caplog):
    caplog.set_level("INFO")
    path = tmp_path / ".lock"
    path.touch()  # as a version before left it, and as a killed process does
    for _ in range(2):
        with files.locked(path, busy="another is at work", seconds=0.1, advice="wait"):
            pass
    soft = tmp_path / ".lock.soft"
    line = f"{tmp_path}: this file system has no locks, so .lock.soft is there while it is in use"
    assert caplog.messages == [line, line] and not soft.exists()
    with files.locked(path, busy="b"):
        assert soft.exists()
        with pytest.raises(
            UserError,
            match=(
                r"^another is at work .*: wait; if none is running any more, delete "
                r".*\.lock\.soft$"
            ),
        ):
            with files.locked(path, busy="another is at work", seconds=0.1, advice="wait"):
                pass
    assert not soft.exists()


@pytest.mark.parametrize("without_locks", NO_LOCKS[:1], indirect=True)
def test_records_are_made_where_the_file_system_has_no_locks(run, tmp_path, without_locks):
    write_clip(tmp_path / "a.mp4", 8)
    code, _, lines = run(
        CREATE_TRAINING_DATA, "frames", "-i", tmp_path / "a.mp4", "-o", tmp_path / "t", *SIZES
    )
    assert code == 0 and len([line for line in lines if "has no locks" in line]) == 1
    assert len(scan_records(tmp_path / "t")[0]) == 2


# --- links ----------------------------------------------------------------------------------------


def link(path, target):
    try:
        path.symlink_to(target)
    except OSError as error:
        pytest.skip(f"no links here: {error}")


def test_links_to_folders_of_a_data_set_are_followed_once(run, tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    write_pictures(elsewhere / "scene" / "deep")
    link(data / "linked", elsewhere / "scene")
    link(elsewhere / "scene" / "loop", data)
    link(data / "twin", elsewhere / "scene" / "deep")
    link(data / "gone", tmp_path / "nowhere")
    code, _, lines = run(CREATE_TRAINING_DATA, "frames", "-i", data, "-o", tmp_path / "t", *SIZES)
    assert code == 0 and sources(tmp_path / "t") == ["linked/deep"]
    left_out = sorted(
        line.removeprefix("left out: ") for line in lines if line.startswith("left out")
    )
    assert left_out == [
        f"{data / 'gone'} is a link to {tmp_path / 'nowhere'}, which is not there",
        f"{data / 'linked' / 'loop'} is the folder {data} again",
        f"{data / 'twin'} is the folder {data / 'linked' / 'deep'} again",
    ]
    # the other command that walks
    code, _, lines = run(
        CREATE_TRAINING_DATA, "inpaint", "-i", data, "-o", tmp_path / "u", "--size", 64
    )
    assert code == 0 and len(os.listdir(tmp_path / "u")) == 4


def test_a_folder_goes_by_its_own_name_rather_than_by_a_links(run, tmp_path):
    write_pictures(tmp_path / "data" / "z")
    link(tmp_path / "data" / "a", tmp_path / "data" / "z")
    assert (
        run(CREATE_TRAINING_DATA, "frames", "-i", tmp_path / "data", "-o", tmp_path / "t", *SIZES)[
            0
        ]
        == 0
    )
    assert sources(tmp_path / "t") == ["z"]


def test_records_and_films_behind_links(run, tmp_path, caplog):
    make_records(tmp_path / "store", 1, frames=2, size=16)
    (tmp_path / "train").mkdir()
    (record,) = (tmp_path / "store").iterdir()
    link(tmp_path / "train" / "r", record)
    link(tmp_path / "train" / "gone", tmp_path / "nowhere")
    good, bad = scan_records(tmp_path / "train")
    assert [r.path.name for r in good] == ["r"] and not bad
    assert "gone is a link to" in caplog.text
    write_clip(tmp_path / "store" / "a.mp4", 8, width=128, height=128)
    link(tmp_path / "b.mp4", tmp_path / "store" / "a.mp4")
    link(tmp_path / "c.mp4", tmp_path / "nowhere.mp4")
    words = ["--model-type", "MotionParallax", "--seq", 4, "--size", 64, "--gpu", -1]
    code, _, lines = run(
        CREATE_TRAINING_DATA, "video_inpaint", "-i", tmp_path, "-o", tmp_path / "t", *words
    )
    assert code == 0 or "gives no records" in lines[-1], lines
    assert any(line.startswith("b.mp4: made ") for line in lines)
    assert any("c.mp4 is a link to" in line for line in lines)
