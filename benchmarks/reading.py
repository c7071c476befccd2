"""Reading folders of sound files by this checkout beside another one: what checks of a file cost.

    python -m benchmarks.reading --before CHECKOUT [--rounds 7] [--files 24] [--seconds 30] [--predict MODEL [--workers 2]]

Both checkouts read the same rendered files in turn, in processes of one thread that stay alive. Compared are the lower
quartiles of their CPU time, decoders in child processes included, for other work on the machine makes a round longer only.
With --predict a model predicts the files too, as `soundscene predict FOLDER` does: each process predicts the whole folder
on two workers. The model must be one that both checkouts read, such as tests/fixtures_0_1_0/models/att_crnn.safetensors.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TARGETS = {"flac": 1.03, "m4a": 1.15, "opus": 1.15, "mkv": 1.15, "wav": None, "ogg": None, "mp3": None}
_READER = """
import json, sys, warnings
exec(open(sys.argv.pop(1)).read())  # cpu_s, which an older checkout lacks
warnings.simplefilter("ignore")
try:
    from soundscene.audio.files import AudioFile
except ImportError:  # 0.1.0
    from soundscene.data.audio import AudioFile
from soundscene.recipe import AudioRecipe
from soundscene.signal.memory import keep_freed_memory
keep_freed_memory()  # as the front-end does in every command that reads sound
model = None
if len(sys.argv) > 1:
    import torch, soundscene
    torch.set_num_threads(1)
    model = soundscene.load(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    started, n = cpu_s(), 0
    paths = json.loads(line)
    if model is None:
        for path in paths:
            n += sum(len(block) for block in AudioFile(path, AudioRecipe()).blocks())
    else:
        for _, prediction in model.predict_each(paths, workers=int(sys.argv[2])):
            n += prediction.duration_s
    print(json.dumps([cpu_s() - started, n]), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--predict", metavar="MODEL")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--formats", nargs="+", choices=list(TARGETS), default=list(TARGETS), metavar="NAME")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    extra = [str(Path(arguments.predict).resolve()), str(arguments.workers)] if arguments.predict else []
    sides = [_start(folder.resolve(), extra) for folder in (arguments.before, here)]
    print("| format | before | after | after / before | at most | reached |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for form in arguments.formats:
            paths = [str(write(Path(folder, f"{i}.{form}"), arguments.seconds, i)) for i in range(arguments.files)]
            times: list[list[float]] = [[], []]
            for k in range(arguments.rounds + 1):
                for side in (0, 1) if k % 2 else (1, 0):
                    seconds = _ask(sides[side], paths)
                    if k:  # the first round fills caches
                        times[side].append(seconds)
            before, after = (_typical(values) for values in times)
            target = TARGETS[form]
            reached = "" if target is None else "yes" if after / before <= target else "no"
            print(
                f"| {form} | {before:.3f} s | {after:.3f} s | {after / before:.3f} | {target or ''} | {reached} |",
                flush=True,
            )
            for path in paths:
                os.unlink(path)
    for side in sides:
        side.communicate()


def _typical(values: list[float]) -> float:
    """The lower quartile: what disturbs a round only makes it longer."""
    return statistics.quantiles(values, n=4)[0]


def _start(checkout: Path, extra: list[str]) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(checkout)} | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-c", _READER, str(Path(__file__).parents[1] / "tests/support/budget.py"), *extra],
        env=environment,
        cwd=checkout,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout
    if process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{checkout}: cannot be run")
    return process


def _ask(side: "subprocess.Popen[str]", paths: list[str]) -> float:
    assert side.stdin
    assert side.stdout
    side.stdin.write(json.dumps(paths) + "\n")
    side.stdin.flush()
    return float(json.loads(side.stdout.readline())[0])


def write(path: Path, seconds: float, seed: int) -> Path:
    """Write rendered stereo sound in the format that the suffix says: AAC in m4a and mkv."""
    import av
    import numpy as np
    import soundfile

    from soundscene.render.corpus import render_recording

    rate = 48000 if path.suffix in (".opus", ".mkv") else 44100
    mono = render_recording("rain", seconds, rate, np.random.default_rng(seed))
    x = np.stack([mono, 0.5 * mono], axis=1)
    if path.suffix not in (".m4a", ".mkv"):
        opus = path.suffix == ".opus"
        soundfile.write(path, x, rate, "OPUS" if opus else None, format="OGG" if opus else None)
        return path
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.rint(x * 32767).astype(np.int16).reshape(1, -1), "s16", "stereo")
        frame.sample_rate, frame.pts = rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


if __name__ == "__main__":
    main()
