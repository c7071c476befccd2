"""Decoders in child processes: their death, or a fault of theirs, costs one file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from soundscene.audio import child
from soundscene.audio.files import AudioFile, read_samples
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe
from tests.support.sounds import aac, noise, text

RECIPE = AudioRecipe(sample_rate=44100)


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Children of this test alone."""
    child._IDLE._end()  # those of other tests
    idle = child._Idle()
    monkeypatch.setattr(child, "_IDLE", idle)
    yield
    idle._end()


def pcm(path: Path, x: np.ndarray, layout: str, codec: str = "pcm_f32le", rate: int = 44100) -> Path:
    """x [sample, channel] without loss, in the container that the suffix says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for start in range(0, len(x), 4096):
            piece = np.ascontiguousarray(x[start : start + 4096]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(piece, "flt", layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("layout", "n"), [("5.1", 6), ("6.1", 7), ("7.1", 8), ("7.1.2", 10), ("hexadecagonal", 16)])
@pytest.mark.parametrize("suffix", [".mka", ".mov"])
def test_any_number_of_channels_is_read(tmp_path: Path, layout: str, n: int, suffix: str) -> None:
    x = noise(2.2, 44100, n)
    read = read_samples(pcm(tmp_path / f"a{suffix}", x, layout), RECIPE)
    np.testing.assert_allclose(read, x.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("codec", "layout", "n"), [("flac", "7.1", 8), ("wavpack", "7.1.2", 10)])
def test_decoders_of_planes_beyond_seven_are_read(tmp_path: Path, codec: str, layout: str, n: int) -> None:
    x = noise(2.2, 44100, n)
    path = tmp_path / ("a.wv" if codec == "wavpack" else "a.mka")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=44100, layout=layout)
        assert isinstance(stream, av.AudioStream)
        convert = av.AudioResampler(format=stream.codec_context.format.name)
        for start in range(0, len(x), 4096):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(x[start : start + 4096]).reshape(1, -1), "flt", layout)
            frame.sample_rate, frame.pts = 44100, start
            for ready in convert.resample(frame):
                container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    np.testing.assert_allclose(read_samples(path, RECIPE), x.mean(axis=1), atol=4e-3)  # WavPack chooses 8 bits


def pids() -> list[int]:
    return [one._process.pid for one in child._IDLE._children]


def test_one_child_decodes_all_files_of_a_reader(tmp_path: Path) -> None:
    whole = read_samples(aac(tmp_path / "a.m4a"), RECIPE)
    used = pids()
    for name in ("b.m4a", "c.mka"):
        assert len(read_samples(aac(tmp_path / name), RECIPE)) == pytest.approx(len(whole), abs=2048)
    for name, content in (("d.m4a", b"no sound" * 99), ("e.m4a", (tmp_path / "a.m4a").read_bytes()[:9000])):
        with pytest.raises(AudioError):
            read_samples(text(tmp_path / name, content), RECIPE)
    assert len(used) == 1
    assert pids() == used, "a damaged file costs no start"


def test_a_decoder_that_dies_costs_one_file(tmp_path: Path) -> None:
    path = aac(tmp_path / "a.m4a", noise(20.0, 44100, 2))
    blocks = AudioFile(path, RECIPE).blocks()
    next(blocks)
    os.kill(children()[0], signal.SIGSEGV)
    with pytest.raises(AudioError, match=r"a\.m4a: its decoder \(FFmpeg, in a process of its own\) crashed by SIGSEGV; "):
        list(blocks)
    assert pids() == []
    assert len(read_samples(path, RECIPE)) == pytest.approx(20 * 44100, abs=2048)


def test_an_idle_child_that_died_is_replaced(tmp_path: Path) -> None:
    path = aac(tmp_path / "a.m4a")
    whole = read_samples(path, RECIPE)
    os.kill(pids()[0], signal.SIGKILL)
    time.sleep(0.05)
    np.testing.assert_array_equal(read_samples(path, RECIPE), whole)


def test_a_decoder_that_hangs_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = aac(tmp_path / "a.m4a", noise(20.0, 44100, 2))
    blocks = AudioFile(path, RECIPE).blocks()
    next(blocks)
    monkeypatch.setattr(child, "PATIENCE_S", 0.2)
    os.kill(children()[0], signal.SIGSTOP)
    with pytest.raises(AudioError, match=r"gave nothing for 0 s; the file is damaged"):
        list(blocks)
    assert children() == []


def test_a_reading_that_is_given_up_ends_its_child(tmp_path: Path) -> None:
    blocks = AudioFile(aac(tmp_path / "a.m4a", noise(20.0, 44100, 2)), RECIPE).blocks()
    next(blocks)
    assert len(children()) == 1
    blocks.close()
    assert children() == []


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    path = aac(tmp_path / "a.m4a", noise(20.0, 44100, 2))
    program = (
        "import sys, time; from soundscene.audio import child; from soundscene.audio.files import AudioFile\n"
        "from soundscene.recipe import AudioRecipe\n"
        "next(AudioFile(sys.argv[1], AudioRecipe()).blocks()); blocks = AudioFile(sys.argv[1], AudioRecipe()).blocks()\n"
        "next(blocks); print('ready', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"ready\n"
    found = children(parent.pid)
    assert found
    parent.kill()
    parent.communicate()
    ends = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and status(pid) != "Z" for pid in found):
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_name_is_a_name_and_a_playlist_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    aac(tmp_path / "a.m4a").rename(tmp_path / "http:a.m4a")
    assert len(read_samples("http:a.m4a", RECIPE))
    for name, content in (
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        ("list.mka", f"ffconcat version 1.0\nfile {tmp_path}/http:a.m4a\n"),
    ):
        with pytest.raises(AudioError):
            read_samples(text(tmp_path / name, content), RECIPE)


def children(parent: int | None = None) -> list[int]:
    """Living child processes that decode."""
    found = []
    for task in Path(f"/proc/{parent or os.getpid()}/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            if b"ffmpeg.py" in Path(f"/proc/{pid}/cmdline").read_bytes() and status(pid) != "Z":
                found.append(pid)
    return found


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
