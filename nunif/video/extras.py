"""What a film file holds besides pictures and sound, carried into another file: subtitles,
chapters, titles, attachments.

What the new container doesn't take is named in one line.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from nunif.video.packets import Span

if TYPE_CHECKING:
    from av.container.core import Chapter  # in PyAV's stubs alone

logger = logging.getLogger(__name__)

_ABOUT_THE_FILE = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
)
_WITH_CHAPTERS = frozenset({"matroska", "webm", "mp4", "mov", "ipod"})
_WITH_TIMECODE = frozenset({"matroska", "webm", "mp4", "mov"})
_MATROSKA, _OGG = "matroska", "ogg"
_QUICKTIME = frozenset({"mp4", "mov", "ipod"})  # cover art is a stream of one picture there
_QUICKTIME_COVERS = frozenset({"bmp", "mjpeg", "png"})
_UNKNOWN = "application/octet-stream"


def tags_of(metadata: dict[str, str]) -> dict[str, str]:
    """What a file's tags say of the film; not those that say how the file was made."""
    return {key: value for key, value in metadata.items() if key.lower() not in _ABOUT_THE_FILE}


def tags_of_file(source: av.container.InputContainer) -> dict[str, str]:
    """The tags of a file; Ogg has none, and says them with its streams."""
    if source.format.name == _OGG:
        return {key: value for stream in source.streams for key, value in stream.metadata.items()}
    return dict(source.metadata)


def labels_of(stream: av.stream.Stream) -> dict[str, str]:
    """Language and title of a stream. QuickTime calls the title a name; in Ogg it is the film's."""
    labels = {"title": stream.metadata["name"]} if "name" in stream.metadata else {}
    own = ("language",) if stream.container.format.name == _OGG else ("language", "title")
    labels |= {key: stream.metadata[key] for key in own if key in stream.metadata}
    return {key: value for key, value in labels.items() if value != "und"}


def list_extras(source: av.container.InputContainer) -> list[str]:
    """In words, what a file holds besides pictures and sound."""
    subtitles = [f"subtitles ({_codec_of(stream)})" for stream in source.streams.subtitles]
    chapters = ["chapters"] * bool(source.chapters())
    title = ["a title"] * ("title" in {key.lower() for key in tags_of_file(source)})
    attachments = [
        f"an attachment ({attachment.name})" for attachment in source.streams.attachments
    ]
    covers = ["cover art"] * bool(_covers_of(source))
    others = ["another picture stream"] * (len(source.streams.video) - len(_covers_of(source)) > 1)
    return list(
        dict.fromkeys(
            subtitles + chapters + title + attachments + covers + others + _data_of(source)
        )
    )


def add_extras(
    path: Path,
    source: av.container.InputContainer,
    target: av.container.OutputContainer,
    *,
    takes: Callable[[av.stream.Stream], bool],
    span: Span | None = None,
) -> list[av.stream.Stream]:
    """Carry over all that the new file takes before its header is written, and log a line for what
    it doesn't.

    Args:
        path: of the source.
        source: the open file.
        target: the new file; what it has of tags stays.
        takes: whether the new file takes a stream's packets.
        span: the part of the film that is carried over; None: all.

    Returns:
        Those streams of the source that are still to be copied: subtitles and cover art.
    """
    container = target.format.name
    target.metadata.update(tags_of(tags_of_file(source)) | dict(target.metadata))
    begins_later = span is not None and span[0] is not None
    lost = _add_labels(source, target, begins_later=begins_later)
    lost += _add_chapters(source, target, span)
    subtitles = [
        stream
        for stream in source.streams.subtitles
        if stream.codec_context is not None and takes(stream)
    ]
    lost += [
        f"subtitles ({_codec_of(stream)})"
        for stream in source.streams.subtitles
        if stream not in subtitles
    ]
    for attachment in source.streams.attachments:
        if container == _MATROSKA:
            target.add_attachment(
                attachment.name or "attachment", attachment.mimetype or _UNKNOWN, attachment.data
            )
        else:
            lost.append(f"an attachment ({attachment.name})")
    covers = []
    for cover in _covers_of(source):
        if container == _MATROSKA:
            _attach_cover(path, cover, target)
        elif container in _QUICKTIME and _codec_of(cover) in _QUICKTIME_COVERS and takes(cover):
            covers.append(cover)
        else:
            lost.append("cover art")
    _warn_of_losses(path, source, lost, container)
    return [*subtitles, *covers]


