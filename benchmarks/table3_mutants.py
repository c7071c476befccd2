"""One idea of each system of Table 3 broken on purpose, and the tests that notice.

    python -m benchmarks.table3_mutants [--systems hog-spd ...]

Each break is a replacement of source text. The module is executed again with it, in a process forked from one that has
imported the package and no test, and there the test named beside it runs; without the break it must pass. A break whose
tests pass is printed as NOT NOTICED, and the exit code is 1. No file is written. Committed result:
docs/results/mutants/README.md.
"""

import argparse
import importlib
import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Break:
    """One idea, broken.

    Attributes:
        system: Name of the system.
        idea: What is lost.
        file: Under soundscene/.
        was: Source text, once in the file.
        became: What stands there instead.
        tests: A test under tests/, or a file of them, that should fail.
    """

    system: str
    idea: str
    file: str
    was: str
    became: str
    tests: str


_SHIFT = ("size = (spectrum.real.square() + spectrum.imag.square() + _SMALL).sqrt()", "size = spectrum.real")
_SOURCES = "[(channel, where) for channel in (0, 1) for where in SETS.values()]"

BREAKS = (
    Break(
        "tt-cnn",
        "whole maps are dropped, so that dropout is no modulation",
        "systems/temporal_transformer.py",
        "nn.Dropout1d(sizes.conv_dropout)",
        "nn.Dropout(sizes.conv_dropout)",
        "systems/test_temporal_transformer.py::test_dropout_of_the_cnn_is_no_modulation",
    ),
    Break(
        "tt-lstm",
        "magnitudes, which no shift changes",
        "network/temporal_transformer.py",
        *_SHIFT,
        "network/test_temporal_transformer.py::test_a_circular_shift_changes_nothing_and_another_order_does",
    ),
    Break(
        "tt-dnn",
        "modulations beside the mean",
        "systems/temporal_transformer.py",
        'if choices.reduction == "learnt" else MeanOverTime()',
        "if False else MeanOverTime()",
        "systems/test_temporal_transformer.py::test_scenes_that_differ_in_the_rate_of_modulation_alone_need_the_transformer",
    ),
    Break(
        "lstm-sa",
        "no chunk reaches across a gap",
        "systems/lstm_sa.py",
        "together & (self.time[last] - self.time == length - 1)",
        "together",
        "systems/test_lstm_sa.py::test_frames_of_a_recording_come_once_and_chunks_stay_within_its_time",
    ),
    Break(
        "lte-rnn",
        "the last output, which has heard the sequence",
        "systems/lte_networks.py",
        "[0][:, -1]",
        "[0][:, 0]",
        "systems/test_lte_networks.py::test_the_rnn_reads_the_sequence_up_to_its_end",
    ),
    Break(
        "lte-rnn",
        "six trees: three sets, two channels",
        "systems/lte_networks.py",
        _SOURCES,
        "[(0, where) for where in SETS.values()]",
        "systems/test_lte_networks.py::test_six_trees_read_three_sets_of_both_channels",
    ),
    Break(
        "lte-cnn",
        "the maximum over time",
        "systems/lte_cnn.py",
        ".amax(dim=2)",
        "[..., 0]",
        "systems/test_lte_networks.py::test_a_pattern_gives_the_same_maximum_wherever_it_stands",
    ),
    Break(
        "lte-cnn",
        "a channel without background noise",
        "systems/low_level.py",
        "return np.concatenate([stream.push(samples), stream.flush()], axis=1)",
        "return np.stack([samples, samples])",
        "systems/test_low_level.py::test_steady_noise_is_weaker_in_the_second_channel",
    ),
    Break(
        "scene-speech-lte",
        "training embeddings by forests that have not seen the group",
        "training/label_tree.py",
        "return tree, crossed,",
        "return tree, tree.embed(features),",
        "training/test_label_tree.py::test_labels_at_random_are_known_in_sample_only",
    ),
    Break(
        "cqt-hog",
        "weights that trust the texture",
        "systems/cqt_hog.py",
        "return describe(image, settings, equal)",
        "return describe(image, settings, True)",
        "systems/test_cqt_hog.py::test_the_weights_of_a_variant_reach_what_is_stored",
    ),
    Break(
        "cnn-1d-2d-3d",
        "three views",
        "systems/three_cnns.py",
        "[self.branches[kind].embed(inputs[kind]) for kind in BRANCHES]",
        '[self.branches["2d"].embed(inputs["2d"]) for kind in BRANCHES]',
        "systems/test_three_cnns.py::test_the_fusion_hears_each_branch_in_its_place",
    ),
    Break(
        "fisher-hog",
        "how patches depart from the Gaussians, beside how many there are of each",
        "training/fisher.py",
        "of_mean = (first - total * self.mean)",
        "of_mean = 0 * (first - total * self.mean)",
        "training/test_fisher.py::test_the_own_sample_is_no_departure_and_a_moved_component_shows_in_its_mean",
    ),
    Break(
        "kernel-pca",
        "a round kernel",
        "training/factors.py",
        "return np.exp(-gamma * _squared_distances(first, second))",
        "return first.astype(np.float64) @ second.T.astype(np.float64)",
        "training/test_factors.py::test_a_round_kernel_parts_two_rings_that_no_line_parts",
    ),
    Break(
        "conv-nmf",
        "atoms that span time",
        "training/convolutive.py",
        "shifted = active[:, :, length - 1 - lag : length - 1 - lag + n]",
        "shifted = active[:, :, length - 1 : length - 1 + n]",
        "training/test_convolutive.py::test_planted_patterns_are_found_up_to_a_shift",
    ),
    Break(
        "sparse-nmf",
        "few atoms at a time",
        "training/factors.py",
        'algorithm="lasso_cd", alpha=self.alpha,',
        'algorithm="lasso_cd", alpha=0.0,',
        "training/test_factors.py::test_planted_atoms_are_found_and_codes_are_sparse_and_not_negative",
    ),
    Break(
        "hog-spd",
        "near levels are near",
        "systems/hog_spd.py",
        "    spd = exceedance(features[:, n_hog:]",
        "    spd = (lambda h: h[..., 1:])(features[:, n_hog:]",
        "systems/test_hog_spd.py::test_levels_a_bin_away_from_those_of_the_training_are_known",
    ),
    Break(
        "lstm-sa",
        "frames of a chunk in their order",
        "systems/lstm_sa.py",
        "sequences.frames[start : start + size] for",
        "sequences.frames[start : start + size][::-1] for",
        "systems/test_lstm_sa.py::test_frames_of_a_chunk_stay_in_order_and_chunks_do_not",
    ),
    Break(
        "lte-rnn",
        "labels that are confused part last",
        "training/label_tree.py",
        "(confusion + confusion.T) / 2, labels)",
        "1 - (confusion + confusion.T) / 2, labels)",
        "training/test_label_tree.py::test_pairs_that_are_confused_are_parted_last",
    ),
    Break(
        "lte-rnn",
        "confusions of a forest that has not seen the groups",
        "training/label_tree.py",
        "for part in (one, other))",
        "for part in (one, one))",
        "training/test_label_tree.py::test_what_a_forest_knows_by_heart_is_confused_all_the_same",
    ),
    Break(
        "lte-rnn",
        "zeros where there is silence, as in padding",
        "systems/lte_networks.py",
        "with_zeros(trees.embed(stretches.features[~stretches.silent]), stretches)",
        "trees.embed(stretches.features)",
        "systems/test_lte_networks.py::test_a_sequence_of_the_rnn_has_zeros_where_there_is_silence",
    ),
    Break(
        "lte-cnn",
        "a least scale of features before the SVM",
        "systems/lte_networks.py",
        "context.seed, LEAST_SCALE)",
        "context.seed, 0.0)",
        "systems/test_lte_networks.py::test_a_filter_that_few_recordings_wake_does_not_flatten_the_svm",
    ),
    Break(
        "cqt-hog",
        "a short event weighs less than the texture",
        "systems/cqt_hog.py",
        "weights = np.exp(-distance / typical)",
        "weights = np.exp(-np.minimum(distance, typical) / typical)",
        "systems/test_cqt_hog.py::test_a_bang_weighs_less_than_a_tenth_of_the_texture",
    ),
    Break(
        "cnn-1d-2d-3d",
        "a block beside its neighbours",
        "network/branches.py",
        "nn.Conv3d(n_in, n_out, 3, padding=1)",
        "nn.Conv3d(n_in, n_out, (1, 3, 3), padding=(0, 1, 1))",
        "network/test_branches.py::test_blocks_in_another_order_have_other_features",
    ),
    Break(
        "cnn-1d-2d-3d",
        "the wave in the order of its samples",
        "network/branches.py",
        "maps = self.layers(waves[:, None])",
        "maps = self.layers(waves.sort(dim=1).values[:, None])",
        "network/test_branches.py::test_the_wave_is_read_in_the_order_of_its_samples",
    ),
    Break(
        "fisher-hog",
        "deviations beside means",
        "training/fisher.py",
        "of_deviation = spread / (",
        "of_deviation = 0 * spread / (",
        "training/test_fisher.py::test_it_is_the_vector_of_scikit_image",
    ),
    Break(
        "fisher-hog",
        "height, of its variant",
        "systems/fisher_hog.py",
        "np.outer(height, [1, 2])",
        "np.outer(0 * height, [1, 2])",
        "systems/test_fisher_hog.py::test_height_is_two_white_values_and_the_default_knows_of_none",
    ),
    Break(
        "kernel-pca",
        "the mean over slices",
        "systems/factors.py",
        "np.add.at(total, number, rows)",
        "total[number] = rows",
        "systems/test_factors.py::test_a_recording_is_described_by_the_mean_over_its_slices",
    ),
    Break(
        "conv-nmf",
        "the penalty of activations",
        "training/convolutive.py",
        "(given + penalty + _EPSILON)",
        "(given + _EPSILON)",
        "training/test_convolutive.py::test_patches_of_one_slice_are_nmf_and_a_penalty_makes_activations_rare",
    ),
    Break(
        "sparse-nmf",
        "atoms learnt under the penalty that codes pay",
        "training/factors.py",
        "        alpha=alpha,",
        "        alpha=0.0,",
        "training/test_factors.py::test_atoms_are_learnt_under_the_penalty_that_codes_pay",
    ),
    Break(
        "hog-spd",
        "both descriptors weigh alike",
        "systems/hog_spd.py",
        "1 / norm if norm > 0 and wanted",
        "1.0 if norm > 0 and wanted",
        "systems/test_hog_spd.py::test_both_descriptors_weigh_alike_whatever_their_size_and_number_of_values",
    ),
    Break(
        "hog-spd",
        "earth mover's distance, of its variant",
        "systems/hog_spd.py",
        '"cityblock"',
        '"euclidean"',
        "systems/test_hog_spd.py::test_the_distance_of_the_kernel_is_the_earth_movers_mean_over_bands",
    ),
    Break(
        "hog-spd",
        "levels that no click sets",
        "systems/hog_spd.py",
        "np.quantile(heard, settings.quantile)",
        "np.quantile(heard, 1.0)",
        "systems/test_hog_spd.py::test_a_short_peak_in_noise_hardly_shifts_the_image",
    ),
    Break(
        "tt-lstm",
        "maps in time",
        "systems/temporal_transformer.py",
        "standardised[:, 0].transpose(1, 2)).transpose(1, 2)",
        "standardised[:, 0].transpose(1, 2).flip(1)).transpose(1, 2)",
        "systems/test_temporal_transformer.py::test_maps_follow_time",
    ),
)


