"""Members of each family of formats: cut, joined to another format, with bytes behind them, and with odd headers.

Each must be read whole, or noted with its second, or refused in one line.
"""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundscene.audio.files import gate_array
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe
from tests.audio.test_contents import APE, HIGH, ID3V1, JUNK, LOW, RATE, SECONDS, encoded, matroska, pitches, read, tone
from tests.support.sounds import noise, text

RARE = ["MAT4", "MAT5", "MPC2K", "SDS", "NIST", "VOC", "AVR", "SVX", "W64", "WVE"]
UNREAD = "bytes behind {} s are no sound that can be read; left out"


def rare(tmp_path: Path, form: str, hz: float = LOW) -> bytes:
    """Most formats at 22050 Hz; WVE has A-law at 8000 Hz alone."""
    if form == "WVE":
        return encoded(tmp_path / "a", tone(hz, 8000), 8000, form, "ALAW")
    return encoded(tmp_path / "a", tone(hz), form=form, subtype="DOUBLE" if form.startswith("MAT") else "PCM_16")


@pytest.mark.parametrize("form", RARE)
def test_what_stands_behind_a_file_of_stated_length(tmp_path: Path, form: str) -> None:
    data = rare(tmp_path, form)
    for extra in (b"", bytes(4096), ID3V1, APE):
        samples, notes = read(text(tmp_path / "b", data + extra))
        assert len(samples) / RATE == pytest.approx(SECONDS, abs=0.01)
        assert not notes
    samples, notes = read(text(tmp_path / "b", data + rare(tmp_path, form, HIGH)))
    assert len(samples) / RATE == pytest.approx(2 * SECONDS, abs=0.01)
    assert pitches(samples, 1.0, 4.0) == [LOW, HIGH]
    assert not notes
    if form != "W64":  # which goes on as WAV does
        samples, notes = read(text(tmp_path / "b", data + JUNK))
        assert len(samples) / RATE == pytest.approx(SECONDS, abs=0.01)
        assert [note[note.index("bytes") :] for note in notes] == [UNREAD.format("2.50")]


@pytest.mark.parametrize("form", ["IRCAM", "PAF", "PVF"])
def test_files_that_state_no_length(tmp_path: Path, form: str) -> None:
    data = rare(tmp_path, form)
    samples, notes = read(text(tmp_path / "b", data + rare(tmp_path, form, HIGH)))
    assert len(samples) == 2 * round(SECONDS * RATE)
    assert pitches(samples, 1.0, 4.0) == [LOW, HIGH]
    assert not notes
    _, notes = read(text(tmp_path / "b", data[:-201]))
    assert notes == ("its last sample is incomplete; it was cut at 2.50 s",)


def test_a_packet_of_sds_is_missing(tmp_path: Path) -> None:
    data = rare(tmp_path, "SDS")
    for damaged in (data[: 21 + 127 * 400] + data[21 + 127 * 401 :], data[:50000] + bytes(400) + data[50400:]):
        with pytest.raises(AudioError, match=r"is truncated: (a packet at .+ is damaged or missing|the header promises)"):
            read(text(tmp_path / "b", damaged))


def pairs(tmp_path: Path) -> dict[str, bytes]:
    plain = {
        form: encoded(tmp_path / "a", tone(LOW, rate), rate, form, subtype)
        for form, rate, subtype in (("WAV", RATE, None), ("AIFF", RATE, None), ("FLAC", RATE, None), ("OGG", RATE, None))
    }
    plain["MP3"] = encoded(tmp_path / "a", tone(LOW, 44100), 44100, "MP3")
    plain["M4A"] = matroska(tmp_path / "a.m4a", [0.0, 0.0], SECONDS, "aac", 44100).read_bytes()
    plain["MKA"] = matroska(tmp_path / "a.mka", [0.0, 0.0], SECONDS).read_bytes()
    plain["AAC"] = matroska(tmp_path / "a.aac", [0.0, 0.0], SECONDS, "aac", 44100).read_bytes()
    return plain


