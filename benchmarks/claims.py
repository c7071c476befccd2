"""The arms of decision 0106: what the paper's attention is worth, on unseen recordings and on recordings that were heard.

    python -m benchmarks.claims run CORPORA --out RUNS [--studies same-30,unseen-30] [--corpora esc10] [--seeds 0]
    python -m benchmarks.claims report RUNS --out docs/results/claims

CORPORA holds a folder for each corpus with its manifest.csv (columns fold and group). `run` calls `soundscene experiment`
for each study and resumes what is there. `report` reads whatever is finished and says what is not.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims_questions import ATTENTION, CNN, CNN_MEAN, COLD, CORPORA, LAST, MEAN, NO_GRU, PRINTED, TWICE, WIDE
from benchmarks.claims_report import write

PLAIN = ("--recipe", "small", "--set", "augmentation=off")


@dataclass(frozen=True)
class Study:
    """One experiment on each corpus.

    Attributes:
        arms: Systems as results name them, `NAME+key=value`.
        options: Further options.
        corpora: Names of folders.
        seeds: Comma-separated.
        recipe: Options of the recipe; `PLAIN` by default.
    """

    arms: tuple[str, ...]
    options: tuple[str, ...]
    corpora: tuple[str, ...] = CORPORA
    seeds: str = "0,1,2"
    recipe: tuple[str, ...] | None = None


SAME, UNSEEN = ("--diagnose", "same-recording"), ("--splits", "by=fold")
ALL, LONG, POOLS = (ATTENTION, MEAN, CNN, CNN_MEAN, LAST, NO_GRU), (ATTENTION, MEAN, CNN, CNN_MEAN), (ATTENTION, MEAN)
FIVE = "0,1,2,3,4"
STUDIES = {
    "same-30": Study(ALL, SAME),
    "unseen-30": Study(ALL, UNSEEN),
    "forms": Study((ATTENTION, PRINTED, TWICE, COLD, WIDE), ("--splits", "by=fold"), ("esc10",), "0"),
    "same-2h": Study((TWICE, ATTENTION, CNN, CNN_MEAN, MEAN), SAME, seeds="0"),
    "same-90": Study(LONG, (*SAME, "--set", "training.epochs=90")),
    "same-270": Study(LONG, (*SAME, "--set", "training.epochs=270"), seeds="0"),
    "half-90": Study(LONG, (*SAME, "--set", "training.epochs=90", "--set", "calibration.held_out=0.5"), seeds=FIVE),
    "unseen-90": Study(LONG, (*UNSEEN, "--set", "training.epochs=90")),
    "same-4s": Study(POOLS, (*SAME, "--set", "audio.segment_s=4", "--skip-broken")),  # a clip of ESC-10 lasts 3.6 s
    "same-10s": Study(POOLS, (*SAME, "--set", "audio.segment_s=10"), ("ambience11",)),
    "unseen-4s": Study(POOLS, (*UNSEEN, "--set", "audio.segment_s=4", "--skip-broken")),
    "unseen-10s": Study(POOLS, (*UNSEEN, "--set", "audio.segment_s=10"), ("ambience11",)),
}
CARD = {  # months of two cores; not among the default of --studies
    "same-paper": Study(ALL, SAME, seeds=FIVE, recipe=("--recipe", "paper")),
    "unseen-paper": Study(ALL, UNSEEN, seeds=FIVE, recipe=("--recipe", "paper")),
    "same-default": Study(ALL, SAME, seeds=FIVE, recipe=("--recipe", "default")),
    "unseen-default": Study(ALL, UNSEEN, seeds=FIVE, recipe=("--recipe", "default")),
}


def main() -> None:
    """Run the studies, or report on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run")
    running.add_argument("corpora", type=Path, metavar="CORPORA")
    running.add_argument("--studies", default=",".join(STUDIES), help="comma-separated, in this order")
    running.add_argument("--only", default=",".join(CORPORA), help="corpora, comma-separated")
    running.add_argument("--seeds", help="comma-separated; default: those of decision 0106")
    running.add_argument("--workers", default="1", help="trainings at a time, one thread each")
    running.add_argument("--device", default="cpu", help="cuda for the studies at full width: " + ", ".join(CARD))
    running.set_defaults(work=run)
    reporting = commands.add_parser("report")
    reporting.add_argument("runs", type=Path, metavar="RUNS")
    reporting.set_defaults(work=lambda given: write(given.runs, given.out))
    for command in (running, reporting):
        command.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.work(arguments)


def run(given: argparse.Namespace) -> None:
    """Call `soundscene experiment` for each study and corpus."""
    if unknown := [name for name in given.only.split(",") if name not in CORPORA]:
        raise SystemExit(f"--only {','.join(unknown)}: known are {', '.join(CORPORA)}")
    if given.device == "cpu" and (wide := [name for name in given.studies.split(",") if name in CARD]):
        raise SystemExit(f"--studies {','.join(wide)}: months of two cores; give --device cuda")
    if unknown := [name for name in given.studies.split(",") if name not in STUDIES | CARD]:
        raise SystemExit(f"--studies {','.join(unknown)}: known are {', '.join(STUDIES | CARD)}")
    for name in given.studies.split(","):
        study = (STUDIES | CARD)[name]
        for corpus in (c for c in study.corpora if c in given.only.split(",")):
            systems = ",".join(study.arms).replace("+", ":")  # as `--systems` names them
            command = [sys.executable, "-m", "soundscene", "experiment", given.corpora / corpus / "manifest.csv"]
            command += ["--out", given.out / name / corpus, "--systems", systems]
            command += [*(PLAIN if study.recipe is None else study.recipe), *study.options]
            command += ["--seeds", given.seeds or study.seeds, "--workers", given.workers, "--threads", "1"]
            command += ["--device", given.device]
            print(f"{name}, {corpus}", flush=True)
            subprocess.run([str(word) for word in command], check=True)


if __name__ == "__main__":
    main()
