"""`benchmarks/open_world.py`: the four figures of a row."""

import numpy as np
import pytest

from benchmarks.open_world import measure


def test_a_threshold_comes_from_the_held_out_and_is_tried_on_the_test_recordings() -> None:
    held, known = np.arange(19.0), np.arange(20.0)  # the threshold that keeps 95 % of others like the held-out is 18
    found = measure(known, np.array([10.5, 18.0, 18.5, 30.0]), held)
    assert found["known kept"] == pytest.approx(19 / 20)
    assert found["unknown kept"] == pytest.approx(2 / 4)
    assert found["accepted"] == pytest.approx(3 / 4)  # at 19, above which no known test recording is
    assert found["auroc"] == pytest.approx((11 + 18.5 + 19 + 20) / 80)
