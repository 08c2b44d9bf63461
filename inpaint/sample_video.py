"""The command `sample-video`: a rendered clip to try things on."""

from fractions import Fraction

from tqdm import tqdm

from inpaint.options_data import SampleVideoOptions
from nunif.files import make_folder
from nunif.video.writer import write_video
from scene.world import FPS, render_scene


def main(options: SampleVideoOptions) -> None:
    """The command `sample-video`."""
    make_folder(options.output.parent)
    scene = render_scene(options.width, options.height, options.frames, seed=options.seed)
    frames = (frame for frame, _ in scene)
    bar = tqdm(frames, total=options.frames, unit="frame", desc=options.output.name, disable=None)
    write_video(options.output, bar, fps=Fraction(FPS))