@pytest.mark.budget(15)  # half of the parts are decoded in a child process
def test_files_of_two_formats_joined(tmp_path: Path) -> None:
    files = pairs(tmp_path)
    names = list(files)
    for step in (1, 3):
        for i, first in enumerate(names):
            second = names[(i + step) % len(names)]
            samples, notes = read(text(tmp_path / "joined", files[first] + files[second]))
            assert len(samples) / RATE == pytest.approx(2 * SECONDS, abs=0.2), (first, second, notes)
            assert not notes, (first, second)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("m4a", "aac"), ("mka", "aac"), ("flv", "aac"), ("aac", "aac"), ("ac3", "ac3")]
)
def test_bytes_behind_files_of_ffmpeg(tmp_path: Path, suffix: str, codec: str) -> None:
    data = matroska(tmp_path / f"a.{suffix}", [0.0, 0.0], SECONDS, codec, 44100).read_bytes()
    for extra, noted in ((bytes(5000), False), (APE, False), (ID3V1, False), (JUNK, True)):
        samples, notes = read(text(tmp_path / "b", data + extra))
        assert len(samples) / RATE == pytest.approx(SECONDS, abs=0.1)
        assert [note.split(" bytes behind ")[0] for note in notes] == [str(len(extra))] * noted


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_bytes_behind_an_ogg(tmp_path: Path, suffix: str) -> None:
    rate = 48000 if suffix == "opus" else RATE
    data = encoded(tmp_path / "a", tone(LOW, rate), rate, "OGG", "OPUS" if suffix == "opus" else None)
    _, notes = read(text(tmp_path / "b", data + JUNK))
    assert notes == (f"{len(JUNK)} {UNREAD.format('2.50')}",)


@pytest.mark.parametrize(("suffix", "codec"), [("m4a", "aac"), ("mka", "aac"), ("webm", "libopus"), ("flv", "aac")])
def test_a_first_time_stamp_that_is_late_has_a_note(tmp_path: Path, suffix: str, codec: str) -> None:
    path = matroska(tmp_path / f"a.{suffix}", [-1.0, 10.0], codec=codec, rate=48000 if suffix == "webm" else 44100)
    samples, notes = read(path)
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    (note,) = notes
    assert note.startswith(("its time stamps begin at 10.0", "its time stamps begin at 9.9"))


@pytest.mark.parametrize(("suffix", "codec", "share"), [("ac3", "ac3", 0.631), ("aac", "aac", 0.63)])
def test_a_cut_within_a_packet_has_a_note(tmp_path: Path, suffix: str, codec: str, share: float) -> None:
    data = matroska(tmp_path / f"a.{suffix}", [0.0, 0.0], codec=codec, rate=44100).read_bytes()
    _, notes = read(text(tmp_path / "b", data[: round(share * len(data))]))
    (note,) = notes
    assert "is incomplete; it was cut at 2." in note


def test_a_hole_in_an_ac3(tmp_path: Path) -> None:
    data = matroska(tmp_path / "a.ac3", [0.0, 0.0], codec="ac3", rate=44100).read_bytes()
    samples, notes = read(text(tmp_path / "b", data[:20_000] + data[20_777:]))
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.15)
    assert pitches(samples, 0.5, 3.5) == [LOW, HIGH]
    (note,) = notes
    assert note.endswith(" are missing or damaged")


# --- odd headers ------------------------------------------------------------------------------------------------------


def vbri(tmp_path: Path, more: int = 0) -> bytes:
    """An MP3 whose first frame has the length header of Fraunhofer's encoder."""
    data = bytearray(encoded(tmp_path / "a", tone(LOW, 44100), 44100, "MP3"))
    end = data.find(data[:2], 4)
    data[4:end] = bytes(end - 4)
    n_frames = round(SECONDS * 44100) // 1152 + 1 + more
    data[36:62] = b"VBRI" + struct.pack(">3H2I4H", 1, 0, 75, len(data) + 400 * more, n_frames, 0, 1, 2, 1)
    return bytes(data)


