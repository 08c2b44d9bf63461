"""Where what is found in a film goes: films, folders of PNGs, planes of a record.

Axes: H W pixels, 3 = R G B.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from matting.options_run import ConvertOptions, parse_parts
from nunif.errors import UserError
from nunif.numbered import is_picture
from nunif.runtime.film import check_not_sources, is_folder
from nunif.video.clips import clip_name
from nunif.video.encoders import can_write
from nunif.video.folder import folder_of_outputs


@dataclass(frozen=True)
class Outputs:
    """The path of each; None where it isn't wanted. composite: the person before a background, or a
    cut-out. planes: a folder."""

    composite: Path | None = None
    alpha: Path | None = None
    foreground: Path | None = None
    planes: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """Of all that are wanted."""
        values = (getattr(self, field.name) for field in fields(self))
        return [path for path in values if path is not None]


@contextmanager
def open_outputs(options: ConvertOptions, *, has_composite: bool = True) -> Iterator[Outputs]:
    """What is asked for of one film. With --parts all of it gets its name at once, when the block
    ends well. has_composite: without --parts, --output is made.

    Raises:
        UserError: one path is to be two things, or to take the place of what is read; or as
            `folder_of_outputs`.
    """
    behind = Path(options.background) if options.background else options.input
    sources = [options.input, options.model, behind]
    if options.parts is None:
        composite = options.output if has_composite else None
        outputs = Outputs(composite, options.alpha, options.foreground, options.planes)
        check_not_sources(outputs.paths, sources)
        if len({os.path.realpath(path) for path in outputs.paths}) < len(outputs.paths):
            raise UserError(
                "-o, --alpha and --foreground name one file twice: choose a name for each of them"
            )
        yield outputs
        return
    files = _files_of(options, options.parts)
    check_not_sources([options.output], sources)
    with folder_of_outputs(options.output) as folder:
        paths = {name: folder / file for name, file in files.items()}
        names = ("com", "pha", "fgr", "planes")
        yield Outputs(*(paths.get(name) for name in names))


def _files_of(options: ConvertOptions, parts: str) -> dict[str, str]:
    """What each part is called. Raises UserError where --output is no folder, or a part can't be
    written."""
    output, files = options.output, parse_parts(parts)
    is_photo = is_picture(options.input)
    if can_write(output.suffix) or is_picture(output):
        raise UserError(f"--output {output} is one file, and --parts makes a folder: name a folder")
    for file in files.values():
        suffix = Path(file).suffix
        if suffix and not (can_write(suffix) or is_photo and is_picture(Path(file))):
            raise UserError(
                f"--parts {parts}: {file} can't be written: choose .mp4, .mkv or another, "
                "or no suffix for a folder of PNGs"
            )
    return files


def in_folders(options: ConvertOptions) -> ConvertOptions:
    """The options for one film of a folder: all that is made of it goes into folders, under the
    film's name.

    Raises:
        UserError: there is one name for all films.
    """
    if options.parts is not None:
        named = replace(options, output=options.output.with_name(clip_name(options.input)))
        _files_of(named, options.parts)  # what is wrong with all of them is better said now
        return named
    for flag, path in (("--alpha", options.alpha), ("--foreground", options.foreground)):
        if path is not None and not is_folder(path):
            raise UserError(
                f"{flag} {path} is one file, and there are several films: name a folder"
            )
    name = options.output.name
    return replace(
        options,
        alpha=options.alpha and options.alpha / name,
        foreground=options.foreground and options.foreground / name,
        planes=options.planes and options.planes / clip_name(options.input),
    )
