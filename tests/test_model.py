"""Models with members: what is shared, how posteriors are fused, and which members do not fit together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32

from soundscene.errors import AudioWarning
from soundscene.live import Listener, array_arrivals, listen
from soundscene.member import BATCH, Member
from soundscene.model import Model
from soundscene.predictor import Predictor
from soundscene.recipe import AudioRecipe
from soundscene.scoring.unfamiliarity import Familiarity, SceneGaussians
from soundscene.signal.segments import SegmentStream
from soundscene.timelines import timeline, training_prior
from soundscene.types import Head, LogPosterior, Samples, SegmentFeatures
from tests.support.tiny import RATE, SCENES, TINY, blank_bundle, blank_pair, only, recording, write

PAIR = blank_pair()


@dataclass(frozen=True)
class Envelope:
    """A member that hears samples, not images, has one head, and holds segments back."""

    name: str = "envelope"
    front_end: int = 2
    heads: tuple[Head, ...] = ("svm",)
    n_parameters: int = 3
    audio: AudioRecipe = TINY.audio
    default_head: Head = "svm"

    def source(self, audio: AudioRecipe, segment_hop_s: float | None, version: int) -> "EnvelopeSource":
        return EnvelopeSource(audio, segment_hop_s)

    def embed(self, features: Float32[np.ndarray, "segment ..."]) -> Float32[np.ndarray, "segment embedding"]:
        return features * 10

    def classify(self, embeddings: Float32[np.ndarray, "segment embedding"], head: Head) -> LogPosterior:
        assert head == "svm"
        scores = embeddings.astype(np.float64)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class EnvelopeSource:
    audio: AudioRecipe
    hop_s: float | None

    def stream(self) -> "EnvelopeStream":
        return EnvelopeStream(self.audio, self.hop_s)


class EnvelopeStream:
    """Means of the magnitude in thirds of a segment, one push late."""

    def __init__(self, audio: AudioRecipe, hop_s: float | None) -> None:
        hop = None if hop_s is None else round(hop_s * audio.sample_rate)
        self._segments = SegmentStream(audio.sample_rate, audio.segment_samples, hop, audio.last_piece, channels=1)
        self._late = self._features(np.zeros((0, 1, audio.segment_samples), np.float32), np.zeros(0))

    def push(self, samples: Samples) -> SegmentFeatures:
        late, self._late = self._late, self._features(*self._segments.push(samples[None]))
        return late

    def flush(self) -> SegmentFeatures:
        rest = self._features(*self._segments.flush())
        joined = (np.concatenate(pair) for pair in zip(self._late.features, rest.features, strict=True))
        starts, silent = (np.concatenate(p) for p in ((self._late.start_s, rest.start_s), (self._late.silent, rest.silent)))
        return SegmentFeatures(tuple(joined), starts, silent)

    def notes(self, trained_with: int) -> tuple[str, ...]:
        return ()

    def _features(self, waves: np.ndarray, start_s: np.ndarray) -> SegmentFeatures:
        thirds = np.abs(waves[:, 0, : waves.shape[2] // 3 * 3]).reshape(len(waves), 3, waves.shape[2] // 3).mean(axis=2)
        return SegmentFeatures((thirds.astype(np.float32),), start_s, np.asarray(~waves[:, 0].any(axis=1)))


def posteriors(model: Model, samples: np.ndarray, head: Head = "svm") -> np.ndarray:
    return np.stack([s.posterior for s in Predictor(model, head).predict((samples, RATE)).segments])


def renormalised(product: np.ndarray) -> np.ndarray:
    return product / product.sum(axis=-1, keepdims=True)


# --- fusion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["svm", "softmax"])
def test_members_are_fused_by_the_product_rule_and_one_temperature(head: Head) -> None:
    samples = recording("rain", 9.0, 0)
    alone = [posteriors(replace(PAIR, members=(member,)), samples, head) for member in PAIR.members]
    together = Predictor(PAIR, head).predict((samples, RATE))
    by_segment = renormalised(alone[0] * alone[1])
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(np.stack([s.posterior for s in together.segments]), by_segment, rtol=1e-6)
    expected = renormalised(np.prod(by_segment, axis=0) ** (1 / PAIR.temperature[head]))
    np.testing.assert_allclose(together.posterior, expected, rtol=1e-6)


def test_the_same_member_twice_is_one_with_half_the_temperature() -> None:
    one = blank_bundle()
    twin = replace(only(one), name="twin")
    twice = replace(one, members=(*one.members, twin), temperature={"svm": 2.0, "softmax": 2.0})
    samples = recording("office", 4.0, 1)
    single = Predictor(replace(one, temperature={"svm": 1.0, "softmax": 1.0})).predict((samples, RATE))
    np.testing.assert_allclose(Predictor(twice).predict((samples, RATE)).posterior, single.posterior, rtol=1e-9)


def test_unfamiliarity_is_the_mean_of_the_members() -> None:
    draws = np.random.default_rng(0)
    gaussians = tuple(SceneGaussians(draws.standard_normal((3, 8)), np.eye(8)) for _ in range(2))
    model = replace(PAIR, familiarity=Familiarity("mahalanobis", np.zeros(0), gaussians))
    embeddings = tuple(draws.standard_normal((5, 8)).astype(np.float32) for _ in range(2))
    expected = (gaussians[0].distance(embeddings[0]) + gaussians[1].distance(embeddings[1])) / 2
    np.testing.assert_allclose(model.unfamiliarity(embeddings), expected)
    energy = replace(PAIR, familiarity=Familiarity("energy", np.zeros(0)))
    alone = [replace(energy, members=(m,)).unfamiliarity((x,)) for m, x in zip(PAIR.members, embeddings, strict=True)]
    np.testing.assert_allclose(energy.unfamiliarity(embeddings), np.mean(alone, axis=0))


def test_the_prior_of_a_timeline_is_the_product_too() -> None:
    counted = replace(PAIR, provenance={"recordings": {"night_crickets": 1, "office": 2, "rain": 5}})
    alone = training_prior(replace(counted, members=PAIR.members[:1]), "softmax")
    np.testing.assert_allclose(training_prior(counted, "softmax"), renormalised(alone**2))
    prediction = Predictor(counted).predict((recording("rain", 9.0, 0), RATE))
    assert timeline(prediction, counted, "svm", 20.0).spans


# --- what is shared ---------------------------------------------------------------------------------------------------


def test_a_member_in_a_model_has_the_bits_that_it_has_alone() -> None:
    samples = recording("rain", 7.0, 0)
    again = replace(only(blank_bundle(seed=4)), name="again")  # the first one's features
    model = replace(PAIR, members=(*PAIR.members, again))
    stream = model.build_front_end().stream()
    together = [stream.push(samples[:50_000]), stream.push(samples[50_000:]), stream.flush()]
    for number, member in enumerate(model.members):
        stream = replace(PAIR, members=(member,)).build_front_end().stream()
        alone = [stream.push(samples), stream.flush()]
        np.testing.assert_array_equal(
            np.concatenate([piece.features[number] for piece in together]), np.concatenate([p.images for p in alone])
        )
    assert all(piece.features[0] is piece.features[2] for piece in together)  # computed and kept once
    assert not np.array_equal(together[-1].features[0], together[-1].features[1])


def test_a_stream_is_fused_as_a_file_is(tmp_path: Path) -> None:
    samples = recording("rain", 8.5, 2)
    predictor = Predictor(PAIR)
    file = predictor.predict(write(tmp_path / "a.wav", samples))
    sound = np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)
    updates = list(listen(Listener(PAIR, "svm", RATE, window_s=60.0), array_arrivals([sound[:30_000], sound[30_000:]])))
    assert updates[-1].n_segments == len(file.segments) == 4
    assert updates[-1].posterior is not None
    np.testing.assert_allclose(updates[-1].posterior, file.posterior, atol=1e-4)


# --- members of other kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_a_member_with_a_front_end_of_its_own_joins_the_others(order: Sequence[int]) -> None:
    samples = recording("rain", 9.0, 0)
    members: list[Member] = [*PAIR.members, Envelope()]
    model = replace(PAIR, members=tuple(members[i] for i in order))
    alone = [posteriors(replace(PAIR, members=(member,)), samples) for member in members]
    np.testing.assert_allclose(posteriors(model, samples), renormalised(np.prod(alone, axis=0)), rtol=1e-6)
    assert len(posteriors(model, samples)) == 5 < BATCH
    blocks = list(listen(Listener(model, "svm", RATE, hop_s=1.0), array_arrivals(np.split(samples[: 9 * 22000], 18))))
    assert len(blocks) == 7


def test_a_member_without_a_head_votes_by_the_one_it_has() -> None:
    model = replace(PAIR, members=(*PAIR.members, Envelope()))
    assert model.lacking("svm") is None
    assert model.lacking("softmax") == "envelope: no softmax head, votes by its svm head"
    samples = recording("rain", 5.0, 0)
    with pytest.warns(AudioWarning, match="envelope: no softmax head, votes by its svm head"):
        Predictor(model, "softmax").predict((samples, RATE))
    (update,) = list(listen(Listener(model, "softmax", RATE), array_arrivals([samples[: 3 * RATE]])))[:1]
    assert update.notes == ("envelope: no softmax head, votes by its svm head",)
    networks = posteriors(replace(PAIR), samples, "softmax")
    envelope = posteriors(replace(PAIR, members=(Envelope(),)), samples)
    with pytest.warns(AudioWarning):
        np.testing.assert_allclose(posteriors(model, samples, "softmax"), renormalised(networks * envelope), rtol=1e-6)
    assert replace(PAIR, members=(Envelope(),)).head == "svm"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_members_that_do_not_fit_together_are_no_model() -> None:
    first = only(blank_bundle())
    shorter = only(blank_bundle(TINY.with_settings(["audio.segment_s=1"]), name="shorter"))
    noise = only(blank_bundle(TINY.with_settings(["audio.noise_window=512", "audio.noise_hop=256"]), name="noise"))
    for members, message in (
        ((), "a model of 0 members; allowed are 1 to 16"),
        (tuple(replace(first, name=str(n)) for n in range(17)), "a model of 17 members; allowed are 1 to 16"),
        ((first, first), "members are att-crnn-mel, att-crnn-mel, expected different names"),
        ((first, shorter), "members att-crnn-mel and shorter differ in audio.segment_s or audio.last_piece"),
        ((first, noise), "members att-crnn-mel and noise differ in their audio recipe, which they share"),
    ):
        with pytest.raises(ValueError, match=message):
            Model(SCENES, members, {"svm": 1.0, "softmax": 1.0})