def test_an_mp3_with_the_length_header_of_fraunhofer(tmp_path: Path) -> None:
    data = vbri(tmp_path)
    for content, seconds in ((data, SECONDS), (data + data, 2 * SECONDS), (data + bytes(4096), SECONDS)):
        samples, notes = read(text(tmp_path / "b", content))
        assert len(samples) / RATE == pytest.approx(seconds, abs=0.15)
        assert not notes
    for content in (data[: len(data) * 9 // 10], vbri(tmp_path, more=100)):
        with pytest.raises(AudioError, match="the header promises"):
            read(text(tmp_path / "b", content))


def wide(tag: int, bits: int, width: int) -> bytes:
    """A WAV of 24 bits in samples of more bytes; the upper ones count."""
    samples = (tone(LOW)[:, 0].astype(np.float64) * (1 << 23)).astype("<i4") << 8
    form = struct.pack("<HHIIHH", tag, 1, RATE, RATE * width, width, bits)
    if tag == 0xFFFE:
        form += struct.pack("<HHI", 22, 24, 4) + bytes.fromhex("0100000000001000800000aa00389b71")
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 4 * len(samples))
    return b"RIFF" + struct.pack("<I", len(body) + 4 * len(samples)) + body + samples.tobytes()


@pytest.mark.parametrize(("tag", "bits"), [(0xFFFE, 32), (0xFFFE, 24), (1, 24)])
def test_24_bits_in_samples_of_four_bytes(tmp_path: Path, tag: int, bits: int) -> None:
    samples, notes = read(text(tmp_path / "a.wav", wide(tag, bits, 4)))
    np.testing.assert_allclose(samples, tone(LOW)[:, 0], atol=1e-6)
    assert not notes


def test_chunks_before_the_format_of_a_wav(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a", tone(LOW))
    before = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf59.27.100\0"
    samples, notes = read(text(tmp_path / "b", data[:12] + before + b"JUNK" + struct.pack("<I", 28) + bytes(28) + data[12:]))
    assert len(samples) == round(SECONDS * RATE)
    assert not notes


@pytest.mark.parametrize("value", [1e300, -1e39, 3.5e38])
def test_the_value_of_a_sample_in_double_precision_is_named(tmp_path: Path, value: float) -> None:
    x = tone(LOW).astype(np.float64)
    x[RATE] = value
    path = tmp_path / "a.wav"
    soundfile.write(path, x, RATE, "DOUBLE")
    message = rf"holds {value:g} at 1\.000 s \(channel 1\), samples are expected within -1 to 1".replace("+", r"\+")
    with pytest.raises(AudioError, match=message):
        read(path)
    with pytest.raises(AudioError, match=message):
        gate_array(x[:, 0], RATE, AudioRecipe())


@pytest.mark.parametrize(
    ("form", "subtype", "rate"), [("OGG", "OPUS", 48000), ("OGG", "VORBIS", RATE), ("MP3", None, 44100)]
)
def test_a_dead_microphone_after_a_lossy_coder(form: str, subtype: str | None, rate: int, tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(-1, 2, (4 * rate, 1)) / 32768
    _, notes = read(text(tmp_path / "a", encoded(tmp_path / "b", steps.astype(np.float32), rate, form, subtype)))
    assert [note for note in notes if note.startswith("hardly any signal (-9")]


def _as_program(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_libmpg123_is_not_heard_on_stderr(tmp_path: Path) -> None:
    """The stated bytes do not fit: it warns."""
    data = bytearray(encoded(tmp_path / "a", noise(4.0, 44100), 44100, "MP3"))
    at = data.find(b"Xing") + 12
    data[at : at + 4] = struct.pack(">I", len(data) // 2)
    path = text(tmp_path / "a.mp3", bytes(data))
    code = (
        "import sys, warnings; from soundscene.audio import files, quiet; from soundscene.recipe import AudioRecipe\n"
        f"if {{}}: quiet.silence_decoders()\nx = files.AudioFile({str(path)!r}, AudioRecipe())\n"
        "print(sum(map(len, x.blocks()))); print('own', file=sys.stderr)"
    )
    loud, silent = (_as_program(code.format(wanted)) for wanted in (False, True))
    assert "Warning: Xing stream size off" in loud.stderr
    assert silent.stderr == "own\n"
    assert silent.stdout == loud.stdout
