"""Released checkpoints: the command that shows and converts them, and all that --checkpoint-file
takes."""

import errno
import hashlib
import http.server
import io
import json
import re
import threading
from functools import partial

import pytest
import safetensors
import torch

from inpaint.commands import INPAINT, TRAIN
from inpaint.models.dstt import DSTT
from inpaint.releases import RELEASES
from nunif.models import create_model, load_model, registry, save_model
from nunif.models.checkpoint import LAYOUTS
from nunif.runtime.options import FILE_LAYOUTS
from tests.inpaint.test_dstt import SMALL, ours_of, published
from tests.records import make_dataset

pytestmark = pytest.mark.usefixtures("no_curves")

TINY = "inpaint.memory_dstt_v1_tiny"
SIZES = dict(channels=16, hidden=16, num_blocks=2)


@pytest.fixture(autouse=True)
def small_dstt(monkeypatch):
    """The published DSTT, in a size for tests."""
    create_model(TINY)
    monkeypatch.setitem(registry._table, "inpaint.dstt_v1", (DSTT, SMALL))


@pytest.fixture
def model():
    torch.manual_seed(5)
    return create_model(TINY, **SIZES)


@pytest.fixture
def saved(model, tmp_path):
    extra = dict(
        updated_at="2025-09-19T01:02:03+00:00", epoch=7, metrics={"loss": 0.125, "psnr": 30.0}
    )
    save_model(model, tmp_path / "m.pth", **extra, train_kwargs={"seed": 71})
    return tmp_path / "m.pth"


@pytest.fixture
def official(tmp_path):
    """A file as the published code saves it, and the network in it."""
    net = published(**SMALL)
    torch.save({"netG": net.state_dict()}, tmp_path / "dstt.pth")
    return tmp_path / "dstt.pth", net


def facts(output):
    return dict(line.split(maxsplit=1) for line in output.splitlines())


def same(weights, model):
    expected = model.state_dict()
    return weights.keys() == expected.keys() and all(
        torch.equal(weights[name], expected[name]) for name in expected
    )


# --- what is inside -------------------------------------------------------------------------------


def test_shows_what_a_model_file_holds(run, saved, model):
    code, output, _ = run(INPAINT, "checkpoint", saved)
    assert code == 0
    found = facts(output)
    count = sum(tensor.numel() for tensor in model.state_dict().values())
    assert found.pop("arguments").startswith("channels=16, hidden=16, num_blocks=2, num_heads=2")
    assert found == {
        "file": str(saved),
        "layout": "nunif",
        "name": TINY,
        "date": "2025-09-19T01:02:03+00:00",
        "epoch": "7",
        "metrics": "loss=0.125, psnr=30",
        "parameters": f"{count:,} in {len(model.state_dict())} tensors (float32)",
        "further": "train_kwargs",
        "size": f"{saved.stat().st_size:,} bytes",
        "sha256": hashlib.sha256(saved.read_bytes()).hexdigest(),
    }


def test_shows_plain_and_official_files(run, model, official, tmp_path):
    torch.save(dict(model.state_dict()), tmp_path / "plain.pth")
    found = facts(run(INPAINT, "checkpoint", tmp_path / "plain.pth")[1])
    assert found["layout"] == "state-dict" and found["name"].startswith(
        "not told by the file: --arch NAME -o FILE"
    )
    assert "arguments" not in found and "epoch" not in found
    found = facts(run(INPAINT, "checkpoint", official[0])[1])
    assert found["layout"] == "official DSTT" and found["name"] == "inpaint.dstt_v1"


