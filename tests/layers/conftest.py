"""For the tests of what people are found by: a tiny model of mattes."""

from tests.matting.conftest import network  # noqa: F401
