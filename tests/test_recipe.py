import math
import time

import pytest

from soundscene.errors import RecipeError
from soundscene.recipe import ADDED, STORED, Recipe
from soundscene.training.augment import any_of


def refused(*settings):
    with pytest.raises(RecipeError) as caught:
        Recipe().with_settings(settings)
    return str(caught.value)


# Presets --------------------------------------------------------------------------------------------------------------


def test_the_paper_as_printed():
    paper = Recipe.paper()
    audio, features, network, training, calibration = (
        getattr(paper, name) for name in ("audio", "features", "network", "training", "calibration")
    )
    # 2.1: non-overlapping 2-second segments; 4.2: 22050 Hz, 64 mel bands from 50 Hz, 50 ms frames, 50 % overlap, T = 80
    assert (audio.segment_s, audio.sample_rate, audio.segment_samples) == (2.0, 22050, 44100)
    assert training.segment_hop_s == audio.segment_s
    assert (features.kind, features.n_bands, features.low_hz) == ("mel", 64, 50.0)
    assert features.window == math.floor(0.050 * 22050) == 1102
    assert features.hop == features.window // 2
    assert audio.segment_samples // features.hop == 80
    # 2.2, Table 1: 64 -> 128 -> 256 filters
    assert network.kind == "att-crnn"
    assert network.filters == (64, 128, 256)
    # 2.3, equation (9) at its printed scale
    assert network.attention_scale == "printed"
    # 4.3, all of it
    assert network.conv_dropout == 0.25
    assert network.hidden == 128
    assert network.recurrent_dropout == 0.1
    assert network.attention == 64
    assert training.epochs == 500
    assert training.batch_size == 100
    assert (training.learning_rate, training.schedule) == (1e-4, "constant")
    assert calibration.svm_c == 0.1
    # 3: between-class examples; 2.4: the SVM in place of the softmax layer
    assert training.mixing == "between-class"
    assert calibration.head == "svm"
    # what the paper does not have is off
    assert not training.balanced
    assert (training.gain_db, training.mask_bands, training.mask_frames) == (0, 0, 0)
    assert (training.keep, training.patience, calibration.held_out) == ("last", 0, 0)
    assert not any_of(paper.augmentation)
    assert paper.augmentation.mix_statistics == 0


def differences(one, other):
    return {
        f"{section}.{name}": (value, other.to_dict()[section][name])
        for section, values in one.to_dict().items()
        for name, value in values.items()
        if value != other.to_dict()[section][name]
    }


def test_the_default_differs_from_the_paper_only_where_a_decision_page_says_so():
    augmented = {key: values for key, values in differences(Recipe.paper(), Recipe()).items() if "augmentation" in key}
    assert differences(Recipe.paper(), Recipe()) == {
        "network.attention_scale": ("printed", "mean-preserving"),  # docs/decisions/0003
        "calibration.held_out": (0.0, 0.1),  # docs/decisions/0031
        **augmented,  # docs/decisions/0100
    }
    assert {key.partition(".")[2]: paper for key, (paper, _) in augmented.items()}.items() <= STORED["augmentation"].items()


def test_small_is_narrower_and_shorter_and_otherwise_the_default():
    changed = differences(Recipe(), Recipe.small())
    assert changed["network.filters"] == ((64, 128, 256), (16, 32, 64))
    assert changed["network.hidden"] == (128, 32)
    assert {key.partition(".")[0] for key in changed} <= {"network", "training"}
    assert Recipe.small().training.epochs < 100


@pytest.mark.parametrize(("name", "recipe"), [("paper", Recipe.paper()), ("default", Recipe()), ("small", Recipe.small())])
def test_presets_load_by_name_and_travel_through_plain_values(name, recipe):
    assert Recipe.load(name) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_a_recipe_cannot_be_changed_and_can_be_compared():
    recipe = Recipe()
    with pytest.raises(AttributeError):
        recipe.training.epochs = 3  # type: ignore[misc]
    assert recipe == Recipe()
    assert recipe != Recipe.paper()


def test_a_key_that_a_stored_recipe_lacks_means_what_0_1_0_did(monkeypatch):
    assert {section: set(values) for section, values in STORED.items()} == {
        section: set(values) for section, values in Recipe().to_dict().items()
    }, "a new key needs a line in STORED: the value by which it does what 0.1.0 did; and one in ADDED"
    assert Recipe.from_stored({}) == Recipe.from_dict(STORED)
    assert Recipe.from_stored({}).to_dict() == STORED
    changed = {section: dict(values) for section, values in STORED.items()}
    changed["training"]["epochs"] = 7  # as if the default of today were another one
    monkeypatch.setattr("soundscene.recipe.STORED", changed)
    assert Recipe.from_stored({"network": {"hidden": 8}}) == Recipe().with_settings(
        ["training.epochs=7", "network.hidden=8", "augmentation=off"]
    )
    assert Recipe.from_stored({"training": {"epochs": 3}}).training.epochs == 3
    for tree in ({"training": 3}, {"network": {"hiden": 3}}, {"net": {}}):
        with pytest.raises(RecipeError):
            Recipe.from_stored(tree)


