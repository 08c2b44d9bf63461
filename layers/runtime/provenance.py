"""Where pictures come from: which films have people in them that a program generated.

meta.json of the layers says so, and FILM.meta.json beside a film that compose made of them; a film
that is split again takes it along.
"""

import json
from pathlib import Path
from typing import Any

from layers.runtime.put_back import Export
from nunif.errors import UserError
from nunif.files import longer_name, write_json
from nunif.video.film import folder_hash
from nunif.video.reader import content_hash
from scene.layers.folder import META


def origin_path(film: Path) -> Path:
    """Of what is told of a film beside it."""
    return longer_name(film, suffix=f".{META}")


def note_origin(output: Path, meta: dict[str, Any]) -> None:
    """Tell beside `output`, made of layers without anybody new, what is known of the film that they
    are of; meta: of the layers."""
    path = origin_path(output)
    if "made_of" in meta:
        write_json(path, meta["made_of"])
    elif path.exists() and origin_of(output)["generated"]:
        path.unlink()  # of a film that stood there before


def note_generated(
    layers: Path,
    meta: dict[str, Any],
    person: Path,
    output: Path,
    export: Export | None,
    **how: Any,
) -> None:
    """Tell in the layers and beside `output` that the people in it are from another film or
    picture.

    meta: of the layers. how: what else is known of their making.
    """
    made = {
        "output": output.name,
        "person": person.name,
        "person_hash": folder_hash(person) if person.is_dir() else content_hash(person),
        "export": None if export is None else export.name,
        **how,
    }
    before = [each for each in meta.get("compositions", []) if each != made]
    more = {"generated": True, "person_from": person.name, "compositions": [*before, made]}
    write_json(layers / META, {**meta, **more})
    source = {key: meta["source"][key] for key in ("name", "hash")}
    earlier = {"made_of": meta["made_of"]} if "made_of" in meta else {}
    write_json(origin_path(output), {"generated": True, **made, "source": source, **earlier})


def origin_of(film: Path) -> dict[str, Any]:
    """What layers of a film take over of what is told beside it.

    Raises:
        UserError: that is damaged.
    """
    path = origin_path(film)
    if not path.exists():
        return {"generated": False}
    try:
        origin = json.loads(path.read_text(encoding="utf-8"))
        return {"generated": bool(origin["generated"]), "made_of": origin}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, which tells where {film} comes from, can't be read ({error}): mend or "
            "delete it"
        ) from error
