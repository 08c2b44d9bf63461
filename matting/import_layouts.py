"""What is where in the published datasets: folders and lists -> `Source`s.

Every layout is a function that takes the folder and gives what it found. Nothing is decoded here.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matting.import_frames import (
    Frames,
    ListedMasks,
    PanopticMask,
    PictureFiles,
    Source,
    VideoFile,
)
from nunif.errors import UserError
from nunif.numbered import check_exists, is_picture, pictures_in, row_in
from nunif.video.reader import VIDEO_SUFFIXES
from scene.planes import ALPHA, BEHIND, COLOUR, FOREGROUND

logger = logging.getLogger(__name__)

# what counts as a person in COCO: what they wear on them goes along with them
COCO_NAMES = ("person", "backpack", "tie")
NO_PERSON = "without a person"
PICTURES = "JPEGImages"


@dataclass
class Found:
    """What a folder holds. skipped: what is not taken, by reason; extra: what shapes the records
    beside the options, for record.json."""

    sources: list[Source] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    extra: dict[str, str] = field(default_factory=dict)


def find_sources(folder: Path, layout: str, *, split: str | None, deinterlace: bool) -> Found:
    """
    Raises:
        UserError: the folder is missing, or isn't laid out like that.
    """
    check_exists(folder, f"-i {folder}")
    if not folder.is_dir():
        raise UserError(f"-i {folder} is a file: name the folder of the dataset")
    if layout == "coco":
        return find_coco(folder, split)
    find: dict[str, Callable[[], Found]] = {
        "videomatte": lambda: find_videomatte(folder, deinterlace=deinterlace),
        "imagematte": lambda: find_imagematte(folder),
        "background": lambda: find_backgrounds(folder, deinterlace=deinterlace),
        "spd": lambda: find_spd(folder),
        "youtubevis": lambda: find_youtubevis(folder),
    }
    return find[layout]()


# --- pairs of folders -----------------------------------------------------------------------------


def find_videomatte(folder: Path, *, deinterlace: bool) -> Found:
    """VideoMatte240K: fgr/CLIP/00000.jpg or fgr/CLIP.mp4, and the same in pha/."""
    both = _folders(folder, "fgr", "pha")
    colours, alphas = (_entries(part, _is_clip) for part in both)
    found = Found()
    for name in sorted(colours.keys() | alphas.keys()):
        if problem := _without_partner(name, colours, alphas, both):
            found.sources.append(Source(name, {}, problem))
            continue
        try:
            planes = _clip_planes(colours[name], alphas[name], deinterlace=deinterlace)
        except UserError as error:
            found.sources.append(Source(name, {}, str(error)))
        else:
            found.sources.append(Source(name, planes))
    return _not_empty(
        found, folder, "clips: expected folders of pictures or videos in fgr/ and pha/"
    )


def _clip_planes(colour: Path, alpha: Path, *, deinterlace: bool) -> dict[str, Frames]:
    """Raises UserError where a frame has no partner."""
    if colour.is_dir() and alpha.is_dir():
        pairs = _pairs(colour, alpha)
        return {
            FOREGROUND.letter: PictureFiles(tuple(pair[0] for pair in pairs)),
            ALPHA.letter: PictureFiles(tuple(pair[1] for pair in pairs), grey=True),
        }
    return {
        FOREGROUND.letter: _clip_frames(colour, grey=False, deinterlace=deinterlace),
        ALPHA.letter: _clip_frames(alpha, grey=True, deinterlace=deinterlace),
    }


def _clip_frames(path: Path, *, grey: bool, deinterlace: bool) -> Frames:
    if path.is_dir():
        return PictureFiles(row_in(path).files, grey)
    return VideoFile(path, grey, deinterlace)


def _pairs(first: Path, second: Path) -> list[tuple[Path, Path]]:
    """The pictures of two folders, those of one name together, in order.

    Raises:
        UserError: one is alone.
    """
    partners = {file.stem: file for file in pictures_in(second)}
    files = row_in(first).files
    alone = [f"{file} has no partner in {second}" for file in files if file.stem not in partners]
    names = {file.stem for file in files}
    alone += [
        f"{file} has no partner in {first}" for name, file in partners.items() if name not in names
    ]
    if alone:
        more = f" ({len(alone)} pictures have none)" if len(alone) > 1 else ""
        raise UserError(f"{alone[0]}{more}: copy it there, or move the other away")
    return [(file, partners[file.stem]) for file in files]


def find_imagematte(folder: Path) -> Found:
    """ImageMatte, Distinctions-646, AIM: fgr/NAME.jpg and pha/NAME.jpg."""
    both = _folders(folder, "fgr", "pha")
    colours, alphas = (_entries(part, is_picture) for part in both)
    found = Found()
    for name in sorted(colours.keys() | alphas.keys()):
        if problem := _without_partner(name, colours, alphas, both):
            found.sources.append(Source(name, {}, problem))
            continue
        planes = {
            FOREGROUND.letter: PictureFiles((colours[name],)),
            ALPHA.letter: PictureFiles((alphas[name],), grey=True),
        }
        found.sources.append(Source(name, planes))
    return _not_empty(found, folder, "pictures in fgr/ and pha/; clips are --layout videomatte")


def find_spd(folder: Path) -> Found:
    """Supervisely Person Dataset: img/ and seg/, in step by their names, or else by their order."""
    both = _folders(folder, "img", "seg")
    colours, masks = (_entries(part, is_picture) for part in both)
    found = Found()
    if not colours.keys() & masks.keys() and len(colours) == len(masks):
        if colours:
            text = "%s: its pictures and masks have different names, and go together in their order"
            logger.warning(text, folder)
        masks = dict(zip(sorted(colours), (masks[name] for name in sorted(masks)), strict=True))
    for name in sorted(colours.keys() | masks.keys()):
        if problem := _without_partner(name, colours, masks, both):
            found.sources.append(Source(name, {}, problem))
            continue
        planes = {
            COLOUR.letter: PictureFiles((colours[name],)),
            ALPHA.letter: PictureFiles((masks[name],), grey=True, is_mask=True),
        }
        found.sources.append(Source(name, planes))
    return _not_empty(found, folder, "pictures in img/ and seg/")


def find_backgrounds(folder: Path, *, deinterlace: bool) -> Found:
    """Pictures by themselves, folders of pictures and videos, each of which is a clip."""
    found = Found()
    for name, path in sorted(_entries(folder, _is_clip_or_picture).items()):
        frames: Frames
        if is_picture(path):
            frames = PictureFiles((path,))
        else:
            frames = _clip_frames(path, grey=False, deinterlace=deinterlace)
        found.sources.append(Source(name, {BEHIND.letter: frames}))
    return _not_empty(found, folder, "pictures, folders of pictures or videos")


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def _is_clip(path: Path) -> bool:
    return _is_video(path) or (path.is_dir() and bool(pictures_in(path)))


def _is_clip_or_picture(path: Path) -> bool:
    return _is_clip(path) or is_picture(path)


def _folders(folder: Path, *names: str) -> list[Path]:
    """The folders of these names in one.

    Raises:
        UserError: one is missing; where they are further below, in which folders.
    """
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        below = sorted(path.parent for path in folder.glob(f"*/{names[0]}") if path.is_dir())
        hint = f": name one of {', '.join(map(str, below))}" if below else ": check the path"
        raise UserError(f"-i {folder} has no folder {missing[0]}/{hint}")
    return [folder / name for name in names]


def _entries(folder: Path, is_meant: Callable[[Path], bool]) -> dict[str, Path]:
    """What is meant in a folder, by its name without a suffix; the rest is logged.

    Raises:
        UserError: two have one name.
    """
    found: dict[str, Path] = {}
    others = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not is_meant(path):
            others.append(path.name)
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise UserError(f"{found[name]} and {path} have one name: move one of them elsewhere")
        found[name] = path
    if others:
        text = "%s: left out %d that are nothing of this layout, %s the first"
        logger.warning(text, folder, len(others), others[0])
    return found


def _without_partner(
    name: str, first: Mapping[str, Path], second: Mapping[str, Path], folders: Sequence[Path]
) -> str:
    """Why what has a name is alone; nothing where it is in both."""
    if name in first and name in second:
        return ""
    path, other = (first[name], folders[1]) if name in first else (second[name], folders[0])
    return f"{path} has no partner in {other}: copy it there, or move the other away"


def _not_empty(found: Found, folder: Path, expected: str) -> Found:
    if not found.sources and not found.skipped:
        raise UserError(f"-i {folder} holds no {expected}")
    return found


# --- lists ----------------------------------------------------------------------------------------


def find_coco(folder: Path, split: str | None) -> Found:
    """COCO: pictures in SPLIT/ or images/SPLIT/, and panoptic_SPLIT.json with its PNGs, or
    instances_SPLIT.json; both lists as they are published."""
    lists = {
        kind: {path.stem.removeprefix(f"{kind}_"): path for path in _json_files(folder, kind)}
        for kind in ("panoptic", "instances")
    }
    splits = sorted({name for named in lists.values() for name in named})
    if not splits:
        raise UserError(
            f"-i {folder} has no panoptic_*.json and no instances_*.json, there or in annotations/"
        )
    if split is None and len(splits) > 1:
        raise UserError(f"-i {folder} has several parts: choose with --split {' or '.join(splits)}")
    split = split or splits[0]
    if split not in splits:
        raise UserError(f"--split {split} is not in {folder}: it has {', '.join(splits)}")
    places = [folder / split, folder / "images" / split, folder / "images"]
    pictures = next((place for place in places if place.is_dir() and pictures_in(place)), None)
    if pictures is None:
        raise UserError(f"{folder} has no pictures: expected {places[0]} or {places[1]}")
    kind = "panoptic" if split in lists["panoptic"] else "instances"
    if kind == "panoptic" and split in lists["instances"]:
        logger.info("%s is taken, %s is not", lists[kind][split].name, f"instances_{split}.json")
    path = lists[kind][split]
    content = _read_list(path, ("images", "annotations", "categories"))
    found = Found(extra={"annotations": kind})
    with _explained(path):
        read = _panoptic if kind == "panoptic" else _instances
        for name, mask in read(content, path):
            if mask is None:
                found.skipped[NO_PERSON] += 1
                continue
            planes: dict[str, Frames] = {
                COLOUR.letter: PictureFiles((pictures / name,)),
                ALPHA.letter: mask,
            }
            found.sources.append(Source(name, planes))
    return _not_empty(found, folder, f"entries in {path.name}")


def _json_files(folder: Path, kind: str) -> list[Path]:
    places = (folder, folder / "annotations")
    return [path for place in places for path in sorted(place.glob(f"{kind}_*.json"))]


def _panoptic(content: Any, path: Path) -> Iterator[tuple[str, PanopticMask | None]]:
    """Each picture's name and its mask; None where no person is in it."""
    pngs = path.with_suffix("")
    if not pngs.is_dir():
        raise UserError(f"{pngs} is missing: unpack the PNGs of {path.name} there")
    wanted, person = _category_numbers(content, COCO_NAMES, path)
    names = {entry["id"]: entry["file_name"] for entry in content["images"]}
    for entry in content["annotations"]:
        segments = [s for s in entry["segments_info"] if s["category_id"] in wanted]
        has_person = any(segment["category_id"] == person for segment in segments)
        numbers = tuple(segment["id"] for segment in segments)
        mask = PanopticMask(pngs / entry["file_name"], numbers) if has_person else None
        yield names[entry["image_id"]], mask


