"""Which codec the packets of a broadcast's sound are of, by how they begin.

A transport stream may go on with another codec in the middle (joined files), and libav's demuxer
still names the first.
"""

from collections.abc import Iterable

import av

_DTS = b"\x7f\xfe\x80\x01"  # ETSI TS 102 114, 6.3.2
_AC3 = b"\x0b\x77"  # ETSI TS 102 366, 4.4.1
_LAST_AC3 = 10  # bit stream identification; above it is E-AC-3, annex E.1.3.1.6 there


def told_decoder(data: bytes) -> str | None:
    """libav's decoder for a packet that begins like this; None: it says nothing of that."""
    if data.startswith(_DTS):
        return "dca"
    if data.startswith(_AC3) and len(data) > 5:
        return "eac3" if data[5] >> 3 > _LAST_AC3 else "ac3"
    if len(data) < 2:
        return None
    if data[0] == 0x56 and data[1] >> 5 == 7:
        return "aac_latm"  # ISO/IEC 14496-3, 1.7.2
    if data[0] == 0xFF and data[1] >> 4 == 0xF:
        # the layer: 0 in ADTS (ISO/IEC 14496-3, 1.A.2.2), else of MPEG-1 and -2 (ISO/IEC 11172-3)
        return (None, "mp3", "mp2", "mp1")[data[1] >> 1 & 3] or "aac"
    return None


def decoders_of_parts(packets: Iterable[av.Packet], firsts: Iterable[int]) -> list[str]:
    """The decoders that the parts of a joined stream need, each named once, in order.

    Args:
        packets: of the stream, those of nothing left out.
        firsts: numbers of the packets that begin a part.
    """
    wanted = frozenset(firsts)
    found = [told_decoder(bytes(packet)) for i, packet in enumerate(packets) if i in wanted]
    return list(dict.fromkeys(name for name in found if name is not None))
