import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from soundscene.pipeline import train_on_manifest
from tests.support.budget import LIMIT_S, LINES_COUNTED, Verdict, cpu_s, judged
from tests.support.hub_server import Hub, hub_server
from tests.support.shared import once
from tests.support.tiny import TINY, write_corpus

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

torch.set_num_threads(1)  # toys are slower on several threads, and bit-identity is promised for one number of threads

OVER_BUDGET = "over_budget_of_cpu_s"
SLOWER = ("slow", "cluster", "kill", "browser")  # marks of tests without a budget
HERE = Path(__file__).parent
# Files whose tests take longest: they start first, so that no worker is left with one of them at the end.
FIRST = (
    "experiment/test_cluster.py",
    "batch/test_cluster.py",
    "cli/test_experiment.py",
    "experiment/test_kill.py",
    "experiment/test_run.py",
    "test_live.py",
    "training/test_fit.py",
    "report/test_write.py",
    "explanation/test_pictures.py",
    "report/test_claims.py",
)


# --- what is shared -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, and no width as if there were one, which pytest-xdist gives its workers."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Leave the handlers of signals as they were: what one test ignores, the processes of later ones would ignore too."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler and handler is not None:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other work on the machine, as far as messages say."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes, five recordings of 2.2 s each, folds 1 to 5; to be left as it is."""

    def make(folder: Path) -> None:
        write_corpus(folder)

    return once(tmp_path_factory, "corpus", make) / "manifest.csv"


@pytest.fixture(scope="session")
def model(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model trained on all folds but the first; to be left as it is."""

    def make(folder: Path) -> None:
        train_on_manifest(manifest, folder / "tiny.safetensors", TINY, test="fold=1", workers=1)

    return once(tmp_path_factory, "model", make) / "tiny.safetensors"


@pytest.fixture(scope="session")
def cluster() -> "Iterator[Cluster]":
    """A Ray cluster of two nodes of one CPU each, the only one of a run but for tests that kill nodes."""
    from benchmarks.ray_cluster import two_nodes

    with two_nodes() as running:
        yield running


# --- the order of tests, and what a run of them refuses -------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="fail tests that skip and are not in allowed_skips.txt")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each file to one worker, because its fixtures are made by file; tests with a cluster share one in one worker.

    Mark the tests of long_tests.txt.
    """
    listed = _lines("long_tests.txt")
    for item in items:
        if any(item.nodeid == name or item.nodeid.startswith((f"{name}::", f"{name}[")) for name in listed):
            item.add_marker(pytest.mark.long)
        if item.get_closest_marker("xdist_group") is None:
            cluster = item.get_closest_marker("cluster") is not None
            item.add_marker(pytest.mark.xdist_group("cluster" if cluster else _file(item.nodeid)))
    items.sort(key=lambda item: FIRST.index(name) if (name := _file(item.nodeid)) in FIRST else len(FIRST))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a version of xdist that ignores the groups: fixtures of a file would be made by every worker."""
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("pytest-xdist has not grouped the tests; are its version and pytest's the pinned ones?")


def _lines(name: str) -> list[str]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """List a quick test that takes more CPU time than its budget, and fail it over the limit; fixtures are not counted.

    Only where CI is set, and slow tests are left out: on a stranger's slower machine, or beside Ray and trainings on all
    cores, the same test takes twice the CPU time.
    """
    before = cpu_s()
    outcome = yield
    spent = cpu_s() - before
    granted = item.get_closest_marker("budget")
    in_quick = "slow" in (item.config.getoption("markexpr") or "") and not any(map(item.get_closest_marker, SLOWER))
    if "CI" not in os.environ or not in_quick:
        return outcome
    counted = item.config.pluginmanager.hasplugin("_cov")
    match judged(spent, granted.args[0] if granted else None, lines_counted=counted):
        case Verdict.FAILS:
            allowed = f"{granted.args[0] if granted else LIMIT_S:g} s"
            allowed += f", times {LINES_COUNTED} where lines are counted" if counted else ""
            pytest.fail(f"{spent:.1f} s of CPU, over {allowed}: make it smaller, or mark it slow", pytrace=False)
        case Verdict.LISTED:
            item.user_properties.append((OVER_BUDGET, spent))
        case Verdict.GOOD:
            pass
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests over their budget of CPU time, the longest first."""
    reports = [each for kind in terminalreporter.stats.values() for each in kind if isinstance(each, pytest.TestReport)]
    over = {report.nodeid: spent for report in reports for name, spent in report.user_properties if name == OVER_BUDGET}
    if over:
        terminalreporter.section("over their budget of CPU time: a slow machine, or tests to make smaller")
    for nodeid, spent in sorted(over.items(), key=lambda pair: -float(str(pair[1]))):
        terminalreporter.write_line(f"{spent:4.1f} s {nodeid.partition('@')[0]}")  # xdist adds the group


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _refuse_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:  # a whole file, by importorskip
        _refuse_skip(report, collector.config)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    """Under --strict-skips, a skip is a failure unless its test (or its file) is listed."""
    allowed = set(_lines("allowed_skips.txt"))
    name = report.nodeid.partition("[")[0].partition("@")[0]
    if config.getoption("--strict-skips") and name not in allowed and name.partition("::")[0] not in allowed:
        report.outcome = "failed"
        report.longrepr = f"skipped, and not in tests/allowed_skips.txt: {report.longrepr}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in that huggingface_hub takes for the Hub, and an empty cache."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    with hub_server() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        yield running
