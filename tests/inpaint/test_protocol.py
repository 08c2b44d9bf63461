"""docs/protocol.md: its command on data laid out as it says gives what papers' code would."""

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from inpaint.commands import INPAINT
from tests.models import save_lively_model

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
WIDTH, HEIGHT = 432, 240


def command(name):
    """The words of the page's command of that name, the name first."""
    (line,) = re.findall(rf"^python -m inpaint ({name} .*)$", PAGE.read_text("utf-8"), re.M)
    return shlex.split(line)


def lay_out(root, name, count, *, size, seed, folder="JPEGImages/480p"):
    """Numbered pictures (H, W) of a clip, and its masks of 432x240 in test_masks."""
    rng = np.random.default_rng(seed)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (size[0], size[1] + 60, 3), np.uint8), (0, 0), 3)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    pictures, masks = root / folder / name, root / "test_masks" / name
    pictures.mkdir(parents=True)
    masks.mkdir(parents=True)
    for t in range(count):
        Image.fromarray(wide[:, 4 * t : 4 * t + size[1]]).save(pictures / f"{t:05d}.jpg")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[60 + 5 * t : 100 + 5 * t, 100:180] = 255
        Image.fromarray(mask).save(masks / f"{t:05d}.png")


def in_their_way(root, names):
    """PSNR and SSIM of Telea's fill as the evaluations of E2FGVI and ProPainter compute them: the
    mean over all frames."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    psnr, ssim = [], []
    for name in names:
        for path in sorted((root / "JPEGImages/480p" / name).iterdir()):
            truth = np.array(Image.open(path).convert("RGB"))
            if truth.shape[:2] != (HEIGHT, WIDTH):
                truth = cv2.resize(truth, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            mask = Image.open(root / "test_masks" / name / f"{path.stem}.png")
            hole = (np.asarray(mask.resize((WIDTH, HEIGHT), Image.NEAREST)) > 0).astype(np.uint8)
            hole = cv2.dilate(hole, cross, iterations=4)
            emptied = truth * (1 - hole[..., None])
            filled = np.where(
                hole[..., None], cv2.inpaint(emptied, hole, 3, cv2.INPAINT_TELEA), truth
            )
            x, y = truth.astype(np.float64), filled.astype(np.float64)
            psnr.append(20 * np.log10(255 / np.sqrt(np.mean((x - y) ** 2))))
            ssim.append(structural_similarity(x, y, channel_axis=2, data_range=255, win_size=65))
    return {"psnr": np.mean(psnr), "ssim": np.mean(ssim)}


def test_the_command_gives_the_numbers_of_papers(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    davis = tmp_path / "davis"
    lay_out(davis, "bear", 2, size=(480, 854), seed=0)
    lay_out(davis, "camel", 4, size=(HEIGHT, WIDTH), seed=1)
    pictures = davis / "JPEGImages/480p"
    shutil.copytree(pictures / "bear", pictures / "without")
    words = command("evaluate")
    words[words.index("-m") + 1] = "telea"
    code, table, lines = run(INPAINT, *words, "--baselines", "none", "--gpu", "-1")
    assert code == 0, lines
    assert any("without" in line and "has 0 masks of that name" in line for line in lines)
    scores = json.loads(Path("scores/davis/scores.json").read_text())
    theirs = in_their_way(davis, ["bear", "camel"])
    ours = scores["mean_over_frames"]["masks"]["telea"]
    assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=1e-3)
    assert ours["ssim"] == pytest.approx(theirs["ssim"], abs=1e-5)
    assert abs(scores["mean"]["masks"]["telea"]["psnr"] - theirs["psnr"]) > 0.01  # over clips
    assert "mean over all frames" in table
    assert [row["frames"] for row in scores["clips"]] == [2, 4]


def test_clips_are_filled_for_the_published_code(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out(
        tmp_path / "davis", "bear", 2, size=(HEIGHT, WIDTH), seed=0, folder="JPEGImages_432_240"
    )
    words = command("apply")
    words[words.index("--model") + 1] = str(save_lively_model(tmp_path / "model.pth"))
    code, _, lines = run(INPAINT, *words, "--gpu", "-1")
    assert code == 0, lines
    assert len(list(Path("filled/bear").glob("*.png"))) == 2