@pytest.mark.parametrize("nest", ["model_state_dict", "net", "params_ema"])
def test_official_weights_of_a_compiled_network_are_recognised(run, official, tmp_path, nest):
    weights = {
        f"module._orig_mod.{name}": tensor for name, tensor in official[1].state_dict().items()
    }
    torch.save({nest: weights, "epoch": 3}, tmp_path / "compiled.pth")
    assert (
        facts(run(INPAINT, "checkpoint", tmp_path / "compiled.pth")[1])["layout"] == "official DSTT"
    )
    loaded, expected = (
        load_model(path, expect="inpaint.")[0] for path in (tmp_path / "compiled.pth", official[0])
    )
    assert same(loaded.state_dict(), expected)


def test_text_from_a_file_does_not_steer_the_terminal(run, model, tmp_path):
    save_model(model, tmp_path / "m.pth", epoch="\x1b[2J\n7")
    assert facts(run(INPAINT, "checkpoint", tmp_path / "m.pth")[1])["epoch"] == "?[2J?7"


# --- conversion -----------------------------------------------------------------------------------


def test_round_trip_through_all_layouts(run, saved, model, tmp_path):
    safe, plain, back = (
        tmp_path / "a" / "m.safetensors",
        tmp_path / "plain.pth",
        tmp_path / "back.pth",
    )
    code, _, lines = run(INPAINT, "checkpoint", saved, "-o", safe)
    assert code == 0 and f"{safe} has no place for: train_kwargs" in lines
    with safetensors.safe_open(safe, "pt") as file:
        assert file.metadata()["name"] == TINY
    loaded, entries = load_model(safe, expect="inpaint.")
    assert (
        same(loaded.state_dict(), model)
        and entries["epoch"] == 7
        and entries["metrics"] == {"loss": 0.125, "psnr": 30.0}
    )
    assert entries["updated_at"] == "2025-09-19T01:02:03+00:00"
    code, _, lines = run(INPAINT, "checkpoint", safe, "-o", plain, "--to", "state-dict")
    assert (
        code == 0 and f"{plain} has no place for: name, kwargs, updated_at, epoch, metrics" in lines
    )
    assert same(torch.load(plain, weights_only=True), model)
    assert run(INPAINT, "checkpoint", safe, "-o", back)[0] == 0
    assert torch.load(back, weights_only=True)["nunif_model"] == 1
    loaded, entries = load_model(back)
    assert (
        same(loaded.state_dict(), model) and loaded.kwargs == model.kwargs and entries["epoch"] == 7
    )


def test_half_precision_halves_a_file(run, saved, model, tmp_path):
    half = tmp_path / "half.pth"
    assert run(INPAINT, "checkpoint", saved, "-o", half, "--half")[0] == 0
    assert half.stat().st_size < 0.6 * saved.stat().st_size
    opened = load_model(half)[0].state_dict()
    for name, tensor in model.state_dict().items():
        assert opened[name].dtype == tensor.dtype
        assert torch.equal(opened[name], tensor.half().to(tensor.dtype)), name
    name = next(key for key, value in model.state_dict().items() if value.is_floating_point())
    model.state_dict()[name].fill_(1e5)
    save_model(model, tmp_path / "large.pth")
    code, _, lines = run(INPAINT, "checkpoint", tmp_path / "large.pth", "-o", half, "--half")
    assert code == 1 and f"{name} has weights above 65504" in lines[-1]
    code, _, lines = run(INPAINT, "checkpoint", saved, "--half")
    assert code == 1 and "--half is for the file that -o writes" in lines[-1]


def test_the_same_layout_keeps_every_entry_and_every_type(run, model, tmp_path):
    save_model(model.half(), tmp_path / "half.pth", training={"optimizer": {0: torch.ones(2)}})
    assert run(INPAINT, "checkpoint", tmp_path / "half.pth", "-o", tmp_path / "copy.pth")[0] == 0
    content = torch.load(tmp_path / "copy.pth", weights_only=True)
    assert (
        same(content["state_dict"], model)
        and next(iter(content["state_dict"].values())).dtype == torch.float16
    )
    assert torch.equal(content["training"]["optimizer"][0], torch.ones(2))


