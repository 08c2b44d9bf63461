"""What a person wears: colours, patterns round the tubes, and the light on them.

Axes: G textures (one of each part, and the hair's), H W texels along and round the tube, 3 = R G B
from 0 to 255.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from scene.people.body import HEAD, NUM_PARTS, PARTS

HAIR_TEXTURE = NUM_PARTS
FACE = 0.75  # how far round the head: see `rest_vertices`
PATTERNS = "plain", "stripes", "checks", "noise"
GROUPS = "skin", "shirt", "trousers", "shoes", "hair"
CAMOUFLAGE_SHARE = 0.2  # of shirts that have a colour of the background behind


@dataclass(frozen=True)
class Clothes:
    """Colours of the groups (R G B, 0 to 255), and the pattern of shirt and trousers.

    group_of: the group of each part. patterns: by group. blends_in: the shirt's colour is still to
    be taken from the background. light: the direction it comes from, a unit vector; ambient: the
    share of it that comes from everywhere.
    """

    colours: dict[str, np.ndarray]
    group_of: tuple[str, ...]
    patterns: dict[str, "Pattern"]
    blends_in: bool
    light: np.ndarray
    ambient: float


@dataclass(frozen=True)
class Pattern:
    """kind: one of PATTERNS. contrast: of the darker places, 0 to .5. counts: how often it repeats
    round and along a part. noise: a tile of value noise, -1 to 1."""

    kind: str
    contrast: float
    counts: tuple[int, int]
    noise: np.ndarray


def draw_clothes(rng: np.random.Generator, light: np.ndarray, ambient: float) -> Clothes:
    """Random clothes in the light that all people of a clip stand in."""
    colours = {
        "skin": _hsv(rng.uniform(0.02, 0.1), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.98)),
        "shirt": _hsv(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.15, 1)),
        "trousers": _hsv(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.8)),
        "shoes": _hsv(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.08, 0.95)),
        "hair": _hsv(rng.uniform(0.02, 0.13), rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.85)),
    }
    patterns = {group: _draw_pattern(rng) for group in ("shirt", "trousers")}
    sleeves, legs = rng.random() < 0.5, rng.random() < 0.75
    return Clothes(
        colours,
        tuple(_group(part.name, long_sleeves=sleeves, long_legs=legs) for part in PARTS),
        patterns,
        bool(rng.random() < CAMOUFLAGE_SHARE),
        light,
        ambient,
    )


def draw_light(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The direction that light comes from, high enough for short shadows, and the ambient share."""
    turn, high = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 75))
    light = np.array([np.cos(high) * np.sin(turn), np.sin(high), np.cos(high) * np.cos(turn)])
    return light, float(rng.uniform(0.35, 0.7))


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _draw_pattern(rng: np.random.Generator) -> Pattern:
    kind, contrast = str(rng.choice(PATTERNS)), float(rng.uniform(0, 0.5))
    counts = int(rng.integers(1, 5)) * 2, int(rng.integers(2, 9))
    return Pattern(kind, contrast, counts, rng.uniform(-1, 1, (8, 8)))


def _group(name: str, *, long_sleeves: bool, long_legs: bool) -> str:
    words = name.split()
    if words[-1] in ("head", "neck", "hand"):
        return "skin"
    if words[-1] == "foot":
        return "shoes"
    if name in ("abdomen", "chest") or name.endswith("upper arm"):
        return "shirt"
    if words[-1] == "forearm":
        return "shirt" if long_sleeves else "skin"
    if words[-1] == "shank":
        return "trousers" if long_legs else "skin"
    return "trousers"


def paint(clothes: Clothes, shirt: np.ndarray | None, texels: int) -> np.ndarray:
    """The textures, (G, H, W, 3) float32, without light; texels: H = W.

    shirt: a colour that takes the place of the drawn one.
    """
    colours = dict(clothes.colours) | ({"shirt": shirt} if shirt is not None else {})
    place = (np.arange(texels) + 0.5) / texels
    shades = {group: _shade(pattern, place, texels) for group, pattern in clothes.patterns.items()}
    textures = np.empty((NUM_PARTS + 1, texels, texels, 3), np.float32)
    for number, group in enumerate(clothes.group_of):
        shade = shades.get(group, np.float32(1))
        textures[number] = colours[group] * np.reshape(shade, (*np.shape(shade), 1))
    hair = colours["hair"]
    # strands get lighter to their tips
    textures[HAIR_TEXTURE] = hair * (0.85 + 0.3 * place)[:, None, None]
    _paint_head(textures[HEAD], hair, place)
    return np.clip(textures, 0, 255)


def _shade(pattern: Pattern, place: np.ndarray, texels: int) -> np.ndarray:
    """What a pattern multiplies the colour with: (H, W)."""
    along, around = place[:, None], place[None, :]
    if pattern.kind == "stripes":
        wave = np.sign(np.sin(2 * np.pi * pattern.counts[1] * along)) + 0 * around
    elif pattern.kind == "checks":
        wave = np.sign(
            np.sin(2 * np.pi * pattern.counts[1] * along)
            * np.sin(2 * np.pi * pattern.counts[0] * around)
        )
    elif pattern.kind == "noise":
        # a ring wider on both sides, so that the seam doesn't show
        tile = np.concatenate([pattern.noise[:, -2:], pattern.noise, pattern.noise[:, :2]], axis=1)
        wide = cv2.resize(tile, (texels * 12 // 8, texels), interpolation=cv2.INTER_LINEAR)
        wave = wide[:, texels // 4 :][:, :texels]
    else:
        wave = np.ones((len(place), len(place)))
    return 1 - pattern.contrast * (0.5 - 0.5 * wave)


def _paint_head(texture: np.ndarray, hair: np.ndarray, place: np.ndarray) -> None:
    """Hair on top and behind, eyes and a mouth in front, on (H, W, 3), in place."""
    along, around = place[:, None], place[None, :]
    # at 3/4 round the tube is the face: see `rest_vertices`
    front = np.abs(around - FACE) < 0.21
    texture[(along > 0.72) | ((along > 0.25) & ~front)] = hair
    for side in (-1, 1):
        eye = ((around - FACE - 0.065 * side) / 0.022) ** 2 + ((along - 0.55) / 0.035) ** 2 < 1
        texture[eye] = (25, 20, 20)
    mouth = (np.abs(around - FACE) < 0.05) & (np.abs(along - 0.27) < 0.02)
    texture[mouth] *= np.float32(0.55)


def lit(normals: np.ndarray, clothes: Clothes) -> np.ndarray:
    """Lambert's law for normals (..., 3): (...), what the light leaves of a colour."""
    return clothes.ambient + (1 - clothes.ambient) * np.maximum(0, normals @ clothes.light)