def _add_labels(
    source: av.container.InputContainer,
    target: av.container.OutputContainer,
    *,
    begins_later: bool,
) -> list[str]:
    """Carry over language, title and timecode of the pictures; what can't be kept, in words.

    begins_later: the first of them aren't, so that the timecode is another's.
    """
    lost: list[str] = []
    for old, new in zip(source.streams.video[:1], target.streams.video):
        new.metadata.update(labels_of(old))
        # PyAV 17 takes numbers alone, whatever the stub of 18 says
        new.disposition = Disposition(old.disposition).value  # type: ignore[assignment]
        if timecode := {key.lower(): value for key, value in old.metadata.items()}.get("timecode"):
            if begins_later:
                text = "%s: its timecode %s is that of its beginning, and the part goes without"
                logger.info(text, source.name.removeprefix("file:"), timecode)
                continue
            new.metadata["timecode"] = timecode
            lost += ["the timecode"] * (target.format.name not in _WITH_TIMECODE)
    return lost


def _add_chapters(
    source: av.container.InputContainer,
    target: av.container.OutputContainer,
    span: Span | None,
) -> list[str]:
    """Carry over the chapters; what can't be kept, in words."""
    chapters = source.chapters()
    if span is not None:
        chapters = [cut for cut in (_cut_chapter(each, span) for each in chapters) if cut]
    if chapters and target.format.name not in _WITH_CHAPTERS:
        return ["chapters"]
    if chapters:
        target.set_chapters(chapters)
    return []


def _cut_chapter(chapter: "Chapter", span: Span) -> "Chapter | None":
    """What of a chapter lies in a part of the film, on the part's clock."""
    tick = chapter["time_base"] or Fraction(1, av.time_base)
    begin, end = (round((time or Fraction(0)) / tick) for time in span)
    start, stop = max(chapter["start"], begin), min(chapter["end"], end)
    return None if stop <= start else {**chapter, "start": start - begin, "end": stop - begin}


def _attach_cover(path: Path, cover: av.VideoStream, target: av.container.OutputContainer) -> None:
    """Carry over cover art as an attachment, which it is in Matroska."""
    kind = _codec_of(cover).replace("mjpeg", "jpeg")
    name = cover.metadata.get("filename", f"cover.{kind}")
    mime = cover.metadata.get("mimetype", f"image/{kind}")
    target.add_attachment(name, mime, _read_cover(path, cover.index))


def _warn_of_losses(
    path: Path, source: av.container.InputContainer, lost: list[str], container: str
) -> None:
    """Log a line for what of a file isn't carried over into a container."""
    if (num_pictures := len(source.streams.video) - len(_covers_of(source))) > 1:
        logger.warning(
            "%s: it has %d picture streams, of which the first is taken", path, num_pictures
        )
    if lost:
        advice = "" if container == _MATROSKA else "; .mkv takes them"
        logger.warning(
            "%s: %s can't be kept in %s%s", path, ", ".join(dict.fromkeys(lost)), container, advice
        )
    if data := _data_of(source):
        logger.warning(
            "%s: %s: streams of data aren't carried over", path, ", ".join(dict.fromkeys(data))
        )


def warn_of_lost_tags(
    path: Path, tags: dict[str, str], labels: list[tuple[str, dict[str, str]]], *, written: Path
) -> None:
    """Log a line for the tags that a finished file doesn't have: containers leave out silently what
    they don't know.

    Args:
        path: the name of the file, for the line.
        tags: what it should have.
        labels: kind (audio, subtitle, ...) of its streams and what they should have, in order.
        written: where the file is.
    """
    with suppress(av.FFmpegError), av.open(f"file:{written}", metadata_errors="replace") as result:
        kept = {key.lower() for key in result.metadata}
        lost = sorted(key for key in tags if key.lower() not in kept)
        for kind in ("audio", "subtitle"):
            streams = (stream for stream in result.streams if stream.type == kind)
            wanted = (label for name, label in labels if name == kind)
            for label, stream in zip(wanted, streams):
                lost += [
                    f"{key} {label[key]} ({kind})"
                    for key in sorted(label.keys() - labels_of(stream).keys())
                ]
        if lost:
            advice = "" if path.suffix.lower() == ".mkv" else "; .mkv takes them"
            logger.warning(
                "%s: the film's %s can't be kept in %s%s",
                path,
                ", ".join(lost),
                path.suffix,
                advice,
            )


def _codec_of(stream: av.stream.Stream) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "of an unknown kind"


def _covers_of(source: av.container.InputContainer) -> list[av.VideoStream]:
    return [
        stream
        for stream in source.streams.video
        if Disposition(stream.disposition) & Disposition.attached_pic
    ]


def _data_of(source: av.container.InputContainer) -> list[str]:
    """Streams of data, in words; not those in which QuickTime keeps timecode and chapters."""
    has_chapters = bool(source.chapters()) and "mp4" in source.format.name
    streams = [stream for stream in source.streams.data if "timecode" not in stream.metadata]
    names = [stream.name or stream.metadata.get("handler_name", "unknown") for stream in streams]
    return [
        f"a data stream ({name})" for name in names if not (has_chapters and name == "bin_data")
    ]


def _read_cover(path: Path, index: int) -> bytes:
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        for packet in container.demux(container.streams[index]):
            if packet.size:
                return bytes(packet)
    return b""
