"""Exported graphs compute what the model computes, for every kind of network, feature, recipe and cut into blocks."""

from dataclasses import replace
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from soundscene.export.check import Parity, Sound, compare, compare_whole, computed
from soundscene.export.graph import F32, Graph, quantise
from soundscene.export.model_graph import stateful_graph, whole_graph
from soundscene.export.write import facts_of
from soundscene.graph_facts import GIVEN
from soundscene.graph_model import GraphModel, open_session
from soundscene.model import Model
from soundscene.recipe import NetworkRecipe
from soundscene.scoring.unfamiliarity import Familiarity, SceneGaussians
from tests.support.tiny import SCENES, TINY, blank_bundle, blank_pair, recording

SHORT = ("audio.segment_s=0.5",)
DRAWS = np.random.default_rng(1)
RAIN = recording("rain", 2.2, 3).astype(np.float32)
NOISE = (DRAWS.normal(0, 0.1, 30000) * (np.arange(30000) // 9000 != 1)).astype(np.float32)  # with digital silence in it
SOUNDS = [Sound("rain", RAIN), Sound("noise with a dropout", NOISE)]

RECIPES = {
    "Att-CRNN": (),
    "gammatone": ("features.kind=gammatone",),
    "CNN": ("network.kind=cnn",),
    "CNN, mean of one channel": ("network.kind=cnn", "network.global_pooling=mean", "network.noise_subtracted=false"),
    "printed scale": ("network.attention_scale=printed", "network.hidden=5"),
    "printed scale, times 2H": ("network.attention_scale=printed-2h",),
    "temporal attention": ("network.pooling=temporal",),
    "spatial attention": ("network.pooling=spatial", "network.attention_temperature=0.3"),
    "last states": ("network.pooling=last",),
    "no GRU": ("network.recurrent=none",),
    "no attention, more bands": ("network.pooling=mean", "features.n_bands=128", "features.n_fft=4096"),
    "16 kHz": ("audio.sample_rate=16000", "audio.noise_window=512", "audio.noise_hop=256"),
    "noise frames of odd hops": ("audio.noise_window=706", "audio.noise_hop=353"),
    "frames of a window": ("features.window=2048", "features.hop=512", "features.low_hz=30"),
    "odd window and transform": ("features.window=901", "features.hop=441", "features.n_fft=2047"),
    "window longer than a segment": (
        "audio.segment_s=0.1",
        "features.window=4096",
        "features.hop=700",
        "features.n_fft=4096",
    ),
    "half of a transform is odd": ("features.n_fft=2050", "features.hop=100", "features.window=200"),
}


def graph_of(model: Model, int8: bool = False) -> GraphModel:
    facts = facts_of(model, "0", int8=int8)
    return GraphModel(facts, open_session(stateful_graph(model, facts.to_metadata(), int8).SerializeToString()))


def close(parity: Parity) -> None:
    assert parity.segments > 4
    assert parity.largest < 2e-6, parity
    assert parity.unfamiliarity < 1e-4, parity
    assert parity.changed == 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_exported(name: str) -> None:
    model = blank_bundle(TINY.with_settings([*SHORT, *RECIPES[name]]))
    close(compare(model, graph_of(model), SOUNDS))


def test_every_choice_of_a_network_is_among_them() -> None:
    """A choice that the export does not know would be exported as another one."""
    offered = {
        f"network.{name}={value}"
        for name, kind in get_type_hints(NetworkRecipe).items()
        if get_origin(kind) is Literal
        for value in get_args(kind)
    }
    default = {f"network.{name}={value}" for name, value in TINY.to_dict()["network"].items()}
    assert offered - default <= {setting for settings in RECIPES.values() for setting in settings}


def familiar(model: Model, kind: str) -> Model:
    """With Gaussians of each member, or with energies."""
    draws = np.random.default_rng(2)
    gaussians = []
    for member in model.members:
        n = member.network.softmax.in_features  # pyright: ignore[reportAttributeAccessIssue]
        mean = draws.normal(size=(len(SCENES), n)).astype(np.float32).astype(np.float64)
        root = draws.normal(size=(n, n))
        precision = (root @ root.T).astype(np.float32).astype(np.float64)
        background = SceneGaussians(mean[:1] / 2, precision / 3).rounded() if kind == "relative-mahalanobis" else None
        gaussians.append(SceneGaussians(mean, precision, background))
    return replace(model, familiarity=Familiarity(kind, np.arange(30.0), tuple(gaussians)))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["mahalanobis", "relative-mahalanobis", "energy"])
def test_members_are_fused_and_unfamiliarity_is_theirs(kind: str) -> None:
    """A scene that is excluded by one member stays so; spectra are shared."""
    model = familiar(blank_pair(TINY.with_settings(SHORT)), kind)
    model.members[0].svm.offset[1] = float("inf")  # pyright: ignore[reportAttributeAccessIssue]
    graph = graph_of(model)
    parity = compare(model, graph, SOUNDS)
    close(parity)
    assert (computed(graph, RAIN).segments["svm"][:, 1] == 0).all()
    whole = open_session(whole_graph(model, {}).SerializeToString())
    close(compare_whole(model, whole, SOUNDS))


@pytest.mark.parametrize("n", [0, 1, 351, 352, 353, 704, 705, 11024, 11025, 16536, 16537, 16538])
def test_the_ends_of_recordings(n: int, tiny_graph: tuple[Model, GraphModel]) -> None:
    """Around a noise frame, a segment, and the least last piece. Without a segment nothing is computed, and nothing ends."""
    model, graph = tiny_graph
    ours, theirs = (computed(one, RAIN[:n], [n // 3] if n > 500 else []) for one in (model, graph))
    assert ours.segments["svm"].shape == theirs.segments["svm"].shape
    np.testing.assert_allclose(theirs.segments["svm"], ours.segments["svm"], atol=2e-6)


def test_overlapping_and_skipping_segments(tiny_graph: tuple[Model, GraphModel]) -> None:
    model, graph = tiny_graph
    for hop_s in (0.13, 1.7):
        found = []
        for one in (model, graph):
            stream = one.build_front_end(hop_s).stream()
            pieces = [*(stream.push(block) for block in np.array_split(RAIN, 9)), stream.flush()]
            features = [piece.features for piece in pieces if len(piece.start_s)]
            rows = np.concatenate([one.classify(one.embed(f), "softmax") for f in features])
            found.append((np.concatenate([piece.start_s for piece in pieces]), rows))
        (starts, rows), (starts_of_graph, rows_of_graph) = found
        np.testing.assert_array_equal(starts, starts_of_graph)
        np.testing.assert_allclose(np.exp(rows), np.exp(rows_of_graph), atol=2e-6)


def test_silence_is_told(tiny_graph: tuple[Model, GraphModel]) -> None:
    """Which segments are digital silence, and whether sound follows it; a gap of silence and one beside a loud sound."""
    model, graph = tiny_graph
    silence = np.zeros(20000, np.float32)
    for sound in (np.concatenate([RAIN, silence]), np.concatenate([RAIN[:15000], silence, RAIN[:15000]]), RAIN):
        streams = [one.build_front_end(0.5).stream() for one in (model, graph)]
        pieces = [stream.push(sound) for stream in streams]
        np.testing.assert_array_equal(pieces[0].silent, pieces[1].silent)
        assert streams[0].notes(1) == streams[1].notes(1)
        assert streams[1].notes(2) == ()


def test_weights_in_8_bits_are_rounded_by_output() -> None:
    weight = DRAWS.normal(size=(5, 3, 2, 2)) * np.array([1.0, 10.0, 0.1, 1e-3, 0.0])[:, None, None, None]
    levels, scale = quantise(weight, 0)
    error = np.abs(levels * scale[:, None, None, None].astype(np.float64) - weight)
    assert (error <= scale[:, None, None, None] / 2 * 1.001).all()
    model = blank_bundle(TINY.with_settings([*SHORT, "network.hidden=32"]))
    small, large = (stateful_graph(model, {}, int8) for int8 in (True, False))
    kinds = {node.op_type for body in small.graph.node for a in body.attribute for node in a.g.node}
    assert "DequantizeLinear" in kinds
    weights = sum(p.numel() for p in model.members[0].network.parameters())  # pyright: ignore[reportAttributeAccessIssue]
    assert large.ByteSize() - small.ByteSize() > 2 * weights
    close_enough = compare(model, graph_of(model, int8=True), SOUNDS)
    assert 1e-6 < close_enough.recording < 0.05


def test_constants_are_kept_once() -> None:
    g = Graph("a")
    assert g.constant(1.0, F32) == g.body("b").constant(1.0, F32)
    assert g.constant(1.0, F32) != g.constant([1.0], F32)


@pytest.fixture(scope="module")
def tiny_graph() -> tuple[Model, GraphModel]:
    model = blank_bundle(TINY.with_settings(SHORT))
    return model, graph_of(model)


def test_images_may_be_given_in_place_of_samples() -> None:
    """The front-end of the project before the network of the graph: what many recordings are predicted by."""
    model = familiar(blank_pair(TINY.with_settings(SHORT)), "mahalanobis")
    graph = graph_of(model)
    many = graph.for_many()
    assert (graph.compiled, many.compiled) == (False, True)
    assert many.for_many() is many
    close(compare(model, many, SOUNDS))
    earlier = stateful_graph(model, {})
    for given in [one for one in earlier.graph.initializer if one.name.startswith(GIVEN)]:
        earlier.graph.initializer.remove(given)
    graph.session = open_session(earlier.SerializeToString())
    assert graph.for_many() is graph
