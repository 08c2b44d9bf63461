"""The names behind --model-type: where each model comes from and on what terms. Imports nothing
heavy."""

import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

from nunif.errors import UserError

MOTION_PARALLAX = "MotionParallax"
FREE_LICENCES = ("Apache-2.0", "MIT")


class ClipRejected(Exception):
    """An estimator can't work on this clip. `reason` is short and free of numbers, so that reasons
    can be counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class HubEntry:
    """Entry point of a torch.hub repository: third-party code, run only when the user allows it."""

    repo: str
    entry: str
    nearest: str  # the nearest model that runs no third-party code
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DepthModel:
    """One network. It comes from a transformers repository (`repo_id`), or else from torch.hub
    (`hub`)."""

    family: Literal["depth_anything", "zoe", "zoe_any", "depth_pro", "any_v3"]  # how it is fed
    output: Literal["disparity", "distance"]  # what it gives: big = near, or metres
    repo_id: str | None = None
    licence: str = "Apache-2.0"  # of the weights, as their page says
    hub: HubEntry | None = None


def _depth_anything_models() -> dict[str, DepthModel]:
    v2 = "depth-anything/Depth-Anything-V2"
    table = {}
    for letter, size in (("S", "Small"), ("B", "Base"), ("L", "Large")):
        repo_ids = {
            "Any": f"LiheYoung/depth-anything-{size.lower()}-hf",
            "Any_V2": f"{v2}-{size}-hf",
        }
        licences = {
            "Any": "Apache-2.0",
            "Any_V2": "Apache-2.0" if letter == "S" else "CC-BY-NC-4.0",
        }
        for name, repo_id in repo_ids.items():
            table[f"{name}_{letter}"] = DepthModel(
                "depth_anything", "disparity", repo_id, licences[name]
            )
        # The pages of the metric models and V2's readme disagree, and Small's page has no tag.
        licence = (
            "unclear, see its page"
            if letter == "S"
            else "Apache-2.0 by its page, CC-BY-NC-4.0 by V2's readme"
        )
        for short, place in (("N", "Indoor"), ("K", "Outdoor")):
            repo_id = f"{v2}-Metric-{place}-{size}-hf"
            table[f"Any_V2_{short}_{letter}"] = DepthModel(
                "depth_anything", "distance", repo_id, licence
            )
    for letter, size in (("S", "Small"), ("L", "Large")):
        repo_id = f"xingyang1/Distill-Any-Depth-{size}-hf"
        table[f"Distill_Any_{letter}"] = DepthModel("depth_anything", "disparity", repo_id)
    return table | {"Any_V2_N": table["Any_V2_N_L"], "Any_V2_K": table["Any_V2_K_L"]}


_V1_HUB = "nagadomi/Depth-Anything_iw3:main"
_DISTILL_B = HubEntry(_V1_HUB, "DepthAnything", "Distill_Any_S", {"encoder": "distill_any_depth_b"})
_ZOE_ANY = {"model_type": "indoor", "remove_prep": False}
_ZOE_ANY_N = HubEntry(_V1_HUB, "DepthAnythingMetricDepth", "Any_V2_N_L", _ZOE_ANY)
_ZOE_ANY_K = HubEntry(
    _V1_HUB, "DepthAnythingMetricDepth", "Any_V2_K_L", _ZOE_ANY | {"model_type": "outdoor"}
)
_MONO = HubEntry(
    "nagadomi/Depth-Anything-3_iw3:main", "load_model", "Any_V2_S", {"model_name": "da3mono-large"}
)

# iw3's names (its depth_model_factory.py), with the repositories that transformers can load.
DEPTH_MODELS: dict[str, DepthModel] = _depth_anything_models() | {
    "Distill_Any_B": DepthModel(
        "depth_anything", "disparity", hub=_DISTILL_B
    ),  # not published for transformers
    "ZoeD_N": DepthModel("zoe", "distance", "Intel/zoedepth-nyu", "MIT"),
    "ZoeD_K": DepthModel("zoe", "distance", "Intel/zoedepth-kitti", "MIT"),
    "ZoeD_NK": DepthModel("zoe", "distance", "Intel/zoedepth-nyu-kitti", "MIT"),
    "ZoeD_Any_N": DepthModel("zoe_any", "distance", hub=_ZOE_ANY_N),
    "ZoeD_Any_K": DepthModel("zoe_any", "distance", hub=_ZOE_ANY_K),
    "DepthPro": DepthModel(
        "depth_pro", "disparity", "apple/DepthPro-hf", "apple-amlr, research only"
    ),
    "Any_V3_Mono": DepthModel("any_v3", "disparity", hub=_MONO),
    "Any_V3_Mono_01": DepthModel(
        "any_v3", "disparity", hub=_MONO
    ),  # differs in iw3's scaling, which ours replaces
}

MODEL_TYPES: tuple[str, ...] = (*sorted(DEPTH_MODELS), MOTION_PARALLAX)

# Names of iw3 that can't be had here: the reason, and the nearest that can.
_REFUSED = {
    "DepthPro_S": (
        "runs DepthPro at a size it wasn't trained for, by patching its code",
        "DepthPro",
    ),
    "VDA": (
        "is a video model that transformers doesn't have; iw3's own generator refuses it too",
        "Any_V2_S",
    ),
}


def check_model_type(name: str) -> str:
    """The name, if a depth estimator goes by it.

    Names that need third-party code pass here; `create_estimator` asks for the permission.

    Raises:
        UserError: iw3 has the name but it can't be had here, or nobody knows it; the message lists
            what there is.
    """
    if name in MODEL_TYPES:
        return name
    refused = _REFUSED.get("VDA" if name.startswith("VDA_") else name)
    if refused:
        raise UserError(f"depth model {name} {refused[0]}: choose --model-type {refused[1]}")
    close = difflib.get_close_matches(name, MODEL_TYPES, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UserError(
        f"unknown depth model {name!r}{hint}: choose --model-type from {', '.join(MODEL_TYPES)}"
    )
