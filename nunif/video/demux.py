"""Files of pictures and sound as libav opens, demuxes and decodes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import av
from av.stream import Disposition

from nunif.errors import UserError

# Their alpha is a second stream of pictures, which libav's own decoders leave out and these don't.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
PNG = ("apng", "png")  # decoders
_BEFORE_PIXELS = 1 << 20  # bytes of a PNG that may come before its pixels
# Demuxers that take text files for videos.
_NOT_VIDEO_FORMATS = frozenset({"tty", "ass", "srt", "webvtt", "lrc", "subviewer", "txt"})


def check_file(path: Path) -> None:
    """Raises UserError where no file with something in it is at `path`."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a video: name a file in it")
    if not path.exists():
        raise UserError(f"{path} doesn't exist: check the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")


def open_input(path: Path) -> av.container.InputContainer:
    """Open a file of pictures and sound. Titles and handlers that aren't UTF-8, which old programs
    write, are no error."""
    # torchvision up to 0.24 turns libav's own log on, at this level, when it is imported
    if av.logging.get_level() == av.logging.ERROR:
        av.logging.set_level(None)
    # the prefix keeps libav from reading a colon in a name as a protocol
    return av.open(f"file:{path}", metadata_errors="replace")


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a file and find its picture stream; cover art isn't one.

    Raises:
        UserError: it can't be read, or has no picture stream that can be decoded.
    """
    try:
        container = open_input(path)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise UserError(f"{path} can't be read: {error.strerror}") from error
        raise UserError(
            f"{path} isn't a video that can be read ({error.strerror}): "
            f"it may be of another kind, or cut off before its index was written"
        ) from error
    try:
        if container.format.name in _NOT_VIDEO_FORMATS:
            raise UserError(f"{path} isn't a video but a text file: name a video")
        streams = [
            s
            for s in container.streams.video
            if not Disposition(s.disposition) & Disposition.attached_pic
        ]
        if not streams:
            raise UserError(f"{path} has no picture stream, only sound or cover art: name a video")
        if streams[0].codec_context is None:
            raise UserError(
                f"{path} is coded in a way that this libav can't decode: convert it to H.264 first"
            )
        if streams[0].codec_context.name == "h264":
            # without it, macroblocks that a damaged picture lacks are patched up silently
            streams[0].codec_context.options = {"err_detect": "aggressive"}
        return container, streams[0]
    except BaseException:
        container.close()
        raise


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """As `open_video`; closed when the block ends."""
    container, stream = open_video(path)
    try:
        yield container, stream
    finally:
        container.close()


def demux(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """Packets of a stream up to the file's end or to where it can't be read any further."""
    is_png = stream.codec_context.name in PNG
    try:
        for packet in container.demux(stream):
            if packet.size:
                if is_png:
                    hide_profile(packet)
                yield packet
    # PyAV raises the latter where a damaged transport stream names a new stream
    except (av.FFmpegError, IndexError):
        return


def hide_profile(packet: av.Packet) -> bool:
    """Make the colour profile of a PNG one of its chunks that nobody knows. Returns whether there
    was one.

    PyAV 18 frees the profile's name a second time when a picture goes whose side data was looked
    at: the process ends.
    """
    head = bytes(memoryview(packet)[:_BEFORE_PIXELS])
    if b"iCCP" not in head[: head.find(b"IDAT")]:
        return False
    packet.update(bytes(packet).replace(b"iCCP", b"icCP", 1))
    return True


def decoder_of(stream: av.VideoStream, *, with_alpha: bool) -> av.VideoCodecContext:
    """A stream's decoder; `with_alpha`: one that gives the alpha too, where there is any."""
    decoder = stream.codec_context
    better = _ALPHA_DECODERS.get(decoder.name, "")
    marks = {key.lower(): value for key, value in stream.metadata.items()}
    if not with_alpha or marks.get("alpha_mode", "0") == "0" or better not in av.codecs_available:
        return decoder
    other = av.CodecContext.create(better, "r")
    assert isinstance(other, av.VideoCodecContext)
    other.extradata = decoder.extradata
    return other


def decode_all(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    decoder: av.VideoCodecContext | None = None,
) -> Iterator[av.VideoFrame]:
    """All pictures in the decoder's order; packets that fail are skipped."""
    decoder = decoder or stream.codec_context
    for packet in chain(demux(container, stream), [None]):  # None: give out what the decoder holds
        try:
            frames = decoder.decode(packet)
        except av.FFmpegError:
            continue
        yield from frames


def nothing_decodes(path: Path, codec: str) -> UserError:
    """What to say of a file of which no picture can be decoded. codec: libav's name of it."""
    if codec == "webp":  # libav reads stills of it
        return UserError(
            f"{path} is an animated WebP, which this libav can't decode: convert it to GIF, APNG "
            "or a folder of PNGs"
        )
    return UserError(f"{path} can't be decoded, not a single picture: copy or download it again")


def stated_duration(stream: av.stream.Stream) -> float | None:
    """Seconds the stream should last by the file's header (mp4) or tags (Matroska)."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    fields = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(field) for field in fields)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def has_profile(path: Path) -> bool:
    """Whether a PNG, or the first picture of a film of PNGs, has a colour profile."""
    with opened(path) as (container, stream):
        return any(hide_profile(packet) for packet in islice(container.demux(stream), 1))
