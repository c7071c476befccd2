"""benchmarks/gpu.py without a card: what its processes do, at a tiny size, and what is made of their figures."""

import json
import math
import queue
import threading
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_work
from benchmarks.gpu_work import Job, gflop, recipe_of, together, work
from soundscene.network import blocks
from soundscene.recipe import Recipe
from soundscene.training import step as steps
from tests.training.recorder import Recorder
from tests.training.stepping import adam_of_a_card

TINY = Job("train", "cpu", "small", batch=12, segments=24, seconds=0.01)


@pytest.fixture(autouse=True)
def backends_as_before():
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    yield
    cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before


def told_by(job, parties=1):
    told = queue.Queue()
    work(job, threading.Barrier(parties), told)
    return told.get_nowait()


def run(jobs):
    return together([told_by(job) for job in jobs], len(jobs))


def test_operations_of_a_segment():
    """Products of Table 1 at M = 64, T = 80, H = 128, written out."""
    convolutions = 64 * 80 * 64 * 2 * 25 + 16 * 80 * 128 * 64 * 9 + 4 * 80 * 256 * 128 * 4
    recurrent = 80 * 2 * (3 * 128 * (256 + 128)) * 2 + 80 * 256 * 256
    attention = 2 * 80 * 256 * 64
    assert gflop(Recipe.paper()) == pytest.approx(2 * (convolutions + recurrent + attention) / 1e9)
    assert gflop(Recipe.paper()) == pytest.approx(0.416, abs=0.001)
    assert gflop(recipe_of(Job("train", kind="cnn"))) == pytest.approx(2 * convolutions / 1e9)


@pytest.mark.parametrize("what", ["train", "evaluate", "resident", "epochs"])
def test_each_kind_of_work_tells_segments_a_second(what):
    found = told_by(Job(what, "cpu", "small", batch=12, segments=24, seconds=0.01))
    assert found["segments/s"] > 0
    if what == "epochs":
        assert found["segments/s"] * found["s/epoch"] == pytest.approx(24)
        assert found["of it training"] > 0


def test_bf16_trains_too():
    assert (
        told_by(Job("train", "cpu", "small", precision="bf16-mixed", batch=12, segments=24, seconds=0.01))["segments/s"] > 0
    )


def test_precisions_are_those_of_experiment_and_two_more():
    """32-true is what PyTorch does unasked: convolutions and GRUs in tf32, linear layers not."""
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    seen = {}
    for precision in ("32-true", "fp32", "tf32"):
        cudnn.allow_tf32, matmul.allow_tf32 = True, False
        told_by(Job("matrix", "cpu", precision=precision, seconds=0.0))
        seen[precision] = (cudnn.allow_tf32, matmul.allow_tf32)
    assert seen == {"32-true": (True, False), "fp32": (False, False), "tf32": (True, True)}


def test_a_gru_tells_what_it_computes_in():
    bits = {p: told_by(Job("gru", "cpu", precision=p))["GRU's output, bits of mantissa"] for p in ("32-true", "bf16-mixed")}
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.nn.GRU(8, 8, batch_first=True)(torch.randn(2, 4, 8))[0].dtype
    assert bits == {"32-true": 23, "bf16-mixed": {torch.bfloat16: 7, torch.float16: 10, torch.float32: 23}[found]}


def test_a_step_as_written_and_recorded_is_compared_with_itself(monkeypatch):
    monkeypatch.setattr(gpu_work, "STEPS", 3)
    monkeypatch.setattr(gpu_work, "obstacle", lambda *_: "")
    monkeypatch.setattr(gpu_work, "choose_capture", lambda *_: Recorder())
    monkeypatch.setattr(blocks, "fits", lambda _: False)
    monkeypatch.setattr(steps, "make_optimiser", adam_of_a_card)
    job = Job("compare", "cpu", "small", batch=4, segments=8)
    found = told_by(job)
    assert [found[f"largest difference of a weight, {name}"] for name in ("as written again", "captured")] == [0, 0]
    assert found["loss, as written"] == found["loss, as written again"] == found["loss, captured"] > 0


def test_the_limit_is_a_rate_of_products():
    assert 1e-3 < told_by(Job("matrix", "cpu", seconds=0.01))["tflops"] < 100


