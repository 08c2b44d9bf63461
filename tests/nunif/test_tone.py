"""HDR and wide colours to SDR: the values are those of the standards, worked out here or printed
there.

Axes: H W pixels, 3 = R G B.
"""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nunif.video.color import BT709, ColorTags
from nunif.video.reader import VideoReader
from nunif.video.tone import ToneMap, describe_transfer, tone_map_of

PQ, HLG = ColorTags(9, 1, 9, 16), ColorTags(9, 1, 9, 18)
WIDE = ColorTags(9, 1, 9, 14)
# ITU-R BT.2408: HDR's white of 203 cd/m2 is 58 % of PQ and 75 % of HLG; 100 cd/m2 are 50.8 % of PQ
WHITE_OF_PQ, WHITE_OF_HLG, HUNDRED_OF_PQ = 0.5807, 0.75, 0.5081


def flat(*shares: float, dtype: type = np.uint16) -> np.ndarray:
    """(1, 1, 3) of shares of the greatest value."""
    return np.rint(np.array(shares) * np.iinfo(dtype).max).astype(dtype)[None, None]


def write_levels(
    path: Path,
    luma: int,
    color: ColorTags,
    *,
    pixel_format: str = "yuv420p10le",
    count: int = 4,
    size: tuple[int, int] = (48, 64),
) -> Path:
    """A lossless film, grey in a single level of the code, in its own tags."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(24))
        stream.height, stream.width, stream.pix_fmt = *size, pixel_format
        coder = stream.codec_context
        coder.colorspace, coder.color_range = color.matrix, color.range
        coder.color_primaries, coder.color_trc = color.primaries, color.transfer
        dtype, middle = (np.uint16, 512) if "10" in pixel_format else (np.uint8, 128)
        for number in range(count):
            frame = av.VideoFrame(size[1], size[0], pixel_format)
            for index, plane in enumerate(frame.planes):
                values = np.full(
                    plane.buffer_size // np.dtype(dtype).itemsize,
                    luma if index == 0 else middle,
                    dtype,
                )
                plane.update(values.tobytes())
            frame.pts, frame.colorspace, frame.color_range = number, color.matrix, color.range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def level(share: float, bits: int = 10) -> int:
    """A share of the luma in limited range."""
    return round((16 + 219 * share) * 2 ** (bits - 8))


@pytest.mark.parametrize(
    ("color", "share", "expected"),
    [
        (PQ, 0.0, 0),
        (PQ, WHITE_OF_PQ, 230),
        (HLG, WHITE_OF_HLG, 230),
        (PQ, HUNDRED_OF_PQ, 189),
        # darker than the knee: (50 / 203) ** (1 / 2.4), PQ of 50 cd/m2 is 44.03 %
        (PQ, 0.4403, 142),
        (PQ, 0.7518, 255),  # 1000 cd/m2
        (PQ, 1.0, 255),
        (HLG, 1.0, 255),
        (HLG, 0.0, 0),
        (WIDE, 0.5, 128),
        (WIDE, 1.0, 255),
    ],
)
def test_greys(tmp_path, color, share, expected):
    found = tone_map_of(color).to_sdr(flat(share, share, share))
    assert np.abs(found / 257 - expected).max() <= 1
    assert (
        np.abs(
            tone_map_of(color).to_sdr(flat(share, share, share, dtype=np.uint8)).astype(int)
            - expected
        ).max()
        <= 2
    )
    path = write_levels(tmp_path / "a.mkv", level(share), color)
    with VideoReader(path) as reader:
        rgb = reader.read(1, 2)[0].rgb
        assert (
            rgb.dtype == np.uint8
            and rgb.shape == (48, 64, 3)
            and np.abs(rgb.astype(int) - expected).max() <= 2
        )
    with VideoReader(path, for_editing=True) as reader:  # its own samples
        frame = reader.read(1, 2)[0]
        assert set(np.unique(frame.picture.planes[0])) == {level(share)}
        assert np.abs(frame.rgb / 65535 - share).max() < 0.002


def test_the_curve_rises_and_its_way_back_is_exact():
    codes = np.repeat(np.arange(0, 65536, 16, np.uint16)[None, :, None], 3, axis=2)
    for color, top in ((PQ, 49271), (HLG, 65535), (WIDE, 65535)):
        tone = tone_map_of(color)
        sdr = tone.to_sdr(codes)
        assert (np.diff(sdr[0, :, 0].astype(int)) >= 0).all() and sdr[0, -1, 0] >= 65520
        off = np.abs(tone.from_sdr(sdr).astype(int) - np.minimum(codes, top))  # of 65535
        # the curve is flat where it reaches white
        assert off[codes < 0.95 * top].max() <= 40 and off.max() <= 800
    colours = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    for color in (PQ, HLG, WIDE):
        tone = tone_map_of(color)
        assert np.abs(tone.to_sdr(tone.from_sdr(colours)).astype(int) - colours).mean() < 16


def test_primaries_are_brought_to_bt709():
    """The matrix of ITU-R BT.2087-0 on light; an exponent of 2.4 on both sides."""
    matrix = np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    )
    code = np.array([0.5, 0.6, 0.4])
    expected = np.clip(matrix @ code**2.4, 0, 1) ** (1 / 2.4)
    found = tone_map_of(WIDE).to_sdr(flat(*code))[0, 0] / 65535
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # P3's green lies outside, and its white is white
    for primaries in (11, 12):
        tone = ToneMap(1, primaries)
        assert np.abs(tone.to_sdr(flat(1, 1, 1)).astype(int) - 65535).max() < 70
        assert tone.to_sdr(flat(0, 0.5, 0))[0, 0].argmax() == 1


@pytest.mark.parametrize(
    "color",
    [ColorTags(), BT709, ColorTags(6, 1, 6, 6), ColorTags(5, 1, 5, 6), ColorTags(1, 1, 1, 13)],
)
def test_sdr_stays_as_it_is(tmp_path, caplog, color):
    assert tone_map_of(color) is None and "tone_mapped" not in describe_transfer(color)
    caplog.set_level(logging.INFO)
    with VideoReader(
        write_levels(tmp_path / "a.mkv", level(0.5, 8), color, pixel_format="yuv420p")
    ) as reader:
        assert np.abs(reader.read(0, 1)[0].rgb.astype(int) - 128).max() <= 1
    assert not caplog.messages


def test_eight_bits_and_untagged_primaries(tmp_path, caplog):
    """HDR in 8 bits is poor but exists; PQ without primaries is taken for BT.2020."""
    caplog.set_level(logging.INFO)
    path = write_levels(
        tmp_path / "a.mkv", level(WHITE_OF_PQ, 8), ColorTags(9, 1, 2, 16), pixel_format="yuv420p"
    )
    with VideoReader(path) as reader:
        assert np.abs(reader.read(0, 1)[0].rgb.astype(int) - 230).max() <= 3
    assert caplog.messages == [f"{path} is PQ BT.2020: its pictures are tone-mapped to SDR BT.709"]


def test_what_is_noted_of_a_film():
    assert describe_transfer(PQ) == {
        "transfer": "smpte2084",
        "tone_mapped": "PQ BT.2020 to SDR BT.709 (BT.2390, 1000 cd/m2)",
    }
    assert (
        describe_transfer(HLG)["transfer"] == "arib-std-b67"
        and "HLG BT.2020" in describe_transfer(HLG)["tone_mapped"]
    )
    assert describe_transfer(BT709) == {"transfer": "bt709"} and describe_transfer(ColorTags()) == {
        "transfer": "unknown"
    }


@pytest.mark.parametrize(
    ("transfer", "name", "ffmpegs", "white", "light_of"),
    [
        (8, "linear", "linear", 1, lambda code: code),
        (9, "log100", "log100", 1, lambda code: np.where(code > 0, 10 ** (2 * code - 2), 0)),
        (10, "log316", "log316", 1, lambda code: np.where(code > 0, 10 ** (2.5 * code - 2.5), 0)),
        (17, "SMPTE 428", "smpte428", (48 / 52.37) ** (1 / 2.6), lambda x: 52.37 / 48 * x**2.6),
    ],
)
def test_other_curves_become_sdr_and_go_back(transfer, name, ffmpegs, white, light_of):
    """By the formulas of ITU-T H.273, table 3. white: the code of the most light that SDR has."""
    tone = tone_map_of(ColorTags(matrix=1, range=1, primaries=1, transfer=transfer))
    assert tone is not None and tone.name == name
    code = np.repeat(np.array([0, 0.1, 0.5, white])[:, None], 3, axis=1)[None]
    pictures = np.rint(code * 65535).astype(np.uint16)
    sdr = tone.to_sdr(pictures)
    assert np.abs(sdr / 65535 - light_of(code) ** (1 / 2.4)).max() < 1e-3
    assert np.abs(tone.from_sdr(sdr).astype(int) - pictures).max() < 65535 * 1e-3
    assert describe_transfer(ColorTags(transfer=transfer)) == {
        "transfer": ffmpegs,
        "tone_mapped": f"{name} to SDR BT.709",
    }