def main() -> int:
    """Try the breaks and print a row for each; return 1 where one is not noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=[one.system for one in BREAKS])
    options = parser.parse_args()
    for name in ("librosa", "skimage.feature", *(module_of(one.file) for one in BREAKS)):  # once, before the forks
        importlib.import_module(name)
    print("| system | idea broken | in soundscene/ | test that fails |\n|---|---|---|---|", flush=True)
    noticed = True
    for one in BREAKS:
        if one.system in options.systems:
            failed = tried(one)
            noticed &= bool(failed)
            tests = "; ".join(f"`{name}`" for name in failed) or "NOT NOTICED"
            print(f"| {one.system} | {one.idea} | {one.file} | {tests} |", flush=True)
    return 0 if noticed else 1


def module_of(file: str) -> str:
    """Return the name of the module of a file under soundscene/."""
    return f"soundscene.{file.removesuffix('.py').replace('/', '.')}"


def tried(one: Break) -> list[str]:
    """Break an idea in a process of its own, and return the names of the tests that fail there.

    Args:
        one: What to break.

    Raises:
        ValueError: The source text is not once in the file.
        RuntimeError: The tests could not be run, or fail without the break.
    """
    file = ROOT / "soundscene" / one.file
    text = file.read_text(encoding="utf-8")
    if text.count(one.was) != 1:
        raise ValueError(f"{one.file}: {one.was!r} is there {text.count(one.was)} times")
    whole, broken = (run_tests(one, source) for source in (text, text.replace(one.was, one.became)))
    if whole[0] != 0 or broken[0] not in (0, 1):
        raise RuntimeError(f"{one.system}, {one.idea}: pytest ended with {whole[0]} and {broken[0]}\n{whole[1]}{broken[1]}")
    failed = [line.partition("::")[2] for line in broken[1].splitlines() if line.startswith("FAILED ")]
    return list(dict.fromkeys(name.split(" - ")[0].partition("[")[0] for name in failed))


def run_tests(one: Break, source: str) -> tuple[int, str]:
    """Run the tests of a break in a forked process, where its module is executed again.

    Args:
        one: Names module and tests.
        source: Of the module.

    Returns:
        The exit code of pytest, -1 without one, and what was printed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code, said = -1, io.StringIO()
        with redirect_stdout(said), redirect_stderr(said), suppress(BaseException):
            exec(compile(source, one.file, "exec"), vars(sys.modules[module_of(one.file)]))
            # Not the options of pyproject.toml: jaxtyping's import hook wants packages that nobody has imported.
            quick = ("-o", "addopts=-p no:cacheprovider -p no:schemathesis", "-o", "filterwarnings=", "-m", "not slow")
            code = int(pytest.main(["-q", *quick, f"{ROOT}/tests/{one.tests}"]))
        with os.fdopen(writing, "w", encoding="utf-8") as pipe:
            pipe.write(said.getvalue())
        os._exit(code % 256)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (-1 if code == 255 else code), said


if __name__ == "__main__":
    sys.exit(main())
