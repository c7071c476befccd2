import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soundscene.errors import AudioError, RecipeError
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.features import LogSpectrogram
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.noise import two_channels
from soundscene.signal.streams import join_segments
from soundscene.types import SegmentFeatures
from tests.golden import RATE, wave

SHORT = AudioRecipe(segment_s=0.1, noise_window=128, noise_hop=64)  # many segments from few samples
SMALL = FeatureRecipe(window=220, hop=110, n_fft=256, n_bands=12)


def in_blocks(front_end: FrontEnd, samples: np.ndarray, blocks: list[int]) -> SegmentFeatures:
    stream, at, pieces = front_end.stream(), 0, []
    for n in [*blocks, len(samples)]:
        pieces.append(stream.push(samples[at : at + n]))
        at += n
    pieces.append(stream.flush())
    return join_segments(pieces)


def assert_identical(a: SegmentFeatures, b: SegmentFeatures) -> None:
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.start_s, b.start_s)
    np.testing.assert_array_equal(a.silent, b.silent)


@pytest.mark.parametrize("kind", ["mel", "gammatone"])
def test_front_end_is_its_parts_one_after_the_other(kind):
    samples, features = wave("scene"), FeatureRecipe(kind=kind)
    result = FrontEnd(AudioRecipe(), features)(samples)
    rows = two_channels(samples, RATE)
    segments = np.stack([rows[:, 44100 * i : 44100 * (i + 1)] for i in range(4)])
    np.testing.assert_array_equal(result.images, LogSpectrogram(AudioRecipe(), features)(segments))
    np.testing.assert_array_equal(result.start_s, [0, 2, 4, 6])
    assert not result.silent.any()


def test_last_piece_ends_with_the_recording():
    front_end, samples = FrontEnd(AudioRecipe(), FeatureRecipe()), wave("scene")[: 5 * RATE]
    result = front_end(samples)
    np.testing.assert_array_equal(result.start_s, [0, 2, 3])
    assert result.images.shape == (3, 2, 64, 80)


@pytest.mark.parametrize("n", [0, 1, 44099])
def test_less_than_a_segment_gives_no_image(n):
    result = FrontEnd(AudioRecipe(), FeatureRecipe())(np.ones(n, np.float32))
    assert result.images.shape == (0, 2, 64, 80)
    assert result.start_s.shape == result.silent.shape == (0,)


def test_segments_may_overlap():
    result = FrontEnd(AudioRecipe(), FeatureRecipe(), segment_hop_s=0.5)(wave("scene"))
    np.testing.assert_allclose(result.start_s, np.arange(13) * 0.5)
    whole = FrontEnd(AudioRecipe(), FeatureRecipe())(wave("scene"))
    np.testing.assert_array_equal(result.images[::4], whole.images)


@given(blocks=st.lists(st.integers(0, 3000), max_size=12), hop_s=st.sampled_from([None, 0.03, 0.15]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_cut_into_blocks_gives_bit_identical_images(blocks, hop_s):
    samples = wave("scene")[30_000:43_000]
    front_end = FrontEnd(SHORT, SMALL, hop_s)
    assert_identical(in_blocks(front_end, samples, blocks), front_end(samples))


def test_blocks_of_one_sample_give_bit_identical_images():
    samples = wave("scene")[30_000:36_000]
    front_end = FrontEnd(SHORT, SMALL)
    assert_identical(in_blocks(front_end, samples, [1] * 6000), front_end(samples))


def test_paper_sized_recording_in_uneven_blocks_is_bit_identical():
    samples = np.concatenate([wave("scene"), wave("step10db")])  # longer than the blocks of the front-end itself
    front_end = FrontEnd(AudioRecipe(), FeatureRecipe())
    assert_identical(in_blocks(front_end, samples, [1, 700, 44_100, 3, 150_000, 13]), front_end(samples))


def test_memory_does_not_grow_with_the_length_of_the_stream():
    front_end, minute = FrontEnd(AudioRecipe(), FeatureRecipe()), np.tile(wave("white"), 2)
    stream = front_end.stream()
    stream.push(minute)
    tracemalloc.start()
    try:
        stream.push(minute)
        stream.push(minute)
        held = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            stream.push(minute)
        assert tracemalloc.get_traced_memory()[0] < held + 100_000
    finally:
        tracemalloc.stop()


def test_silence_is_distinguished_from_quiet():
    samples = np.zeros(3 * 44100, np.float32)
    samples[44100 + 7] = 1e-30
    result = FrontEnd(AudioRecipe(), FeatureRecipe())(samples)
    np.testing.assert_array_equal(result.silent, [True, False, True])
    np.testing.assert_array_equal(result.images, np.float32(np.log(1e-10)))


def test_silence_is_judged_by_what_was_recorded():
    samples = np.concatenate([wave("white2s"), np.zeros(44100, np.float32)])
    rows = two_channels(samples, RATE)
    assert rows[1, 44100:44400].any()  # the frame across the border leaks into the second channel
    np.testing.assert_array_equal(FrontEnd(AudioRecipe(), FeatureRecipe())(samples).silent, [False, True])


def test_dropouts_leave_everything_finite():
    samples = wave("scene").copy()
    samples[:30_000] = 0
    samples[90_000:100_000] = 0
    result = FrontEnd(AudioRecipe(), FeatureRecipe())(samples)
    assert np.isfinite(result.images).all()
    assert not result.silent.any()


def test_noise_is_taken_from_the_second_channel_only():
    noise = np.random.default_rng(9).normal(0, 0.05, 8 * RATE).astype(np.float32)
    images = FrontEnd(AudioRecipe(), FeatureRecipe())(noise).images
    level = 10 * np.log10(np.exp(images.astype(np.float64)).mean(axis=(2, 3)))
    assert np.ptp(level[:, 0]) < 0.2
    assert (level[1:, 1] < level[1:, 0] - 14).all()


def test_the_end_of_a_stream_does_not_change_what_it_gave_before():
    front_end, samples = FrontEnd(AudioRecipe(), FeatureRecipe()), wave("scene")
    np.testing.assert_array_equal(front_end(samples[:120_000]).images[:2], front_end(samples).images[:2])


def test_samples_that_are_not_finite_are_refused_where_they_stand():
    stream = FrontEnd(AudioRecipe(), FeatureRecipe()).stream()
    stream.push(np.zeros(22050, np.float32))
    bad = np.zeros(100, np.float32)
    bad[11:] = np.nan
    with pytest.raises(
        AudioError, match=r"sample 22061 \(1.000 s\) is nan; samples must be finite numbers, nominally from -1 to 1"
    ):
        stream.push(bad)


def test_a_spent_stream_is_refused():
    stream = FrontEnd(AudioRecipe(), FeatureRecipe()).stream()
    stream.flush()
    with pytest.raises(RuntimeError, match=r"this stream was flushed; take a new one from FrontEnd.stream\(\)"):
        stream.push(np.zeros(1, np.float32))
    with pytest.raises(RuntimeError, match="this stream was flushed"):
        stream.flush()


def test_a_hop_below_a_sample_is_refused():
    with pytest.raises(RecipeError, match=r"segments every 1e-05 s: must be at least one sample at 22050 Hz"):
        FrontEnd(AudioRecipe(), FeatureRecipe(), segment_hop_s=1e-5)
