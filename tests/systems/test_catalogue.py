"""Names of systems as members of a model."""

import pytest

from soundscene.errors import RecipeError
from soundscene.recipe import Recipe
from soundscene.systems.catalogue import build, members, specs, split_names
from soundscene.systems.choice import default_members, training_recipes
from tests.support.tiny import TINY


def test_members_are_systems_with_seeds_and_settings() -> None:
    found = members(split_names("att-crnn-mel, att-crnn-mel@3,cnn-gammatone:network.filters=[4, 4, 8]@1"), TINY)
    assert list(found) == ["att-crnn-mel", "att-crnn-mel@3", "cnn-gammatone+network.filters=[4, 4, 8]@1"]
    first, second, third = found.values()
    assert first == TINY
    assert second == TINY.with_settings(["training.seed=3"])
    settings = ["network.kind=cnn", "features.kind=gammatone", "network.filters=[4, 4, 8]", "training.seed=1"]
    assert third == TINY.with_settings(settings)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("att-crnn-mel,att-crnn-mel", "'att-crnn-mel' is given twice; give the second another seed, as in att-crnn-mel@1"),
        ("cnn-mel@1,cnn-mel@01", "'cnn-mel@01' is given twice; give the second another seed, as in cnn-mel@1"),
        ("cnn-mel@", "'cnn-mel@': expected a seed after @, a whole number, as in cnn-mel@1"),
        ("cnn-mel@-1", "'cnn-mel@-1': expected a seed after @, a whole number, as in cnn-mel@1"),
        ("cnn-mel@99999999999999999999", "recipe value training.seed"),
        ("cnn-mel,hog", "'hog' cannot be a member of a model; allowed are att-crnn-mel, att-crnn-gammatone, cnn-mel"),
        ("", "system '': allowed are att-crnn-mel"),
        ("cnn-mel,", "system '': allowed are att-crnn-mel"),
        (",".join(f"cnn-mel@{n}" for n in range(17)), "17 systems for one model: allowed are 1 to 16"),
        ("cnn-mel,att-crnn-mel:audio.segment_s=1", "cnn-mel and att-crnn-mel+audio.segment_s=1 differ in audio.segment_s"),
        ("cnn-mel,cnn-mel:calibration.held_out=0.3", "differ in calibration.held_out, which members of a model share"),
        ("cnn-mel,cnn-mel:training.segment_hop_s=1", "differ in training.segment_hop_s, which members of a model share"),
    ],
)
def test_what_cannot_be_members_is_refused_in_one_line(names: str, message: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        members(split_names(names), TINY)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_default_of_train_is_small_for_longer_with_overlapping_segments():
    (found,) = default_members().items()
    small = Recipe.small().to_dict()
    changed = {
        f"{section}.{key}": value
        for section, values in found[1].to_dict().items()
        for key, value in values.items()
        if value != small[section][key]
    }
    assert found[0] == "att-crnn-mel"
    assert changed == {"training.epochs": 60, "training.segment_hop_s": 1.0, "calibration.head": "softmax"}
    (short,) = default_members(["audio.segment_s=0.5", "training.epochs=3"]).values()
    assert (short.training.segment_hop_s, short.training.epochs) == (0.25, 3)
    (given,) = default_members(["training.segment_hop_s=2", "network.kind=cnn"]).items()
    assert given[0] == "cnn-mel"
    assert given[1].training.segment_hop_s == 2


def test_an_option_without_a_section_belongs_to_the_system() -> None:
    plain, mean = (build(spec, TINY) for spec in specs(["tt-dnn", "tt-dnn:reduction=mean:training.epochs=4"]))
    assert plain.choices["temporal_transformer"] | {"reduction": "mean"} == mean.choices["temporal_transformer"]
    assert mean.choices["training"]["epochs"] == 4
    assert mean.name == "tt-dnn+reduction=mean+training.epochs=4"
    assert plain.representation.key == mean.representation.key == build(specs(["cnn-mel"])[0], TINY).representation.key
    with pytest.raises(RecipeError, match=r"reduction=max, allowed are learnt, mean$"):
        specs(["tt-dnn:reduction=max"])
    with pytest.raises(RecipeError, match=r"reduction is no setting of mfcc-dnn; mfcc-dnn has no settings of its own"):
        specs(["mfcc-dnn:reduction=mean"])


def test_a_training_starts_where_its_members_say_and_settings_are_adapted() -> None:
    assert training_recipes((), None, ())[0] == default_members()
    beside, _ = training_recipes(["att-crnn-mel", "yamnet"], None, ())
    alone, _ = training_recipes(["att-crnn-mel"], None, ())
    assert [one["att-crnn-mel"].training.epochs for one in (beside, alone)] == [60, 30]
    lower, notes = training_recipes((), Recipe.small(), ["audio.sample_rate=16000"])
    assert lower["att-crnn-mel"].features.window == round(1102 / 22050 * 16000)
    (note,) = notes
    assert "features.window" in note


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "system: att-crnn-mel, 60 epochs, chosen on ESC-10"),
        (
            ("training.epochs=5",),
            "system: att-crnn-mel, 5 epochs: your settings on top of the default (att-crnn-mel, 60 epochs",
        ),
        (("training.seed=1",), "system: att-crnn-mel, 60 epochs: your settings on top of the default"),
        (("network.kind=cnn", "training.epochs=1"), "system: cnn-mel, 1 epoch: your settings on top of the default"),
        (("audio.sample_rate=16000",), "system: att-crnn-mel, 60 epochs: your settings on top of the default"),
    ],
)
def test_the_choice_of_train_is_said_with_any_setting(settings: tuple[str, ...], said: str) -> None:
    *_, choice, more = training_recipes((), None, settings)[1]
    assert choice.startswith(said)
    assert "more time" in more
    assert "yamnet" in more
    assert not any("system:" in note for note in training_recipes((), "small", settings)[1])
    assert not any("system:" in note for note in training_recipes(["att-crnn-mel"], None, settings)[1])


