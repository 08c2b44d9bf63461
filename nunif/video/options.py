"""Options of all commands that read films, and of those that write them."""

from nunif.options import option

FPS_HELP = "frames per second of a folder of pictures, as 23.976 or 30000/1001 (default: 24)"


def deinterlace_option() -> bool:
    """The option of all commands that read films."""
    return option(
        default=False,
        help="make whole pictures of interlaced films, by bwdif; without it they are refused",
    )


def codec_option() -> str | None:
    return option(
        default=None, help="libav's name of the encoder (default: by the suffix, libx264 for .mp4)"
    )


def quality_option() -> int | None:
    return option(default=None, minimum=0, maximum=63, help="CRF of the encoder, lower is better")


def pixel_format_option() -> str | None:
    return option(
        default=None, help="such as yuv420p10le (default: the film's, if the encoder has it)"
    )


def extras_option() -> bool:
    return option(
        "--no-extras",
        default=True,
        help="leave out the film's subtitles, chapters, tags and attachments",
    )
