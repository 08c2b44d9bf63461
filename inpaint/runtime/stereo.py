"""Turn a film into stereo 3D: python -m inpaint stereo.

    frame -> depth -> shift -> the other eye's view with holes -> filled by the model -> both eyes in one picture

Axes: H W pixels, 3 = R G B.
"""

import logging
from collections import Counter
from contextlib import ExitStack

import numpy as np

from inpaint.depth import create_estimator
from inpaint.occlusion import shift_of_view
from inpaint.options import StereoOptions
from inpaint.runtime.backends import open_backend
from inpaint.runtime.depth_stream import DepthFrame, stream_disparity
from inpaint.runtime.output import check_apart, go_through, open_output, read_ahead
from inpaint.runtime.stereo_views import LAYOUTS, VIEWS, turn, view_of_eye
from inpaint.runtime.stream import InpaintStream
from nunif.device import create_device
from nunif.video.cuts import mark_cuts
from nunif.video.reader import Frame, VideoReader

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 2.0  # over which the bounds of the depth are averaged
FADE_SECONDS = 0.5  # from no depth to depth and back


def main(options: StereoOptions) -> None:
    """The command `stereo`."""
    check_apart([options.output], [options.input])
    device = create_device(options.gpu)
    with ExitStack() as stack:
        film = stack.enter_context(VideoReader(options.input, for_editing=True))
        width, height = film.info.width, film.info.height
        backend = open_backend(options.model, device=device, precision=options.precision, compiled=options.compile)
        eyes = VIEWS[options.view]
        # one after the other through one back end, each with a memory of its own
        streams = [InpaintStream(backend, max_width=options.max_width) if eye else None for eye in eyes]
        for stream in filter(None, streams):
            stream.computed_size(height, width)  # an engine of another size is better found now
        estimator = create_estimator(
            options.model_type,
            resolution=options.resolution,
            model_dir=options.depth_model_dir,
            device=device,
            batch_size=options.batch_size,
            allow_third_party=options.allow_third_party_code,
        )
        logger.info("depth: %s; holes: %s", estimator.name, backend.description)
        layout = LAYOUTS[options.layout]
        output = stack.enter_context(open_output(options, film, size=layout.size(width, height)))
        flat: Counter[str] = Counter()

        def make_view(depth: DepthFrame[Frame]) -> None:
            frame = depth.item.rgb
            if depth.rejected:
                flat[depth.rejected] += 1
            shift = depth.strength * shift_of_view(
                depth.disparity,
                size=(height, width),
                divergence=options.divergence,
                convergence=options.convergence,
                edge_dilation=options.edge_dilation,
            )
            views = []
            for eye, stream in zip(eyes, streams):
                if eye is None or stream is None:
                    views.append(frame)
                    continue
                if depth.starts_shot:
                    stream.reset()
                picture, hole = view_of_eye(frame, shift, eye, hole_growth=options.dilate)
                views.append(turn(stream(turn(picture, eye), turn(hole, eye)), eye))
            output.write(layout.compose(*views), depth.item.pts)

        frames = stack.enter_context(read_ahead(film, film))
        shots = mark_cuts(frames, picture=lambda frame: frame.rgb)
        per_second = film.info.fps or 1.0
        depths = stream_disparity(
            shots,
            estimator,
            rgb=lambda frame: to_8_bits(frame.rgb),
            window=max(1, round(WINDOW_SECONDS * per_second)),
            fade=max(1, round(FADE_SECONDS * per_second)),
        )
        go_through(depths, film, make_view)
    for reason, count in flat.most_common():
        logger.warning("%d of %d frames have no depth and are flat: %s", count, len(film), reason)
    logger.info("%s: %d frames", options.output, len(film))


def to_8_bits(picture: np.ndarray) -> np.ndarray:
    """uint8 or uint16 -> uint8."""
    return picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
