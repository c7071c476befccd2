"""One file for a model: what comes back is what was saved, to the bit, and anything else is refused in one sentence."""

import ast
import errno
import json
import math
import os
import re
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import soundscene
from soundscene.bundle import FORMAT, VERSION, load_model, save_model
from soundscene.errors import BundleError
from soundscene.member import BATCH, networks_of
from soundscene.model import Model
from soundscene.recipe import Recipe
from soundscene.scoring.unfamiliarity import Familiarity, SceneGaussians
from soundscene.signal.ranges import TrainingRange
from soundscene.systems.calibration import HEADS
from soundscene.tensors import digest
from tests.support.tiny import SCENES, TINY, blank_bundle, blank_pair, only

IMAGES = np.random.default_rng(0).normal(-6, 3, (BATCH + 3, 2, 64, 80)).astype(np.float32)


def acquainted(kind: str) -> Model:
    """A blank model that has a notion of what is familiar; its numbers are those of float32, as training gives them."""
    draws = np.random.default_rng(1)
    mean, root = (draws.standard_normal((n, 8)).astype(np.float32).astype(np.float64) for n in (3, 8))
    gaussians = SceneGaussians(mean, (root @ root.T).astype(np.float32).astype(np.float64))
    found = Familiarity("mahalanobis", np.array([0.5, 0.7, 1.1]), (gaussians,))
    if kind == "relative-mahalanobis":
        background = SceneGaussians(mean[:1] + 1, 2 * gaussians.precision).rounded()
        found = Familiarity(kind, found.calibration_scores, (replace(gaussians, background=background),))
    return replace(blank_bundle(), familiarity=Familiarity("energy", np.array([-0.3])) if kind == "energy" else found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(acquainted("mahalanobis"), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_a_reloaded_model_predicts_bit_identically(tmp_path: Path, kind: str) -> None:
    bundle = blank_bundle(TINY.with_settings([f"network.kind={kind}", "training.seed=7"]))
    save_model(bundle, tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    again = load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), before)  # opening a model is nobody else's randomness
    assert (only(again).recipe, again.scenes) == (only(bundle).recipe, bundle.scenes)
    assert (again.temperature, again.provenance) == (bundle.temperature, bundle.provenance)
    assert not only(again).network.training
    embeddings = bundle.embed((IMAGES,))
    assert embeddings[0].std() > 0.01  # it does listen
    np.testing.assert_array_equal(again.embed((IMAGES,))[0], embeddings[0])
    for head in HEADS:
        posterior = bundle.classify(embeddings, head)
        np.testing.assert_allclose(np.exp(posterior).sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(again.classify(embeddings, head), posterior)


def test_the_two_heads_are_the_layer_and_the_svm() -> None:
    bundle = blank_bundle()
    embeddings = bundle.embed((IMAGES[:3],))
    x = embeddings[0]
    logits = x @ only(bundle).network.softmax.weight.detach().numpy().T + only(bundle).network.softmax.bias.detach().numpy()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(bundle.classify(embeddings, "softmax")), softmax, rtol=1e-5)
    distance = x @ only(bundle).svm.weight.numpy().T + only(bundle).svm.bias.numpy()
    platt = 1 / (1 + np.exp(only(bundle).svm.slope.numpy() * distance + only(bundle).svm.offset.numpy()))
    platt /= platt.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(bundle.classify(embeddings, "svm")), platt, rtol=1e-5)
    assert np.abs(softmax - platt).max() > 0.01


def test_no_segment_gives_no_row() -> None:
    bundle = acquainted("mahalanobis")
    assert bundle.classify(bundle.embed((IMAGES[:0],)), "svm").shape == (0, 3)
    assert bundle.unfamiliarity(bundle.embed((IMAGES[:0],))).shape == (0,)


@pytest.mark.parametrize("kind", ["energy", "mahalanobis", "relative-mahalanobis"])
def test_what_is_familiar_comes_back_to_the_bit(tmp_path: Path, kind: str) -> None:
    bundle = acquainted(kind)
    one, two = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save_model(bundle, one)
    again = load_model(one)
    embeddings = bundle.embed((IMAGES,))
    scores = bundle.unfamiliarity(embeddings)
    assert len(np.unique(scores)) == len(IMAGES)
    np.testing.assert_array_equal(again.unfamiliarity(embeddings), scores)
    assert again.familiarity is not None
    assert again.familiarity.kind == kind
    np.testing.assert_array_equal(
        again.familiarity.calibration_scores, bundle.familiarity.calibration_scores if bundle.familiarity else []
    )
    save_model(again, two)
    with safe_open(one, "pt") as first, safe_open(two, "pt") as second:  # safetensors writes metadata in any order
        assert first.metadata() == second.metadata()