@pytest.mark.parametrize("nested", [False, True])
def test_plain_tensors_become_a_model_by_its_name(run, tmp_path, nested):
    model = create_model(TINY)
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights} if nested else weights, tmp_path / "plain.pth")
    arguments = ["checkpoint", tmp_path / "plain.pth", "-o", tmp_path / "m.pth"]
    code, _, lines = run(INPAINT, *arguments)
    assert code == 1 and lines[-1].endswith(
        "plain.pth holds only tensors and does not tell of which model: add --arch NAME"
    )
    assert run(INPAINT, *arguments, "--arch", "memory_dstt_v1_tiny")[0] == 0
    loaded, _ = load_model(tmp_path / "m.pth")
    assert loaded.name == TINY and same(loaded.state_dict(), model)


def test_safetensors_without_a_name(run, model, tmp_path):
    torch.save(dict(model.state_dict()), tmp_path / "plain.pth")
    assert (
        run(INPAINT, "checkpoint", tmp_path / "plain.pth", "-o", tmp_path / "m.safetensors")[0] == 0
    )
    found = facts(run(INPAINT, "checkpoint", tmp_path / "m.safetensors")[1])
    assert found["layout"] == "safetensors" and found["name"].startswith("not told")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "wrap", [lambda w: {"netG": w}, lambda w: w, lambda w: {f"module.{n}": t for n, t in w.items()}]
)
def test_official_dstt_is_converted_by_itself(run, official, tmp_path, wrap, suffix):
    path, net = official
    torch.save(wrap(net.state_dict()), path)
    code, _, lines = run(INPAINT, "checkpoint", path, "-o", tmp_path / f"ours{suffix}")
    assert code == 0, lines
    loaded, _ = load_model(tmp_path / f"ours{suffix}")
    assert loaded.name == "inpaint.dstt_v1" and same(loaded.state_dict(), ours_of(net, **SMALL))
    direct, _ = load_model(path, expect="inpaint.")
    assert same(direct.state_dict(), loaded)


def test_what_cannot_be_converted(run, saved, model, official, tmp_path):
    weights = dict(model.state_dict())
    names = list(weights)
    torch.save({name: weights[name] for name in names[7:]}, tmp_path / "less.pth")
    torch.save({**weights, names[0]: torch.zeros(3)}, tmp_path / "shape.pth")
    net = official[1].state_dict()
    torch.save(
        {"netG": {name: net[name] for name in net if not name.startswith("encoder.")}},
        tmp_path / "cut.pth",
    )
    save_model(model, tmp_path / "gone.pth", name="inpaint.gone")
    save_model(model, tmp_path / "wide.pth", kwargs={**SIZES, "hidden": "wide"})
    torch.save(
        {"nunif_model": 1, "name": TINY, "kwargs": {}, "state_dict": print}, tmp_path / "code.pth"
    )
    (tmp_path / "torn.pth").write_bytes(saved.read_bytes()[:-3000])
    arch = ["--arch", "memory_dstt_v1_tiny"]
    for name, more, message in (
        (
            "less.pth",
            arch,
            rf"less.pth does not fit {TINY}: missing {', '.join(names[:5])} and 34 more; another "
            r"shape ",
        ),
        ("shape.pth", arch, rf"another shape {names[0]} \(3,\) for \("),
        (
            "cut.pth",
            [],
            r"cut.pth does not fit the published DSTT: missing encoder.0.weight, "
            r".*encoder.4.weight and 3 more$",
        ),
        (
            "dstt.pth",
            arch,
            rf"dstt.pth holds the model 'inpaint.dstt_v1', not --arch {TINY}: leave --arch out",
        ),
        (
            "m.pth",
            ["--arch", "dstt_v1"],
            rf"m.pth holds the model '{TINY}', not --arch inpaint.dstt_v1",
        ),
        ("gone.pth", [], r"gone.pth: unknown model 'inpaint.gone': known are inpaint.dstt_v1, "),
        ("wide.pth", [], rf"wide.pth: {TINY} can't be built with .*'hidden': 'wide'"),
        ("less.pth", ["--arch", "gone"], r"less.pth: unknown model 'inpaint.gone'"),
        ("code.pth", [], r"code.pth carries code, not only weights, and was not opened"),
        ("torn.pth", [], r"torn.pth (is torn|is not a model file)"),
        ("none.pth", [], r"none.pth does not exist"),
        (
            "m.pth",
            ["--to", "onnx"],
            r"--to onnx is not known: choose one of nunif, state-dict, safetensors",
        ),
    ):
        code, _, lines = run(
            INPAINT, "checkpoint", tmp_path / name, "-o", tmp_path / "out" / "new.pth", *more
        )
        assert code == 1 and re.search(message, lines[-1]) and lines[-1].startswith("error: "), (
            lines
        )
        assert not (tmp_path / "out" / "new.pth").exists()


