"""The converter of a folder of films, killed in the middle: nobody sees half a film, and the same
command goes on."""

import signal

from matting.commands import MATTING
from matting.models import MattingNetwork
from nunif.models import save_model
from nunif.records import open_record
from scene.planes import ALPHA
from tests.faults.marks import starts_processes
from tests.faults.processes import Command, hashes, stall_in_folder
from tests.videos import write_clip

pytestmark = starts_processes("SIGKILL")
NUM_FRAMES = 4


def test_killed_in_the_second_film(run, tmp_path):
    """The first is finished and stays; of the second nothing has its name."""
    model = MattingNetwork("mobileone_s0", widths=[8, 8, 8, 8], pooled=16)
    save_model(model, tmp_path / "m.pth")
    for name in ("a.mkv", "b.mkv"):
        (tmp_path / "films").mkdir(exist_ok=True)
        write_clip(tmp_path / "films" / name, NUM_FRAMES)
    out, reports = tmp_path / "out", tmp_path / "reports"
    words = ["convert", "-i", tmp_path / "films", "-o", out, "-m", tmp_path / "m.pth"]
    words += ["--gpu", -1, "--parts", "pha,planes,com.mkv"]
    # each film writes a frame of pha and one of the planes at a time
    hook = (stall_in_folder, 2 * NUM_FRAMES + 3, reports)
    killed = Command(["matting", *words], tmp_path / "log", hook)
    killed.wait_for_reports(reports)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, killed.text
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a", "b.unfinished"]
    first = hashes(out / "a")
    code, _, lines = run(MATTING, *words)
    assert code == 0 and lines[-1].endswith("1 films made, 1 were there already"), lines
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]
    assert hashes(out / "a") == first
    assert len(list((out / "b" / "pha").iterdir())) == NUM_FRAMES
    assert len(open_record(out / "b" / "planes", (ALPHA,))) == NUM_FRAMES
