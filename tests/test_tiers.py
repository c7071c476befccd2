"""The lists of tests name tests that exist, and tests that take too long do not pass unseen."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.budget import Verdict, cpu_s, judged

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
    before = cpu_s()
    time.sleep(0.3)
    waited = cpu_s() - before
    work = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert waited < 0.1
    assert cpu_s() - before >= 0.25  # of 0.3, in ticks of 10 ms