def test_the_option_offers_every_layout():
    assert FILE_LAYOUTS == LAYOUTS


def test_options_that_need_an_output(run, saved):
    for more in (["--to", "nunif"], ["--arch", "dstt_v1"]):
        code, _, lines = run(INPAINT, "checkpoint", saved, *more)
        assert code == 1 and f"{more[0]} is for the file that -o writes" in lines[-1]


def test_a_file_is_not_written_over_itself(run, saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    before = saved.read_bytes()
    code, _, lines = run(INPAINT, "checkpoint", saved, "-o", "m.pth")
    assert code == 1 and "is the file that is read: give another name" in lines[-1]
    assert saved.read_bytes() == before


@pytest.mark.parametrize("to", ["nunif", "state-dict", "safetensors"])
def test_a_full_disk_leaves_the_old_file(run, saved, tmp_path, monkeypatch, to):
    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr("nunif.files.open", FullDisk, raising=False)
    code, _, lines = run(INPAINT, "checkpoint", saved, "-o", tmp_path / "old", "--to", to)
    assert code == 1 and "disk full while writing" in lines[-1]
    assert (tmp_path / "old").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth", "old"]


# --- --checkpoint-file ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), train=1, eval=1)


@pytest.fixture
def start(run, data, tmp_path, monkeypatch):
    """Train one epoch at a learning rate of 0 from a checkpoint file, and give the code, the
    weights and the lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def start(file, *more, name=TINY):
        words = ["inpaint", "-i", data, "--model-dir", "run", "--checkpoint-file", file]
        words += "--video --tile-size 32 --num-samples 12 --max-epoch 1".split()
        words += "--learning-rate 0 --learning-rate-cosine-min 0".split()
        words += "--gpu -1 --num-workers 0 --disable-tensorboard".split()
        code, _, lines = run(TRAIN, *words, *more)
        path = tmp_path / "run" / f"{name}.pth"
        return code, load_model(path)[0].state_dict() if path.exists() else None, lines

    return start


@pytest.fixture
def served(tmp_path):
    """A folder, and the address that gives its files; `.asked` lists the requests."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    folder = tmp_path / "web"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_starts_from_an_address_and_fetches_it_once(start, served, tmp_path):
    folder, address, asked = served
    model = create_model(TINY)
    save_model(model, folder / "m.pth")
    name = f"m-{hashlib.sha256((folder / 'm.pth').read_bytes()).hexdigest()[:10]}.pth"
    (folder / "m.pth").rename(folder / name)
    code, weights, lines = start(f"{address}/{name}")
    assert code == 0, lines
    assert same(weights, model)
    assert (tmp_path / "pretrained_models" / "hub" / "checkpoints" / name).is_file()
    assert start(f"{address}/{name}")[0] == 0
    assert asked == [f"/{name}"]


def test_starts_from_the_name_of_a_release(start, served, monkeypatch):
    folder, address, _ = served
    model = create_model(TINY)
    save_model(model, folder / "released_2025.pth")
    monkeypatch.setitem(RELEASES, "released", f"{address}/released_2025.pth")
    code, weights, lines = start("released")
    assert code == 0, lines
    assert same(weights, model)


def test_starts_from_safetensors(start, saved, run, tmp_path):
    model = create_model(TINY)
    save_model(model, tmp_path / "m.pth")
    assert run(INPAINT, "checkpoint", tmp_path / "m.pth", "-o", tmp_path / "m.safetensors")[0] == 0
    code, weights, lines = start(tmp_path / "m.safetensors")
    assert code == 0, lines
    assert same(weights, model)


@pytest.mark.slow
def test_trains_and_evaluates_from_official_dstt(start, official, run, data, tmp_path):
    path, net = official
    code, weights, lines = start(path, name="inpaint.dstt_v1")
    assert code == 0, lines
    assert same(weights, ours_of(net, **SMALL))
    assert not any("was made with" in line for line in lines)
    words = ["evaluate", "-i", data / "eval", "--tile-size", "32", "--gpu", "-1", "-m"]
    scores = []
    for number, file in enumerate((tmp_path / "run" / "inpaint.dstt_v1.pth", path)):
        out = tmp_path / f"scores{number}"
        code, table, lines = run(INPAINT, *words, f"net={file}", "-o", out)
        assert code == 0 and "better on" in table, lines
        rows = json.loads((out / "scores.json").read_text(encoding="utf-8"))["clips"]
        scores.append([{**row, "fps": None} for row in rows])
    assert scores[0] == scores[1]


def test_trains_dstt_afresh(run, data, tmp_path):
    words = [
        "inpaint",
        "-i",
        data,
        "--model-dir",
        tmp_path,
        "--video",
        "--tile-size",
        "32",
        "--num-samples",
        "12",
    ]
    words += [
        "--gpu",
        "-1",
        "--num-workers",
        "0",
        "--disable-tensorboard",
        "--max-epoch",
        "1",
        "--arch",
        "dstt_v1",
    ]
    code, _, lines = run(TRAIN, *words)
    assert code == 0, lines
    assert load_model(tmp_path / "inpaint.dstt_v1.pth")[1]["epoch"] == 1


def test_files_to_start_from_that_cannot_work(start, official, served, tmp_path):
    _, address, _ = served
    torch.save({"a": torch.zeros(1)}, tmp_path / "plain.pth")
    known = "one of the known releases: iw3_light_video_inpaint_v1"
    for file, more, message in (
        (
            "none.pth",
            [],
            "none.pth does not exist: give the path or http(s) address of a model file, or "
            f"{known}",
        ),
        ("iw3_light", [], known),
        (
            f"{address}/none.pth",
            [],
            f"{address}/none.pth can't be fetched, the server says 404 File not found",
        ),
        (
            official[0],
            ["--arch", "memory_dstt_v1_tiny"],
            "dstt.pth holds the model 'inpaint.dstt_v1', but ",
        ),
        (
            tmp_path / "plain.pth",
            [],
            "plain.pth holds no model in this project's layout, only tensors",
        ),
    ):
        code, weights, lines = start(file, *more)
        assert code == 1 and message in lines[-1] and weights is None, lines


def test_resuming_fetches_nothing(start, served, tmp_path):
    folder, address, asked = served
    save_model(create_model(TINY), folder / "m.pth")
    assert start(f"{address}/m.pth")[0] == 0
    asked.clear()
    code, _, lines = start(
        f"{address}/other.pth", "--arch", "memory_dstt_v1_tiny", "--resume", "--max-epoch", "2"
    )
    assert code == 0 and asked == []
    assert any(line.startswith("--checkpoint-file has no effect with --resume") for line in lines)


def test_the_known_releases():
    assert RELEASES == {
        "iw3_light_video_inpaint_v1": (
            "https://github.com/nagadomi/nunif/releases/download/0.0.0/iw3_light_video_inpaint_v1_20250919.pth"
        )
    }