def test_networks_named_start_from_the_small_recipe_and_that_is_said() -> None:
    (note,) = training_recipes(["att-crnn-mel", "att-crnn-gammatone"], None, ())[1]
    added = ["training.epochs=60", "calibration.head=softmax", "training.segment_hop_s=1"]
    assert "--recipe small: 30 epochs, SVM head" in note
    assert note.endswith(" ".join(f"--set {setting}" for setting in added))
    like_default, notes = training_recipes(["att-crnn-mel"], None, added)
    assert (like_default, notes) == (default_members(), ())
    (note,) = training_recipes(["cnn-mel"], None, ["training.epochs=3"])[1]
    assert note.endswith("has: --set calibration.head=softmax --set training.segment_hop_s=1")
    _, note = training_recipes(["cnn-mel"], None, ["audio.segment_s=1"])[1]
    assert note.endswith("--set training.segment_hop_s=0.5")
    for systems, recipe in ((["yamnet", "cnn-mel"], None), (["yamnet"], None), (["cnn-mel"], "small")):
        assert training_recipes(systems, recipe, ())[1] == ()


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (
            "att-crnn-mel,att-crnn-mel@0",
            (),
            "att-crnn-mel and att-crnn-mel@0 are the same network: the same settings and seed 0",
        ),
        ("att-crnn-mel,att-crnn-mel:training.seed=0", (), "as in att-crnn-mel@1"),
        ("att-crnn-mel@1,att-crnn-mel:training.seed=1", (), "as in att-crnn-mel@2"),
        ("cnn-mel,att-crnn-mel:network.kind=cnn", (), "network.kind=cnn is the system cnn-mel"),
        ("att-crnn-mel,att-crnn-mel@1", ("training.seed=1",), "as in att-crnn-mel@2"),
    ],
)
def test_equal_networks_are_refused_under_any_name(names: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        training_recipes(split_names(names), None, settings)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_only_looks_equal_is_trained() -> None:
    names = ["att-crnn-mel", "att-crnn-mel:training.seed=0"]
    assert len(training_recipes(names, None, ["training.seed=1"])[0]) == 2
    assert len(training_recipes(["yamnet", "backbone"], None, ())[0]) == 2


@pytest.mark.parametrize("name", ["", "table3", "tabel", "hog", "hog:blocks=spd", "att-crnn-mell"])
def test_a_refusal_lists_only_what_can_be_a_member(name: str) -> None:
    for names in ([name], ["cnn-mel", name]):
        with pytest.raises(RecipeError) as refusal:
            training_recipes(names, None, ())
        assert str(refusal.value).endswith(
            "allowed are att-crnn-mel, att-crnn-gammatone, cnn-mel, cnn-gammatone, yamnet, backbone"
        )
    with pytest.raises(RecipeError, match="fisher-hog"):
        specs(["tabel"])
