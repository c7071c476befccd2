"""The lists of tests name tests that exist, and tests that take too long do not pass unseen."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import conftest
from tests.support.budget import Verdict, judged

HERE = Path(__file__).parent


def test_listed_tests_exist() -> None:
    for name in ("long_tests.txt", "allowed_skips.txt"):
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            node = line.partition("#")[0].strip()
            file, _, test = node.partition("::")
            if node:
                text = (HERE.parent / file).read_text(encoding="utf-8")
                assert not test or re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{name}: {node}"


@pytest.mark.parametrize(
    ("spent_s", "granted_s", "lines_counted", "verdict"),
    [
        (4.9, None, False, Verdict.GOOD),
        (6.0, None, False, Verdict.LISTED),
        (10.1, None, False, Verdict.FAILS),
        (14.9, 15, False, Verdict.GOOD),
        (15.1, 15, False, Verdict.FAILS),
        (19.0, None, True, Verdict.GOOD),
        (41.0, None, True, Verdict.FAILS),
    ],
)
def test_a_quick_test_is_listed_over_its_budget_and_fails_over_the_limit(
    spent_s: float, granted_s: float | None, lines_counted: bool, verdict: Verdict
) -> None:
    assert judged(spent_s, granted_s, lines_counted=lines_counted) is verdict


def test_cpu_time_of_a_process_that_was_started_counts_and_waiting_does_not() -> None:
    """In a process of its own: those of other tests may live beside this one."""
    script = """
import subprocess, sys, time
from tests.support.budget import cpu_s
before = cpu_s()
time.sleep(0.3)
waited = cpu_s() - before
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"], check=True)
print(waited, cpu_s() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE.parent, capture_output=True, text=True, check=True)
    waited, worked = map(float, done.stdout.split())
    assert waited < 0.1
    assert worked >= 0.25, "of 0.3, in ticks of 10 ms"


def of_hook(spent_s: float, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Let the hook see a test of the quick tier that takes so long; what it notes."""
    times = iter([100.0, 100.0 + spent_s])
    config = SimpleNamespace(getoption=lambda name: "not slow", pluginmanager=SimpleNamespace(hasplugin=lambda name: False))
    item = SimpleNamespace(get_closest_marker=lambda name: None, config=config, user_properties=[])
    with monkeypatch.context() as patched:  # this test has the same hook around it
        patched.setattr(conftest, "cpu_s", lambda: next(times))
        patched.setenv("CI", "true")
        hook = conftest.pytest_runtest_call(item)  # pyright: ignore[reportArgumentType]
        next(hook)
        with suppress(StopIteration):
            hook.send(None)
    return item.user_properties


def test_the_hook_lists_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_hook(4.0, monkeypatch) == []
    assert of_hook(6.0, monkeypatch) == [(conftest.OVER_BUDGET, pytest.approx(6.0))]
    with pytest.raises(pytest.fail.Exception, match=r"^11.0 s of CPU, over 10 s: make it smaller"):
        of_hook(11.0, monkeypatch)
