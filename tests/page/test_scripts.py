"""The page's scripts compute what the package computes: notes, timelines, downloads, metadata. Run in Node.js."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from soundscene.audio.files import AudioArray
from soundscene.cli.rows import RowWriter
from soundscene.data.manifest import Manifest
from soundscene.errors import AudioError
from soundscene.export.model_graph import stateful_graph
from soundscene.export.write import facts_of
from soundscene.model import Model
from soundscene.prediction import ScenePrediction, SegmentPrediction
from soundscene.scoring.fusion import product, temper
from soundscene.scoring.unfamiliarity import Familiarity
from soundscene.signal.meter import RangeMeter, metered
from soundscene.signal.ranges import TrainingRange, sound_notes
from soundscene.timelines import shares, timeline, write_csv, write_labels, write_raven
from soundscene.types import Timeline
from tests.support.scripts import as_file, run_script
from tests.support.tiny import SCENES, TINY, blank_bundle, recording, write

RATE = 22050
DRAWS = np.random.default_rng(3)
USUAL = TrainingRange(
    20, (9000.0, 9500.0, 11025.0, 11025.0, 11025.0), (-30.0, -28.0, -25.0, -22.0, -20.0), (0.5, 1.0, 4.0, 9.0, 12.0)
)

RANGES = {
    "none": None,
    "of five quantiles": USUAL,
    "narrow ones are rare": replace(USUAL, narrow_hz=11025.0),
    "narrow ones are no rarity": replace(USUAL, bandwidth_hz=(3000.0, 3000.0, 11025.0, 11025.0, 11025.0), narrow_hz=3900.0),
    "narrow ones are usual": replace(USUAL, bandwidth_hz=(3000.0, 3000.0, 4000.0, 11025.0, 11025.0), narrow_hz=3000.0),
}


def facts(model: Model, **values: Any) -> dict[str, Any]:
    """Of a model, as `facts.js` has them."""
    audio = model.audio
    return {
        "scenes": model.scenes,
        "sampleRate": audio.sample_rate,
        "segmentSamples": audio.segment_samples,
        "segmentS": audio.segment_s,
        "temperature": model.temperature["softmax"],
        "prior": model.training_prior("softmax").tolist(),
        "usual": model.usual and model.usual.to_stored(),
        **values,
    }


# --- sound --------------------------------------------------------------------------------------------------------------

NOISE = 0.05 * DRAWS.standard_normal((1, 3 * RATE)).astype(np.float32)
DULL = np.asarray(soxr.resample(soxr.resample(NOISE[0], RATE, 8000), 8000, RATE), np.float32)
SOUNDS: dict[str, tuple[np.ndarray, int]] = {
    "noise": (NOISE, RATE),
    "quiet": (NOISE / 300, RATE),
    "loud": (NOISE * 60, RATE),
    "integers": (NOISE * 32768, RATE),
    "a gate": (NOISE * (np.arange(3 * RATE) // 4000 % 2), RATE),
    "silence at the start": (NOISE * (np.arange(3 * RATE) > 1.8 * RATE), RATE),
    "silence": (NOISE * 0, RATE),
    "nothing": (NOISE[:, :0], RATE),
    "hardly a signal": (np.round(NOISE * 20) / 32768, RATE),
    "a constant": (NOISE * 0 + np.float32(0.25), RATE),
    "a dead channel": (np.concatenate([NOISE, 0.001 + NOISE * 0]), RATE),
    "a channel that comes alive": (np.concatenate([NOISE, NOISE * (np.arange(3 * RATE) > 2.5 * RATE)]), RATE),
    "channels that cancel": (np.concatenate([NOISE, -0.98 * NOISE]), RATE),
    "channels that cancel to nothing": (np.concatenate([NOISE, -NOISE]), RATE),
    "three channels": (np.concatenate([NOISE, NOISE, 2 * NOISE]), RATE),
    "8 kHz": (NOISE[:, :30000], 8000),
    "was at 8 kHz": (DULL[None], RATE),
    "not finite": (np.where(np.arange(3 * RATE) == 500, np.nan, NOISE).astype(np.float32), RATE),
    "a rate of 7 Hz": (NOISE, 7),
}


@pytest.mark.parametrize("usual", RANGES.values(), ids=RANGES.keys())
def test_notes_and_refusals_are_those_of_the_package(usual: TrainingRange | None, tmp_path: Path) -> None:
    model = replace(blank_bundle(), usual=usual)
    given = [
        {"name": name, "rate": rate, "path": as_file(tmp_path, str(i), sound), "channels": len(sound)}
        for i, (name, (sound, rate)) in enumerate(SOUNDS.items())
    ]
    code = """
    const found = given.sounds.map(({ path, rate, channels }) => {
      const all = floats(path), n = all.length / channels, kept = [];
      try {
        const intake = new Intake(rate, given.facts, true);
        for (let at = 0; at < n; at += 6000) {
          const block = [...Array(channels).keys()].map(c => all.slice(c * n + at, c * n + Math.min(n, at + 6000)));
          kept.push(intake.push(block));
        }
        kept.push(intake.flush());
        return { notes: intake.notes(), duration: intake.durationS, samples: kept.reduce((s, k) => s + k.length, 0) };
      } catch (error) {
        return { error: error.message };
      }
    });
    console.log(JSON.stringify(found));"""
    found = run_script(code, {"sounds": given, "facts": facts(model)}, intake="Intake")
    for (name, (sound, rate)), ours in zip(SOUNDS.items(), found, strict=True):
        meter = RangeMeter(RATE)
        if "error" in ours:
            with pytest.raises(AudioError, match=re.escape(ours["error"][:30])):
                for _ in AudioArray(sound, rate, model.audio).blocks():
                    pass
            continue
        source = AudioArray(sound, rate, model.audio)
        samples = sum(map(len, metered(source.blocks(), meter)))
        read = source.summary
        notes = sound_notes(usual, meter.measures() if usual else None, read.notes, read.rate_notes, rate, RATE)
        assert ours == {"notes": list(notes), "duration": source.duration_s, "samples": samples}, name


def test_another_rate_is_soxrs_and_does_not_depend_on_blocks(tmp_path: Path) -> None:
    """Tones below the edge survive, what is above vanishes, and samples are those of soxr."""
    for rate, most in ((8000, 2e-4), (48000, 2e-4), (44056, 2e-4), (44100, 5e-7), (88200, 5e-7)):
        t = np.arange(2 * rate) / rate
        sound = (0.3 * np.sin(2 * np.pi * 440 * t) + 0.3 * np.sin(2 * np.pi * 3400 * t)).astype(np.float32)
        above = np.sin(2 * np.pi * 12000 * t).astype(np.float32) if rate > 24000 else np.zeros_like(sound)
        code = """
        const run = (samples, n) => {
          const made = new Resampler(given.rate, 22050), out = [];
          for (let at = 0; at < samples.length; at += n) out.push(...made.push(samples.subarray(at, at + n)));
          return [...out, ...made.flush()];
        };
        const [sound, above] = given.paths.map(floats);
        console.log(JSON.stringify([run(sound, 1e6), run(sound, 777), run(above, 4096)]));"""
        paths = [as_file(tmp_path, "sound", sound), as_file(tmp_path, "above", above)]
        whole, cut, gone = run_script(code, {"rate": rate, "paths": paths}, resample="Resampler")
        assert whole == cut
        expected = np.asarray(soxr.resample(sound, rate, RATE, "HQ"))
        assert len(whole) == len(expected)
        inner = slice(500, -500)
        np.testing.assert_allclose(np.array(whole)[inner], expected[inner], atol=most)
        assert np.abs(gone[inner]).max() < 2e-5


# --- scenes over time, and downloads ------------------------------------------------------------------------------------

NAMES = ('quiet, "old" street', "rain\tand wind", "scene")


def predicted(name: str, n: int, seed: int) -> ScenePrediction:
    """A recording that changes its scene, with silence in it, and a last piece that overlaps."""
    draws = np.random.default_rng(seed)
    starts = np.concatenate([2.0 * np.arange(n), [2.0 * (n - 1) + 1.3]])
    starts = starts[(starts < 40) | (starts > 200)]
    favourite = (starts // 25).astype(int) % 3
    logits = 3 * draws.standard_normal((len(starts), 3)) + 4 * np.eye(3)[favourite]
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    segments = [SegmentPrediction(float(s), float(s) + 2.0, row) for s, row in zip(starts, posterior, strict=True)]
    fused = np.exp(temper(product(np.log(posterior)), 0.8 * n))
    return ScenePrediction(name, float(starts[-1]) + 2.4, NAMES, fused, tuple(segments), ("a note",), 0.5, 0.25)


def as_page(prediction: ScenePrediction) -> dict[str, Any]:
    """A recording as `main.js` has it."""
    segments = [asdict(s) | {"posterior": s.posterior.tolist()} for s in prediction.segments]
    return {
        "name": prediction.source,
        "segments": [{"startS": s["start_s"], "endS": s["end_s"], "posterior": s["posterior"]} for s in segments],
        "result": {
            "posterior": prediction.posterior.tolist(),
            "durationS": prediction.duration_s,
            "unfamiliarity": prediction.unfamiliarity,
            "threshold": prediction.unfamiliarity_threshold,
            "unknown": prediction.unknown,
            "notes": list(prediction.notes),
        },
    }


def test_timelines_and_downloads_are_those_of_the_package(tmp_path: Path) -> None:
    model = blank_bundle(TINY, NAMES)
    predictions = [predicted('a "b", c.wav', 150, 1), predicted("folder/=1+1\x1b.wav", 4, 2)]
    code = """
    for (const r of given.recordings) Object.assign(r, decode(r.segments, given.facts, r.result.durationS));
    const { recordings: all, facts } = given, ended = [...all, { name: "x", error: "no" }];
    console.log(JSON.stringify({
      shares: all.map(r => r.shares), csv: predictionsCsv(all, facts), json: jsonLines(ended, facts),
      timeline: timelineCsv(all, facts), labels: all.map(r => audacity([r], facts)), raven: raven(all, facts),
      manifest: manifest(all.map((r, i) => ({ ...r, label: ["rain", ""][i] })), facts),
    }));"""
    names = "predictionsCsv, jsonLines, timelineCsv, audacity, raven, manifest"
    given = {"recordings": list(map(as_page, predictions)), "facts": facts(model)}
    found = run_script(code, given, timeline="decode", downloads=names)
    lines = [timeline(p, model, "softmax") for p in predictions]
    assert len(lines[0].spans) > 4
    assert [len(one) for one in found["shares"]] == [4, 3]  # of the first, silence too
    for ours, line in zip(found["shares"], lines, strict=True):
        theirs = shares([line])
        assert [s["seconds"] for s in ours] == pytest.approx([seconds for _, seconds, _ in theirs])
    table = tmp_path / "rows.csv"
    assert found["timeline"] == "".join(text(table, write_csv, line, header=not i) for i, line in enumerate(lines))
    assert found["labels"] == [text(table, write_labels, line) for line in lines]
    assert found["raven"] == text(table, write_raven, lines, high_hz=RATE / 2)
    with RowWriter(table, "csv", True, NAMES) as writer:
        for prediction in predictions:
            writer.add(prediction)
    assert found["csv"] == table.read_text(encoding="utf-8")
    rows = [json.loads(row) for row in found["json"].splitlines()]
    assert rows == [*(json.loads(json.dumps(p.to_dict(True))) for p in predictions), {"path": "x", "error": "no"}]
    assert found["manifest"].splitlines()[1].startswith('"a ""b"", c.wav",rain,')
    assert len(found["manifest"].splitlines()) == 2


def text(path: Path, write_to: Any, line: Timeline | list[Timeline], **values: Any) -> str:
    with path.open("w", encoding="utf-8", newline="") as stream:
        write_to(line, stream, **values)
    return path.read_text(encoding="utf-8")


def test_a_manifest_of_the_page_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "a, b.wav", recording("rain", 2.2, 1))
    given = [{"name": "a, b.wav", "label": "quiet street", "result": {"posterior": [0.2, 0.8]}}]
    code = "console.log(JSON.stringify(manifest(given, { scenes: ['rain', 'sea'] })));"
    (tmp_path / "manifest.csv").write_text(run_script(code, given, downloads="manifest"), encoding="utf-8")
    (row,) = Manifest.read(tmp_path / "manifest.csv").recordings
    assert (row.path.name, row.scene, row.columns["predicted"]) == ("a, b.wav", "quiet street", "sea")


# --- the model ----------------------------------------------------------------------------------------------------------


def test_facts_are_read_from_the_file_and_others_are_refused(tmp_path: Path) -> None:
    model = replace(blank_bundle(), usual=USUAL, familiarity=Familiarity("energy", np.arange(40.0)))
    metadata = facts_of(model, "abc").to_metadata()
    files = {
        "model": stateful_graph(model, metadata).SerializeToString(),
        "foreign": stateful_graph(model, {}).SerializeToString(),
        "newer": stateful_graph(model, metadata | {"version": "7"}).SerializeToString(),
        "whole": stateful_graph(model, metadata | {"form": '"whole"'}).SerializeToString(),
        "no file of ONNX": b"<!doctype html>\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code = """
    console.log(JSON.stringify(given.map(path => {
      try { return factsOf(readFileSync(path)); } catch (error) { return error.message; }
    })));"""
    found = run_script(code, [str(tmp_path / name) for name in files], facts="factsOf")
    assert found[0]["scenes"] == list(SCENES)
    assert (found[0]["segmentSamples"], found[0]["sampleRate"]) == (44100, 22050)
    assert found[0]["temperature"] == model.temperature[model.head]
    assert found[0]["threshold"] == model.familiarity.threshold()  # pyright: ignore[reportOptionalMemberAccess]
    assert found[0]["usual"] == USUAL.to_stored()
    assert found[0]["prior"] == pytest.approx(model.training_prior(model.head).tolist())
    for message, word in zip(found[1:], ("no model of soundscene", "format 7", "--whole", "cannot be read"), strict=True):
        assert word in message


def test_a_recordings_posterior_is_fused_as_in_the_package() -> None:
    rows = np.log(DRAWS.dirichlet([0.3] * 5, 40))
    code = "console.log(JSON.stringify([...fuse(given.map(r => Float64Array.from(r)), 5, 1.7)]));"
    found = run_script(code, rows.tolist(), numbers="fuse")
    np.testing.assert_allclose(found, np.exp(temper(product(rows), 1.7)), atol=1e-12)


def test_flac_of_16_bits_is_read_as_elsewhere(tmp_path: Path) -> None:
    """Chromium divides positive samples by 32767; samples that it does not bend stay as they are."""
    import soundfile

    for subtype, bits in (("PCM_S8", 8), ("PCM_16", 16), ("PCM_24", 24)):
        soundfile.write(tmp_path / f"{bits}.flac", NOISE[0], RATE, subtype=subtype)
        header = [*(tmp_path / f"{bits}.flac").read_bytes()[:200]]
        assert run_script("console.log(flacBits(Uint8Array.from(given).buffer));", header, wav="flacBits") == bits
    levels = np.arange(-32768, 32768, 7, dtype=np.float64)
    right = (levels / 32768).astype(np.float32)
    bent = np.where(levels > 0, levels / 32767, levels / 32768).astype(np.float32)
    for number, sound in enumerate((bent, right)):
        code = "const x = floats(given); unbend(x); console.log(JSON.stringify([...x]));"
        found = run_script(code, as_file(tmp_path, str(number), sound), decode="unbend")
        np.testing.assert_array_equal(np.array(found, np.float32), right)
