"""YAMNet as a backbone: from its file to embeddings of segments."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundscene.backbone.build import build
from soundscene.backbone.encoder import POOLINGS, Backbone
from soundscene.backbone.packing import unpack
from soundscene.backbone.stored import StoredBackbone
from soundscene.backbone.tflite import read_layers
from soundscene.backbone.yamnet import LEVEL, YamnetBackbone, from_tflite, without_classes
from soundscene.errors import BackboneError
from soundscene.network.yamnet import YAMNet
from soundscene.signal.patches import LogMelPatches, cut_patches
from tests.support.flat import CONV, DENSE, Graph, tflite
from tests.support.yamnet import golden, published, small

EIGHTH = 4


def embed(backbone: Backbone, waves: np.ndarray) -> np.ndarray:
    return backbone.embed(backbone.prepare(waves))


def noise(n: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (n, samples)).astype(np.float32)


@pytest.fixture(scope="module")
def original() -> StoredBackbone:
    return from_tflite(published())


# --- the published file ---------------------------------------------------------------------------------------------------


def test_embeddings_of_the_published_file_are_those_of_an_independent_runtime(original: StoredBackbone) -> None:
    """Not equal: the runtime rounds activations to 8 bits too."""
    arrays, backbone = golden(), YamnetBackbone(original, level=None)
    assert original.facts["source_sha256"].startswith("687f226c")
    assert backbone.n_features == 1024
    waves = np.stack([arrays[name] for name in arrays if name.endswith("_wave")])
    reference = np.stack([arrays[name] for name in arrays if name.endswith("_embedding")])
    ours = embed(backbone, waves)
    assert ours.shape == reference.shape == (6, 1024)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    assert ((ours * reference).sum(axis=1) / norms > 0.99).all()


def test_scores_of_the_published_file_are_those_of_an_independent_runtime(original: StoredBackbone) -> None:
    arrays, backbone = golden(), build(original)
    assert isinstance(backbone, YamnetBackbone)
    for name in [name.removesuffix("_wave") for name in arrays if name.endswith("_wave")]:
        patches = LogMelPatches(15600)(arrays[f"{name}_wave"][None])
        with torch.inference_mode():
            scores = torch.sigmoid(backbone.network(torch.from_numpy(patches)))[0].numpy()
        reference = arrays[f"{name}_scores"]
        assert np.abs(scores - reference).max() < 0.15
        assert int(scores.argmax()) in np.argsort(-reference)[:3]


def test_eight_bits_of_the_published_file_lose_nothing(original: StoredBackbone, tmp_path: Path) -> None:
    integers = [t for t in original.tensors.values() if t.dtype == torch.int8]
    assert sum(t.numel() for t in integers) > 3_000_000
    found = unpack(original.tensors)
    layers = read_layers(published().read_bytes())[-28:-1]  # before them the mel matrix, after them that of the classes
    names = ["first", *(f"{kind}.{n}" for n in range(13) for kind in ("depthwise", "pointwise"))]
    for name, layer in zip(names, layers, strict=True):
        weight = torch.from_numpy(layer.weight)
        weight = weight.permute((3, 0, 1, 2) if name.startswith("depthwise") else (0, 3, 1, 2))
        torch.testing.assert_close(found[f"{name}.weight"], weight, rtol=3e-7, atol=0)
    without_classes(original).save(tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 3_500_000


# --- any width ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["int8", "float16", "float32"])
def test_a_file_of_an_eighth_of_the_width(stored: str, tmp_path: Path) -> None:
    """The embedding is that of a network which is filled by hand."""
    data, layers = tflite(EIGHTH, stored)
    (tmp_path / "yamnet.tflite").write_bytes(data)
    backbone = build(from_tflite(tmp_path / "yamnet.tflite"))
    network = YAMNet(EIGHTH)
    modules = [network.first, *(m for pair in zip(network.depthwise, network.pointwise, strict=True) for m in pair)]
    for i, (module, (weight, bias)) in enumerate(zip(modules, layers, strict=False)):
        axes = (3, 0, 1, 2) if i % 2 else (0, 3, 1, 2)
        module.weight.data.copy_(torch.from_numpy(weight).permute(axes))  # type: ignore[union-attr]
        module.bias.data.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
    waves = noise(2, 32000)
    with torch.inference_mode():
        patches = torch.from_numpy(cut_patches(LogMelPatches(32000, level=LEVEL)(waves)).copy())
        expected = network.embed(patches.flatten(0, 1)).unflatten(0, (2, 3)).mean(dim=1).numpy()
    # floats that are no products of 8-bit integers are kept with 11 bits
    np.testing.assert_allclose(embed(backbone, waves), expected, rtol=5e-3 if stored == "float32" else 1e-4, atol=1e-3)
    assert backbone.n_features == expected.shape[1] == 32 * EIGHTH
    assert expected.std() > 0.01


@pytest.mark.parametrize("how", POOLINGS)
def test_pooling_is_over_the_patches_inside_a_segment(how: str) -> None:
    stored, waves = small(), noise(3, 32000)
    alone = YamnetBackbone(stored, level=None)
    patches = np.stack([embed(alone, waves[:, at : at + 15600]) for at in (0, 7680, 15360)], axis=1)
    extra = {"mean": [], "mean+max": [patches.max(axis=1)], "mean+std": [patches.std(axis=1)]}[how]
    expected = np.concatenate([patches.mean(axis=1), *extra], axis=1)
    backbone = YamnetBackbone(stored, how, level=None)  # type: ignore[arg-type]
    assert backbone.n_features == expected.shape[1]
    np.testing.assert_allclose(embed(backbone, waves), expected, rtol=1e-4, atol=1e-4)


def test_segments_do_not_see_each_other() -> None:
    backbone, waves = build(small()), noise(40, 16000)
    together = embed(backbone, waves)
    assert together.shape == (40, 128)
    np.testing.assert_allclose(together, np.concatenate([embed(backbone, wave[None]) for wave in waves]), atol=1e-5)
    assert embed(backbone, waves[:0]).shape == (0, 128)


def test_a_segment_shorter_than_a_patch_is_extended_by_zeros() -> None:
    backbone, waves = build(small()), noise(2, 8000)
    padded = np.pad(waves, ((0, 0), (0, 7600)))
    np.testing.assert_array_equal(embed(backbone, waves), embed(backbone, padded))


def test_the_digest_is_of_the_weights_only(tmp_path: Path) -> None:
    stored = small(1)
    stored.save(tmp_path / "b.safetensors")
    again = StoredBackbone.load(tmp_path / "b.safetensors")
    assert again.digest == stored.digest
    assert again.facts == stored.facts
    assert StoredBackbone(stored.kind, {**stored.facts, "licence": "another"}, stored.tensors).digest == stored.digest
    assert small(2).digest != stored.digest


# --- what is refused ------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(BackboneError) as error:
        from_tflite(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(tflite(1, n_classes=10)[0])
    assert "layer 28 has weights 10 x 32, expected 521 x 32" in refusal(path)
    graph = Graph()
    for _ in range(3):
        weight = graph.tensor(np.zeros((4, 3, 3, 1), "<f4"))
        graph.operator(CONV, [graph.unknown(), weight], [graph.unknown()])
    path.write_bytes(graph.file())
    assert "3 layers with weights, YAMNet has 28" in refusal(path)
    graph = Graph()
    for _ in range(28):
        graph.operator(DENSE, [graph.unknown(), graph.tensor(np.zeros((4, 4), "<f4"))], [graph.unknown()])
    path.write_bytes(graph.file())
    assert "layer 1 is a fully connected layer, expected a convolution" in refusal(path)


def test_what_is_no_file_of_tensorflow_lite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "yamnet.tflite"
    assert "no such file; docs/guide/transfer.md says" in refusal(path)
    assert "is a folder" in refusal(tmp_path)
    for content in (b"", b"PK\x03\x04" + bytes(99), b"<html>not found</html>"):
        path.write_bytes(content)
        assert "not a TensorFlow Lite file" in refusal(path)
    data, _ = tflite(1)
    path.write_bytes(data[: len(data) // 2])
    assert "cut short" in refusal(path)


def test_the_published_file_cut_short_is_refused(tmp_path: Path) -> None:
    data = published().read_bytes()
    for size in (100, 2_000_000, len(data) - 1):
        (tmp_path / "cut.tflite").write_bytes(data[:size])
        assert "not the network YAMNet" in refusal(tmp_path / "cut.tflite")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("first.weight", None, "first layer is missing"),
        ("first.weight", torch.zeros(4, 1, 5, 5), "first.weight is 4 x 1 x 5 x 5, expected 4 x 1 x 3 x 3"),
        ("first.weight", torch.zeros(10**4, 1, 3, 3), "not 1 to 128 filters"),
        ("first.bias", torch.full((4,), torch.nan), "first.bias holds values that no training gives"),
        ("pointwise.3.weight", torch.zeros(32, 32, 1, 1, dtype=torch.int8), "integers without fitting scales"),
        ("pointwise.3.weight.scale", torch.zeros(7), "pointwise.3.weight.scale are scales of no integers"),
        ("depthwise.2.bias", torch.zeros(16, dtype=torch.int32), "expected 16 of floats"),
        ("more", torch.zeros(1), "more belongs to no layer"),
    ],
)
def test_weights_that_fit_no_layer_are_refused(name: str, value: torch.Tensor | None, message: str) -> None:
    stored = small()
    tensors = {**stored.tensors, name: value}
    if value is None:
        del tensors[name]
    with pytest.raises(BackboneError, match=message):
        build(StoredBackbone("yamnet", stored.facts, tensors))  # type: ignore[arg-type]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BackboneError, match=r"patches every 0\.001 s: allowed are 0\.01 s or more"):
        build(small(), patch_hop_s=0.001)
