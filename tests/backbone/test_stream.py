"""Embeddings of a stream lie on the grid of the images, for every way of cutting the sound into blocks."""

import numpy as np
import pytest

from soundscene.backbone.build import build
from soundscene.backbone.stream import EmbeddingStream, SegmentEmbeddings
from soundscene.recipe import AudioRecipe, FeatureRecipe
from soundscene.signal.frontend import FrontEnd
from tests.support.yamnet import small

SECONDS = 5.2
AUDIO = AudioRecipe(sample_rate=16000, noise_window=512, noise_hop=256)
FEATURES = FeatureRecipe(window=800, hop=400, n_fft=1024, n_bands=8)


def sound() -> np.ndarray:
    samples = np.random.default_rng(0).normal(0, 0.1, round(SECONDS * 16000)).astype(np.float32)
    samples[32000:64000] = 0
    return samples


def embed(cuts: list[int], hop_s: float | None = None) -> SegmentEmbeddings:
    stream = EmbeddingStream(build(small()), 2.0, hop_s)
    pieces = [stream.push(block) for block in np.split(sound(), cuts)]
    pieces.append(stream.flush())
    return SegmentEmbeddings(
        *(np.concatenate([getattr(p, name) for p in pieces]) for name in SegmentEmbeddings.__match_args__)
    )


@pytest.mark.parametrize("hop_s", [None, 1.0, 3.0])
def test_segments_are_those_of_the_images(hop_s: float | None) -> None:
    images = FrontEnd(AUDIO, FEATURES, hop_s)(sound())
    found = embed([], hop_s)
    np.testing.assert_array_equal(found.start_s, images.start_s)
    np.testing.assert_array_equal(found.silent, images.silent)


@pytest.mark.parametrize("cuts", [[1], [399, 400, 31999], list(range(1000, 80000, 1000))])
def test_blocks_change_nothing(cuts: list[int]) -> None:
    whole, cut = embed([]), embed(cuts)
    np.testing.assert_array_equal(whole.start_s, cut.start_s)
    np.testing.assert_array_equal(whole.silent, cut.silent)
    np.testing.assert_allclose(whole.embeddings, cut.embeddings, atol=1e-5)
    assert whole.silent.tolist() == [False, True, False]


def test_a_recording_shorter_than_a_segment_has_none() -> None:
    stream = EmbeddingStream(build(small()), 2.0)
    assert len(stream.push(sound()[:31999]).start_s) == 0
    assert stream.flush().embeddings.shape == (0, 128)