def test_a_stored_recipe_gains_no_key_before_it_matters():
    plain = Recipe.from_stored({})
    old = {section: {k: v for k, v in values.items() if f"{section}.{k}" not in ADDED} for section, values in STORED.items()}
    assert plain.to_stored() == {section: values for section, values in old.items() if values}, "as in 0.1.0"
    loud = plain.with_settings(["augmentation.clipping=0.5"])
    assert loud.to_stored()["augmentation"] == {"clipping": 0.5}
    assert Recipe.from_stored(loud.to_stored()) == loud
    assert "global_pooling" not in plain.to_stored()["network"]
    mean = plain.with_settings(["network.global_pooling=mean"])
    assert mean.to_stored()["network"] == plain.to_stored()["network"] | {"global_pooling": "mean"}
    assert Recipe.from_stored(Recipe.small().to_stored()) == Recipe.small()


def test_missing_keys_take_the_default():
    assert Recipe.from_dict({"training": {"epochs": 3}}) == Recipe().with_settings(["training.epochs=3"])
    assert Recipe.from_dict({}) == Recipe()


def test_augmentation_can_be_turned_off_as_a_whole():
    loud = Recipe().with_settings(["augmentation.clipping=0.5", "augmentation.level_db=[-30, 20]"])
    assert loud.augmentation.level_db == (-30, 20)
    quiet = loud.with_settings(["augmentation=off", "training.epochs=3"])
    assert quiet.augmentation == Recipe.paper().augmentation
    assert quiet.training.epochs == 3
    assert loud.with_settings(["augmentation = OFF"]).augmentation == quiet.augmentation
    for word in ("on", "", "false", "'off'"):
        only_off = f"--set {f'augmentation={word}'!r}: the only word is off; otherwise set its keys"
        assert refused(f"augmentation={word}").startswith(only_off)
    assert "expected section.key=value" in refused("augmentation")
    assert "lowest before highest" in refused("augmentation.level_db=[20, -30]")


@pytest.mark.parametrize("name", [name for name in STORED["augmentation"] if not name.endswith("_db")])
def test_a_share_of_the_examples_may_be_all_of_them(name):
    assert getattr(Recipe().with_settings([f"augmentation.{name}=1"]).augmentation, name) == 1
    for value in ("1.01", "-0.1", "nan"):
        assert f"augmentation.{name}" in refused(f"augmentation.{name}={value}")


# --set ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.epochs=30", 30),
        ("training.learning_rate=1e-3", 0.001),
        ("audio.segment_s=1", 1.0),
        ("network.kind=cnn", "cnn"),
        ('network.kind="cnn"', "cnn"),
        ("features.kind = gammatone", "gammatone"),
        ("training.balanced=true", True),
        ("network.filters=[4, 8, 16]", (4, 8, 16)),
        ("network.attention_scale=printed", "printed"),
        ("training.seed=9007199254740993", 9007199254740993),
    ],
)
def test_one_setting(setting, value):
    section, _, name = setting.partition("=")[0].strip().partition(".")
    changed = Recipe().with_settings([setting])
    ours = getattr(getattr(changed, section), name)
    assert ours == value
    assert type(ours) is type(value)
    assert set(differences(Recipe(), changed)) <= {f"{section}.{name}"}


def test_the_last_of_two_settings_wins_and_nothing_else_moves():
    recipe = Recipe.small()
    changed = recipe.with_settings(["training.epochs=3", "training.epochs=4", "network.hidden=5"])
    assert (changed.training.epochs, changed.network.hidden) == (4, 5)
    assert changed.network.filters == recipe.network.filters
    assert recipe == Recipe.small()
    assert recipe.with_settings([]) == recipe


