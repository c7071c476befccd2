"""What a backbone reads of a stream: the grid is that of the images, for every division into blocks and at every rate."""

import numpy as np
import pytest

from soundscene.backbone.stream import BackboneSource
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.frontend import FrontEnd
from soundscene.signal.streams import JoinedFrontEnd, join_segments
from soundscene.types import SegmentFeatures

FEATURES = FeatureRecipe(window=800, hop=400, n_fft=1024, n_bands=8)


class Waves:
    """A backbone that reads 16 kHz and shows what it was given."""

    name, sample_rate, n_features = "waves", 16000, 1

    def prepare(self, waves: np.ndarray) -> np.ndarray:
        return waves

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        return prepared.mean(axis=1, keepdims=True)


def audio(rate: int) -> AudioRecipe:
    hop = round(0.016 * rate)
    return AudioRecipe(sample_rate=rate, noise_hop=hop, noise_window=2 * hop)


def sound(rate: int, n: int) -> np.ndarray:
    """Low tones, which resampling leaves as they are, with digital silence from 2 s to 4 s."""
    t = np.arange(n) / rate
    samples = (0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 1234.5 * t)).astype(np.float32)
    samples[2 * rate : 4 * rate] = 0
    return samples


def prepared(rate: int, n: int, cuts: list[int], hop_s: float | None = None) -> SegmentFeatures:
    stream = BackboneSource(Waves(), audio(rate), hop_s).stream()
    pieces = [stream.push(block) for block in np.split(sound(rate, n), cuts)]
    return join_segments([*pieces, stream.flush()])


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 8000])
@pytest.mark.parametrize("hop_s", [None, 1.0, 3.0])
@pytest.mark.parametrize("extra", [-1, 0, 1, 4321])
def test_segments_are_those_of_the_images(rate: int, hop_s: float | None, extra: int) -> None:
    """Also where a sample decides whether there is a last piece: 5 s and the half of a segment."""
    n = 5 * rate + extra
    images = FrontEnd(audio(rate), FEATURES, hop_s)(sound(rate, n))
    found = prepared(rate, n, [], hop_s)
    np.testing.assert_array_equal(found.start_s, images.start_s)
    np.testing.assert_array_equal(found.silent, images.silent)
    assert found.features[0].shape == (len(images.start_s), 32000)


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
@pytest.mark.parametrize("cuts", [[1], [399, 400, 31999], list(range(1000, 80000, 1000))])
def test_blocks_change_nothing(rate: int, cuts: list[int]) -> None:
    whole, cut = prepared(rate, round(7.3 * rate), []), prepared(rate, round(7.3 * rate), cuts)
    np.testing.assert_array_equal(whole.start_s, cut.start_s)
    np.testing.assert_array_equal(whole.silent, cut.silent)
    np.testing.assert_allclose(whole.features[0], cut.features[0], atol=1e-6)
    assert whole.silent.tolist() == [False, True, False, False]


def test_segments_lie_where_the_sound_was() -> None:
    """Resampled segments are the sound at 16 kHz, up to the edges of the silence."""
    direct, resampled = prepared(16000, 7 * 16000, []), prepared(22050, 7 * 22050, [])
    np.testing.assert_allclose(direct.start_s, resampled.start_s, atol=1e-9)
    error = np.abs(direct.features[0] - resampled.features[0])[:, 200:-200]
    assert error.max() < 2e-3


def test_it_runs_beside_the_images_of_a_network() -> None:
    """The join refuses segments that do not agree."""
    recipe = audio(22050)
    joined = JoinedFrontEnd([FrontEnd(recipe, FEATURES), BackboneSource(Waves(), recipe)], [1, 0])
    stream = joined.stream()
    pieces = [stream.push(block) for block in np.split(sound(22050, 150000), [7, 44100, 44101, 100000])]
    found = join_segments([*pieces, stream.flush()])
    alone = prepared(22050, 150000, [])
    np.testing.assert_array_equal(found.start_s, alone.start_s)
    np.testing.assert_allclose(found.features[0], alone.features[0], atol=1e-6)
    assert found.features[1].shape == (len(alone.start_s), 2, 8, 110)


def test_a_recording_shorter_than_a_segment_has_none() -> None:
    found = prepared(22050, 44099, [])
    assert found.features[0].shape == (0, 32000)
    stream = BackboneSource(Waves(), audio(16000)).stream()
    assert len(stream.push(np.zeros(0, np.float32)).start_s) == 0


def test_memory_does_not_grow() -> None:
    stream = BackboneSource(Waves(), audio(22050)).stream()
    block = np.random.default_rng(0).normal(0, 0.1, 22050).astype(np.float32)
    for _ in range(40):
        stream.push(block)
    assert stream._queue.end - stream._queue.start < 3 * 32000


def test_samples_that_are_not_finite_are_refused() -> None:
    stream = BackboneSource(Waves(), audio(16000)).stream()
    stream.push(np.zeros(16000, np.float32))
    with pytest.raises(AudioError, match=r"sample 16001 \(1.000 s\) is nan"):
        stream.push(np.array([0, np.nan], np.float32))
