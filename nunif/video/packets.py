"""Times of coded packets."""

from fractions import Fraction

import av

# Seconds of a file's clock at which a part of its film begins and ends; None: at the beginning.
Span = tuple[Fraction | None, Fraction]

_RUN_UP = Fraction(1, 10)  # seconds of sound before a film's beginning that a decoder may need


def time_of(packet: av.Packet) -> Fraction:
    """Seconds at which a packet is decoded, or shown where it says no more; 0 where it says
    neither."""
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * Fraction(packet.time_base)


def is_sound(packet: av.Packet) -> bool:
    """Whether a packet is of a sound stream."""
    return packet.stream.type == "audio"


def move(packet: av.Packet, shift: Fraction) -> None:
    """Add seconds to a packet's times."""
    ticks = round(shift / Fraction(packet.time_base))
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


def is_cut_off(packet: av.Packet) -> bool:
    """Whether sound lies before the film's beginning by the file's own word (an edit list), and is
    no coder's run-up."""
    end = time_of(packet) + (packet.duration or 0) * Fraction(packet.time_base)
    return packet.is_discard and is_sound(packet) and end < -_RUN_UP


def cut_to(packet: av.Packet, span: Span) -> bool:
    """Put a packet of sound or subtitles on the clock of a part of the film. Returns whether any of
    it lies there; of a subtitle, what lies outside is cut off."""
    begin, end = span
    time, length = time_of(packet), (packet.duration or 0) * Fraction(packet.time_base)
    if time >= end or (begin is not None and time + length <= begin):
        return False
    if begin is not None:
        move(packet, -begin)
    if not is_sound(packet) and packet.pts is not None and packet.duration:
        ticks = Fraction(packet.time_base)
        first = max(packet.pts, 0) if begin is not None else packet.pts
        last = min(packet.pts + packet.duration, round((end - (begin or 0)) / ticks))
        packet.pts = packet.dts = first
        packet.duration = max(1, last - first)
    return True
