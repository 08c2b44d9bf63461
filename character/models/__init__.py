"""The task's models; importing this package enters them in the table of `nunif.models`. diffusers
is imported when one of them is built."""

from typing import Any

from character.models.network import Bank, CharacterNetwork
from character.models.pose import Surface
from nunif.models.registry import register_model

__all__ = ["PRESETS", "Bank", "CharacterNetwork", "Surface"]

_LARGE: dict[str, Any] = {
    "widths": (320, 640, 1280, 1280),
    "layers": 2,
    "groups": 32,
    "heads": 8,
    "cross": 768,
    "codec": "kl",
    "guider": (16, 32, 96, 256),
    "frames": 24,
    # CLIP ViT-L/14
    "image_encoder": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "projection_dim": 768,
    },
}
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "widths": (32, 64),
        "layers": 1,
        "groups": 8,
        "heads": 4,
        "cross": 32,
        "codec": "dct",
        "guider": (16, 24, 32),
        "pose_channels": 16,
        "size": 64,
        "frames": 6,
        "all_cross": True,
        "target": "sample",
        "scene_skip": True,
        # frozen as it is drawn
        "image_encoder": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 8,
            "image_size": 64,
            "projection_dim": 32,
        },
    },
    # as published: nothing is in front, the body is painted with colours
    "mimo": {
        **_LARGE, "size": 784, "occlusion": False, "pose_channels": 3, "motion": "colours",
    },
    "sd15": {**_LARGE, "size": 512, "pose_channels": 16},
}  # fmt: skip

for _name, _sizes in PRESETS.items():
    register_model(f"character.{_name}", CharacterNetwork, **_sizes)