@pytest.mark.parametrize("setting", ["training.epochs", "epochs=3", "", "=3"])
def test_a_setting_of_another_form_is_refused(setting):
    assert refused(setting) == f"--set {setting!r}: expected section.key=value, for example training.epochs=30"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("training.epoch", "did you mean 'training.epochs'?"),
        ("trainig.epochs", "did you mean 'training.epochs'?"),
        ("network.dropout", "did you mean 'network.conv_dropout'?"),
        ("audio.hidden", "did you mean 'network.hidden'?"),
        ("foo.bar", "sections are audio, features, network, training, augmentation, calibration"),
    ],
)
def test_an_unknown_key_names_the_nearest(key, hint):
    assert refused(f"{key}=1") == f"unknown recipe key {key!r}; {hint}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=0", "recipe value training.epochs: Expected `int` >= 1"),
        ("training.epochs=3.0", "recipe value training.epochs: Expected `int`, got `float`"),
        ("training.epochs=true", "recipe value training.epochs: Expected `int`, got `bool`"),
        ("training.epochs=many", "recipe value training.epochs: Expected `int`, got `str`"),
        ("training.balanced=1", "recipe value training.balanced: Expected `bool`, got `int`"),
        ("training.batch_size=1", "recipe value training.batch_size: Expected `int` >= 2"),
        ("training.learning_rate=0", "recipe value training.learning_rate: Expected `float` >= 1e-15"),
        ("training.learning_rate=nan", "recipe value training.learning_rate: Expected `float` >= 1e-15"),
        ("audio.segment_s=inf", "recipe value audio.segment_s: Expected `float` <= 600.0"),
        ("network.conv_dropout=1.0", "recipe value network.conv_dropout: Expected `float` < 1.0"),
        ("audio.sample_rate=4000", "recipe value audio.sample_rate: Expected `int` >= 8000"),
        ("network.filters=[4, 8]", "recipe value network.filters: Expected `array` of length 3, got 2"),
        ("network.filters=[4, 8, 0]", "recipe value network.filters[2]: Expected `int` >= 1"),
        (
            "network.attention_scale=Printed",
            "recipe value network.attention_scale: Invalid enum value 'Printed'; allowed are printed, printed-2h, "
            "mean-preserving",
        ),
        ("features.kind=", "recipe value features.kind: Invalid enum value ''; allowed are mel, gammatone"),
        ("features.window=100", "recipe value features: features: hop <= window <= n_fft, got 551, 100, 2048"),
        ("audio.noise_hop=300", "recipe value audio: audio.noise_window must be twice audio.noise_hop, got 704, 300"),
        (
            "training.patience=3",
            'recipe value training: training.patience needs training.keep = "best", '
            "because the last epoch has no competitor",
        ),
    ],
)
def test_a_value_outside_its_range_or_type_is_refused(setting, message):
    assert refused(setting) == message


def test_patience_with_the_best_epoch_is_allowed():
    assert Recipe().with_settings(["training.patience=3", "training.keep=best"]).training.patience == 3


WIDE = {  # extreme, and allowed: small shares, any seed, and rates that end in a loss that is not finite
    *(
        (name, "1e-300")
        for name in ("last_piece", "conv_dropout", "recurrent_dropout", "held_out", "low_hz", "gain_db", "average")
    ),
    *((name, "1e-300") for name in STORED["augmentation"] if name != "level_db"),
    *(("seed", "100000000"), ("learning_rate", "100000000"), ("learning_rate", "99999999999999999999")),
}
HUGE = ("-1", "1e300", "1e-300", "100000000", "99999999999999999999", "nan", "inf", "9" * 5000, "[" * 5000, "x" * 10**6)
EXTREME = [
    f"{section}.{name}={value}"
    for section, values in Recipe().to_dict().items()
    for name in values
    for value in HUGE
    if (name, value) not in WIDE
]
EXTREME += ["audio.segment_s=1e-4", "audio.segment_s=600", "audio.segment_s=0.02", "features.hop=1", "features.n_fft=32769"]
EXTREME += ["features.low_hz=11025", "training.segment_hop_s=0.001", "training.batch_size=16384", "network.hidden=4096"]
EXTREME += [
    "network.filters=[4096, 4096, 4096]",
    "network.filters=[4096, 1, 1]",
    f"{'x' * 10**6}.y=1",
    "a.b" * 10**5,
    "\0=\0",
]


def test_extreme_values_are_one_line_at_once():
    started = time.process_time()
    for setting in EXTREME:
        message = refused(setting)
        assert "\n" not in message, setting[:50]
        assert len(message) < 600, setting[:50]
    assert time.process_time() - started < 3  # of some 380


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["audio.segment_s=0.02"],
            "the samples of a segment (audio.segment_s x audio.sample_rate): 441, allowed are 551 or more",
        ),
        (
            ["features.hop=8"],
            "the spectrum of a segment (frames x features.n_fft): 11,288,576, allowed are 2 to 6,000,000; ",
        ),
        (
            ["features.n_bands=512", "features.n_fft=8192"],
            "the filter bank (features.n_bands x features.n_fft): 4,194,304",
        ),
        (["network.hidden=2048"], "the weights of the network: "),
        (["training.batch_size=4000"], "the first block's output for a batch: "),
        (["features.low_hz=20000"], "features.low_hz: 20,000, allowed are 0 to 11,025; it must lie below half the sample"),
    ],
)
def test_values_that_are_too_large_together_are_refused(settings, message):
    assert refused(*settings).startswith(message)


