"""Variants that change nothing are refused in one line, and what a system is said to read is what changes it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from soundscene.data.corpus import Corpus
from soundscene.errors import RecipeError
from soundscene.experiment.plan import make_plan
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import SYSTEMS, SystemSpec, build, specs
from soundscene.systems.choice import training_recipes
from soundscene.systems.system import FitContext, System
from soundscene.systems.variants import READS, options_of, reads, recipe_read
from tests.support.small_systems import SHAPES, SHORT, TINY, made_up, make_small

SMALL = Recipe.small()
MODULES = sorted({spec.module for spec in SYSTEMS})


def planned(name: str, ablate: str | None = None) -> tuple[SystemSpec, ...]:
    chosen = specs([name], ablate)
    make_plan("toys", Path("root"), (), {}, SMALL, chosen)
    return chosen


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kernel-pca:penalty=off", "penalty is not read by kernel-pca, so nothing would change; its own settings are level"),
        ("sparse-nmf:patch=slice", "patch is not read by sparse-nmf"),
        ("tt-dnn:reduction=learnt", "reduction=learnt is what tt-dnn has already; leave it out, or give mean"),
        ("tt-cnn:training.learning_rate=0.01", "training.learning_rate is not read by tt-cnn, so nothing would change; of"),
        (
            "hog:training.epochs=60",
            "of the recipe it reads audio.sample_rate, calibration.held_out, calibration.platt_folds",
        ),
        ("hog:augmentation=off", "augmentation is not read by hog"),
        ("cnn-mel:network.hidden=9", "network.hidden is not read by cnn-mel"),
        ("att-crnn-mel:network.global_pooling=mean", "network.global_pooling is not read by att-crnn-mel"),
        ("att-crnn-mel:training.seed=3", "the seeds of an experiment are given by --seeds"),
        ("sparse-nmf:method=conv-nmf", "has method=sparse-nmf, which cannot be set; method=conv-nmf is the system conv-nmf"),
        ("tt-cnn:kind=dnn", "kind=dnn is the system tt-dnn"),
        ("tt-cnn:kind=cnn", "kind=cnn is what tt-cnn has already; leave it out"),
        ("tt-cnn:kind=gru", "tt-cnn has kind=cnn, which cannot be set; leave it out"),
        ("lte-rnn:kind=cnn", "kind=cnn is the system lte-cnn"),
        ("nearest-mean:method=band-statistics", "method=band-statistics is the system band-statistics"),
        ("att-crnn-mel:features.kind=gammatone", "features.kind=gammatone is the system att-crnn-gammatone"),
        ("hog-spd:blocks=spd:blocks=hog", "blocks is given twice; give it once"),
        ("hog-spd:", "expected key=value behind each colon, and nothing stands there"),
        ("hog-spd:blocks=spd:", "expected key=value behind each colon, and nothing stands there"),
        ("hog-spd:blocks", "'blocks' has no value; its own settings are blocks (both, spd, hog), and those of the recipe"),
        (
            "hog-spd:block=spd",
            "block is no setting of hog-spd; its own settings are blocks (both, spd, hog), kernel (linear, emd)",
        ),
        ("hog-spd:blocks=all", "blocks=all, allowed are both, spd, hog"),
        ("hog-spd:blocks=hog:kernel=emd", "kernel is not read by hog-spd, so nothing would change"),
        ("hog-spd:kernel=linear", "kernel=linear is what hog-spd has already; leave it out, or give emd"),
        ("hog:blocks=spd", "blocks is no setting of hog; hog has no settings of its own"),
        ("fisher-hog:height=off", "height=off is what fisher-hog has already; leave it out, or give on"),
        ("table3:blocks=spd", "table3 takes no settings; name one system, as in hog-spd:blocks=spd"),
        ("Table3", "band-statistics, table3"),
        ("backbone:file=x.safetensors", "file is no setting of backbone; backbone has no settings of its own"),
        ("tt-cnn:training.epochs=30", "training.epochs=30 is what the recipe has already; leave it out"),
        ("yamnet:calibration.svm_c=0.01", "calibration.svm_c=0.01 is what the recipe has already; leave it out"),
        ("att-crnn-mel:network.pooling=mean:network.attention=32", "network.attention=32 changes nothing where network.p"),
        ("att-crnn-mel:network.pooling=last:network.attention_scale=printed", "changes nothing where network.pooling=last"),
        ("tt-cnn:training.epoch=9", "unknown recipe key 'training.epoch'; did you mean 'training.epochs'?"),
    ],
)
def test_a_variant_without_effect_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        planned(name)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("system ")
    assert "\n" not in str(refusal.value)


def test_variants_with_an_effect_are_taken() -> None:
    names = ("kernel-pca:kernel=linear", "conv-nmf:patch=slice", "sparse-nmf: penalty = off", "lstm-sa:from=scene")
    names += ("cnn-mel:network.global_pooling=mean", "att-crnn-mel:augmentation=off", "yamnet:calibration.svm_c=0.1")
    names += ("fisher-hog:height=on", "hog-spd:kernel=emd", "hog-spd:blocks=spd:kernel=emd")
    assert [planned(name)[0].name for name in names] == [
        name.replace(":", "+").replace(" ", "") if name.startswith("sparse") else name.replace(":", "+") for name in names
    ]


@pytest.mark.parametrize("name", ["lte-rnn:audio.segment_s=1.3", "tt-cnn:features.n_bands=30"])
def test_what_a_system_refuses_when_it_is_built_names_it(name: str) -> None:
    with pytest.raises(RecipeError, match=f"system '{name.replace(':', '.')}': recipe value "):
        build(specs([name])[0], SMALL)


def test_ablations_are_of_what_a_system_has() -> None:
    assert len(planned("att-crnn-mel", "att-crnn-mel")) == 1 + 5
    assert [spec.name for spec in specs([], "cnn-gammatone")] == ["cnn-gammatone+no-mixing", "cnn-gammatone+one-channel"]
    for name in ("hog", "yamnet", "tt-lstm"):
        with pytest.raises(RecipeError, match=f"--ablate {name}: {name} has nothing of what the ablations take away; allow"):
            specs(["hog"], name)


def test_the_reference_has_every_name_with_its_own_settings() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    written = {name.strip("` "): own for names, _, own in rows for name in names.split(",")}
    assert {*written} == {spec.name for spec in SYSTEMS}
    for spec in SYSTEMS:
        fixed = {setting.partition("=")[0] for setting in spec.settings}
        read = reads(spec.module, spec.settings)
        own = [(k, v) for k, v in options_of(spec.module).items() if v and k in read and k not in fixed]
        assert written[spec.name].strip() == "; ".join(f"`{k}`: {', '.join(f'`{x}`' for x in v)}" for k, v in own)


# --- what is said to be read is what changes a system ----------------------------------------------------------------------

OTHER = {
    "audio": {"sample_rate": 16000, "segment_s": 1.0, "last_piece": 0.4, "noise_window": 512, "noise_hop": 256},
    "features": {"kind": "gammatone", "n_bands": 128, "window": 1000, "hop": 500, "n_fft": 4096, "low_hz": 60.0}
    | {"floor": 10.0, "clamp": 0.5},
    "network": {"kind": "cnn", "filters": [4, 4, 8], "hidden": 6, "attention": 3, "conv_dropout": 0.6}
    | {"recurrent_dropout": 0.3, "attention_scale": "printed", "attention_temperature": 2.0, "attention_context": 0.5}
    | {"recurrent": "none", "pooling": "mean", "global_pooling": "mean", "noise_subtracted": False},
    "training": {"epochs": 3, "batch_size": 7, "learning_rate": 0.1, "schedule": "constant", "mixing": "none"}
    | {"balanced": True, "segment_hop_s": 0.5, "gain_db": 3.0, "mask_bands": 3, "mask_frames": 3, "average": 0.5}
    | {"keep": "best", "patience": 1, "seed": 3},
    "augmentation": {"level_db": [0.0, 0.0], "tilt_db": 1.0, "response_db": 1.0, "low_pass": 0.1, "codec": 0.1}
    | {"background": 0.1, "clipping": 0.1, "mix_statistics": 0.1},
    "calibration": {"head": "softmax", "svm_c": 1.0, "platt_folds": 2, "held_out": 0.4},
}
TOGETHER = {  # keys that a recipe takes together only
    "audio.noise_window": ("audio.noise_hop",),
    "audio.noise_hop": ("audio.noise_window",),
    "training.patience": ("training.keep",),
}
BRANCHES = tuple(f"cnn-1d-2d-3d:branches={dimensions}d" for dimensions in (1, 2, 3))
MEASURED = (*(name for name in SHAPES if name != "cnn-1d-2d-3d"), *BRANCHES, "hog-spd:kernel=emd", "fisher-hog:height=on")


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Systems as small as they can be."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


def changed(recipe: Recipe, keys: set[str]) -> Recipe:
    tree = recipe.to_dict()
    for key in keys:
        section, _, name = key.partition(".")
        tree[section][name] = OTHER[section][name]
    return Recipe.from_dict(tree)


def predicted(system: System, corpus: Corpus) -> np.ndarray:
    found = system.fit(corpus, FitContext(0)).predict(corpus)
    return np.concatenate([one.calibrated for one in found.values()])


def test_every_key_of_the_recipe_and_every_own_setting_is_known_here() -> None:
    tree = SMALL.to_dict()
    assert {section: {*values} for section, values in OTHER.items()} == {s: {*values} for s, values in tree.items()}
    assert sorted(READS) == MODULES
    keys = {f"{section}.{key}" for section, values in tree.items() for key in values} | {*tree}
    for module, conditions in READS.items():
        own = {key for key, values in options_of(module).items() if values}
        assert {key for of in conditions.values() for key in of} <= keys | {*own}, module
        assert {*own} <= {key for of in conditions.values() for key in of}, module


@pytest.mark.budget(30)
@pytest.mark.parametrize("name", MEASURED)
def test_what_is_not_read_changes_no_bit_and_what_is_read_changes_something(name: str) -> None:
    (spec,) = specs([name])
    base = SHORT if name.startswith("cnn-1d") else TINY
    read = recipe_read(base, reads(spec.module, spec.settings))
    keys = {f"{section}.{key}" for section, values in read.items() for key in values}
    others = {f"{section}.{key}" for section, values in base.to_dict().items() for key in values} - keys
    corpus = made_up(name, 0.3, 0.2)
    plain = build(spec, base)
    before = predicted(plain, corpus)
    for key in {key for other in others for key in (other, *TOGETHER.get(other, ()))} & keys:
        others.discard(key)
    assert np.array_equal(predicted(build(spec, changed(base, others)), corpus), before)
    idle = []
    for key in sorted(keys):
        try:
            system = build(spec, changed(base, {key, *TOGETHER.get(key, ())}))
        except RecipeError:  # it is read, and fits nothing
            continue
        same = system.representation.key == plain.representation.key
        if same and np.array_equal(predicted(system, corpus), before):
            idle.append(key)
    assert not idle


def test_train_names_settings_that_no_member_reads() -> None:
    notes = training_recipes((), None, ["network.global_pooling=mean", "network.hidden=8"])[1]
    assert notes[-1] == "--set network.global_pooling: not read by att-crnn-mel, so nothing changes"
    last = training_recipes(("att-crnn-mel",), None, ["network.pooling=last", "network.attention_scale=printed-2h"])[1]
    assert any(note.startswith("--set network.attention_scale: not read by att-crnn-mel") for note in last)
    mean = training_recipes(("att-crnn-mel", "cnn-mel"), None, ["network.global_pooling=mean", "augmentation=off"])[1]
    assert not any("nothing changes" in note for note in mean)
