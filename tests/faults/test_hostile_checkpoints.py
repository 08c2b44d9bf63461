"""Model files and checkpoints from strangers: nothing in them runs, none costs memory, each gives
one clear line."""

import io
import json
import pickle
import random
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from nunif.errors import UserError
from nunif.models import create_model, save_model, save_safetensors
from nunif.training.trainer import train
from tests.faults.open_models import digest
from tests.nunif.test_training import ToyTask, make_options, press_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
NAME = "inpaint.memory_dstt_v1_tiny"
SIZES = dict(channels=8, hidden=8, num_blocks=2)
MAX_GROWN = 200 << 20  # bytes that a refused file may cost
BOMB = 1_500_000_000  # bytes


def small_model():
    torch.manual_seed(0)
    return create_model(NAME, **SIZES)


def open_all(paths: list[Path]) -> list[dict]:
    """What a process of its own makes of each file, in their order."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.open_models"],
        input="".join(f"{path}\n" for path in paths),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    last = paths[len(outcomes)] if len(outcomes) < len(paths) else None
    assert done.returncode == 0 and last is None, (
        f"the process died ({done.returncode}) of {last}: {done.stderr[-2000:]}"
    )
    return outcomes


def check_refusal(outcome: dict) -> str:
    """The message of a file that was refused well."""
    assert "error" in outcome, outcome
    assert outcome["grown"] < MAX_GROWN, outcome
    message = outcome["error"]
    assert outcome["path"] in message and len(message) < 1000, message
    return message


# --- made by hand ---------------------------------------------------------------------------------


class Code:
    """Pickled, it makes a file when it is opened."""

    canary = ""

    def __reduce__(self):
        return (open, (self.canary, "w"))


class Call:
    """Pickled, it calls a function that torch knows."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return (self.function, self.arguments)


class Storage:
    def __init__(self, count):
        self.count = count


class Pickler(pickle._Pickler):
    def persistent_id(self, value):
        return (
            ("storage", torch.FloatStorage, "0", "cpu", value.count)
            if isinstance(value, Storage)
            else None
        )


def pickled(value) -> bytes:
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def tensor(*, count: int, size: tuple, stride: tuple, offset: int = 0) -> Call:
    """A tensor that says that it has `count` numbers."""
    return Call(torch._utils._rebuild_tensor_v2, Storage(count), offset, size, stride, False, {})


def entries(weight, **more) -> dict:
    return {
        "nunif_model": 1,
        "name": NAME,
        "kwargs": SIZES,
        "state_dict": {"weight": weight},
        **more,
    }


