import numpy as np
import pytest

from soundscene.signal.stft import OverlapAddStream, SampleQueue, StftStream, power
from soundscene.signal.windows import hann, mirror, owned_frames, owned_start, root_hamming
from tests.golden import arrays, wave
from tests.signal.reference import plain_power


@pytest.mark.parametrize("window", [704, 706, 1102])
def test_root_hamming_squares_add_to_one_at_half_overlap(window):
    squares = root_hamming(window) ** 2
    np.testing.assert_allclose(squares[: window // 2] + squares[window // 2 :], 1, atol=1e-14)


def test_mirror_is_numpys_symmetric_padding_any_number_of_lengths_outside():
    ramp = np.arange(5)
    np.testing.assert_array_equal(ramp[mirror(-12, 17, 5)], np.pad(ramp, 12, mode="symmetric"))


def test_frames_of_a_segment_are_centred_on_the_samples_they_own():
    assert owned_frames(44100, 551) == 80
    start = owned_start(1102, 551)
    assert start == -276
    assert start + np.argmax(hann(1102)) == 275 == 551 // 2  # the window's peak lies on the middle sample of 0 .. 550


@pytest.mark.parametrize("name", ["A_step10db", "B_scene"])
def test_power_from_samples_is_the_references(name):
    reference = arrays(f"minstat_{name}")
    stream = StftStream(hann(int(reference["win"])), int(reference["hop"]))
    ours = power(stream.push(wave(name[2:])))
    np.testing.assert_allclose(ours, reference["yf"], rtol=1e-6)


def test_overlap_add_gives_the_input_back_but_for_the_first_and_last_hop():
    samples = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    taps = root_hamming(704)
    forward, back = StftStream(taps, 352), OverlapAddStream(taps)
    out = np.concatenate([back.push(forward.push(samples)), back.push(forward.flush()), back.flush()])[:10_000]
    covered = 10_000 // 352 * 352  # the last frame begins here less one hop
    np.testing.assert_allclose(out[352 : covered - 352], samples[352 : covered - 352], atol=1e-13)
    np.testing.assert_allclose(out[:352], samples[:352] * taps[:352] ** 2, atol=1e-13)


def test_last_frame_is_completed_by_reflection():
    samples = np.random.default_rng(1).uniform(-1, 1, 1000).astype(np.float32)
    stream = StftStream(hann(704), 352)
    assert stream.push(samples).shape == (1, 353)
    mirrored = np.concatenate([samples, samples[::-1]])[352 : 352 + 704]
    np.testing.assert_allclose(power(stream.flush()), plain_power(mirrored, 704, 352), rtol=1e-9)


@pytest.mark.parametrize(("n", "frames"), [(0, 0), (1, 1), (352, 1), (704, 0), (705, 1), (1056, 0), (1057, 1)])
def test_flush_adds_a_frame_only_where_a_sample_lies_in_none(n, frames):
    stream = StftStream(hann(704), 352)
    stream.push(np.ones(n, np.float32))
    assert stream.flush().shape == (frames, 353)


def test_spectra_do_not_depend_on_the_blocks():
    samples = wave("scene")[:30_000]
    whole = StftStream(hann(704), 352).push(samples)
    stream, at, pieces = StftStream(hann(704), 352), 0, []
    rng = np.random.default_rng(2)
    while at < len(samples):
        n = int(rng.integers(1, 3000))
        pieces.append(stream.push(samples[at : at + n]))
        at += n
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_queue_holds_what_was_appended_and_stays_small():
    queue = SampleQueue(2)
    block = np.empty((2, 100), np.float32)
    for start in range(0, 100_000, 100):
        block[0] = np.arange(start, start + 100)
        block[1] = -block[0]
        queue.append(block)
        queue.drop(queue.end - 1500)
    assert (queue.start, queue.end) == (98_500, 100_000)
    np.testing.assert_array_equal(queue.view(98_600, 98_603), [[98_600, 98_601, 98_602], [-98_600, -98_601, -98_602]])
    assert queue._held.shape[1] <= 2 * 1600


def test_queue_moves_its_content_seldom_even_for_single_samples():
    queue, moves = SampleQueue(1), 0
    for _ in range(6000):
        before = queue._held
        queue.append(np.ones((1, 1), np.float32))
        moves += queue._held is not before
        queue.drop(queue.end - 1000)
    assert moves <= 7  # at least 1000 appended samples between two moves: linear time
