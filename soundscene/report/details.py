"""Tables behind the headline: scenes, confusions, calibration, sure errors, Fisher's criterion, cost; and all at once."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from soundscene.experiment.results import SplitResult
from soundscene.report.entries import Entry
from soundscene.report.tables import (
    NONE,
    Setting,
    Table,
    accuracy_table,
    claims_table,
    comparison_table,
)
from soundscene.scoring.comparisons import Comparison
from soundscene.scoring.metrics import confusion, expected_calibration_error, log_loss
from soundscene.scoring.separation import fisher_criterion

N_PAIRS = 5
N_WRONG = 10


def all_tables(
    results: Sequence[SplitResult],
    entries: Sequence[Entry],
    comparisons: Sequence[Comparison],
    setting: Setting,
    litis: bool = False,
    n: int = 10_000,
) -> dict[str, Table]:
    """Every table that is the same whenever the results are the same, by a name for its file; cost is apart."""
    chief = principal(entries)
    return {
        "table2": accuracy_table(entries, setting, litis, n),
        "table3": comparison_table(entries, setting, litis),
        "comparisons": claims_table(comparisons, setting),
        "scenes": scene_table(chief, setting),
        "confusions": confused_table(chief, setting),
        "calibration": calibration_table(entries, setting),
        "sure-errors": wrong_table(chief, setting),
        "fisher": fisher_table(results, {c.name: c.base for c in entries if c.base}, setting),
    }


def principal(entries: Sequence[Entry]) -> list[Entry]:
    """Systems and fusions that are no variants, each by its SVM if it has one, else by the head it has."""
    with_svm = {c.name for c in entries if c.head == "svm"}
    return [c for c in entries if not c.base and (c.head == "svm" or c.name not in with_svm)]


def scene_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """F1 of each scene, a column for each contestant; counts pooled over splits and seeds."""
    counts = [confusion(c.log_posterior(calibrated=False), c.truth()) for c in entries]
    f1 = [2 * np.diag(k) / np.maximum(k.sum(axis=0) + k.sum(axis=1), 1) for k in counts]
    scene_of = {name: int(scene) for c in entries for name, scene in zip(c.recordings(), c.truth(), strict=True)}
    tested = Counter(scene_of.values())
    scenes = entries[0].scenes if entries else ()
    rows = tuple((scene, str(tested[i]), *(f"{100 * f[i]:.1f}" for f in f1)) for i, scene in enumerate(scenes))
    note = "F1 in % of the recordings' answers of all splits and seeds together."
    return Table("F1 of each scene", ("scene", "recordings", *(c.label for c in entries)), rows, (note, setting.line()))


def confused_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """The scenes that are most often taken for another: the five most frequent errors of each contestant."""
    rows = []
    for c in entries:
        counts = confusion(c.log_posterior(calibrated=False), c.truth())
        of_true = counts.sum(axis=1)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:N_PAIRS]
        for true, said in zip(*np.unravel_index(order, counts.shape), strict=True):
            if n := int(counts[true, said]):
                share = f"{100 * n / of_true[true]:.1f}"
                rows.append((c.title, c.head, c.scenes[true], c.scenes[said], str(n), share))
    columns = ("system", "head", "true scene", "answer", "answers", "% of the scene's answers")
    note = f"Recordings, all splits and seeds together; at most {N_PAIRS} pairs for each."
    return Table("Scenes most often confused", columns, tuple(rows), (note, setting.line()))


def calibration_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """Log loss and calibration error of segments (softmax: before Platt; SVM: after it) and of recordings, before and after
    the temperature."""
    rows = []
    for c in entries:
        cells = [(NONE, NONE)] * 3
        if c.has_segments:
            cells[0] = _honesty(c.segment_log_posterior(), c.segment_truth())
        cells[1] = _honesty(c.log_posterior(calibrated=False), c.truth())
        if c.tempered:
            cells[2] = _honesty(c.log_posterior(calibrated=True), c.truth())
        rows.append((c.title, c.head, *(cell for two in cells for cell in two)))
    columns = ("system", "head")
    for what in ("segment", "recording", "recording, tempered"):
        columns = (*columns, f"log loss: {what}", f"ECE %: {what}")
    note = (
        "Log loss in nats, ECE over 15 bins, all answers together. A row of the softmax is before Platt's calibration, the "
        "same system's SVM after it; recordings by the product rule. Temperatures were fitted on held-out training groups."
    )
    return Table("Calibration", columns, tuple(rows), (note, setting.line()))


def wrong_table(entries: Sequence[Entry], setting: Setting) -> Table:
    """The ten recordings of each contestant whose wrong answer was the surest, by the tempered probability."""
    rows = []
    for c in entries:
        said, truth = c.log_posterior(calibrated=True), c.truth()
        answer, top = said.argmax(axis=1), np.exp(said.max(axis=1))
        names = c.recordings()
        wrong = np.flatnonzero(answer != truth).tolist()
        asked, missed = Counter(names), Counter(names[i] for i in wrong)
        surest: dict[str, int] = {}
        for i in sorted(wrong, key=lambda i: (-top[i], names[i], i)):
            surest.setdefault(names[i], i)
        for name, i in list(surest.items())[:N_WRONG]:
            often = f"{missed[name]} of {asked[name]}"
            rows.append((c.title, c.head, name, c.scenes[truth[i]], c.scenes[answer[i]], f"{top[i]:.3f}", often))
    columns = ("system", "head", "recording", "true scene", "answer", "probability", "wrong in")
    note = f"At most {N_WRONG} recordings for each; probability after the temperature, where one was fitted."
    return Table("Surest errors", columns, tuple(rows), (note, setting.line()))


def fisher_table(results: Sequence[SplitResult], bases: Mapping[str, str], setting: Setting) -> Table:
    """Fisher's criterion of the test embeddings of every system that has some; variants follow their base.

    bases: name of a variant -> name of the system it varies.
    """
    by_system: dict[str, list[SplitResult]] = {}
    for result in results:
        if result.embedding.size:
            by_system.setdefault(result.system, []).append(result)
    place = {name: i for i, name in enumerate(by_system)}
    rows = []
    for name in sorted(by_system, key=lambda name: (place.get(bases.get(name, name), place[name]), name in bases)):
        of_split: dict[str, list[float]] = {}
        for r in by_system[name]:
            of_split.setdefault(r.split, []).append(fisher_criterion(r.embedding, r.truth[r.recording_of]))
        values = [float(np.mean(v)) for v in of_split.values()]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 and np.isfinite(values).all() else ""
        base = next((r.title for r in by_system.get(bases.get(name, ""), [])), NONE)
        n_features = by_system[name][0].embedding.shape[1]
        rows.append((by_system[name][0].title, base, f"{np.mean(values):.3f}{spread}", str(n_features), str(len(values))))
    columns = ("system", "variant of", "between / within", "features", "splits")
    note = (
        "Variance between the scenes' means over variance within scenes, of the embeddings of the test segments, each "
        "feature standardised, scenes weighing the same; mean ± standard deviation over splits."
    )
    return Table("Fisher's criterion", columns, tuple(rows), (note, setting.line()))


def cost_table(results: Sequence[SplitResult], setting: Setting) -> Table:
    """What each system cost, from the facts of its results; not among `all_tables`, because it differs from run to run."""
    by_system: dict[str, list[SplitResult]] = {}
    for result in results:
        by_system.setdefault(result.system, []).append(result)
    rows = []
    for of_system in by_system.values():
        seconds = [float(r.facts.get("seconds", np.nan)) for r in of_system]
        speed = [float(r.facts.get("segments_trained_per_second", np.nan)) for r in of_system]
        epochs = sorted({len(r.history) for r in of_system})
        where = {f"{r.facts.get('device', '?')}, {r.facts.get('machine', '?')}" for r in of_system}
        threads = sorted({str(r.facts.get("threads", "?")) for r in of_system})
        trained = "-".join(str(e) for e in dict.fromkeys((epochs[0], epochs[-1])))
        hours = f"{np.nansum(seconds) / 3600:.2f}"
        cells = (of_system[0].title, str(len(of_system)), _median(seconds, ".1f"), hours, trained, _median(speed, ".0f"))
        rows.append((*cells, ", ".join(threads), "; ".join(sorted(where))))
    columns = ("system", "trainings", "seconds each (median)", "hours in all", "epochs", "segments a second", "threads")
    note = "Seconds of the process that finished the training; epochs before a kill are not in them."
    return Table("Cost", (*columns, "machine"), tuple(rows), (note, setting.line()))


def _honesty(log_posterior: Float64[np.ndarray, "answer scene"], truth: Int64[np.ndarray, " answer"]) -> tuple[str, str]:
    loss, error = log_loss(log_posterior, truth), expected_calibration_error(log_posterior, truth)
    return f"{loss:.3f}", f"{100 * error:.1f}"


def _median(values: Sequence[float], form: str) -> str:
    known = [v for v in values if np.isfinite(v) and v > 0]
    return f"{np.median(known):{form}}" if known else NONE
