"""`train.py character` and `python -m character evaluate`: from records to scores."""

import json
import shutil

import pytest
import torch

pytest.importorskip("diffusers", reason="the networks come with the extra [character]")

from character.commands import CHARACTER, TRAIN
from character.curriculum import read_stages
from character.dataset import KeptClips
from character.latents import read_latents
from character.models.identity import Thumbnail
from character.options_train import TrainOptions
from character.task import draw_steps
from matting.commands import CREATE_TRAINING_DATA
from nunif import cli
from nunif.models import load_model, read_checkpoint
from nunif.training.task import Draw

pytestmark = pytest.mark.usefixtures("no_curves")

NAME = "character.tiny"
SMALL = ("--size", 32, "--frames", 2, "--crops", 1, "--gpu", -1)
STEADY = ("--scheduler", "step", "--learning-rate-decay", 1.0)
STAGES = """
common: {epochs: 1}
stages:
  - {name: pictures, learn: pictures, frames: 1}
  - {name: movement, learn: motion, frames: 2, null_share: 1.0}
"""


def command(table, *words):
    assert cli.run(table, [str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three records to learn from and three to evaluate by; one of these shows two people."""
    folder = tmp_path_factory.mktemp("world")
    for name, seed, people, num in (("train", 1, 1, 3), ("eval", 2, 1, 3), ("eval", 3, 2, 1)):
        command(
            CREATE_TRAINING_DATA, "world", "-o", folder / name, "--num", num, "--size", "40x64",
            "--seq", 3, "--seed", seed, "--people", people, "--prefix", f"{name}{people}",
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """Two epochs in one go."""
    folder = tmp_path_factory.mktemp("whole")
    command(
        TRAIN, "character", "-i", world, "--model-dir", folder, *SMALL, *STEADY, "--max-epoch", 2
    )  # fmt: skip
    return folder


def weights(folder, name=f"{NAME}.checkpoint.pth"):
    return read_checkpoint(folder / name)["state_dict"]


def test_a_resumed_run_equals_a_whole_one_to_the_bit(run, world, whole, tmp_path):
    words = ("-i", world, "--model-dir", tmp_path, *SMALL, *STEADY)
    code, _, lines = run(TRAIN, "character", *words, "--max-epoch", 1)
    assert code == 0, lines
    assert f"latents in {tmp_path / 'latents'}: made 3, kept 0" in lines
    assert any("1 of 4 records show nobody or several people" in line for line in lines)
    half = weights(tmp_path)
    code, _, lines = run(TRAIN, "character", *words, "--max-epoch", 2, "--resume")
    assert code == 0, lines
    assert f"latents in {tmp_path / 'latents'}: made 0, kept 3" in lines
    one, other = weights(whole), weights(tmp_path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    changed = {name for name in one if not torch.equal(one[name], half[name])}
    for part in ("denoiser.conv_in.", "reference_net.conv_in.", "skin.codes", "pose_guider."):
        assert any(name.startswith(part) for name in changed), part
    assert not any(name.startswith(("codec.", "image_encoder.")) for name in changed)
    model, content = load_model(tmp_path / f"{NAME}.pth", expect="character.")
    assert model.kwargs["size"] == 32 and content["metrics"]["latent_error"] > 0


def test_only_what_changed_is_encoded_again(run, world, whole, tmp_path):
    other = tmp_path / "world"
    shutil.copytree(world, other)
    first = min((other / "train").iterdir())
    shutil.copy(first / "0001_C.png", first / "0000_C.png")
    latents = tmp_path / "latents"
    shutil.copytree(whole / "latents", latents)
    damaged = sorted(latents.iterdir())
    words = ("-i", other, "--model-dir", tmp_path / "m", *SMALL, "--latents-dir", latents)
    checkpoint = whole / f"{NAME}.pth"  # which has the codec that they were made with
    code, _, lines = run(
        TRAIN, "character", *words, "--skip-eval", "--max-epoch", 1, "--checkpoint-file", checkpoint
    )
    assert code == 0, lines
    assert f"latents in {latents}: made 1, kept 2" in lines
    assert len(list(latents.iterdir())) == len(damaged) + 1


@pytest.mark.slow
def test_stages_learn_what_they_say(run, world, tmp_path):
    (tmp_path / "stages.yaml").write_text(STAGES, encoding="utf-8")
    code, _, lines = run(
        TRAIN, "character", "-i", world, "--model-dir", tmp_path / "m", *SMALL, "--no-ema-model",
        "--skip-eval", "--target", "v", "--curriculum", tmp_path / "stages.yaml",
    )  # fmt: skip
    assert code == 0, lines
    first, last = (weights(tmp_path / "m", f"stage{number}_final.pth") for number in (1, 2))
    still = {name for name in first if torch.equal(first[name], last[name])}
    learned = {name for name in first if "motion_modules" in name and "pos_embed" not in name}
    # they begin at 0, and pictures leave them there
    assert all(not first[name].any() for name in learned if name.endswith("proj_out.weight"))
    assert all(last[name].any() for name in learned if name.endswith("proj_out.weight"))
    assert {name for name in first if "motion_modules" not in name} <= still
    model, _ = load_model(tmp_path / "m" / "stage2_final.pth")
    assert model.kwargs["target"] == "v"


@pytest.mark.slow
def test_who_is_never_shown_is_never_learned_from(run, world, tmp_path):
    words = ("-i", world, "--model-dir", tmp_path, *SMALL, "--skip-eval", "--no-ema-model")
    code, _, lines = run(TRAIN, "character", *words, "--max-epoch", 1, "--null-share", 1)
    assert code == 0, lines
    training = read_checkpoint(tmp_path / f"{NAME}.checkpoint.pth")["training"]
    moved = {int(each["step"]) for each in training["optimizer"]["state"].values()}
    num_learned = sum(len(group["params"]) for group in training["optimizer"]["param_groups"])
    model, _ = load_model(tmp_path / f"{NAME}.pth")
    num_reference = sum(p.requires_grad for p in model.reference_net.parameters())
    assert moved == {1} and num_reference > 100
    # no gradient reaches the reference network, so Adam has nothing of it
    assert len(training["optimizer"]["state"]) == num_learned - num_reference


def test_what_an_evaluation_tells(run, world, whole, tmp_path):
    words = ("-i", world / "eval", "-m", whole / f"{NAME}.pth", "--num", 3, "--steps", 2)
    code, out, lines = run(CHARACTER, "evaluate", *words, "--gpu", -1, "-o", tmp_path)
    assert code == 0, lines
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(scores["rows"]) == ["truth", "own codes", "motion", "identity", "scene"]
    assert scores["rows"]["truth"]["scene"] > scores["rows"]["scene"]["scene"]
    assert "driven body IoU" in out and (tmp_path / "codes.png").stat().st_size > 1000
    code, _, lines = run(CHARACTER, "evaluate", *words[:4], "--num", 5)
    assert code == 1 and lines[-1].endswith(
        "3 records show one person and its movement, 5 are needed: make some with "
        "create_training_data.py world --people 1"
    )


def test_the_recipes_that_come_along():
    options = TrainOptions(preset="sd15", data_dir="x", curriculum="animate_anyone")
    pictures, movement = (stage.options for stage in read_stages(options))
    assert (pictures.learn, pictures.frames, pictures.size) == ("pictures", 1, 768)
    assert (movement.learn, movement.frames, movement.size) == ("motion", 24, 512)
    assert movement.frame_step == 4
    assert pictures.num_samples * pictures.max_epoch == 30_000 * 4
    assert movement.num_samples * movement.max_epoch == 10_000 * 4
    (whole,) = read_stages(TrainOptions(preset="mimo", data_dir="x", curriculum="mimo"))
    assert whole.options.num_samples * whole.options.max_epoch == 50_000 * 4
    for own in (pictures, movement, whole.options):
        assert own.learning_rate == 1e-5 and own.learning_rate_decay == 1
        assert (own.snr_gamma, own.noise_offset, own.null_share) == (5, 0.05, 0.1)
        assert own.batch_size * own.backward_step == 4


def test_a_share_of_the_updates_sees_single_frames(whole):
    files = [("a", path) for path in sorted((whole / "latents").iterdir())]
    sets = {share: KeptClips(files, share) for share in (0, 0.75, 1)}
    lengths = {
        share: [kept[Draw(0, 5, window)]["face"].shape[0] for window in range(8)]
        for share, kept in sets.items()
    }
    assert lengths == {0: [2] * 8, 0.75: [2, 1, 1, 1] * 2, 1: [1] * 8}
    clip = sets[0][Draw(1, 3)]
    stills = [sets[1][Draw(1, seed)] for seed in range(8)]
    frames = {name: clip[name].unbind(1) for name in ("target", "scene", "occlusion")}
    places = []
    for still in stills:
        (place,) = [i for i in (0, 1) if torch.equal(still["face"][0], clip["face"][i])]
        assert all(torch.equal(still[name][:, 0], frames[name][place]) for name in frames)
        assert torch.equal(still["identity"], clip["identity"])
        places.append(place)
    assert set(places) == {0, 1}


@pytest.mark.parametrize("bias, strong", [(1.0, 0.2), (3.0, 0.585)])
def test_strong_noise_is_drawn_as_often_as_is_said(bias, strong):
    torch.manual_seed(0)
    steps = draw_steps(20_000, bias)
    assert 0 <= int(steps.min()) <= 2 and int(steps.max()) == 999
    assert (steps >= 800).double().mean().item() == pytest.approx(strong, abs=0.01)


def test_a_small_models_vectors_are_fitted_to_the_people_it_learns_from(whole):
    model, _ = load_model(whole / f"{NAME}.pth")
    kept = [read_latents(path) for path in sorted((whole / "latents").iterdir())]
    looks = torch.stack([each["looks"] for each in kept]).permute(0, 3, 1, 2) / 127.5 - 1
    vectors = model.embed(looks)
    assert torch.allclose(vectors, torch.stack([each["embedding"] for each in kept]), atol=2e-3)
    assert vectors.std(0).norm() > vectors.mean(0).norm() > 0


def test_vectors_of_pictures_are_their_principal_components():
    rng = torch.Generator().manual_seed(0)
    shirts, skins = torch.randn(2, 200, 1, generator=rng) * torch.tensor([[[0.4]], [[0.1]]])
    pictures = torch.zeros(200, 3, 8, 8)
    pictures[:, 0, :, :4] = shirts[..., None]  # red on the left
    pictures[:, 2, :, 4:] = 0.2 + skins[..., None]
    encoder = Thumbnail(2, 2)
    encoder.fit(pictures)
    vectors = encoder(pictures)
    assert vectors.shape == (200, 1, 2) and vectors.mean(0).abs().max() < 1e-5
    for number, given in enumerate((shirts, skins)):
        both = torch.stack([vectors[:, 0, number], given[:, 0]])
        assert torch.corrcoef(both)[0, 1].abs() > 0.99
    assert vectors.std(0)[0].tolist() == pytest.approx([1, 0.93], abs=0.03)


@pytest.mark.parametrize(
    "words, message",
    [
        (("--target", "epsilon"), "choose --target v or sample, or add --no-zero-snr"),
        (("--size", 36), "--size 36 is no multiple of 8, as it must be"),
        (("--frames", 40), "--frames 40 is more than the 32 that character.tiny can tell apart"),
        (("--init", "x"), "choose --preset mimo or sd15"),
        (("--preset", "mimo", "--motion", "codes"), "choose --preset sd15, or leave it out"),
        (("--preset", "large"), "--preset large is not known: choose one of tiny, mimo, sd15"),
    ],
)
def test_what_does_not_go_is_said_in_a_line(run, world, tmp_path, words, message):
    code, _, lines = run(TRAIN, "character", "-i", world, "--model-dir", tmp_path, *words)
    assert code == 1 and lines[-1].endswith(message)


def test_records_that_will_not_do(run, world, tmp_path):
    code, _, lines = run(TRAIN, "character", "--model-dir", tmp_path)
    assert code == 1 and lines[-1].endswith("give the folder that holds train/ and eval/")
    other = tmp_path / "world"
    shutil.copytree(world, other)
    for pose in other.glob("*/*/pose.npz"):
        pose.unlink()
    words = ("-i", other, "--model-dir", tmp_path / "m", *SMALL, "--max-epoch", 1)
    code, _, lines = run(TRAIN, "character", *words)
    assert code == 1 and "its pose.npz can't be read" in lines[-1]
    # what has no bodies teaches all but the movement
    code, _, lines = run(TRAIN, "character", *words, "--motion", "none", "--skip-eval")
    assert code == 0, lines
