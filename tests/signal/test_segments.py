from itertools import pairwise

import numpy as np
import pytest

from soundscene.signal.segments import SegmentStream


def ramp(n: int) -> np.ndarray:
    return np.stack([np.arange(n), -np.arange(n)]).astype(np.float32)


def cut(
    n: int, hop: int | None = None, last_piece: float = 0.5, blocks: list[int] | None = None
) -> tuple[list[int], np.ndarray]:
    """First samples of the segments of 100 that n samples give, and the segments."""
    stream = SegmentStream(10, 100, hop, last_piece)
    edges = np.cumsum([0, *(blocks or []), n])
    pieces = [stream.push(ramp(n)[:, a:b]) for a, b in pairwise(edges)]
    pieces.append(stream.flush())
    waves = np.concatenate([piece[0] for piece in pieces])
    start_s = np.concatenate([piece[1] for piece in pieces])
    np.testing.assert_array_equal(waves[:, 0, 0], start_s * 10)  # start times tell where the samples came from
    np.testing.assert_array_equal(waves[:, 1], -waves[:, 0])
    assert (np.diff(waves[:, 0]) == 1).all()
    return [int(start) for start in waves[:, 0, 0]], waves


@pytest.mark.parametrize(
    ("n", "starts"),
    [
        (0, []),
        (99, []),  # shorter than a segment: nothing
        (100, [0]),
        (149, [0]),  # 49 of 100: not enough
        (150, [0, 50]),  # half a segment: shifted back to end with the recording
        (199, [0, 99]),
        (200, [0, 100]),
        (300, [0, 100, 200]),  # 30 s at 2 s: divides evenly
        (250, [0, 100, 150]),  # 5 s at 2 s
    ],
)
def test_rule_for_the_last_piece(n, starts):
    assert cut(n)[0] == starts


@pytest.mark.parametrize(
    ("hop", "n", "starts"),
    [
        (50, 240, [0, 50, 100]),  # the rest of 40 is what no segment covers, not what the next would have held
        (80, 229, [0, 80]),
        (80, 230, [0, 80, 130]),
        (150, 249, [0, 149]),  # a hop beyond the segment: what it skips (100..149) is not counted as rest
        (150, 199, [0]),
    ],
)
def test_hop_other_than_the_segment(hop, n, starts):
    assert cut(n, hop)[0] == starts


def test_share_of_the_last_piece():
    assert cut(110, last_piece=0.1)[0] == [0, 10]
    assert cut(199, last_piece=1.0)[0] == [0]


@pytest.mark.parametrize("hop", [1, 33, 100, 170])
@pytest.mark.parametrize("n", [0, 100, 333, 1234])
def test_any_cut_into_blocks_is_the_same(hop, n):
    rng = np.random.default_rng(n)
    blocks = [int(b) for b in rng.integers(0, 40, n // 40)]
    starts, waves = cut(n, hop)
    again, waves_again = cut(n, hop, blocks=blocks)
    assert again == starts == sorted(starts)
    np.testing.assert_array_equal(waves_again, waves)


def test_memory_does_not_grow():
    stream = SegmentStream(10, 100, 170)
    for _ in range(2000):
        stream.push(ramp(77))
    assert stream._queue._held.shape[1] <= 1024


@pytest.mark.parametrize(("samples", "hop"), [(0, 1), (100, 0)])
def test_sizes_below_one_are_refused(samples, hop):
    with pytest.raises(ValueError, match=f"segments of {samples} samples every {hop}: both must be at least 1"):
        SegmentStream(10, samples, hop)