def test_what_cannot_run_says_why_and_the_others_run():
    job = Job("train", "cpu", "small", captured=True, batch=12, segments=24)
    barrier, told = threading.Barrier(2), queue.Queue()
    waiting = threading.Thread(target=work, args=(TINY, barrier, told))
    waiting.start()
    work(job, barrier, told)
    waiting.join(timeout=30)
    found = together([told.get_nowait(), told.get_nowait()], 2)
    assert found == {"failed": "RuntimeError: cpu has no CUDA graphs"}


def test_sums_and_medians_of_processes():
    told = [{"segments/s": 100.0, "GB": 2.0}, {"segments/s": 50.0, "GB": 4.0}]
    assert together(told, 2) == {"segments/s": 150.0, "GB": 3.0}
    assert together(told, 3) == {"failed": "1 of 3 did not end in time"}


# What is made of them -------------------------------------------------------------------------------------------------


def fake(jobs: list[Job]) -> gpu.Numbers:
    """A card that is full at 4 trainings, runs out of memory in batches of 800, fastest in ways `experiment` lacks."""
    job = jobs[0]
    if job.what == "matrix":
        return {"tflops": {"fp32": 40.0, "tf32": 400.0, "bf16-mixed": 800.0}[job.precision]}
    if job.what in ("evaluate", "resident"):
        return {"segments/s": 50_000.0 if job.what == "evaluate" else 90_000.0}
    if job.what == "gru":
        return {"GRU's output, bits of mantissa": 10.0}
    if job.what == "epochs":
        return {"s/epoch": 3.6}
    if job.what == "compare":
        return {"largest difference of a weight": 1e-6}
    if job.batch == 800:
        return {"failed": "OutOfMemoryError"}
    rate = 2000.0 * (1 + 2 * job.captured + (job.precision == "bf16-mixed")) * math.sqrt(job.batch / 100)
    rate *= 1 + (job.precision == "tf32") + job.choose_kernels + (job.streams > 1)
    return {"segments/s": rate * min(len(jobs) * job.streams, 4)}


def test_all_tables():
    tables = gpu.measure(Job("train", segments=10_000), fake)
    one = tables[gpu.ONE]
    assert len(one) == 4 * 3 + 2
    compared = tables["Captured against as written, 20 steps from the same seed"]
    assert [row["recipe"] for row in compared] == ["Recipe.paper()", "Recipe(), augmented"], "whose draws are captured too"
    captured = next(row for row in one if (row["what"], row["precision"]) == ("captured", "bf16-mixed"))
    assert captured["segments/s"] == 8000
    assert captured["of limit"] == pytest.approx(8000 * 3 * 0.4158 / 1e3 / 800, rel=1e-3)
    cnn, augmented = (next(row for row in one if str(row["what"]).startswith(name)) for name in ("CNN", "Recipe()"))
    assert cnn["of limit"] == pytest.approx(8000 * 3 * gflop(recipe_of(Job("train", kind="cnn"))) / 1e3 / 800)
    assert (cnn["what"], augmented["what"]) == ("CNN baseline, captured", "Recipe(), augmented, captured")
    assert [(row["batch"], row.get("failed")) for row in tables["Growing batch"]] == [
        (100, None),
        (200, None),
        (400, None),
        (800, "OutOfMemoryError"),
    ]
    side = [(row["how"], row["at once"], row["segments/s"]) for row in tables["Side by side"] if row["how"] == "processes"]
    assert side == [("processes", 1, 8000), ("processes", 2, 16_000), ("processes", 4, 32_000), ("processes", 8, 32_000)]
    assert max(row["segments/s"] for row in tables["Side by side"] if row["how"] == gpu.STREAMS) == 64_000
    splits = tables["One split, with its test passes"]
    assert [row["recipe"] for row in splits] == ["Recipe.paper()", "Recipe(), augmented"]
    assert splits[0]["h for 500 epochs"] == pytest.approx(0.5)
    (whole,) = tables["The whole of Table 2"]
    assert whole["how"] == "4 processes"
    assert whole["days, training"] == pytest.approx(4 * 20 * 500 * 36_312 / 32_000 / 86_400)
    assert whole["days, test passes, one at a time"] == pytest.approx(4 * 20 * 500 * 9078 / 50_000 / 86_400)


