"""The recipe `rvm` with all its stages and passes, made small."""

from pathlib import Path

import yaml

from matting.curriculum import RECIPE_FOLDER

SMALL = {"size": 128, "clip_length": 2, "high_size": 128, "high_clip_length": 1, "epochs": 1}
SMALL |= {"backward_step": 1, "num_samples": 2, "high_ratio": 0.5}


def shrink_recipe(folder: Path) -> Path:
    """Write it into a folder; returns the file. Each stage makes two updates."""
    recipe = yaml.safe_load((RECIPE_FOLDER / "rvm.yaml").read_text(encoding="utf-8"))
    recipe["common"]["num_samples"] = SMALL["num_samples"]
    for block in [recipe["common"], *recipe["stages"]]:
        block |= {key: value for key, value in SMALL.items() if key in block}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path
