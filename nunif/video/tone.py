"""High dynamic range and wide colours to SDR BT.709 and back, for all that learns from pictures or
measures them.

Networks are made for pictures as most screens show them: a film in PQ looks grey and flat to them.
A curve maps it:

    code --PQ or HLG--> light of the screen, up to 1000 cd/m2 --BT.2390--> up to 203 cd/m2 --BT.2020
    to BT.709--> ^(1/2.4)

BT.2390 is the knee of ITU-R BT.2390-11, 5.4.1, on each of R G B: what is darker than 90 cd/m2 stays
as it is, brighter light is squeezed, and 1000 cd/m2 becomes white. HDR's white of paper, 203 cd/m2
(BT.2408), is 230 of 255 then. HLG is shown on a screen of 1000 cd/m2 (BT.2100). Wide colours in SDR
(BT.2020, P3) are only brought to BT.709. Colours that BT.709 lacks are cut off, so the way back is
exact for those alone that it has; it is meant for what was painted into a hole.

Axes: H W pixels, 3 = R G B.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from nunif.video.color import ColorTags

LINEAR, LOG100, LOG316, PQ, DCI, HLG = 8, 9, 10, 16, 17, 18  # AVColorTransferCharacteristic
WHITE, PEAK = 203.0, 1000.0  # cd/m2
_GAMMA = 2.4  # BT.1886
_STEPS = 1 << 16
_HLG_GAMMA = 1.2  # of a screen of 1000 cd/m2
# ITU-T H.273, table 3: over how many decades the curves in logarithms go; gamma, and white's light
_DECADES = {LOG100: 2.0, LOG316: 2.5}
_DCI_GAMMA, _DCI_WHITE = 2.6, 48 / 52.37

# AVColorPrimaries: x and y of red, green, blue and white (ITU-T H.273, table 2)
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_BT709, _BT2020 = 1, 9
_NAMES = {LINEAR: "linear", LOG100: "log100", LOG316: "log316", PQ: "PQ", DCI: "SMPTE 428"}
_NAMES |= {HLG: "HLG"}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    LINEAR: "linear",
    LOG100: "log100",
    LOG316: "log316",
}
_TRANSFERS |= {
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    PQ: "smpte2084",
    DCI: "smpte428",
    HLG: "arib-std-b67",
}
_PRIMARIES_NAMES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}


@dataclass(frozen=True)
class ToneMap:
    """How pictures of one film become SDR BT.709. `transfer` and `primaries` in libav's numbers."""

    transfer: int
    primaries: int

    @property
    def chromaticities(self) -> tuple[tuple[float, float], ...]:
        """x and y of red, green, blue and white of the film."""
        return _PRIMARIES[self.primaries]

    @property
    def name(self) -> str:
        """The film's kind of picture in words."""
        return " ".join(
            filter(None, (_NAMES.get(self.transfer), _PRIMARIES_NAMES.get(self.primaries)))
        )

    def to_sdr(self, rgb: np.ndarray) -> np.ndarray:
        """A picture as SDR BT.709.

        Args:
            rgb: (H, W, 3) uint8 or uint16 over the type's whole range, in the film's own transfer
                and primaries.

        Returns:
            (H, W, 3) of the same type.
        """
        light = _to_light(self.transfer)[_to_16_bits(rgb)]  # (H, W, 3) float32, 1 = white
        if self.transfer == HLG:
            light = _squeeze()[_index(_show_hlg(light))]
        light = cv2.transform(light, _matrix(self.primaries, _BT709))
        return _like(_gamma_code()[_index(light)], rgb)

    def from_sdr(self, rgb: np.ndarray) -> np.ndarray:
        """The way back: (H, W, 3) uint8 or uint16 SDR BT.709 -> the same type, in the film's
        transfer and primaries."""
        light = _to_light(0)[_to_16_bits(rgb)]
        light = cv2.transform(light, _matrix(_BT709, self.primaries))
        if self.transfer == HLG:
            light = _unshow_hlg(_stretch()[_index(light)])
        return _like(_from_light(self.transfer)[_index(light)], rgb)


def tone_map_of(color: ColorTags) -> ToneMap | None:
    """What brings a film's pictures to SDR BT.709; None where its tags say nothing of HDR or of
    wide colours."""
    primaries = color.primaries
    if primaries not in _PRIMARIES:
        primaries = _BT2020 if color.transfer in (PQ, HLG) else _BT709
    if color.transfer not in _NAMES and primaries == _BT709:
        return None
    return ToneMap(color.transfer, primaries)


def describe_transfer(color: ColorTags) -> dict[str, str]:
    """For the notes of what is made from a film: the transfer by ffmpeg's name, and what was done
    to the pictures."""
    tone = tone_map_of(color)
    curve = f" (BT.2390, {PEAK:g} cd/m2)" if color.transfer in (PQ, HLG) else ""
    mapped = {} if tone is None else {"tone_mapped": f"{tone.name} to SDR BT.709{curve}"}
    return {"transfer": _TRANSFERS.get(color.transfer, "unknown")} | mapped


def to_8_bits(rgb: np.ndarray) -> np.ndarray:
    """uint8 as it is, uint16 rounded to uint8; both over the whole range."""
    return rgb if rgb.dtype == np.uint8 else ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_16_bits(rgb: np.ndarray) -> np.ndarray:
    return rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * 257