def write_archive(path: Path, content, *others: tuple) -> None:
    """As torch lays it out, with 16 bytes of numbers and, beside them, other entries (name or
    ZipInfo, data)."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", content if isinstance(content, bytes) else pickled(content))
        for name, data in (
            ("m/version", b"3\n"),
            ("m/byteorder", b"little"),
            ("m/data/0", bytes(16)),
            *others,
        ):
            archive.writestr(name, data)


def write_zip(path: Path, members: list[tuple[str, bytes, int, int]], *, copies: int = 1) -> None:
    """An archive of (name, data as stored, method, size it claims to unpack to); the list of them
    `copies` times."""
    body, index = b"", b""
    for name, data, method, size in members:
        # the checksum of a bomb is never come to
        common = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, 0, len(data), size, len(name), 0)
        index += (
            b"PK\1\2"
            + struct.pack("<H", 20)
            + common
            + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
            + name.encode()
        )
        body += b"PK\3\4" + common + name.encode() + data
    end = struct.pack(
        "<HHHHIIH",
        0,
        0,
        copies * len(members),
        copies * len(members),
        copies * len(index),
        len(body),
        0,
    )
    path.write_bytes(body + copies * index + b"PK\5\6" + end)


def zeros(size: int) -> bytes:
    """`size` zeros, deflated; a multiple of a million."""
    part = zlib.compressobj(9, zlib.DEFLATED, -15)
    million = part.compress(bytes(10**6)) + part.flush(zlib.Z_FULL_FLUSH)
    return million * (size // 10**6) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def laughs(depth: int = 40):
    """A value of a few hundred bytes that is 2 ** depth long when written out."""
    value = ["ha"]
    for _ in range(depth):
        value = [value, value]
    return value


def write_tar(path: Path) -> None:
    """torch's oldest layout, whose entries once were unpacked to the disk."""
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "../../escaped"
        archive.addfile(link)
        for name in ("storages", "tensors", "pickle", "../escaped"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


def write_safetensors(
    path: Path, header: dict | bytes, data: bytes = b"", *, length: int | None = None
) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


PLAIN = {"count": 4, "size": (4,), "stride": (1,)}
FEW = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
BIG_PICKLE = pickled(entries(tensor(count=BOMB // 4, size=(BOMB // 4,), stride=(1,))))

# name: (how it is made, what must be said)
CRAFTED = {
    "code.pth": (
        lambda p: write_archive(p, entries(Code())),
        "carries code, not only weights, and was not opened",
    ),
    "code beside good weights.pth": (
        lambda p: save_model(small_model(), p, metrics=Code()),
        "carries code",
    ),
    "code in a plain pickle.pth": (lambda p: p.write_bytes(pickle.dumps(Code())), "carries code"),
    "code in the old layout.pth": (
        lambda p: torch.save(entries(Code()), p, _use_new_zipfile_serialization=False),
        "carries code",
    ),
    "code in a second pickle.pth": (
        lambda p: write_archive(p, entries(tensor(**PLAIN)), ("m/DATA.pkl", pickle.dumps(Code()))),
        "carries code",
    ),
    "code by extension.pth": (lambda p: write_archive(p, b"\x80\x02\x82\x01)R."), "carries code"),
    "code in a safetensors.safetensors": (
        lambda p: p.write_bytes(pickle.dumps(Code())),
        "is torn or not a safetensors",
    ),
    "a call for memory.pth": (
        lambda p: write_archive(p, entries(Call(bytearray, BOMB))),
        "carries code",
    ),
    "a call for memory in the old layout.pth": (
        lambda p: torch.save(
            entries(Call(bytearray, BOMB)), p, _use_new_zipfile_serialization=False
        ),
        "carries code",
    ),
    "torchscript.pth": (
        lambda p: write_archive(
            p, entries(tensor(**PLAIN)), ("m/constants.pkl", pickle.dumps(())), ("m/code/m.py", b"")
        ),
        "is torn or not a model file",
    ),
    "numbers that are not there.pth": (
        lambda p: write_archive(p, entries(tensor(count=10**12, size=(10**12,), stride=(1,)))),
        # as torch from some version on, or our own check, is the first to see
        "is torn or not a model file|holds tensors of 4,000,000,000,000 bytes",
    ),
    "a size beyond the numbers.pth": (
        lambda p: write_archive(p, entries(tensor(count=4, size=(10**9,), stride=(1,)))),
        "is torn or not a model file",
    ),
    "an offset beyond the numbers.pth": (
        lambda p: write_archive(p, entries(tensor(**PLAIN, offset=10**9))),
        "is torn or not a model file",
    ),
    "a negative size.pth": (
        lambda p: write_archive(p, entries(tensor(count=4, size=(-5,), stride=(1,)))),
        "is torn or not a model file",
    ),
    "four numbers for ever.pth": (
        lambda p: write_archive(p, entries(tensor(count=4, size=(10**12,), stride=(0,)))),
        "holds tensors of 4,000,000,000,000 bytes that a file of [0-9,]+ bytes can't hold",
    ),
    "four numbers for ever, unnamed.pth": (
        lambda p: write_archive(p, {"weight": tensor(count=4, size=(10**12,), stride=(0,))}),
        "holds tensors of 4,000",
    ),
    "numbers that are none.pth": (
        lambda p: write_archive(
            p, entries(Call(torch._utils._rebuild_tensor_v2, "none", 0, (4,), (1,), False, {}))
        ),
        "is torn or not a model file",
    ),
    "a tensor without numbers.pth": (
        lambda p: torch.save(entries(torch.empty(10**12, device="meta")), p),
        "carries code",
    ),
    "a tensor with few numbers.pth": (
        lambda p: torch.save(entries(torch.eye(2).to_sparse()), p),
        "carries code",
    ),
    "zeros without end.pth": (
        lambda p: write_zip(
            p, [("m/data.pkl", BIG_PICKLE, 0, len(BIG_PICKLE)), ("m/data/0", zeros(BOMB), 8, BOMB)]
        ),
        r"is no model file as torch writes it \(its entry 'm/data/0' is compressed\)",
    ),
    "a pickle without end.pth": (
        lambda p: write_zip(p, [("m/data.pkl", zeros(BOMB), 8, BOMB)]),
        "its entry 'm/data.pkl' is compressed",
    ),
    "entries that overlap.pth": (
        lambda p: write_zip(p, [("m/data.pkl", bytes(100_000), 0, 100_000)], copies=1000),
        "its entries are longer than the file",
    ),
    "arguments without end.pth": (
        lambda p: save_model(small_model(), p, kwargs={"hidden": laughs()}),
        "holds values that a file of [0-9,]+ bytes can't hold",
    ),
    "scores without end.pth": (
        lambda p: save_model(small_model(), p, metrics=laughs()),
        "holds values that a file of",
    ),
    "a wide model.pth": (
        lambda p: save_model(small_model(), p, kwargs={**SIZES, "hidden": 10**5}),
        "does not fit|can't be built",
    ),
    "a high model.pth": (
        lambda p: save_model(small_model(), p, kwargs={**SIZES, "num_blocks": 10**9}),
        "it would have far more parts than",
    ),
    "a long name.pth": (
        lambda p: save_model(small_model(), p, name="inpaint." + "x" * 10**5),
        "which is no name",
    ),
    "a model's name of another kind.pth": (
        lambda p: save_model(small_model(), p, name=["x"]),
        "which is no name",
    ),
    "an old tar.pth": (write_tar, "is torn or not a model file"),
    "a header of all memory.safetensors": (
        lambda p: write_safetensors(p, {"w": FEW}, bytes(16), length=2**63),
        "is torn or not a safetensors file",
    ),
    "a shape of all memory.safetensors": (
        lambda p: write_safetensors(p, {"w": {**FEW, "shape": [2**40, 2**40]}}, bytes(16)),
        "is torn or not a safetensors file",
    ),
    "numbers behind the end.safetensors": (
        lambda p: write_safetensors(
            p, {"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}, bytes(16)
        ),
        "is torn or not a safetensors file",
    ),
    "deep arguments.safetensors": (
        lambda p: write_safetensors(
            p,
            {"__metadata__": {"name": NAME, "kwargs": "[" * 200_000 + "]" * 200_000}, "w": FEW},
            bytes(16),
        ),
        "has metadata that is no JSON",
    ),
    "a wide model.safetensors": (
        lambda p: save_safetensors(
            small_model().state_dict(), p, name=NAME, kwargs={**SIZES, "hidden": 10**6}
        ),
        "does not fit|can't be built",
    ),
}


def test_what_is_made_to_harm_is_refused_in_one_line_and_costs_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Code, "canary", str(tmp_path / "canary"))
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    for name, (make, _) in CRAFTED.items():
        make(folder / name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10 << 20
    for (name, (_, message)), outcome in zip(
        CRAFTED.items(), open_all([folder / name for name in CRAFTED]), strict=True
    ):
        said = check_refusal(outcome)
        assert re.search(message, said), (name, said)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(CRAFTED), (
        "something was run or unpacked"
    )


def test_names_that_point_elsewhere_are_not_followed(tmp_path):
    """Nothing of an archive is unpacked; what stands inside its folder by name is not looked at,
    and nothing else may be."""
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    names = [
        "archive/../../escaped",
        "archive/data/link",
        "../escaped",
        "../../escaped",
        str(tmp_path / "outside"),
        "link",
    ]
    paths = [folder / f"{number}.pth" for number in range(len(names))]
    for path, name in zip(paths, names, strict=True):
        save_model(small_model(), path)
        with zipfile.ZipFile(path, "a") as archive:
            entry = zipfile.ZipInfo(name)
            if name.endswith("link"):
                entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "../../escaped")
    inside, beside = (outcomes := open_all(paths))[:2], outcomes[2:]
    assert [outcome.get("weights") for outcome in inside] == [digest(small_model())] * 2, inside
    assert all(
        "file in archive is not in a subdirectory" in check_refusal(outcome) for outcome in beside
    )
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_dir()) == paths


def test_text_out_of_a_file_does_not_steer_the_terminal(tmp_path, run):
    from inpaint.commands import INPAINT

    weights = {f"\x1b[2J{name}\n": value for name, value in small_model().state_dict().items()}
    save_model(small_model(), tmp_path / "m.pth", state_dict=weights)
    code, _, lines = run(INPAINT, "checkpoint", tmp_path / "m.pth", "-o", tmp_path / "new.pth")
    assert (
        code == 1
        and "does not fit" in lines[-1]
        and lines[-1].startswith("error: ")
        and lines[-1].isprintable()
    )


# --- damaged at random ----------------------------------------------------------------------------


def mutate(clean: bytes, rng: random.Random) -> bytes:
    """Flip some bits, cut off the end, or put zeros, noise or another part of the file
    somewhere."""
    data, kind = (
        bytearray(clean),
        rng.choice(["flip", "flip", "flip", "cut", "zeros", "noise", "move"]),
    )
    length = rng.choice([1, 4, 16, 64, 512])
    at, other = rng.randrange(len(data)), rng.randrange(len(data))
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 1, 2, 8, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "move":
        data[at : at + length] = data[other : other + length]
    else:
        data[at : at + length] = bytes(length) if kind == "zeros" else rng.randbytes(length)
    return bytes(data)


@pytest.mark.parametrize("suffix, count", [(".pth", 200), (".old.pth", 50), (".safetensors", 100)])
def test_mutated_files_are_refused_or_load_to_the_same_weights(tmp_path, suffix, count):
    clean, model = tmp_path / f"clean{suffix}", small_model()
    content = {
        "nunif_model": 1,
        "name": NAME,
        "kwargs": model.kwargs,
        "state_dict": model.state_dict(),
    }
    if suffix == ".pth":
        save_model(model, clean)
    elif suffix == ".old.pth":
        torch.save(content, clean, _use_new_zipfile_serialization=False)
    else:
        save_safetensors(model.state_dict(), clean, name=NAME, kwargs=model.kwargs)
    data = clean.read_bytes()
    files = {}
    for seed in range(count):
        files[tmp_path / f"{seed}{suffix}"] = changed = mutate(data, random.Random(seed))
        (tmp_path / f"{seed}{suffix}").write_bytes(changed)
    first, *outcomes = open_all([clean, *files])
    assert first["weights"] == digest(model)
    refused = 0
    for (path, changed), outcome in zip(files.items(), outcomes, strict=True):
        if "weights" in outcome and suffix == ".pth":
            assert outcome["weights"] == first["weights"], (
                f"seed {path.name}: other weights than were written"
            )
        elif "weights" in outcome:
            # these layouts have no checksums: numbers may be other ones, but not their names and
            # places
            assert len(changed) == len(data), f"seed {path.name}: a part of the file was loaded"
        else:
            check_refusal(outcome)
            refused += 1
    assert refused > count // 4


# --- the checkpoint of a run ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of the toy task, stopped in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("run")
    task = ToyTask()

    task.on_step = press_ctrl_c(at_step=5)
    with pytest.raises(KeyboardInterrupt):
        train(task, make_options(folder))
    return folder


def spoil(*keys, value=None):
    def change(training):
        place = training
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def drop(key):
    return lambda training: training.pop(key)


SPOILT = {
    "no state": drop("state"),
    "no optimizer": drop("optimizer"),
    "no history": drop("history"),
    "no world": drop("world_size"),
    "a world as text": spoil("world_size", value="all"),
    "a name of an optimizer": spoil("optimizer_name", value=None),
    "a state of another kind": spoil("state", value=[1, 2]),
    "an entry nobody knows": spoil("state", "color", value=1),
    "epochs below zero": spoil("state", "epochs_done", value=-3),
    "epochs as text": spoil("state", "epochs_done", value="many"),
    "a place outside the epoch": spoil("state", "epoch", "position", value=10**9),
    "an order of samples that are not there": spoil(
        "state", "epoch", "order", value=torch.full((7,), 10**9)
    ),
    "an order of fractions": spoil("state", "epoch", "order", value=torch.zeros(7)),
    "bad samples as a number": spoil("state", "bad", value=3),
    "moments of another shape": spoil("optimizer", "state", 0, "exp_avg", value=torch.zeros(1, 99)),
    "moments as text": spoil("optimizer", "state", value="none"),
    "groups of another model": spoil("optimizer", "param_groups", value=[]),
    "a history of another kind": spoil("history", "losses", value=3),
    "a history of another shape": spoil("history", "losses", value=torch.zeros(1, 2)),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_training_state_that_is_not_ours_is_one_clear_line(tmp_path, run_folder, name):
    path = tmp_path / "toy.net.checkpoint.pth"
    content = torch.load(run_folder / path.name, weights_only=True)
    SPOILT[name](content["training"])
    torch.save(content, path)
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        train(ToyTask(), make_options(tmp_path, resume=True))
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and "--reset-state" in message, message
    assert path.read_bytes() == before


def test_no_training_starts_from_weights_that_are_not_finite(tmp_path, run_folder):
    path = tmp_path / "toy.net.checkpoint.pth"
    content = torch.load(run_folder / path.name, weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] = float("nan")
    torch.save(content, path)
    before = path.read_bytes()
    for options in (
        make_options(tmp_path, resume=True),
        make_options(tmp_path, resume=True, reset_state=True),
        make_options(tmp_path / "new", checkpoint_file=str(path)),
    ):
        with pytest.raises(
            UserError,
            match=rf"{path.name} holds weights that are not finite \({name}: 1 of [0-9]+ are NaN",
        ):
            train(ToyTask(), options)
        assert path.read_bytes() == before


def test_code_in_a_checkpoint_is_not_run_on_resuming(tmp_path, run_folder, monkeypatch):
    monkeypatch.setattr(Code, "canary", str(tmp_path / "canary"))
    path = tmp_path / "toy.net.checkpoint.pth"
    content = torch.load(run_folder / path.name, weights_only=True)
    content["training"]["extra"] = Code()
    torch.save(content, path)
    for reset_state in (False, True):
        with pytest.raises(UserError, match="carries code, not only weights, and was not opened"):
            train(ToyTask(), make_options(tmp_path, resume=True, reset_state=reset_state))
    with pytest.raises(UserError, match="carries code"):
        train(ToyTask(), make_options(tmp_path / "new", checkpoint_file=str(path)))
    assert not (tmp_path / "canary").exists()


def test_mutated_checkpoints_resume_as_they_were_or_not_at_all(tmp_path, run_folder):
    path = tmp_path / "toy.net.checkpoint.pth"
    clean = (run_folder / path.name).read_bytes()
    values = torch.load(run_folder / path.name, weights_only=True)["training"]["state"]
    refused = 0
    for seed in range(60):
        path.write_bytes(mutate(clean, random.Random(seed)))
        try:
            # nothing is left to do, so the state is read and no more
            result = train(
                ToyTask(), make_options(tmp_path, resume=True, max_epoch=values["epochs_done"])
            )
            assert result.epochs_done == values["epochs_done"], f"seed {seed}"
        except UserError as error:
            assert path.name in str(error) and "\n" not in str(error), f"seed {seed}: {error}"
            refused += 1
    assert refused > 20
