"""For the tests of what is done with a model: one that is tiny."""

import pytest

from matting.models import MattingNetwork
from tests.matting.weights import calibrate, weights_by_name

NAME = "matting.mobileone_s0"  # which other processes know as well
TINY = {"widths": [8, 8, 8, 8], "pooled": 16}


@pytest.fixture(scope="session")
def network() -> MattingNetwork:
    """Its alpha is anything from 0 to 1 on pictures of `weights.pictures`."""
    model = MattingNetwork("mobileone_s0", **TINY)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    own = weights_by_name({name: shape for name, shape in shapes.items() if len(shape) > 1})
    model.load_state_dict({**model.state_dict(), **own})
    calibrate(model, 1)
    model.name, model.kwargs = NAME, TINY
    return model
