"""The generator, killed at any moment: nobody sees half a record, and the last run finishes to the
same bytes."""

import json
import signal
import time

import pytest

from tests.faults.generating import generate
from tests.faults.marks import starts_processes
from tests.faults.processes import (
    CONTEXT,
    SECONDS,
    busy,
    count,
    draw_moments,
    hashes,
    report_records,
    stall_in_record,
    watch_records,
)

pytestmark = starts_processes("SIGKILL and cheap processes")
SEED = 3
# twenty moments: while starting, some time after a record, and inside a record's pictures
MOMENTS = draw_moments(
    SEED,
    (5, lambda rng: ("start", rng.uniform(0, 0.2))),
    (7, lambda rng: ("record", 1, rng.uniform(0, 0.2))),
    (8, lambda rng: ("picture", rng.randint(0, 6))),
)


def test_killed_twenty_times_it_ends_with_the_same_bytes(film, calm_records, tmp_path):
    folder, stop, seen = tmp_path / "train", tmp_path / "stop", tmp_path / "seen.json"
    folder.mkdir()
    watcher = CONTEXT.Process(target=watch_records, args=(folder, stop, seen), daemon=True)
    watcher.start()
    for number, moment in enumerate(MOMENTS):
        where = f"kill {number} of seed {SEED}: {moment}"
        reports = tmp_path / f"reports{number}"
        hook = (
            (stall_in_record, moment[1], reports)
            if moment[0] == "picture"
            else (report_records, reports)
        )
        run = generate(film, folder, tmp_path / f"log{number}", hook)
        if moment[0] == "start":
            time.sleep(moment[1])
        else:
            run.wait_for_reports(reports)
            time.sleep(moment[2] if moment[0] == "record" else 0)
        run.kill()
        assert run.wait() == -signal.SIGKILL, f"{where}: {run.text}"
    last = generate(film, folder, tmp_path / "log")
    assert last.wait() == 0, last.text
    stop.touch()
    watcher.join(SECONDS)
    calm = hashes(calm_records)
    assert hashes(folder) == calm
    first_sights = json.loads(seen.read_text())
    as_seen = {
        f"{record}/{name}": digest
        for record, files in first_sights.items()
        for name, digest in files.items()
    }
    assert as_seen == {name: digest for name, digest in calm.items() if "/" in name}
    assert len(first_sights) >= 20


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_leaves_whole_records(film, calm_records, tmp_path, name):
    folder = tmp_path / "train"
    run = generate(film, folder, tmp_path / "log", (report_records, tmp_path / "reports"))
    run.wait_for_reports(tmp_path / "reports")
    run.send(getattr(signal, name))
    assert run.wait(busy(20)) == 130 and run.lines[-1] == "interrupted", run.text
    assert count(tmp_path / "reports") < 20
    made = {path.name for path in folder.iterdir() if path.is_dir()}
    assert made and not any(name.startswith(".") for name in made)
    found = hashes(folder)
    assert {name: digest for name, digest in found.items() if "/" in name}.items() <= hashes(
        calm_records
    ).items()
