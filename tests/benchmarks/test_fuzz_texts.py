"""Mutated models, manifests and recipes in short: each is accepted rightly or refused in one line, quickly."""

import json
from collections import Counter
from collections.abc import Callable

import pytest

from benchmarks import fuzz_bundles, fuzz_manifests, fuzz_recipes
from benchmarks.fuzz import subcommands
from benchmarks.fuzz_process import Outcome
from benchmarks.fuzz_texts import LIMIT_S, report, summarise
from soundscene.errors import SceneError

N_RECIPES = 40


@pytest.mark.filterwarnings("ignore::soundscene.AudioWarning")
@pytest.mark.parametrize(
    ("make", "n", "accepted"),
    [
        (lambda: fuzz_bundles.reader(1), 60, 5),
        (lambda: fuzz_manifests.reader(1), 80, 5),
        (lambda: fuzz_recipes.reader(1, N_RECIPES), N_RECIPES + 10, 2),
    ],
    ids=["bundles", "manifests", "recipes"],
)
def test_no_mutant_does_harm(make: Callable[[], Callable[[int], str]], n: int, accepted: int) -> None:
    read = make()
    found = [json.loads(read(case)) for case in range(n)]
    wrong = [(case, row) for case, row in enumerate(found) if row["kind"] == "silent" or row["cpu_s"] > LIMIT_S]
    assert not wrong
    kinds = Counter(row["kind"] for row in found)
    assert kinds["accepted"] >= accepted, "mutants that all are refused would show nothing of those that are not"
    assert kinds["refused"] >= accepted


def test_what_is_wrong_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(message: str) -> Callable[[], str]:
        def fail() -> str:
            raise SceneError(message)

        return fail

    runs = [lambda: "", lambda: "wrong", refused("one line"), refused("two\nlines"), refused("x" * 9999)]
    details = [report("x", run) for run in runs]
    assert [json.loads(detail)["kind"] for detail in details] == ["accepted", "silent", "refused", "silent", "silent"]
    outcomes = [Outcome(i, "fine", detail, 0.0) for i, detail in enumerate(details)]
    assert summarise(outcomes[:1] + outcomes[2:3], "cases", False) == 0
    assert summarise([*outcomes, Outcome(5, "crash", "exit code -9", 0.0)], "cases", False) == 1
    assert "6 cases: 1 accepted, 1 refused, 0 foreign, 3 silent, 1 crash" in capsys.readouterr().out


def test_the_subcommands_are_found() -> None:
    assert {"bundles", "manifests", "recipes"} <= set(subcommands())
    assert "texts" not in subcommands()
