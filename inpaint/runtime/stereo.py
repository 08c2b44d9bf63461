"""Turn a film into stereo 3D: python -m inpaint stereo.

    frame -> depth -> shift -> the other eye's view with holes -> filled by the model -> both eyes
    in one picture

Axes: H W pixels, 3 = R G B.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import tee
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from inpaint.occlusion import scale_foreground, shift_of_view
from inpaint.options_run import StereoOptions
from inpaint.runtime.depth_files import check_depth_out, open_depth_in, open_depth_out
from inpaint.runtime.depth_stream import DepthFrame, stream_disparity
from inpaint.runtime.stereo_layers import (
    alphas_at,
    disparities_of,
    open_layers,
    view_of_layers,
)
from inpaint.runtime.stereo_layouts import Layout, layout_of
from inpaint.runtime.stereo_names import named_by_layout, named_in_folder, tell_of_name
from inpaint.runtime.stereo_views import VIEWS, Eye, turn, view_of_eye
from inpaint.runtime.stream import Filler, HoleFrame, fill_in_sdr
from inpaint.runtime.windows import open_fillers
from nunif.device import create_device
from nunif.errors import UserError
from nunif.numbered import is_picture
from nunif.runtime.batch import for_each_film
from nunif.runtime.film import (
    check_not_sources,
    open_output,
    open_source,
    process_frames,
    read_ahead,
)
from nunif.video.clips import clips_of_folder
from nunif.video.cuts import mark_cuts
from nunif.video.film import Film
from nunif.video.picture import is_see_through
from nunif.video.probe import VideoInfo
from nunif.video.reader import Frame
from nunif.video.tone import ToneMap, to_8_bits
from scene.depth import DepthEstimator, create_estimator
from scene.depth_models import MOTION_PARALLAX
from scene.layers.formats import Layers

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 2.0  # over which the bounds of the depth are averaged
FADE_SECONDS = 0.5  # from no depth to depth and back

EyeView = tuple[DepthFrame[Frame], np.ndarray]
View = Callable[..., tuple[np.ndarray, np.ndarray]]  # of an eye: the picture and its hole


def main(options: StereoOptions) -> None:
    """The command `stereo`."""
    if options.layers is not None and (options.stills or clips_of_folder(options.input)):
        raise UserError(
            f"--layers {options.layers} are of one film, and -i {options.input} is several: make "
            "them one by one"
        )
    device = create_device(options.gpu)
    fillers = cache(partial(open_fillers_of, options, device))
    estimator = cache(partial(open_estimator, options, device))
    work = partial(make_stereo, open_fillers=fillers, open_estimator=estimator)
    for_each_film(
        options,
        work,
        each=named_in_folder,
        prepare=lambda: (fillers(), options.depth_in or estimator()),
    )


def check_sees_depth(options: StereoOptions) -> None:
    """
    Raises:
        UserError: one picture, and an estimator that needs motion.
    """
    needs_motion = options.depth_in is None and options.model_type == MOTION_PARALLAX
    if needs_motion and is_picture(options.input):
        raise UserError(
            f"--model-type {MOTION_PARALLAX} tells near from far by how things move, and "
            f"{options.input} is one picture: choose another, such as Any_V2_S"
        )


def make_stereo(
    options: StereoOptions,
    *,
    open_fillers: Callable[[], list[Filler]],
    open_estimator: Callable[[], DepthEstimator],
) -> None:
    """Make stereo 3D of one film. open_fillers, open_estimator: called once the film is known to be
    usable."""
    options = named_by_layout(options)
    check_files(options)
    with ExitStack() as stack:
        film = stack.enter_context(open_source(options))
        check_sees_depth(options)
        width, height = film.info.width, film.info.height
        fillers = open_fillers()
        fillers[0].computed_size(height, width)  # an engine of another size is better found now
        source = stack.enter_context(open_depth_source(options.depth_in, film, open_estimator))
        logger.info("depth: %s; holes: %s", source.name, fillers[0].description)
        layout = layout_for(options, film.info)
        mark = layout.mark if options.stereo_tags else None
        output = stack.enter_context(
            open_output(options, film, size=layout.size(width, height), stereo=mark)
        )
        said = Remarks()

        def write(views: tuple[EyeView, EyeView]) -> None:
            (depth, left), (_, right) = views
            said.look_at(depth)
            output.write(layout.compose(left, right), depth.item)

        layers = None if options.layers is None else open_layers(options.layers, film)
        record = stack.enter_context(open_depth_out(options, film))
        depths = record(stack.enter_context(source.frames()))
        views = views_of(depths, layers, options, (height, width))
        left, right = (
            make_eye(shared, eye, filler, hole_growth=options.dilate, tone=film.info.tone_map)
            for shared, eye, filler in zip(tee(views), VIEWS[options.view], fillers)
        )
        process_frames(zip(left, right), film, write)
    said.warn(film.path, len(film))
    tell_of_name(options.output, options.layout)
    logger.info("%s: %d frames", options.output, len(film))


def check_files(options: StereoOptions) -> None:
    """
    Raises:
        UserError: one file is to be two, or to take the place of what is read; or the depth can't
            be written under its name.
    """
    written = [path for path in (options.output, options.depth_out) if path is not None]
    others = filter(None, [options.depth_in, options.layers])
    check_not_sources(written, [options.input, *others])
    if len({os.path.realpath(path) for path in written}) < len(written):
        raise UserError(
            f"--depth-out {options.depth_out} is where the film itself goes: choose another name"
        )
    if options.depth_out is not None:
        check_depth_out(options.depth_out)


def layout_for(options: StereoOptions, info: VideoInfo) -> Layout:
    """The layout of a film."""
    return layout_of(
        options.layout,
        field_of_view=options.field_of_view,
        side=options.vr180_size,
        pixel_aspect=info.sample_aspect_ratio,
    )


def open_fillers_of(options: StereoOptions, device: torch.device) -> list[Filler]:
    """What fills the holes of either eye."""
    return open_fillers(
        options.model,
        count=len(VIEWS[options.view]),
        device=device,
        precision=options.precision,
        compiled=options.compile,
        max_width=options.max_width,
        look_ahead=options.look_ahead,
    )


def open_estimator(options: StereoOptions, device: torch.device) -> DepthEstimator:
    """What estimates the depth."""
    return create_estimator(
        options.model_type,
        resolution=options.resolution,
        model_dir=options.depth_model_dir,
        device=device,
        batch_size=options.batch_size,
        allow_third_party=options.allow_third_party_code,
    )


@dataclass(frozen=True)
class DepthSource:
    """Where the depth of a film comes from.

    estimator: what estimates it; or else maps: the disparity of every frame.
    """

    name: str
    film: Film
    estimator: DepthEstimator | None = None
    maps: Iterable[Tensor] = ()

    @contextmanager
    def frames(self) -> Iterator[Iterator[DepthFrame[Frame]]]:
        """Every frame with its depth; read ahead and ended by damage as `read_ahead` does."""
        film = self.film
        if self.estimator is not None:
            with read_ahead(film, film) as frames:
                yield stream_depth(frames, film.info, self.estimator)
            return
        with read_ahead(zip(film, self.maps), film) as pairs:
            marked = mark_cuts(pairs, picture=lambda pair: pair[0].rgb)
            yield (DepthFrame(frame, is_cut, near) for (frame, near), is_cut in marked)


@contextmanager
def open_depth_source(
    path: Path | None, film: Film, estimator: Callable[[], DepthEstimator]
) -> Iterator[DepthSource]:
    """The depth at a path, or else what `estimator` opens."""
    if path is not None:
        with open_depth_in(path, film) as maps:
            yield DepthSource(str(path), film, maps=maps)
    else:
        opened = estimator()
        yield DepthSource(opened.name, film, opened)


def stream_depth(
    frames: Iterator[Frame], info: VideoInfo, estimator: DepthEstimator
) -> Iterator[DepthFrame[Frame]]:
    """The depth of every frame of a film."""
    tone, per_second = info.tone_map, info.fps or 1.0
    return stream_disparity(
        mark_cuts(frames, picture=lambda frame: frame.rgb),
        estimator,
        rgb=lambda frame: to_8_bits(tone.to_sdr(frame.rgb) if tone else frame.rgb),
        window=max(1, round(WINDOW_SECONDS * per_second)),
        fade=max(1, round(FADE_SECONDS * per_second)),
    )


class Remarks:
    """What was seen in a film that a person should be told of at the end."""

    def __init__(self) -> None:
        self._flat: Counter[str] = Counter()  # frames without depth, by the reason
        self._see_through = False

    def look_at(self, depth: DepthFrame[Frame]) -> None:
        picture = depth.item.picture
        self._see_through = self._see_through or (picture is not None and is_see_through(picture))
        if depth.rejected:
            self._flat[depth.rejected] += 1

    def warn(self, path: Path, num_frames: int) -> None:
        if self._see_through:
            text = (
                "%s is transparent in places (alpha), two eyes are not: the alpha is left out; "
                "apply carries it over"
            )
            logger.warning(text, path)
        for reason, count in self._flat.most_common():
            text = "%d of %d frames have no depth and are flat: %s"
            logger.warning(text, count, num_frames, reason)


def shift_of(depth: DepthFrame[Frame], options: StereoOptions, size: tuple[int, int]) -> Tensor:
    """See `inpaint.occlusion.shift_of_view`; nothing moves where there is no depth."""
    return depth.strength * shift_of_view(
        scale_foreground(depth.disparity, options.foreground_scale),
        size=size,
        divergence=options.divergence,
        convergence=options.convergence,
        edge_dilation=options.edge_dilation,
    )


def views_of(
    depths: Iterable[DepthFrame[Frame]],
    layers: Iterator[Layers] | None,
    options: StereoOptions,
    size: tuple[int, int],
) -> Iterator[tuple[DepthFrame[Frame], View]]:
    """Every frame with what any eye sees of it: of the frame itself, or of its layers."""
    for depth in depths:
        if layers is None:
            yield depth, partial(view_of_eye, depth.item.rgb, shift_of(depth, options, size))
            continue
        now = next(layers).with_film(depth.item.rgb)
        near = depth.disparity.float().numpy()
        behind, of_covers = disparities_of(near, alphas_at(now, (near.shape[0], near.shape[1])))
        # a layer's edge is its alpha: its disparity needs none
        sharp = replace(options, edge_dilation=0)
        scene, *covers = (
            shift_of(replace(depth, disparity=torch.from_numpy(one)), how, size)
            for one, how in [(behind, options), *((one, sharp) for one in of_covers)]
        )
        yield depth, partial(view_of_layers, now, depth.item.rgb.dtype, scene, covers)


def make_eye(
    frames: Iterable[tuple[DepthFrame[Frame], View]],
    eye: Eye | None,
    filler: Filler,
    *,
    hole_growth: int,
    tone: ToneMap | None = None,
) -> Iterator[EyeView]:
    """One eye's view of every frame: the frame itself, or moved and filled. tone: of the film."""
    if eye is None:
        yield from ((depth, depth.item.rgb) for depth, _ in frames)
        return

    def moved() -> Iterator[HoleFrame[DepthFrame[Frame]]]:
        for depth, view in frames:
            picture, hole = view(eye, hole_growth=hole_growth)
            yield HoleFrame(depth, turn(picture, eye), turn(hole, eye), depth.starts_shot)

    for depth, filled in fill_in_sdr(filler.fill, moved(), tone):
        yield depth, turn(filled, eye)
