"""An exported backbone computes what the model computes: its rate, images and embeddings, alone and beside a network."""

from dataclasses import replace

import numpy as np
import pytest
import soxr
import torch

from soundscene.backbone.encoder import Pooling
from soundscene.backbone.packing import pack
from soundscene.backbone.yamnet import from_tflite, without_classes
from soundscene.errors import SceneError
from soundscene.export.budget import layers
from soundscene.export.check import Sound, compare, compare_whole
from soundscene.export.graph import F32, Graph
from soundscene.export.model_graph import stateful_graph, whole_graph
from soundscene.export.resampler import measure
from soundscene.export.write import facts_of
from soundscene.graph_model import GraphModel, open_session
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.systems.backbone import untrained_member
from tests.support.tiny import SCENES, TINY, recording
from tests.support.yamnet import alone, beside, published, small, with_heads

RAIN = recording("rain", 11.3, 3).astype(np.float32)
QUIET = (1e-4 * recording("office", 6.0, 4)).astype(np.float32)
GAPS = RAIN * (np.arange(len(RAIN)) // 30000 % 2 == 0)  # a whole segment is digital silence
SOUNDS = [Sound("rain", RAIN), Sound("quiet office", QUIET), Sound("rain with gaps", GAPS.astype(np.float32))]


def graph_of(model: Model, int8: bool = False) -> GraphModel:
    facts = facts_of(model, "0", int8=int8)
    return GraphModel(facts, open_session(stateful_graph(model, facts.to_metadata(), int8).SerializeToString()))


def at_rate(rate: int) -> Recipe:
    hop = round(rate * 0.016)
    return TINY.with_settings([f"audio.sample_rate={rate}", f"audio.noise_window={2 * hop}", f"audio.noise_hop={hop}"])


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 32000, 44100, 48000])
def test_a_backbone_of_another_rate_is_exported(rate: int) -> None:
    """Last pieces begin anywhere, and the resampler reads on both sides of a segment."""
    parity = compare(model := alone(at_rate(rate)), graph_of(model), SOUNDS)
    assert parity.segments > 4
    assert parity.largest < 1e-5, parity
    assert parity.unfamiliarity < 1e-4, parity


def test_the_storage_that_is_stated_is_true() -> None:
    exact, other = alone(), beside()
    assert facts_of(exact, "0").weights == facts_of(exact, "0", int8=True).weights == "float32"  # random: stored in 16 bits
    assert facts_of(other, "0", int8=True).weights == "att-crnn-mel int8, yamnet float32"
    assert facts_of(other, "0").weights == "float32"
    stored = small()
    signs = {name: t.float().sign() if t.dtype == torch.float16 else t for name, t in stored.tensors.items()}
    stored = replace(stored, tensors=pack(signs))
    integers = replace(exact, members=(with_heads(untrained_member("yamnet", TINY, stored)),))
    assert facts_of(integers, "0").weights == "int8"
    assert facts_of(replace(other, members=(other.members[0], integers.members[0])), "0").weights == (
        "att-crnn-mel float32, yamnet int8"
    )
    assert all(layer.bytes == layer.int8_bytes for layer in layers(integers))
    assert sum(layer.bytes for layer in layers(integers)) < sum(layer.bytes for layer in layers(exact)) / 2


@pytest.mark.parametrize("pooling", ["mean+max", "mean+std"])
def test_poolings(pooling: Pooling) -> None:
    parity = compare(model := alone(pooling=pooling), graph_of(model), SOUNDS)
    assert parity.largest < 5e-6, parity


@pytest.mark.parametrize("length_s", [0.3, 1.0, 1.7])
def test_segments_shorter_than_a_patch_and_of_odd_lengths(length_s: float) -> None:
    parity = compare(model := alone(TINY.with_settings([f"audio.segment_s={length_s}"])), graph_of(model), SOUNDS)
    assert parity.largest < 5e-6, parity


def test_beside_a_network_in_blocks_and_whole() -> None:
    model = beside()
    parity = compare(model, graph_of(model), SOUNDS)
    assert parity.largest < 5e-6, parity
    whole = open_session(whole_graph(model, {}).SerializeToString())
    parity = compare_whole(model, whole, SOUNDS)
    assert parity.largest < 5e-6, parity


