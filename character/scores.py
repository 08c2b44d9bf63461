"""What an evaluation found, and its tables."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

NUM_DRAWS = 2000


@dataclass(frozen=True)
class Measured:
    """Means over clips. body: IoU of where the person is made with the body that was given;
    own_body: with that of the clip itself. colour: mean difference, from 0 to 1, of the colours of
    the body's parts from those of the clip's own person. scene: PSNR in dB of the clip's own scene
    beside people and occluders."""

    body: float
    own_body: float
    colour: float
    scene: float


@dataclass
class Scores:
    """rows: by the code that was another clip's; "truth" is what the codec leaves of true clips.
    codec: PSNR of a scene that goes through the codec alone. bodies_overlap: IoU of each clip's
    body with that of the clip whose movement it was given. occluder, occluder_missing: PSNR of what
    is in front, with its code and without. colour_errors: of each clip, with the right identity and
    with a wrong one."""

    rows: dict[str, Measured]
    codec: float
    bodies_overlap: float
    occluder: float = math.nan
    occluder_missing: float = math.nan
    colour_errors: list[tuple[float, float]] = field(default_factory=list)

    @property
    def colour_ratio(self) -> float:
        """The error of colours with the right identity, as a share of that with a wrong one."""
        return self.rows["own codes"].colour / self.rows["identity"].colour

    def colour_interval(self) -> tuple[float, float]:
        """Within which the ratio lies for 90 of 100 draws of as many clips out of these, with
        repeats: how far it would differ between people."""
        errors = np.array(self.colour_errors)
        rng = np.random.default_rng(0)
        drawn = errors[rng.integers(len(errors), size=(NUM_DRAWS, len(errors)))]  # (draws, N, 2)
        right, wrong = np.nanmean(drawn, axis=1).T
        low, high = np.percentile(right / wrong, (5, 95))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what was not measured is None."""
        return _without_nan(asdict(self) | {"colour_ratio": self.colour_ratio})


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def table(scores: Scores) -> list[str]:
    """Lines for people: each exchange of a code, what should follow it, and what should stay."""
    lines = [
        f"{'code of another clip':22}{'own body IoU':>14}{'own colour':>12}{'own scene dB':>14}"
    ]
    for name, row in scores.rows.items():
        text = {"own codes": "none", "truth": "(true film, codec)"}.get(name, name)
        lines.append(f"{text:22}{row.own_body:14.3f}{row.colour:12.3f}{row.scene:14.2f}")
    low, high = scores.colour_interval()
    driven, own = scores.rows["motion"], scores.rows["own codes"]
    return [
        *lines,
        f"driven body IoU {driven.body:.3f}, original body {driven.own_body:.3f} (the two bodies "
        f"themselves {scores.bodies_overlap:.3f}, true film with its body "
        f"{scores.rows['truth'].body:.3f})",
        f"colour error right/wrong identity {scores.colour_ratio:.3f} (90 % of draws of "
        f"{len(scores.colour_errors)} clips out of these: {low:.3f} to {high:.3f})",
        f"scene {own.scene:.2f} dB, codec alone {scores.codec:.2f} dB",
        f"occluder {scores.occluder:.2f} dB, without its code {scores.occluder_missing:.2f} dB",
    ]