def test_a_batch_that_a_recipe_refuses_is_not_taken_for_the_limit_of_the_card():
    def ever_faster(jobs: list[Job]) -> gpu.Numbers:
        return fake(jobs) if jobs[0].what != "train" else {"segments/s": float(jobs[0].batch)}

    rows = gpu.measure(Job("train", segments=36_312), ever_faster)["Growing batch"]
    assert [row["batch"] for row in rows] == [100, 200, 400, 800, 1600, 3200]
    assert str(rows[-1]["failed"]).startswith("refused: ")
    assert "training.batch_size" in str(rows[-1]["failed"])
    rows = gpu.measure(Job("train", segments=300), ever_faster)["Growing batch"]
    assert [row["batch"] for row in rows] == [100, 200, 400]
    assert rows[-1]["failed"] == "more than the 300 training segments"


def test_when_time_runs_out_the_headline_is_there():
    """Every figure after the curve of processes is left out; then the curve too, and one training stands for it."""
    for n_before, how in ((3 + 6 + 1 + 4, "4 processes"), (3 + 6, "1 process")):
        calls = iter(range(10_000))

        def late(jobs: list[Job], calls=calls, n_before=n_before) -> gpu.Numbers:
            return fake(jobs) if next(calls) < n_before else {"failed": "left out: no time left"}

        (whole,) = gpu.measure(Job("train", segments=10_000), late)["The whole of Table 2"]
        assert whole["how"] == how
    assert gpu.table2({})["failed"] == "no training was measured; the rows above say why"


def test_at_the_goal_table_2_takes_a_day():
    rows: gpu.Rows = {
        "Side by side": [{"how": "processes", "at once": 2.0, "segments/s": float(gpu.GOAL)}],
        "Evaluation": [],
    }
    assert gpu.table2(rows)["days, training"] == pytest.approx(1, abs=0.02)


def test_a_card_on_which_nothing_runs_gives_tables_all_the_same():
    tables = gpu.measure(TINY, lambda _: {"failed": "no driver"})
    assert all("failed" in row for rows in tables.values() for row in rows)
    assert not any("Recipe()" in str(row.values()) for rows in tables.values() for row in rows), (
        "the small recipe is augmented"
    )


def test_every_figure_is_kept_as_soon_as_it_is_measured(tmp_path, monkeypatch):
    file, n_runs = tmp_path / "gpu.json", 0

    def cut_off(self, jobs):
        nonlocal n_runs
        n_runs += 1
        if n_runs == 3 + 6 + 1 + 4 + 2 + 2 + 1 + 2 + 2:  # the second of the growing batches
            raise KeyboardInterrupt
        return fake(jobs)

    monkeypatch.setattr(gpu.Clock, "run", cut_off)
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--json", str(file)])
    with pytest.raises(KeyboardInterrupt):
        gpu.main()
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert not kept["complete"]
    assert {title: len(rows) for title, rows in kept["tables"].items()} == {
        "Matrix product, the limit": 3,
        "One training (Att-CRNN unless noted)": 6 + 2,
        "Evaluation": 1,
        "Side by side": 4,
        "The whole of Table 2": 1,
        "Captured against as written, 20 steps from the same seed": 2,
        "What a GRU computes in": 1,
        "One split, with its test passes": 2,
        "Growing batch": 1,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"]
    gpu.main()
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["complete"]
    assert len(kept["tables"]) == 9


def test_after_its_time_nothing_is_started():
    assert gpu.Clock(0.0).run([TINY]) == {"failed": "left out: no time left"}


def test_a_table_has_the_columns_of_all_rows():
    assert gpu.markdown([{"a": 1234.5, "b": "x"}, {"a": 0.01234, "failed": "why"}]) == (
        "| a | b | failed |\n| --- | --- | --- |\n| 1,234 | x |  |\n| 0.0123 |  | why |"
    )


def test_no_service_is_started_where_there_is_none(monkeypatch):
    monkeypatch.setattr(gpu.shutil, "which", lambda _: None)
    with gpu.mps() as started:
        assert not started
    assert "nvidia-smi is missing" in gpu.describe("cuda").values()


def test_every_work_is_known():
    assert set(gpu_work.WORK) == {"matrix", "train", "compare", "evaluate", "resident", "epochs", "gru"}
