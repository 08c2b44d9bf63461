"""The table of commands that handle records of any task. Nothing here imports torch."""

from nunif.cli import Command
from nunif.shards import options

CREATE_TRAINING_DATA = [
    Command(
        "pack",
        options.PackOptions,
        "nunif.shards.pack:main",
        "put records into shards: tar files and an index, for many records and for buckets",
    ),
    Command(
        "unpack",
        options.UnpackOptions,
        "nunif.shards.unpack:main",
        "make folders of the records in shards again",
    ),
    Command(
        "index",
        options.IndexOptions,
        "nunif.shards.make_index:main",
        "write the index of shards that several processes packed, or of a folder of records",
    ),
]
