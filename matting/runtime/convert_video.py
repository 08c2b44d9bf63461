"""`convert_video`: a film in, its people out, as one call in Python. Its name and those of its
arguments are the ones that people know from Robust Video Matting."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path

import torch

from matting.models import MattingNetwork
from matting.options_run import ConvertOptions
from matting.runtime.convert import convert_film
from matting.runtime.resized import ResizedFilm
from matting.runtime.stream import MatteStream
from nunif import options as nunif_options
from nunif.errors import UserError
from nunif.files import make_folder
from nunif.runtime.film import is_folder, open_source
from nunif.video.film import Film

PathName = str | PathLike[str]

VIDEO, PNG_SEQUENCE = "video", "png_sequence"
OUTPUT_TYPES = (VIDEO, PNG_SEQUENCE)
FPS = "30"  # of a folder of pictures; `convert` has --fps


def convert_video(
    model: MattingNetwork,
    input_source: PathName,
    input_resize: tuple[int, int] | None = None,
    downsample_ratio: float | None = None,
    output_type: str = VIDEO,
    output_composition: PathName | None = None,
    output_alpha: PathName | None = None,
    output_foreground: PathName | None = None,
    output_video_mbps: float | None = None,
    seq_chunk: int = 1,
    num_workers: int = 0,
    progress: bool = True,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Cut the people out of a film; what `python -m matting convert` does.

    Args:
        model: it stays as it is.
        input_source: a video, or a folder of numbered pictures, which come at 30 a second.
        input_resize: (width, height) that frames are scaled to before all else.
        downsample_ratio: see `MattingNetwork.forward`; None for 512 pixels for the longer side.
        output_type: "video" for films, "png_sequence" for folders of PNGs.
        output_composition: the person before green, or with transparency in PNGs.
        output_alpha: alpha, grey. output_foreground: the person's colours, black elsewhere.
        output_video_mbps: megabits per second of films; None for what a good quality takes.
        seq_chunk: frames that are computed at once; the result is the same.
        num_workers: nothing depends on it: the next frames are always read meanwhile.
        progress: show a bar.
        device, dtype: what is computed on and in; None for the model's.
    Raises:
        UserError: nothing is to be written, a name doesn't fit the type, or what the command
            refuses.
    """
    names = [output_composition, output_alpha, output_foreground]
    options = _make_options(
        Path(input_source), _outputs(output_type, names), downsample_ratio, seq_chunk
    )
    weight = next(model.parameters())
    open_stream = partial(
        MatteStream,
        copy.deepcopy(model),  # it is fused and moved
        downsample_ratio=downsample_ratio,
        device=weight.device if device is None else torch.device(device),
        dtype=dtype or weight.dtype,
    )
    mbps = output_video_mbps if output_type == VIDEO else None
    convert_film(
        options,
        open_stream=open_stream,
        open_source=partial(_open_source, resize=input_resize),
        has_composite=output_composition is not None,
        bit_rate=None if mbps is None else round(mbps * 1e6),
        bar=progress,
    )


def _make_options(
    source: Path, outputs: list[Path | None], downsample_ratio: float | None, seq_chunk: int
) -> ConvertOptions:
    """Those of the command. outputs: of the composite, alpha and foreground."""
    _, alpha, foreground = outputs
    options = ConvertOptions(
        input=source,
        output=next(path for path in outputs if path is not None),
        model=Path("a network in memory"),
        alpha=alpha,
        foreground=foreground,
        downsample_ratio=downsample_ratio,
        seq_chunk=seq_chunk,
        fps=FPS if source.is_dir() else None,
    )
    nunif_options.check(options)
    return options


def _outputs(output_type: str, names: list[PathName | None]) -> list[Path | None]:
    """The paths, folders made that have a suffix.

    Raises:
        UserError: see `convert_video`.
    """
    if output_type not in OUTPUT_TYPES:
        raise UserError(
            f"output_type {output_type!r} is not known: choose from {', '.join(OUTPUT_TYPES)}"
        )
    paths = [None if name is None else Path(name) for name in names]
    given = [path for path in paths if path is not None]
    if not given:
        raise UserError(
            "nothing is to be written: name output_composition, output_alpha or output_foreground"
        )
    for path in given:
        if output_type == PNG_SEQUENCE and path.suffix:
            make_folder(path)
        elif output_type == VIDEO and is_folder(path):
            raise UserError(
                f"{path} has no suffix such as .mp4, which a film needs: add one, or say "
                'output_type="png_sequence" for a folder of PNGs'
            )
    return paths


@contextmanager
def _open_source(options: ConvertOptions, *, resize: tuple[int, int] | None) -> Iterator[Film]:
    """resize: (width, height)."""
    with open_source(options) as film:
        yield film if resize is None else ResizedFilm(film, (resize[1], resize[0]))
