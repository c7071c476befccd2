"""Does temporal attention rise where a planted event is? Rendered recordings in which only the event tells the scene.

    python -m benchmarks.attention_event FOLDER [--n 200] [--test 100] [--seed 0] [--set training.epochs=30]

Every recording is 2 s (one segment) of rain, wind, sea or traffic, drawn alike for all three scenes, with one event of 0.25
to 0.45 s at a random place: a rising tone, a knock, or a burst of clicks. The scene is the kind of event. `Recipe.small()`
is trained on the recordings of one part; on the other part the attention inside the event (and a frame to both sides) is
divided by the attention elsewhere in the segment. Control: the same places against the attention of another recording, which
shows what the network attends to wherever the event is. FOLDER has a folder for each --n, --test and --seed, which is filled
once; a model that is there is not trained again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from lightning_fabric import Fabric
from scipy.io import wavfile

from soundscene.bundle import load_model
from soundscene.data.corpus import Corpus, read_corpus
from soundscene.data.manifest import Manifest
from soundscene.explanation.attention import attention
from soundscene.explanation.attribution import attribute
from soundscene.member import networks_of
from soundscene.model import Model
from soundscene.network.models import build_network
from soundscene.pipeline import train_on_manifest
from soundscene.recipe import Recipe
from soundscene.render.corpus import render_recording
from soundscene.render.textures import Take, clicks, ringing, scatter, sweeps, unit_rms
from soundscene.scoring.intervals import Interval, mean_interval
from soundscene.types import Samples

RATE = 22050
SECONDS = 2.0
BACKGROUNDS = ("rain", "wind", "sea", "road_traffic")
EVENTS = ("click_burst", "knock", "rising_tone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=200, help="training recordings of each scene")
    parser.add_argument("--test", type=int, default=100, help="test recordings of each scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    folder = arguments.folder / f"{arguments.n}-{arguments.test}-seed{arguments.seed}"
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        render(folder, arguments.n, arguments.test, arguments.seed)
    model = folder / f"{'_'.join(['model', *arguments.settings]).replace('/', '_')}.safetensors"
    started = time.perf_counter()
    if not model.exists():
        recipe = Recipe.small().with_settings([f"training.seed={arguments.seed}", *arguments.settings])
        fabric = Fabric(accelerator="cpu", devices=1)
        train_on_manifest(manifest, model, recipe, test="part=test", fabric=fabric, workers=1)
    seconds = time.perf_counter() - started
    bundle = load_model(model)
    tested = read_corpus(
        Manifest.read(manifest).split("part", "test").test, networks_of(bundle.members)[0].recipe, workers=1
    )
    facts = {"seed": arguments.seed, "settings": arguments.settings, "training_s": round(seconds), **measure(bundle, tested)}
    facts["control: a network that learnt nothing"] = untrained(bundle, tested, arguments.seed)
    print(json.dumps(facts, indent=1))


def untrained(bundle: Model, tested: Corpus, seed: int) -> dict[str, object]:
    """The same results for random weights behind the same standardisation: what loud frames alone do to attention."""
    torch.manual_seed(seed)
    (member,) = networks_of(bundle.members)
    network = build_network(member.recipe, len(bundle.scenes)).eval()
    network.standardise.load_state_dict(member.network.standardise.state_dict())
    blank = replace(member, network=network)
    return inside_against_elsewhere(attention(blank, tested.features)[1].astype(np.float64), inside_of(tested, bundle))


def inside_of(tested: Corpus, bundle: Model) -> Bool[np.ndarray, "recording frame"]:
    """Frames of the event, and one to both sides."""
    onset, end = (np.array([float(r.columns[c]) for r in tested.recordings]) for c in ("onset_s", "end_s"))
    frame_s = networks_of(bundle.members)[0].recipe.features.hop / RATE
    centre = (np.arange(tested.features.shape[3]) + 0.5) * frame_s
    return (centre > onset[:, None] - frame_s) & (centre < end[:, None] + frame_s)


def event(kind: str, take: Take) -> Samples:
    """One event [sample] of unit RMS, as long as its take."""
    draw, seconds = take.generator, take.duration_s
    if kind == "rising_tone":
        low = take.log_uniform(600.0, 1800.0)
        return unit_rms(sweeps(take, low, 2.5 * low, np.array([seconds]), np.zeros(1))[0, : take.n_samples])
    times = np.arange(0, seconds, seconds / 5) if kind == "click_burst" else np.zeros(1)
    if kind == "click_burst":
        return unit_rms(scatter(take, times, clicks(take, draw.uniform(0.002, 0.004, times.size), np.ones(times.size))))
    return unit_rms(scatter(take, times, ringing(take, take.log_uniform(200.0, 700.0), np.array([0.07]), np.ones(1))))


def render(folder: Path, n_train: int, n_test: int, seed: int) -> None:
    """Recordings and their manifest, with the onset and end of each event."""
    rows = ["path,scene,group,part,onset_s,end_s"]
    for number, kind in enumerate(EVENTS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(n_train + n_test):
            draw = np.random.default_rng([seed, number, i])
            background = unit_rms(render_recording(BACKGROUNDS[i % len(BACKGROUNDS)], SECONDS, RATE, draw))
            length_s = draw.uniform(0.25, 0.45)
            onset_s = draw.uniform(0.05, SECONDS - length_s - 0.05)
            sound = event(kind, Take(round(length_s * RATE), RATE, draw))
            at = round(onset_s * RATE)
            background[at : at + len(sound)] += np.float32(10 ** (draw.uniform(3, 12) / 20)) * sound
            background *= np.float32(0.5) / np.abs(background).max()
            wavfile.write(folder / kind / f"{i}.wav", RATE, np.round(background * 32767).astype("<i2"))
            part = "train" if i < n_train else "test"
            rows.append(f"{kind}/{i}.wav,{kind},{kind}{i},{part},{onset_s:.4f},{onset_s + length_s:.4f}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def measure(bundle: Model, tested: Corpus) -> dict[str, object]:
    """Attention and attribution inside the events against elsewhere."""
    onset, end = (np.array([float(r.columns[c]) for r in tested.recordings]) for c in ("onset_s", "end_s"))
    n_frames = tested.features.shape[3]
    frame_s = networks_of(bundle.members)[0].recipe.features.hop / RATE
    centre = (np.arange(n_frames) + 0.5) * frame_s
    inside = inside_of(tested, bundle)
    temporal = attention(networks_of(bundle.members)[0], tested.features)[1].astype(np.float64)
    other = np.roll(temporal, 1, axis=0)[np.random.default_rng(1).permutation(len(temporal))]
    truth = tested.labels(bundle.scenes)
    right = bundle.classify(bundle.embed((tested.features,)), "softmax").argmax(axis=1) == truth
    by_frame = np.zeros_like(temporal)
    for scene in range(len(bundle.scenes)):
        of = truth == scene
        values = attribute(networks_of(bundle.members)[0], tested.features[of], scene, "softmax", 32).values
        by_frame[of] = np.abs(values).sum(axis=(1, 2))
    lags = np.round(np.arange(-1.0, 1.01, 0.1), 1)
    at_lag = [np.abs(centre - (onset + end)[:, None] / 2 - lag) < frame_s * 2 for lag in lags]
    return {
        "recordings": len(temporal),
        "accuracy": float(right.mean()),
        "attention": inside_against_elsewhere(temporal, inside),
        "by scene": {
            name: inside_against_elsewhere(temporal[truth == i], inside[truth == i]) for i, name in enumerate(bundle.scenes)
        },
        "peak inside": float(inside[np.arange(len(temporal)), temporal.argmax(axis=1)].mean()),
        "peak inside by chance": float(inside.mean()),
        "control: another recording's attention": inside_against_elsewhere(other, inside),
        "attribution, sizes summed over bands": inside_against_elsewhere(by_frame, inside),
        "times uniform by seconds from the event's middle": {
            f"{lag:+.1f}": round(float(np.mean(temporal[near]) * n_frames), 3)
            for lag, near in zip(lags, at_lag, strict=True)
        },
        "torch threads": torch.get_num_threads(),
    }


def inside_against_elsewhere(
    weight: Float[np.ndarray, "recording frame"], inside: Bool[np.ndarray, "recording frame"]
) -> dict[str, object]:
    """Share of recordings with more weight inside than elsewhere, and the mean ratio, each with its 95 % interval."""
    ratio = ratios(weight, inside)
    groups = [str(i) for i in range(len(ratio))]

    def text(interval: Interval) -> str:
        return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    return {
        "share above one": text(mean_interval(ratio > 1, groups, np.random.default_rng(0))),
        "mean ratio": text(mean_interval(ratio, groups, np.random.default_rng(0))),
        "median ratio": round(float(np.median(ratio)), 3),
    }


def ratios(
    weight: Float[np.ndarray, "recording frame"], inside: Bool[np.ndarray, "recording frame"]
) -> Float64[np.ndarray, " recording"]:
    """Mean weight of the frames inside over the mean weight of the others."""
    within = (weight * inside).sum(axis=1) / inside.sum(axis=1)
    return within / ((weight * ~inside).sum(axis=1) / (~inside).sum(axis=1))


if __name__ == "__main__":
    main()
