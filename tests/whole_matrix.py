"""What takes long and shows what quicker tests show too runs with FILM_MATRIX=1 alone: more of the
same kind, before a release."""

import os

import pytest

WHOLE = bool(os.environ.get("FILM_MATRIX"))
REASON = "FILM_MATRIX=1 runs the whole matrix"
in_whole_matrix = pytest.mark.skipif(not WHOLE, reason=REASON)