@pytest.mark.parametrize(
    "settings",
    [
        ["audio.segment_s=30"],  # LITIS Rouen's recordings as one segment
        ["audio.segment_s=60", "network.filters=[32, 64, 128]"],
        ["audio.segment_s=10", "audio.sample_rate=44100", "features.hop=441", "features.window=1764", "features.n_fft=4096"],
        ["audio.sample_rate=192000", "features.window=9600", "features.hop=4800", "features.n_fft=16384"],
        ["features.n_bands=256", "features.n_fft=4096"],
        ["network.filters=[256, 512, 1024]", "network.hidden=512", "features.n_bands=128"],
        ["training.batch_size=1000", "training.epochs=10000"],
        ["training.segment_hop_s=0.125"],
        ["audio.sample_rate=8000", "features.window=200", "features.hop=80", "features.n_fft=256"],
    ],
)
def test_what_people_may_want_is_allowed(settings):
    Recipe().with_settings(settings)


# TOML -----------------------------------------------------------------------------------------------------------------


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path, str(path)


def test_a_file_starts_from_the_default(tmp_path):
    _, name = load(tmp_path, "[training]\nepochs = 7\n[network]\nfilters = [4, 8, 16]\n")
    assert Recipe.load(name) == Recipe().with_settings(["training.epochs=7", "network.filters=[4, 8, 16]"])


def test_a_file_of_windows_is_read(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbf[training]\r\nepochs = 7\r\n")
    assert Recipe.load(str(tmp_path / "r.toml")) == Recipe().with_settings(["training.epochs=7"])


@pytest.mark.parametrize("base", ["paper", "default", "small"])
def test_a_file_may_start_from_a_preset(tmp_path, base):
    _, name = load(tmp_path, f'base = "{base}"\n[training]\nepochs = 7\n')
    assert Recipe.load(name) == Recipe.load(base).with_settings(["training.epochs=7"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 3\n", "unknown recipe key 'training.epoch'; did you mean 'training.epochs'?"),
        ("[trainig]\nepochs = 3\n", "unknown recipe key 'trainig'; did you mean 'training.seed'?"),
        ("[training]\nepochs = 0\n", "recipe value training.epochs: Expected `int` >= 1"),
        ("training = 3\n", "recipe value training: Expected `object`, got `int`"),
    ],
)
def test_a_file_with_a_wrong_key_or_value_is_refused(tmp_path, text, message):
    path, name = load(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(name)
    assert str(caught.value) == f"recipe {path}: {message}"


@pytest.mark.parametrize(("base", "shown"), [('"tiny"', "'tiny'"), ("3", "3"), ('["small"]', "['small']")])
def test_an_unknown_base_is_refused(tmp_path, base, shown):
    path, name = load(tmp_path, f"base = {base}\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(name)
    assert str(caught.value) == f"recipe {path}: base = {shown}, allowed are paper, default, small"


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    path, name = load(tmp_path, "epochs: 3\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(name)
    assert str(caught.value).startswith(f"recipe {path}: not valid TOML: ")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"not valid TOML: 'utf-8' codec can't decode byte 0xff"):
        Recipe.load(name)


@pytest.mark.parametrize(("name", "reason"), [("smal", "No such file or directory"), (".", "Is a directory")])
def test_neither_a_preset_nor_a_file_is_refused(name, reason):
    with pytest.raises(RecipeError) as caught:
        Recipe.load(name)
    assert str(caught.value) == f"recipe {name!r}: neither a preset (paper, default, small) nor a readable file ({reason})"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x = " + b"[" * 10**4, "nested too deep, or a number is too long (RecursionError)"),
        (b"[training]\nseed = " + b"9" * 5000, "Exceeds the limit (4300 digits)"),
        (b"a" * 10**4, "Expected '=' after a key"),
        (b"[network]\n" + b"a." * 9999 + b"a = 1", "more than 100 dots in line 2"),
        (b"\xff", "'utf-8' codec can't decode"),
    ],
    ids=range(5),
)
def test_what_no_parser_can_read_is_one_line(tmp_path, content, reason):
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(str(path))
    assert str(caught.value).startswith(f"recipe {path}: not valid TOML: {reason}")


def test_a_file_that_is_no_recipe_is_not_read_to_its_end(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"#" * (1 << 17))
    for name, reason in (
        (str(tmp_path / "r.toml"), "larger than 64 kB; expected a short TOML file"),
        ("a\0b", "neither a preset (paper, default, small) nor a readable file (embedded null"),
        ("x" * 5000, "neither a preset (paper, default, small) nor a readable file (File name too long)"),
    ):
        with pytest.raises(RecipeError) as caught:
            Recipe.load(name)
        assert reason in str(caught.value)
        assert len(str(caught.value)) < 500
