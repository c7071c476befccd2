"""Equation (9) as printed against the mean-preserving form: accuracy over training steps, several learning rates.

    python benchmarks/attention_scale.py run MANIFEST --out RESULTS [--test fold=1] [--width quarter|full] [--steps 3000]
                                         [--rates 1e-4,3e-4,1e-3] [--scales printed,mean-preserving] [--every 5]
    python benchmarks/attention_scale.py plot RESULTS --out PICTURE.png

The test part is watched at points fixed in advance (every so many epochs, by the softmax layer); nothing is selected by
it. Batch 100 and everything else as in `Recipe.paper()`. One JSON file per run; a run that is there is not repeated.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from accuracy import cached_images, write
from lightning_fabric import Fabric
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from soundscene.data.manifest import Manifest, parse_test
from soundscene.network.models import Network
from soundscene.recipe import Recipe
from soundscene.scoring.fusion import product_by_recording
from soundscene.training.fit import LabelledImages, fit

WIDTHS = {"full": [], "quarter": ["network.filters=[16, 32, 64]", "network.hidden=32"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("manifest", type=Path)
    run_parser.add_argument("--out", type=Path, required=True)
    run_parser.add_argument("--test", default="fold=1")
    run_parser.add_argument("--width", choices=WIDTHS, default="quarter")
    run_parser.add_argument("--steps", type=int, default=3000)
    run_parser.add_argument("--rates", default="1e-4,3e-4,1e-3")
    run_parser.add_argument("--scales", default="printed,mean-preserving")
    run_parser.add_argument("--every", type=int, default=5, help="epochs between measurements of the test part")
    plot_parser = commands.add_parser("plot")
    plot_parser.add_argument("results", type=Path)
    plot_parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "run":
        for rate in arguments.rates.split(","):
            for scale in arguments.scales.split(","):
                run(arguments, float(rate), scale)
    else:
        plot(arguments.results, arguments.out)


def run(arguments: argparse.Namespace, rate: float, scale: str) -> None:
    path = arguments.out / f"{arguments.width}_{rate:g}_{scale}.json"
    if path.exists():
        return
    manifest = Manifest.read(arguments.manifest)
    recipe = Recipe.paper()
    corpus = cached_images(manifest, recipe, arguments.out)
    split = manifest.split(*parse_test(arguments.test))
    training, testing = corpus.take(split.train), corpus.take(split.test)
    n = int(training.voting.sum())
    epochs = -(-arguments.steps // -(-n // recipe.training.batch_size))
    recipe = recipe.with_settings(
        [
            *WIDTHS[arguments.width],
            f"training.learning_rate={rate!r}",
            f'network.attention_scale="{scale}"',
            f"training.epochs={epochs}",
        ]
    )
    truth = np.array([manifest.scenes.index(r.scene) for r in testing.recordings])
    images = torch.from_numpy(testing.features[testing.voting])
    recording = testing.recording[testing.voting]
    curve: list[dict[str, float]] = []
    started = time.perf_counter()

    def watch(row: dict[str, float], network: Network) -> None:
        if int(row["epoch"]) % arguments.every and int(row["epoch"]) != epochs:
            return
        with torch.inference_mode():
            log_posterior = torch.cat([torch.log_softmax(network(x).double(), -1) for x in images.split(64)]).numpy()
        fused = product_by_recording(log_posterior, recording, len(truth))
        steps = int(row["epoch"]) * -(-n // recipe.training.batch_size)
        segment, whole = (log_posterior.argmax(1) == truth[recording]).mean(), (fused.argmax(1) == truth).mean()
        curve.append({"steps": steps, "loss": row["loss"], "segment": float(segment), "recording": float(whole)})
        print(path.stem, curve[-1], flush=True)

    labelled = LabelledImages(
        torch.from_numpy(training.features[training.voting]),
        torch.from_numpy(training.labels(manifest.scenes)[training.voting]),
    )
    fit(recipe, labelled, len(manifest.scenes), fabric=Fabric(accelerator="cpu", devices=1), on_epoch=watch)
    facts = {"width": arguments.width, "rate": rate, "scale": scale, "test": arguments.test, "seed": recipe.training.seed}
    cpu = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "seconds": round(time.perf_counter() - started)}
    write(path, {**facts, **cpu, "corpus": arguments.manifest.parent.name, "curve": curve})


def plot(results: Path, out: Path) -> None:
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*_*.json"))]
    widths = sorted({r["width"] for r in rows})
    figure = Figure(figsize=(5.5 * len(widths) + 1, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(widths), squeeze=False, sharey=True)[0]
    rates = sorted({r["rate"] for r in rows})
    for axis, width in zip(axes, widths, strict=True):
        for row in rows:
            if row["width"] == width:
                style = {
                    "linestyle": "-" if row["scale"] == "mean-preserving" else "--",
                    "marker": "osv^"[rates.index(row["rate"])],
                }
                steps, segment = [c["steps"] for c in row["curve"]], [c["segment"] for c in row["curve"]]
                axis.plot(
                    steps,
                    segment,
                    color="black",
                    markersize=4,
                    linewidth=1,
                    label=f"{row['scale']}, {row['rate']:g}",
                    **style,
                )
        axis.set(title=f"{width} width", xlabel="steps of 100 examples", ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel(f"segment accuracy, {rows[0]['corpus']} {rows[0]['test']}, softmax")
    figure.savefig(out, dpi=110)
    for row in rows:
        last = row["curve"][-1]
        scores = f"{last['loss']:.3f} | {last['segment']:.3f} | {last['recording']:.3f}"
        print(f"| {row['width']} | {row['rate']:g} | {row['scale']} | {last['steps']} | {scores} | {row['seconds']} |")


if __name__ == "__main__":
    main()