def test_overlapping_and_skipping_segments() -> None:
    model = alone()
    graph = graph_of(model)
    for hop_s in (0.37, 2.9):
        found = []
        for one in (model, graph):
            stream = one.build_front_end(hop_s).stream()
            pieces = [*(stream.push(block) for block in np.array_split(RAIN, 9)), stream.flush()]
            rows = np.concatenate([one.classify(one.embed(p.features), "svm") for p in pieces if len(p.start_s)])
            found.append((np.concatenate([piece.start_s for piece in pieces]), rows))
        (starts, rows), (starts_of_graph, rows_of_graph) = found
        np.testing.assert_array_equal(starts, starts_of_graph)
        np.testing.assert_allclose(np.exp(rows_of_graph), np.exp(rows), atol=2e-6)


def test_nothing_is_kept_of_a_tracker_that_no_member_needs() -> None:
    graph = graph_of(alone())
    assert set(graph.state) == {"state_channels", "state_counts"}
    assert set(graph_of(beside()).state) > {"state_bins", "state_tail"}
    assert graph.for_many() is graph  # the compiled front-end makes no images for it


def test_the_resampler_is_the_one_of_the_model() -> None:
    """The taps repeat what soxr makes of noise, but for the first samples of a recording."""
    noise = np.random.default_rng(0).normal(0, 0.3, 30000).astype(np.float32)
    for old in (44100, 48000, 22050, 8000):
        found = measure(old, 16000)
        n = len(noise) // found.n_in - 1
        padded = np.pad(noise.astype(np.float64), (-found.first, found.taps.shape[1]))
        rows = [found.taps @ padded[at * found.n_in :][: found.taps.shape[1]] for at in range(n)]
        theirs = soxr.resample(noise, old, 16000, quality="HQ")[: n * found.n_out]
        np.testing.assert_allclose(np.concatenate(rows)[3:], theirs[3:], atol=1e-6)


def test_rates_without_a_small_ratio_are_refused() -> None:
    with pytest.raises(SceneError, match="44111 Hz, whose ratio is 44111 : 16000"):
        measure(44111, 16000)


class OwnBackbone:
    """Somebody's own, by the protocol."""

    name, sample_rate, n_features = "own", 16000, 4

    def prepare(self, waves: np.ndarray) -> np.ndarray:
        return waves

    def embed(self, prepared: np.ndarray) -> np.ndarray:
        return prepared[:, :4]


def test_what_cannot_be_exported_is_refused() -> None:
    model = alone()
    older = replace(model, members=(replace(model.members[0], softmax=None),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SceneError, match="has no softmax layer"):
        stateful_graph(older, {})

    own = OwnBackbone()
    other = replace(model, members=(replace(model.members[0], backbone=own),))  # pyright: ignore[reportArgumentType]
    with pytest.raises(SceneError, match="only YAMNet is exported"):
        stateful_graph(other, {})


def test_integers_stay_integers() -> None:
    """A weight stored in 8 bits is exact in the graph, with and without --int8."""
    g = Graph("a")
    levels = np.array([[1, -127], [3, 127]], np.int8)
    g.output(g.integers(levels, np.array([0.5, 0.25], np.float32)), "y", F32, [2, 2])
    (y,) = open_session(g.model({}).SerializeToString()).run(None, {})
    np.testing.assert_array_equal(y, levels * np.array([[0.5], [0.25]], np.float32))


@pytest.mark.budget(20)
def test_the_published_weights() -> None:
    """The real network: posteriors and embeddings of the exported file are those of PyTorch, in as few bytes."""
    stored = without_classes(from_tflite(published()))
    member = with_heads(untrained_member("yamnet", TINY, stored))
    model = Model(SCENES, (member,), {"softmax": 0.8, "svm": 1.3})
    graph = stateful_graph(model, facts_of(model, "0").to_metadata())
    assert graph.ByteSize() < 1.5 * sum(t.numel() * t.element_size() for t in stored.tensors.values())
    loaded = GraphModel(facts_of(model, "0"), open_session(graph.SerializeToString()))
    assert compare(model, loaded, SOUNDS).largest < 1e-5
    streams = [one.build_front_end(0.5).stream() for one in (model, loaded)]
    ours, theirs = (
        one.embeddings_of(one.embed(s.push(RAIN).features)) for one, s in zip((model, loaded), streams, strict=True)
    )
    np.testing.assert_allclose(theirs[0][: len(ours[0])], ours[0][: len(theirs[0])], atol=2e-4 * np.abs(ours[0]).max())
    assert min(len(ours[0]), len(theirs[0])) > 15
