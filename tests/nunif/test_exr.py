"""OpenEXR files: what is written, libav's decoder reads, and what libav writes is read.

Axes: H W pixels.
"""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from nunif.exr import decode_exr, encode_exr

H, W = 21, 35


def channels():
    """A soft ramp, which is compressed, noise, which isn't, and a layer of its own."""
    rng = np.random.default_rng(8)
    noise = rng.random((H, W)).astype(np.float16)
    ramp = np.linspace(0, 3, H * W).reshape(H, W).astype(np.float16)
    flat = np.zeros((H, W), np.float16)
    names = ("B", "G", "R", "person.A", "person.B", "person.G", "person.R")
    pictures = dict(zip(names, (noise, ramp, flat, ramp.T.reshape(H, W), ramp, noise, flat)))
    return pictures | {"Z": ramp.astype(np.float32) / 3}


def read_by_libav(data, layer=""):
    """(channels, H, W) float32: G B R, and A where there is one."""
    with av.open(io.BytesIO(data), format="exr_pipe") as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"layer": layer}
        frame = next(container.decode(stream))
        kind = np.float16 if "f16" in frame.format.name else np.float32
        planes = [np.frombuffer(plane, kind).reshape(H, -1)[:, :W] for plane in frame.planes]
        return np.stack(planes).astype(np.float32)


@pytest.mark.parametrize("layer, names", [("", "GBR"), ("person", "GBRA")])
def test_another_program_reads_each_layer(layer, names):
    given = channels()
    got = read_by_libav(encode_exr(given), layer)
    before = f"{layer}." if layer else ""
    assert np.array_equal(got, np.stack([given[before + name] for name in names]))


def test_what_is_written_is_read():
    given = channels() | {"a layer of a name as long as that.R": channels()["R"]}
    got = decode_exr(encode_exr(given, aspect=4 / 3, chromaticities=[(0.3, 0.3)] * 4))
    assert list(got) == sorted(given)
    assert all(np.array_equal(got[name], given[name]) for name in given)
    assert got["Z"].dtype == np.float32 and got["R"].dtype == np.float16
    # of each line's number of bytes odd ones too
    one = {"Y": channels()["Z"][:, :1]}
    assert np.array_equal(decode_exr(encode_exr(one))["Y"], one["Y"])


@pytest.mark.parametrize("compression", ["none", "zip1", "zip16"])
def test_what_another_program_writes_is_read(compression):
    frame = av.VideoFrame(W, H, "gbrpf32le")
    rng = np.random.default_rng(9)
    given = {name: rng.integers(0, 9, (H, W)).astype(np.float32) for name in "GBR"}
    for plane, picture in zip(frame.planes, given.values()):
        line = np.zeros((H, plane.line_size // 4), np.float32)
        line[:, :W] = picture
        plane.update(line)
    coder = av.CodecContext.create("exr", "w")
    coder.width, coder.height, coder.pix_fmt = W, H, "gbrpf32le"
    coder.time_base, coder.options = Fraction(1, 25), {"compression": compression}
    data = b"".join(bytes(packet) for packet in [*coder.encode(frame), *coder.encode(None)])
    got = decode_exr(data)
    assert all(np.array_equal(got[name], given[name]) for name in "GBR")


def test_damage_and_other_kinds_are_told():
    whole = encode_exr(channels())
    for length in range(0, len(whole), 97):
        with pytest.raises(ValueError, match="not an OpenEXR picture|damaged or cut off"):
            decode_exr(whole[:length])
    tiled = whole[:5] + bytes([whole[5] | 2]) + whole[6:]
    with pytest.raises(ValueError, match="tiles or several parts: save it as one of scan lines"):
        decode_exr(tiled)
    place = whole.index(b"compression\0compression\0") + 28
    other = whole[:place] + b"\4" + whole[place + 1 :]  # PIZ
    with pytest.raises(ValueError, match="isn't compressed by ZIP: save it with ZIP"):
        decode_exr(other)
    place = whole.index(b"dataWindow\0box2i\0") + 21
    part = whole[:place] + b"\1" + whole[place + 1 :]
    with pytest.raises(ValueError, match="of a part of the picture: save the whole picture"):
        decode_exr(part)
