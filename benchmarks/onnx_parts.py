"""What the parts of a model take: noise tracker, images, network; by PyTorch and compiled code, ONNX Runtime and Chromium.

python -m benchmarks.onnx_parts MODEL [--seconds 30] [--rounds 7]

One rendered recording in one call, one thread, the three in turn; medians of wall time over the rounds. `images` is the
front-end without its tracker. Cold start and folders are in `benchmarks.onnx_speed`.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from soundscene.bundle import load_model
from soundscene.export.frontend import Block, add_images, add_noise_subtraction, add_segments, add_waves, state_shapes
from soundscene.export.graph import BOOL, F32, F64, INT, Graph
from soundscene.export.model_graph import images_of, whole_graph
from soundscene.export.networks import add_network, add_softmax, add_svm
from soundscene.graph_facts import HEADS
from soundscene.graph_model import open_session
from soundscene.member import NetworkMember
from soundscene.model import Model
from soundscene.page.engine import DIGESTS, FOLDER, STATIC
from soundscene.render.corpus import render_recording
from soundscene.signal.noise import TwoChannelStream
from soundscene.threads import one_blas_thread
from tests.support.browser import served, visit, why_no_browser

PARTS = ("tracker", "front-end", "network", "whole")
PAGE = """<!doctype html><title>parts</title><script type="module">
import * as ort from "./ort.mjs";
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./ort.wasm", location.href).href };
const bytes = async name => new Uint8Array(await (await fetch(name)).arrayBuffer());
const sessions = {};
window.load = async (part, dims) => {
  sessions[part] = await ort.InferenceSession.create(await bytes(part + ".onnx"), { executionProviders: ["wasm"] });
  const values = new Float32Array((await bytes(part + ".f32")).buffer);
  sessions[part].feed = { [sessions[part].inputNames[0]]: new ort.Tensor("float32", values, dims) };
};
window.time = async part => {
  const start = performance.now();
  await sessions[part].run(sessions[part].feed);
  return (performance.now() - start) / 1000;
};
window.ready = true;
</script>"""


def graphs(model: Model, member: NetworkMember) -> dict[str, onnx.ModelProto]:
    """The parts as graphs of their own: of samples, but for the network, which is of images."""
    return {
        "tracker": _front(model, member, images=False),
        "front-end": _front(model, member, images=True),
        "network": _network(member),
        "whole": whole_graph(model, {}),
    }


def _front(model: Model, member: NetworkMember, images: bool) -> onnx.ModelProto:
    g = Graph("front")
    block = Block(g.input("samples", F32, ["sample"]), g.constant(True, BOOL), g.constant(model.audio.segment_samples, INT))
    state = {
        name: g.constant(np.zeros([0 if isinstance(size, str) else size for size in shape]), dtype)
        for name, (dtype, shape) in state_shapes(model.audio).items()
    }
    _, known = add_noise_subtraction(g, model.audio, block, state)
    if not images:
        g.output(known, "channels", F32, [2, "sample"])
        return g.model({})
    waves = add_waves(g, model.audio, add_segments(g, model.audio, block, state, known))
    (image,) = add_images(g, model.audio, [member.recipe.features], waves)
    g.output(image, "images", F32, ["segment", *images_of(member).shape])
    return g.model({})


def _network(member: NetworkMember) -> onnx.ModelProto:
    g = Graph("network")
    found = add_network(g, member.network, g.input("images", F32, ["segment", *images_of(member).shape]))
    n = member.network.softmax.out_features
    g.output(add_softmax(g, found.logits), "softmax", F64, ["segment", n])
    g.output(add_svm(g, member.svm, found.embedding), "svm", F64, ["segment", n])
    return g.model({})


def by_torch(model: Model, samples: np.ndarray, images: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The parts as `soundscene predict` computes them of a model file."""

    def channels() -> None:
        stream = TwoChannelStream(model.audio.sample_rate, model.audio.noise_window, model.audio.noise_hop)
        stream.push(samples)
        stream.flush()

    def front_end() -> tuple[np.ndarray, ...]:
        stream = model.build_front_end().stream()
        stream.push(samples)
        return stream.flush().features

    def network(features: np.ndarray = images) -> None:
        embeddings = model.embed((features,))
        for head in HEADS:
            model.classify(embeddings, head)

    def whole() -> None:
        front_end()
        network()

    return {"tracker": channels, "front-end": front_end, "network": network, "whole": whole}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="of one network")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=7)
    words = parser.parse_args()
    if reason := why_no_browser():
        parser.error(reason)
    torch.set_num_threads(1)
    model = load_model(words.model)
    (member,) = model.members
    if not isinstance(member, NetworkMember):
        parser.error("the model is one of a backbone; give one of a network")
    rate = model.audio.sample_rate
    samples = render_recording("rain", words.seconds, rate, np.random.default_rng(0)).astype(np.float32)
    stream = model.build_front_end().stream()
    images = np.concatenate([stream.push(samples).features[0], stream.flush().features[0]])
    feeds = {part: images if part == "network" else samples for part in PARTS}
    found = graphs(model, member)
    ours = by_torch(model, samples, images)
    sessions = {part: open_session(graph.SerializeToString()) for part, graph in found.items()}
    native: dict[str, Callable[[], Any]] = {
        part: lambda part=part, s=s: s.run(None, {s.get_inputs()[0].name: feeds[part]}) for part, s in sessions.items()
    }
    with tempfile.TemporaryDirectory() as folder, one_blas_thread():
        _write(Path(folder), found, feeds)
        with served(Path(folder)) as url, visit(f"{url}parts.html") as visited:
            visited.page.wait_for_function("window.ready")
            for part in PARTS:
                visited.page.evaluate("([part, dims]) => load(part, dims)", [part, list(feeds[part].shape)])
            times: dict[tuple[str, str], list[float]] = {}
            for part in PARTS:
                for _ in range(words.rounds + 1):  # the first one warms up
                    times.setdefault((part, "torch"), []).append(_seconds(ours[part]))
                    times.setdefault((part, "native"), []).append(_seconds(native[part]))
                    times.setdefault((part, "browser"), []).append(visited.page.evaluate("part => time(part)", part))
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, one thread")
    _print({key: statistics.median(values[1:]) for key, values in times.items()}, words)


