"""A process that opens model files, named one a line on its input, and says as JSON what came of
each."""

import hashlib
import json
import sys

from nunif.errors import UserError
from nunif.models import create_model, load_model

try:
    import resource
except ImportError:  # Windows
    resource = None

ROOM = 3 << 30  # bytes of address space: a bomb must not take the machine along when a test fails


def peak_memory() -> int:
    """Bytes that this process has held at once, 0 where that can't be had."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def limit_memory() -> None:
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(
            resource.RLIMIT_AS, (held + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1])
        )


def main() -> None:
    create_model("inpaint.memory_dstt_v1_tiny")  # everything is imported
    limit_memory()
    for line in sys.stdin:
        path, before = line.rstrip("\n"), peak_memory()
        try:
            model, _ = load_model(path, expect="inpaint.")
            outcome = {"weights": digest(model)}
        except UserError as error:
            outcome = {"error": str(error)}
        except Exception as error:
            outcome = {"traceback": repr(error)[:500]}
        print(json.dumps({**outcome, "path": path, "grown": peak_memory() - before}), flush=True)


def digest(model) -> str:
    """Of all weights, by name, type and value."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(
            f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()
        )
    return total.hexdigest()


if __name__ == "__main__":
    main()
