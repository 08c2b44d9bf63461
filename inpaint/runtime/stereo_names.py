"""Names by which players tell how both eyes stand in a film."""

import logging
import re
from dataclasses import replace
from pathlib import Path

from inpaint.options_run import StereoOptions
from inpaint.runtime.stereo_layouts import LAYOUTS
from nunif.errors import UserError
from nunif.files import longer_name
from nunif.numbered import is_picture
from nunif.runtime.film import is_folder
from nunif.video.clips import clip_name, find_mask
from nunif.video.encoders import default_codecs

logger = logging.getLogger(__name__)

_FILM = ".mp4"  # where the source's suffix is none that can be written
# what Windows doesn't allow in names, so that file servers show others in their place
_REFUSED_BY_SMB = re.compile(r'[\\/:*?"<>|]')


def named_by_layout(options: StereoOptions) -> StereoOptions:
    """The options with the name of the film in `output`, where it is asked for.

    A folder gets a film named after the source.
    """
    if not options.name_by_layout:
        return options
    output, in_name = options.output, LAYOUTS[options.layout].in_name
    if is_folder(output):
        source = options.input
        stem = source.resolve().name if source.is_dir() else source.stem
        output = output / (_REFUSED_BY_SMB.sub("_", stem) + _suffix_like(source))
    if not output.stem.lower().endswith(in_name.lower()):
        output = longer_name(output, after=in_name)
    return replace(options, output=output)


def named_in_folder(options: StereoOptions) -> StereoOptions:
    """The options for one film of a folder, with the names of its own files: that of the film, and
    where its depth is, or goes.

    Raises:
        UserError: the depth of all films has one name.
    """
    output, film = options.output, options.input
    if options.name_by_layout:
        output = longer_name(output, after=LAYOUTS[options.layout].in_name)
    depth_in, depth_out = options.depth_in, options.depth_out
    if depth_in is not None:
        name = f"{film}: --depth-in {depth_in}"
        if not depth_in.is_dir():
            raise UserError(f"{name} is no folder: name one that holds the depth of each film")
        depth_in = find_mask(depth_in, film, name=name, what="depth files")
    if depth_out is not None:
        if not is_folder(depth_out):
            raise UserError(
                f"--depth-out {depth_out} is one file, and there are several films: name a folder"
            )
        depth_out = depth_out / clip_name(film)
    return replace(
        options, output=output, name_by_layout=False, depth_in=depth_in, depth_out=depth_out
    )


def _suffix_like(source: Path) -> str:
    if is_picture(source):
        return ".png"
    try:
        default_codecs(source)
    except UserError:
        return _FILM
    return _FILM if source.is_dir() else source.suffix


def tell_of_name(output: Path, layout: str) -> None:
    """Log by which name players would know a film, if they won't by its own."""
    known_by = LAYOUTS[layout].known_by
    words = re.split(r"[^a-z0-9]+", output.stem.lower())
    if is_folder(output) or not known_by or any(word in known_by for word in words):
        return
    better = longer_name(output, after=LAYOUTS[layout].in_name).name
    logger.info(
        "%s: players that go by the name don't see that it is %s; they know %s "
        "(--name-by-layout gives such names)",
        output,
        layout,
        better,
    )