def _write(folder: Path, found: dict[str, onnx.ModelProto], feeds: dict[str, np.ndarray]) -> None:
    (folder / "parts.html").write_text(PAGE)
    for name in DIGESTS:
        shutil.copyfile(STATIC / FOLDER / name, folder / f"ort{Path(name).suffix}")
    for part, graph in found.items():
        (folder / f"{part}.onnx").write_bytes(graph.SerializeToString())
        (folder / f"{part}.f32").write_bytes(np.ascontiguousarray(feeds[part], np.float32).tobytes())


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _print(medians: dict[tuple[str, str], float], words: argparse.Namespace) -> None:
    print(f"{words.seconds:g} s of sound in one call, medians of {words.rounds}, ms\n")
    print("| part | PyTorch and compiled | ONNX Runtime | Chromium | native / PyTorch | Chromium / native |")
    print("|---|---|---|---|---|---|")
    rows = {part: [1000 * medians[part, by] for by in ("torch", "native", "browser")] for part in PARTS}
    rows["images"] = [a - b for a, b in zip(rows.pop("front-end"), rows["tracker"], strict=True)]
    for part in ("tracker", "images", "network", "whole"):
        ours, native, browser = rows[part]
        numbers = " | ".join(f"{x:.1f}" for x in (ours, native, browser))
        print(f"| {part} | {numbers} | {native / ours:.2f} | {browser / native:.2f} |")


if __name__ == "__main__":
    main()