def _instances(content: Any, path: Path) -> Iterator[tuple[str, ListedMasks | None]]:
    """Each picture's name and its mask; None where no person is in it. Crowds count as persons."""
    wanted, person = _category_numbers(content, COCO_NAMES, path)
    parts = defaultdict(list)
    with_person = set()
    for entry in content["annotations"]:
        if entry["category_id"] in wanted:
            parts[entry["image_id"]].append(entry["segmentation"])
            if entry["category_id"] == person:
                with_person.add(entry["image_id"])
    for entry in content["images"]:
        name = f"{path.name}, {entry['file_name']}"
        mask = ListedMasks(name, (entry["height"], entry["width"]), [parts[entry["id"]]])
        yield entry["file_name"], mask if entry["id"] in with_person else None


def find_youtubevis(folder: Path) -> Found:
    """YouTubeVIS: JPEGImages/CLIP/00000.jpg, and instances.json with runs for every frame."""
    pictures, path = folder / PICTURES, folder / "instances.json"
    if not pictures.is_dir() or not path.is_file():
        _folders(folder, PICTURES)
        raise UserError(f"-i {folder} has no instances.json: put the list of its clips there")
    content = _read_list(path, ("videos", "annotations", "categories"))
    found = Found()
    with _explained(path):
        wanted, _ = _category_numbers(content, ("person",), path)
        people = defaultdict(list)
        for entry in content["annotations"] or ():
            if entry["category_id"] in wanted:
                people[entry["video_id"]].append(entry["segmentations"])
        for video in content["videos"]:
            names = video["file_names"]
            name = str(Path(names[0]).parent)
            if video["id"] not in people:
                found.skipped[NO_PERSON] += 1
                continue
            tracks = people[video["id"]]
            if any(len(track) != len(names) for track in tracks):
                problem = f"{path}, {name}: a person has masks for another number of frames"
                found.sources.append(Source(name, {}, f"{problem}: mend the list"))
                continue
            # a person that is out of the picture has null there
            parts = [[runs for runs in frame if runs] for frame in zip(*tracks, strict=True)]
            size = (video["height"], video["width"])
            planes: dict[str, Frames] = {
                COLOUR.letter: PictureFiles(tuple(pictures / n for n in names)),
                ALPHA.letter: ListedMasks(f"{path.name}, {name}", size, parts),
            }
            found.sources.append(Source(name, planes))
    return _not_empty(found, folder, f"entries in {path.name}")


def _category_numbers(content: Any, names: Sequence[str], path: Path) -> tuple[frozenset[int], int]:
    """The numbers of categories of these names, and that of `person`."""
    numbers = {entry["name"]: entry["id"] for entry in content["categories"]}
    if "person" not in numbers:
        raise UserError(f"{path} has no category `person`: it has {', '.join(sorted(numbers))}")
    return frozenset(numbers[name] for name in names if name in numbers), numbers["person"]


def _read_list(path: Path, keys: Sequence[str]) -> Any:
    """Raises UserError where it is no such list."""
    logger.info("reading %s", path)  # which may take a minute
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read ({error}): copy or download it again") from error
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise UserError(f"{path} has no {' and no '.join(lacking)}: it is a list of another kind")
    return content


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Tell of entries that lack something as the list's fault."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"an entry has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} can't be used ({reason}): mend the list") from error
