"""A process that makes records of films, named one a line on its input, and says as JSON what came
of each."""

import json
import shutil
import sys
import time
from pathlib import Path

from inpaint import generate, generate_views
from inpaint.options_data import GenerateOptions
from nunif.errors import UserError
from nunif.records import read_info
from tests.inpaint.test_generate import StripeDepth
from tests.videos import number_of

SEQ, SIZE = 8, 64
WRITE_EVERY = 10  # films: to make and write the records of all takes minutes, and shows no more


def pass_on(work, *_):
    """In the place of `generate.make_records`: every clip counts as two records, and nothing is
    written."""
    for item in work:
        yield (
            item
            if isinstance(item, generate.Outcome)
            else generate.Outcome(item.number, made=[0, 1])
        )


def main() -> None:
    # the pictures as they are in the film, and the same random draws for every damaged copy of it
    generate_views.VIEW_SIZES = {SIZE: 1.0}
    generate.film_hash = lambda path: "00000000"
    seen: list[list[tuple[int, float]]] = []
    read_clips = generate.read_clips

    def watched(*arguments):
        for item in read_clips(*arguments):
            if isinstance(item, generate.Clip):
                seen.append([(number_of(frame.rgb), frame.time) for frame in item.frames])
            yield item

    generate.read_clips = watched
    make_records = generate.make_records
    for number, line in enumerate(sys.stdin):
        generate.make_records = make_records if number % WRITE_EVERY == 0 else pass_on
        path, began = Path(line.rstrip("\n")), time.monotonic()
        seen.clear()
        options = GenerateOptions(
            dataset_dir=path,
            data_dir=path.with_name(f"{path.name}.records"),
            prefix="p",
            model_type="MotionParallax",
            seq=SEQ,
            size=SIZE,
            skip_interval=0,
            divergence_level=3,
            max_workers=1,
            gpu=-1,
        )
        options.data_dir.mkdir()
        try:
            outcome = {"counts": generate.generate_from_video(path, StripeDepth(), options)}
        except UserError as error:
            outcome = {"error": str(error)}
        except Exception as error:
            outcome = {"traceback": repr(error)[:500]}
        outcome |= {"path": str(path), "clips": seen, "seconds": time.monotonic() - began}
        if number % WRITE_EVERY == 0:
            infos = {folder: read_info(folder) for folder in options.data_dir.glob("p_*")}
            outcome["records"] = [
                (info["start_seconds"], info["end_seconds"], len(list(folder.glob("*.png"))))
                for folder, info in infos.items()
            ]
        shutil.rmtree(options.data_dir)
        print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