def test_a_kind_that_0_1_does_not_know_has_a_name_that_it_ignores(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(acquainted("relative-mahalanobis"), path)
    with safe_open(path, "pt") as file:
        assert "familiarity" not in json.loads(file.metadata()["bundle"])
        assert not any(name.startswith("familiarity/") for name in file.keys())  # noqa: SIM118
    for spoil, why in (
        (lambda p: told(p, {"unfamiliarity": "energy"}), "unfamiliarity is 'energy', expected one of relative-mahalanobis"),
        (lambda p: tensor(p, "unfamiliarity/background/mean", torch.zeros(3, 8)), "of other sizes or names than"),
        (lambda p: tensor(p, "unfamiliarity/background/precision", None), "of other sizes or names than"),
        (lambda p: tensor(p, "unfamiliarity/background/precision", -torch.eye(8)), "not positive on its diagonal"),
    ):
        save_model(acquainted("relative-mahalanobis"), path)
        with pytest.raises(BundleError, match=why):
            load_model(spoil(path))


def test_a_model_without_held_out_scores_is_saved_too(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_model(replace(blank_bundle(), familiarity=Familiarity("energy", np.zeros(0))), path)
    again = load_model(path)
    assert again.familiarity is not None
    assert len(again.familiarity.calibration_scores) == 0


def test_a_model_of_an_older_version_has_no_unknown_detection(tmp_path: Path) -> None:
    save_model(blank_bundle(), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert set(json.loads(file.metadata()["bundle"])) == {
            "version", "recipe", "scenes", "temperature", "provenance", "front_end",
        }  # fmt: skip
        assert {name.partition("/")[0] for name in file.keys()} == {"network", "svm"}  # noqa: SIM118
    again = load_model(tmp_path / "m.safetensors")
    assert again.familiarity is None
    with pytest.raises(ValueError, match="unknown detection unavailable: the model was saved by an older version"):
        again.unfamiliarity(again.embed((IMAGES[:1],)))


def test_what_later_versions_may_add_is_passed_over(path: Path) -> None:
    """As readers of before pass over what is familiar, which is why it needed no new version."""
    more = crafted(path, lambda h: h | {"later": "anything"}, lambda t: t | {"later/tensor": torch.ones(2)})
    assert load_model(more).scenes == SCENES


def test_a_file_is_a_header_of_json_and_plain_numbers_to_its_last_byte(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert set(metadata) == {"format", "bundle", "sha256"}
    assert {entry["dtype"] for entry in header.values()} <= {"F32", "F64", "I64"}
    assert 8 + length + max(entry["data_offsets"][1] for entry in header.values()) == len(data)
    told = json.loads(metadata["bundle"])
    assert told["version"] == 1  # which 0.1 reads
    assert told["scenes"] == list(SCENES)
    assert Recipe.from_stored(told["recipe"]) == TINY
    assert told["provenance"]["notes"] == ["never trained"]


def test_nothing_in_the_package_can_run_a_strangers_file() -> None:
    for source in Path(soundscene.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names += [node.module or "", *(f"{node.module}.{name}" for name in names)]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names.append(f"{node.value.id}.{node.attr}")
            if isinstance(node, ast.keyword) and not (isinstance(node.value, ast.Constant) and node.value.value is False):
                names.append(node.arg or "")  # allow_pickle=False forbids it
            bad = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve", "allow_pickle"}
            bad |= {"torch.load", "torch.save", "fabric.load", "fabric.save", "np.load"}
            assert not bad & {name.partition(".")[0] for name in names}, source
            assert not bad & set(names), source


# --- what is refused --------------------------------------------------------------------------------------------------


def crafted(path: Path, header: Callable[[dict[str, Any]], Any], tensors: Callable[[dict], Any] = lambda t: t) -> Path:
    """The same file with another header or other tensors, and the right checksum for them."""
    with safe_open(path, "pt") as file:
        told = json.loads(file.metadata()["bundle"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text, found = json.dumps(header(told)), tensors(found)
    path.write_bytes(save(found, {"format": FORMAT, "bundle": text, "sha256": digest(text, found)}))
    return path


def told(path: Path, change: dict[str, Any]) -> Path:
    return crafted(path, lambda header: header | change)


def recipe_with(path: Path, section: str, change: dict[str, Any]) -> Path:
    return crafted(path, lambda h: h | {"recipe": h["recipe"] | {section: h["recipe"][section] | change}})


def tensor(path: Path, name: str, value: torch.Tensor | None) -> Path:
    """With another tensor of that name, or none."""
    return crafted(path, lambda h: h, lambda t: {n: v for n, v in (t | {name: value}).items() if v is not None})


def without(path: Path, key: str) -> Path:
    return crafted(path, lambda header: {name: value for name, value in header.items() if name != key})


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def flipped(path: Path, at: int, bit: int = 0) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    return written(path, bytes(data))


def folder(path: Path) -> Path:
    (path.parent / "folder").mkdir()
    return path.parent / "folder"


def crafted_text(path: Path, text: str) -> Path:
    path.write_bytes(save({}, {"format": FORMAT, "bundle": text, "sha256": digest(text, {})}))
    return path


def versioned(path: Path, v: object) -> Path:
    return told(path, {"version": v})


def filled(path: Path, name: str, value: float) -> Path:
    """With one value of a tensor changed."""

    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[name].view(-1)[0] = value
        return tensors

    return crafted(path, lambda header: header, change)


def sized(path: Path, section: str, change: dict[str, Any]) -> Path:
    return recipe_with(path, section, change)


RANGE: dict[str, Any] = {"recordings": 9, "bandwidth_hz": [8e3] * 5, "level_db": [-30.0] * 5, "above_floor_db": [3.0] * 5}


@pytest.mark.parametrize(
    "stored",
    [7, "range", [], {}, RANGE | {"recordings": -1}, RANGE | {"level_db": [-30.0] * 4}, RANGE | {"level_db": [1e9] * 5},
     RANGE | {"bandwidth_hz": [3, 2, 1, 1, 1]}, RANGE | {"above_floor_db": [None] * 5}, RANGE | {"more": 1}],
)  # fmt: skip
def test_a_training_range_that_is_none_is_refused(path: Path, stored: Any) -> None:
    with pytest.raises(BundleError, match=r"its header and its tensors do not agree \(the training range"):
        load_model(told(path, {"training_range": stored}))


def test_a_training_range_that_is_one_is_read(path: Path) -> None:
    assert load_model(told(path, {"training_range": RANGE})).usual == TrainingRange.from_stored(RANGE)
    assert load_model(told(path, {"training_range": None})).usual is None


FAULT = r": {} holds {}; was the training stopped by an error, or the file changed\? retrain the model"
VERSIONS = [math.inf, math.nan, -1, 0, True, "1", None, 1.5]
VALUES = [
    ("network/softmax.weight", math.nan, "values that are not finite"),
    ("network/standardise.mean", math.inf, "values that are not finite"),
    ("network/standardise.inverse_deviation", 0.0, "values that are no inverse deviations"),
    ("network/standardise.inverse_deviation", 1e38, "values beyond 1e\\+15, which no training gives"),
    ("network/standardise.inverse_deviation", 1e9, "values that are no inverse deviations"),
    ("network/standardise.mean", 1e6, "values that are no logarithms of a power"),
    ("network/attention.temporal.context", -1e30, "values beyond 1e\\+15, which no training gives"),
    ("network/convolutions.blocks.1.norm.running_var", -1.0, "negative variances"),
    ("network/recurrent.layers.1.bias_hh_l0", -math.inf, "values that are not finite"),
    ("svm/weight", math.nan, "values that are not finite"),
    ("svm/slope", math.inf, "values that are not finite"),
    ("svm/offset", math.nan, "values that are no offsets"),
    ("svm/offset", -math.inf, "values that are no offsets"),
]
SIZES: list[tuple[str, str, Any]] = [
    ("network", "hidden", 8000),
    ("network", "hidden", 4096),
    ("network", "attention", 10**9),
    ("network", "filters", [10**6, 4, 4]),
    ("network", "filters", [4, 4096, 4096]),
    ("features", "n_fft", 10**9),
    ("features", "n_bands", 10**8),
    ("features", "hop", 1),
    ("features", "window", 10**6),
    ("features", "clamp", 1e300),
    ("features", "floor", 1e-300),
    ("audio", "segment_s", 1e9),
    ("audio", "segment_s", 1e-4),
    ("audio", "noise_window", 10**6),
    ("audio", "sample_rate", 10**9),
    ("training", "seed", 10**20),
    ("training", "batch_size", 10**9),
]

AGREE = "its header and its tensors do not agree"
AGAIN = "retrain the model"
NO_SAFETENSORS = r": damaged or not a \.safetensors file \(.+\); copy it again"
REFUSED: list[tuple[str, Callable[[Path], Path], str]] = [
    ("missing", lambda p: p.parent / "n", ": no such file; make it by `soundscene train MANIFEST --out {path}`"),
    ("folder", folder, r": is a folder, expected a \.safetensors file"),
    ("below a file", lambda p: p / "m", ": no such file; make it by `soundscene train MANIFEST --out {path}`"),
    ("empty", lambda p: written(p, b""), NO_SAFETENSORS),
    ("text", lambda p: written(p, b"path,scene\na.wav,rain\n" * 99), NO_SAFETENSORS),
    ("half", lambda p: written(p, p.read_bytes()[: p.stat().st_size // 2]), NO_SAFETENSORS),
    ("one byte short", lambda p: written(p, p.read_bytes()[:-1]), NO_SAFETENSORS),
    ("one byte too many", lambda p: written(p, p.read_bytes() + b"\0"), NO_SAFETENSORS),
    ("bit of a weight", lambda p: flipped(p, -1), r": differs from what was saved \(checksum\); copy the file again"),
    (
        "bit of the recipe",
        lambda p: flipped(p, p.read_bytes().index(b"22050")),
        r": differs from what was saved \(checksum\); copy the file again",
    ),
    (
        "foreign",
        lambda p: written(p, save({"weight": torch.zeros(3)})),
        r": a \.safetensors file, but not a model of soundscene; `soundscene train` makes one",
    ),
    (
        "header no JSON",
        lambda p: written(p, save({}, {"format": FORMAT, "bundle": '{"version": 1'})),
        ": its header is damaged; copy the file again",
    ),
    ("header a list", lambda p: crafted(p, lambda h: [h]), ": its header is damaged; copy the file again"),
    ("no header", lambda p: written(p, save({}, {"format": FORMAT})), ": its header is damaged; copy the file again"),
    (
        "newer",
        lambda p: told(p, {"version": VERSION + 1, "recipe": {"quantum": {}}}),
        f": written in format {VERSION + 1}, this soundscene reads up to {VERSION}; upgrade soundscene to use it",
    ),
    ("no temperature", lambda p: without(p, "temperature"), f": its header lacks 'temperature'; {AGAIN}"),
    ("no temperature of the SVM", lambda p: told(p, {"temperature": {"softmax": 1}}), f": its header lacks 'svm'; {AGAIN}"),
    (
        "temperature zero",
        lambda p: told(p, {"temperature": {"softmax": 1, "svm": 0}}),
        rf": {AGREE} \(temperatures are {{{{'svm': 0, 'softmax': 1}}}}, expected positive numbers\); {AGAIN}",
    ),
    ("temperatures a list", lambda p: told(p, {"temperature": [1, 1]}), rf": {AGREE} \(list indices .+\); {AGAIN}"),
    ("provenance a list", lambda p: told(p, {"provenance": [1]}), rf": {AGREE} \(.+\); {AGAIN}"),
    (
        "unknown recipe key",
        lambda p: recipe_with(p, "features", {"n_band": 64}),
        rf": {AGREE} \(unknown recipe key 'features.n_band'; did you mean 'features.n_bands'\?\); {AGAIN}",
    ),
    (
        "recipe value out of range",
        lambda p: recipe_with(p, "network", {"hidden": 0}),
        rf": {AGREE} \(recipe value network.hidden: Expected `int` >= 1\); {AGAIN}",
    ),
    (
        "tensors of another size",
        lambda p: recipe_with(p, "network", {"hidden": 5}),
        rf": {AGREE} \(network/recurrent.layers.0.weight_ih_l0 is 12 x 4, the recipe needs 15 x 4\); {AGAIN}",
    ),
    (
        "tensors of another network",
        lambda p: recipe_with(p, "network", {"kind": "cnn"}),
        rf": {AGREE} \(network/softmax.weight is 3 x 8, the recipe needs 3 x 4\); {AGAIN}",
    ),
    (
        "a tensor is gone",
        lambda p: crafted(p, lambda h: h, lambda t: {n: v for n, v in t.items() if n != "svm/bias"}),
        rf": {AGREE} \(svm/bias is missing\); {AGAIN}",
    ),
    (
        "a scene too many",
        lambda p: told(p, {"scenes": ["a", "b", "c", "d"]}),
        rf": {AGREE} \(network/softmax.weight is 3 x 8, the recipe needs 4 x 8\); {AGAIN}",
    ),
    (
        "familiar by a score of its own",
        lambda p: told(p, {"familiarity": "smell"}),
        rf": {AGREE} \(familiarity is 'smell', expected one of energy, mahalanobis\); {AGAIN}",
    ),
    ("familiarity a list", lambda p: told(p, {"familiarity": [1]}), rf": {AGREE} \(familiarity is \[1\], .+\); {AGAIN}"),
    ("gaussians for nothing", lambda p: told(p, {"familiarity": "energy"}), rf": {AGREE} \(familiarity has .+\); {AGAIN}"),
    ("no held-out scores", lambda p: tensor(p, "familiarity/held", None), rf": {AGREE} \(familiarity has .+\); {AGAIN}"),
    ("no gaussians", lambda p: tensor(p, "familiarity/precision", None), rf": {AGREE} \(familiarity has .+\); {AGAIN}"),
    (
        "gaussians of two scenes",
        lambda p: tensor(p, "familiarity/mean", torch.zeros(2, 8)),
        rf": {AGREE} \(familiarity has held, mean, precision of other sizes or names than .+\); {AGAIN}",
    ),
    (
        "gaussians that are infinite",
        lambda p: tensor(p, "familiarity/mean", torch.full((3, 8), torch.inf)),
        rf": {AGREE} \(familiarity holds values that are not finite\); {AGAIN}",
    ),
    (
        "held-out scores out of order",
        lambda p: tensor(p, "familiarity/held", torch.tensor([2.0, 1.0])),
        rf": {AGREE} \(familiarity/held is not in ascending order\); {AGAIN}",
    ),
    (
        "scenes as one text",
        lambda p: told(p, {"scenes": "abc"}),
        rf": {AGREE} \(scenes are 'abc', expected a list of names\); {AGAIN}",
    ),
    ("one scene", lambda p: told(p, {"scenes": ["a"]}), rf": {AGREE} \(scenes are \['a'\], expected two .+\); {AGAIN}"),
    *(
        (
            f"a scene that is {scene!r}"[:40],
            partial(told, change={"scenes": ["a", scene, "b"]}),
            rf": {AGREE} \({what}\); {AGAIN}",
        )
        for scene, what in (
            ("", "a scene is '', expected a name that can be seen"),
            ("\u200b", r"a scene is '\\u200b', expected a name that can be seen"),
            (" \u2060\u00ad", r"a scene is ' \\u2060\\xad', expected a name that can be seen"),
            (None, "a scene is None, expected a name"),
            (7, "a scene is 7, expected a name"),
            (["a"], r"a scene is \['a'\], expected a name"),
            ("x" * 10**6, "a scene has a name of 1000000 characters, allowed are 500"),
            ("a\u200b", r"scenes 'a' and 'a\\u200b' look the same, expected different names"),
            (" a", "scenes 'a' and ' a' look the same, expected different names"),
            ("a", "scenes 'a' and 'a' look the same, expected different names"),
        )
    ),
    ("NaN", lambda p: told(p, {"provenance": {"loss": float("nan")}}), ": its header is damaged; copy the file again"),
    ("infinite", lambda p: told(p, {"provenance": {"x": -float("inf")}}), ": its header is damaged; copy the file again"),
    ("half a letter", lambda p: told(p, {"scenes": ["a", "b", "\ud800"]}), rf": {AGREE} \('utf-8' codec .+\); {AGAIN}"),
    (
        "a temperature that is text",
        lambda p: told(p, {"temperature": {"softmax": 1, "svm": "1"}}),
        rf": {AGREE} .+; {AGAIN}",
    ),
    ("frozen", lambda p: told(p, {"temperature": {"softmax": 1, "svm": 1e-300}}), rf": {AGREE} \(temp.+to 1000\); {AGAIN}"),
    ("provenance pairs", lambda p: told(p, {"provenance": [["a", 1]]}), rf": {AGREE} \(provenance is .+\); {AGAIN}"),
    ("notes a number", lambda p: told(p, {"provenance": {"notes": 3}}), rf": {AGREE} \(provenance.notes is 3,.+\); {AGAIN}"),
    ("recipe a list", lambda p: told(p, {"recipe": []}), rf": {AGREE} \(recipe: expected sections.+\); {AGAIN}"),
    *((f"version {v}", partial(versioned, v=v), ": its header is damaged; copy the file again") for v in VERSIONS),
    ("nested too deep", lambda p: crafted_text(p, "[" * 10**5), ": its header is damaged; copy the file again"),
    ("more layers", lambda p: tensor(p, "network/x", torch.ones(1)), rf": {AGREE} \(network/x belongs to no .+\); {AGAIN}"),
    (
        "integers",
        lambda p: tensor(p, "svm/bias", torch.ones(3, dtype=torch.int64)),
        rf": {AGREE} \(svm/bias holds.+; {AGAIN}",
    ),
    *(
        (f"{name} of {value}", partial(filled, name=name, value=value), FAULT.format(name, what))
        for name, value, what in VALUES
    ),
    *(
        (
            f"recipe {section}.{key}={value}",
            partial(sized, section=section, change={key: value}),
            rf": {AGREE} \(.+\); {AGAIN}",
        )
        for section, key, value in SIZES
    ),
]


def test_a_stranger_cannot_ask_for_more_memory_than_the_file_has(path: Path, request: pytest.FixtureRequest) -> None:
    """Ten thousand scenes, or a number of the right type: refused before a layer is built."""
    many = told(path, {"scenes": [str(number) for number in range(10**5)]})
    started = time.process_time()
    with pytest.raises(BundleError, match=r"network/softmax.weight is 3 x 8, the recipe needs 100000 x 8"):
        load_model(many)
    slower = 4 if request.config.pluginmanager.hasplugin("_cov") else 1  # as the budget of a test: counting lines takes time
    assert time.process_time() - started < 2 * slower


def test_what_0_1_0_saved_rightly_is_loaded(path: Path) -> None:
    """A scene that the training lacked has offset +inf; half precision and later types of numbers are floats too."""
    absent = filled(path, "svm/offset", math.inf)
    posterior = load_model(absent).classify((np.ones((1, 8), np.float32),), "svm")
    assert posterior[0, 0] == -np.inf
    assert np.isfinite(posterior[0, 1:]).all()
    half = crafted(path, lambda h: h, lambda t: t | {"network/softmax.weight": t["network/softmax.weight"].bfloat16()})
    assert only(load_model(half)).network.softmax.weight.dtype == torch.float32
    later = tensor(path, "later/x", torch.ones(3, dtype=torch.bfloat16))
    assert load_model(later).scenes == SCENES


def test_weights_that_overflow_are_an_error_and_no_prediction(path: Path) -> None:
    huge = crafted(path, lambda h: h, lambda t: t | {"network/softmax.weight": torch.full((3, 8), 9e14)})
    bundle = load_model(huge)
    with pytest.raises(BundleError, match="computes no finite posterior, because its weights are too large"):
        bundle.classify((np.full((1, 8), 3e38, np.float32),), "softmax")


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_anything_else_is_refused_in_one_sentence(path: Path, make: Callable[[Path], Path], message: str) -> None:
    made = make(path)
    with pytest.raises(BundleError) as refusal:
        load_model(made)
    said = str(refusal.value)
    assert re.fullmatch(re.escape(str(made)) + message.format(path=re.escape(str(made))), said), said
    assert "\n" not in said


def test_crafted_files_are_refused_for_what_was_crafted_and_nothing_else(path: Path) -> None:
    assert load_model(crafted(path, lambda header: header)).scenes == SCENES


def test_no_bit_can_flip_unnoticed(path: Path) -> None:
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    draws = np.random.default_rng(0)
    places = [*range(8), *draws.integers(8, 8 + length, 200), *draws.integers(8 + length, len(whole), 50)]
    for at in places:
        flipped(path, int(at), int(draws.integers(8)))
        with pytest.raises(BundleError):
            load_model(path)
        path.write_bytes(whole)
    load_model(path)


# --- several members --------------------------------------------------------------------------------------------------


def known_pair() -> Model:
    draws = np.random.default_rng(2)
    means = [draws.standard_normal((3, 8)).astype(np.float32).astype(np.float64) for _ in range(2)]
    gaussians = tuple(SceneGaussians(mean, np.eye(8)) for mean in means)
    return replace(blank_pair(), familiarity=Familiarity("mahalanobis", np.array([0.5, 0.7, 1.1]), gaussians))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    save_model(known_pair(), tmp_path / "pair.safetensors")
    return tmp_path / "pair.safetensors"


def test_members_come_back_to_the_bit(pair: Path, tmp_path: Path) -> None:
    model, again = known_pair(), load_model(pair)
    assert [member.name for member in again.members] == ["att-crnn-mel", "att-crnn-gammatone"]
    assert [m.recipe for m in networks_of(again.members)] == [m.recipe for m in networks_of(model.members)]
    assert (again.scenes, again.temperature, again.provenance) == (model.scenes, model.temperature, model.provenance)
    embeddings = model.embed((IMAGES, IMAGES))
    for mine, theirs in zip(embeddings, again.embed((IMAGES, IMAGES)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for head in HEADS:
        np.testing.assert_array_equal(model.classify(embeddings, head), again.classify(embeddings, head))
    np.testing.assert_array_equal(model.unfamiliarity(embeddings), again.unfamiliarity(embeddings))
    save_model(again, tmp_path / "again.safetensors")
    with safe_open(pair, "pt") as first, safe_open(tmp_path / "again.safetensors", "pt") as second:
        assert first.metadata() == second.metadata()
        assert json.loads(first.metadata()["bundle"])["version"] == 2


def of_member(path: Path, number: int, change: dict[str, Any]) -> Path:
    def changed(header: dict[str, Any]) -> dict[str, Any]:
        members = [one | change if n == number else one for n, one in enumerate(header["members"])]
        return header | {"members": members}

    return crafted(path, changed)


def with_recipe(path: Path, number: int, section: str, change: dict[str, Any]) -> Path:
    def changed(header: dict[str, Any]) -> dict[str, Any]:
        recipe = header["members"][number]["recipe"]
        header["members"][number]["recipe"] = recipe | {section: recipe[section] | change}
        return header

    return crafted(path, changed)


MEMBERS_REFUSED: list[tuple[str, Callable[[Path], Path], str]] = [
    ("no list", lambda p: told(p, {"members": {"a": 1}}), r"members are \{'a': 1\}, expected a list of 1 to 16"),
    ("none", lambda p: told(p, {"members": []}), "members are 0, expected a list of 1 to 16"),
    (
        "too many",
        lambda p: crafted(p, lambda h: h | {"members": h["members"][:1] * 17}),
        "members are 17, expected a list",
    ),
    ("a text", lambda p: told(p, {"members": ["a", "b"]}), "member 0 is 'a', expected names with values"),
    ("twice", lambda p: of_member(p, 1, {"name": "att-crnn-mel"}), "att-crnn-mel, att-crnn-mel, expected different names"),
    ("a number", lambda p: of_member(p, 0, {"name": 3}), "a member is named 3, expected 1 to "),
    ("no name", lambda p: of_member(p, 0, {"name": ""}), "a member is named '', expected 1 to "),
    ("long", lambda p: of_member(p, 0, {"name": "x" * 10**6}), "a member is named 'xxx"),
    ("escape", lambda p: of_member(p, 0, {"name": "a\x1b[31m"}), "a member is named 'a.x1b"),
    ("half a letter", lambda p: of_member(p, 0, {"name": "\ud800"}), "a member is named "),
    ("kind", lambda p: of_member(p, 1, {"kind": "oracle"}), "att-crnn-gammatone: of kind 'oracle', expected network"),
    ("front-end", lambda p: of_member(p, 1, {"front_end": 9}), "member att-crnn-gammatone: front_end is 9"),
    ("recipe", lambda p: of_member(p, 1, {"recipe": []}), "member att-crnn-gammatone: recipe: expected sections"),
    ("wide", lambda p: with_recipe(p, 1, "network", {"hidden": 8}), "gammatone: network/.+ is .+, the recipe needs"),
    ("huge", lambda p: with_recipe(p, 0, "network", {"filters": [4, 4096, 4096]}), "member att-crnn-mel: .+"),
    ("segment_s", lambda p: with_recipe(p, 1, "audio", {"segment_s": 1.9}), "differ in audio.segment_s|the recipe needs"),
    (
        "last_piece",
        lambda p: with_recipe(p, 1, "audio", {"last_piece": 0.9}),
        "differ in audio.segment_s or audio.last_piece",
    ),
    ("noise", lambda p: with_recipe(p, 1, "audio", {"noise_window": 32, "noise_hop": 16}), "differ in their audio recipe"),
    ("a layer less", lambda p: tensor(p, "members/1/svm/bias", None), "member att-crnn-gammatone: svm/bias is missing"),
    ("a layer more", lambda p: tensor(p, "members/1/svm/x", torch.ones(1)), "gammatone: svm/x belongs to no layer"),
    ("a third", lambda p: tensor(p, "members/2/svm/bias", torch.ones(3)), "members/2/svm/bias belongs to no member"),
    ("scenes", lambda p: told(p, {"scenes": ["a", "b"]}), "network/softmax.weight is 3 x 8, the recipe needs 2 x 8"),
    (
        "no mean",
        lambda p: tensor(p, "members/1/familiarity/mean", None),
        "member 1: familiarity has precision of other",
    ),
    ("held twice", lambda p: tensor(p, "members/0/familiarity/held", torch.ones(3)), "member 0: familiarity has held, mean"),
    (
        "held",
        lambda p: tensor(p, "familiarity/held", torch.tensor([2.0, 1.0])),
        "familiarity/held is not in ascending order",
    ),
    ("mean", lambda p: tensor(p, "familiarity/mean", torch.zeros(3, 8)), "familiarity has held, mean of other sizes"),
    (
        "not a precision",
        lambda p: tensor(p, "members/1/familiarity/precision", -torch.eye(8)),
        "familiarity/precision is not positive on its diagonal",
    ),
]


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in MEMBERS_REFUSED], ids=[row[0] for row in MEMBERS_REFUSED])
def test_members_of_strangers_are_refused_in_one_sentence(pair: Path, make: Callable[[Path], Path], message: str) -> None:
    made = make(pair)
    with pytest.raises(BundleError, match=message) as refusal:
        load_model(made)
    said = str(refusal.value)
    assert said.startswith(f"{made}: {AGREE} (")
    assert said.endswith(AGAIN)
    assert "\n" not in said
    assert "\x1b" not in said


def test_what_a_member_lacks_is_named(pair: Path) -> None:
    def lacking(header: dict[str, Any], key: str) -> dict[str, Any]:
        return header | {"members": [{n: v for n, v in one.items() if n != key} for one in header["members"]]}

    for key in ("name", "kind", "recipe"):
        with pytest.raises(BundleError, match=f"its header lacks '{key}'; retrain the model"):
            load_model(
                crafted(
                    pair,
                    lambda h, k=key: h | {"members": [{n: v for n, v in one.items() if n != k} for one in h["members"]]},
                )
            )
        save_model(known_pair(), pair)


def test_weights_of_a_member_that_are_no_numbers_are_refused_with_its_name(pair: Path) -> None:
    made = filled(pair, "members/1/network/softmax.weight", math.nan)
    with pytest.raises(BundleError, match=r"member att-crnn-gammatone: network/softmax\.weight holds values that are not"):
        load_model(made)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BundleError) as refusal:
        save_model(blank_bundle(scenes=("x", "y")), path)
    assert str(refusal.value) == (
        f"{path}: cannot be written (No space left on device); is the folder there, writable, and not full?"
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_model(blank_bundle(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match=r"file/m\.safetensors: cannot be written \(.+\); is the folder there, writable"):
        save_model(blank_bundle(), tmp_path / "file" / "m.safetensors")
    (tmp_path / "m").mkdir()
    with pytest.raises(BundleError, match=r"/m: cannot be written \(.*Is a directory"):
        save_model(blank_bundle(), tmp_path / "m")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "m"]


def test_folders_are_made_and_an_old_model_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "m.safetensors"
    save_model(blank_bundle(), path)
    save_model(blank_bundle(scenes=("x", "y")), path)
    assert load_model(path).scenes == ("x", "y")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