def _like(code: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """16-bit code in the type of `rgb`."""
    return code if rgb.dtype == np.uint16 else to_8_bits(code)


def _index(light: np.ndarray) -> np.ndarray:
    """Where light from 0 to 1 stands in a table of its roots, which are dense in the dark."""
    return np.rint(np.sqrt(np.clip(light, 0, 1)) * (_STEPS - 1)).astype(np.uint16)


def _roots() -> np.ndarray:
    return (np.arange(_STEPS) / (_STEPS - 1)) ** 2


@cache
def _to_light(transfer: int) -> np.ndarray:
    """(65536,) float32: of every code the light, 1 = SDR's white and squeezed to it; of HLG the
    scene's light, 1 = most."""
    code = np.arange(_STEPS) / (_STEPS - 1)
    if transfer == PQ:
        light = _knee(code)
    elif transfer == LINEAR:
        light = code
    elif transfer == HLG:
        light = light_of_hlg(code)
    elif transfer in _DECADES:
        light = np.where(code > 0, 10 ** (_DECADES[transfer] * (code - 1)), 0)
    elif transfer == DCI:
        light = np.minimum(code**_DCI_GAMMA / _DCI_WHITE, 1)
    else:
        light = code**_GAMMA
    return light.astype(np.float32)


@cache
def _from_light(transfer: int) -> np.ndarray:
    """(65536,) uint16: the code for the light in `_index`."""
    light = _roots()
    if transfer == PQ:
        curve = _knee(np.arange(_STEPS) / (_STEPS - 1))
        last = int(curve.argmax())  # brighter is white as well
        code = np.interp(light, curve[: last + 1], np.arange(last + 1))
        return np.rint(code).astype(np.uint16)
    if transfer == LINEAR:
        code = light
    elif transfer == HLG:
        bright = _HLG_A * np.log(np.maximum(12 * light - _HLG_B, 1e-9)) + _HLG_C
        code = np.where(light <= 1 / 12, np.sqrt(3 * light), bright)
    elif transfer in _DECADES:
        code = 1 + np.log10(np.maximum(light, 10 ** -_DECADES[transfer])) / _DECADES[transfer]
    elif transfer == DCI:
        code = (light * _DCI_WHITE) ** (1 / _DCI_GAMMA)
    else:
        code = light ** (1 / _GAMMA)
    return np.rint(code * (_STEPS - 1)).astype(np.uint16)


def _gamma_code() -> np.ndarray:
    return _from_light(0)


# ITU-R BT.2100: the constants of both curves
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073


def pq_of_light(light: np.ndarray) -> np.ndarray:
    """cd/m2 -> PQ's code from 0 to 1."""
    y = (np.asarray(light, np.float64) / 10000) ** _M1
    return ((_C1 + _C2 * y) / (1 + _C3 * y)) ** _M2


def light_of_pq(code: np.ndarray) -> np.ndarray:
    """PQ's code from 0 to 1 -> cd/m2."""
    root = np.asarray(code, np.float64) ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def light_of_hlg(code: np.ndarray) -> np.ndarray:
    """HLG's code -> the scene's light, both from 0 to 1."""
    bright = (np.exp((code - _HLG_C) / _HLG_A) + _HLG_B) / 12
    return np.where(code <= 0.5, code**2 / 3, bright)


def _knee(code: np.ndarray) -> np.ndarray:
    """PQ's code -> light, squeezed from PEAK to WHITE; 1 = WHITE."""
    top = pq_of_light(np.array(PEAK))
    most = float(pq_of_light(np.array(WHITE)) / top)
    start = 1.5 * most - 0.5
    e = np.minimum(code / top, 1)
    t = np.clip((e - start) / (1 - start), 0, 1)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * (1 - start)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return light_of_pq(np.where(e < start, e, bent) * top) / WHITE


@cache
def _squeeze() -> np.ndarray:
    """(65536,) float32: of the screen's light in `_index`, 1 = PEAK, the light squeezed to WHITE, 1
    = WHITE."""
    return _knee(pq_of_light(_roots() * PEAK)).astype(np.float32)


@cache
def _stretch() -> np.ndarray:
    """(65536,) float32: the way back of `_squeeze`."""
    light = _roots()
    return np.interp(light, _knee(pq_of_light(light * PEAK)), light).astype(np.float32)


def _luma_of_hlg(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.2627, 0.6780, 0.0593], np.float32)


def _show_hlg(scene: np.ndarray) -> np.ndarray:
    """The scene's light -> the screen's, both from 0 to 1 (BT.2100's OOTF)."""
    luma = np.maximum(_luma_of_hlg(scene), 1e-9)
    return scene * (luma ** (_HLG_GAMMA - 1))[..., None]


def _unshow_hlg(shown: np.ndarray) -> np.ndarray:
    luma = np.maximum(_luma_of_hlg(shown), 1e-9)
    return shown * (luma ** (1 / _HLG_GAMMA - 1))[..., None]


@cache
def _matrix(source: int, target: int) -> np.ndarray:
    """(3, 3) float32 of light from one set of primaries to another, white to white."""
    return (np.linalg.inv(_to_xyz(target)) @ _adapted(source, target)).astype(np.float32)


def _adapted(source: int, target: int) -> np.ndarray:
    """The source's primaries in XYZ, its white brought to the target's (scaled in XYZ)."""
    ours, theirs = _to_xyz(source), _to_xyz(target)
    return np.diag(theirs.sum(axis=1) / ours.sum(axis=1)) @ ours


def _to_xyz(primaries: int) -> np.ndarray:
    *colours, white = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in _PRIMARIES[primaries]]
    columns = np.stack(colours, axis=1)  # (3, 3)
    return columns * np.linalg.solve(columns, white)
