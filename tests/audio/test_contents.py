"""What a file holds is read in full and at its time, or a note says what is not; good files with odd headers are read.

Each table has several members of one kind. Sound is rendered here: a low tone `A`, then a high tone `B`, so that what was
read, and when, shows in the spectrum.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from soundscene.audio.contents import read_contents
from soundscene.audio.files import AudioFile
from soundscene.errors import AudioError
from soundscene.recipe import AudioRecipe
from tests.support.shared import case
from tests.support.sounds import headerless_mp3, noise, text

RATE = 22050
RECIPE = AudioRecipe()
SECONDS = 2.5
LOW, HIGH = 500.0, 3000.0

JUNK = noise(0.05, RATE, seed=1).tobytes()


def tone(hz: float, rate: int = RATE, seconds: float = SECONDS, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    x = 0.3 * np.sin(2 * np.pi * hz * t) + 0.003 * np.random.default_rng(0).standard_normal(len(t))
    return np.repeat(x[:, np.newaxis], channels, axis=1).astype(np.float32)


def encoded(path: Path, x: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    soundfile.write(path, x, rate, subtype, format=form)
    return path.read_bytes()


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    file = AudioFile(path, RECIPE)
    samples = np.concatenate(list(file.blocks()))
    return samples, tuple(note for note in file.notes if "stay empty" not in note)


def pitch(samples: np.ndarray, second: float) -> float:
    """The loudest frequency in the half second around a time; 0 where it is silent."""
    piece = samples[round((second - 0.25) * RATE) : round((second + 0.25) * RATE)]
    if not piece.any():
        return 0.0
    return float(np.argmax(np.abs(np.fft.rfft(piece * np.hanning(len(piece)))))) * RATE / len(piece)


def pitches(samples: np.ndarray, *seconds: float) -> list[float]:
    return [min((0.0, LOW, HIGH), key=lambda hz: abs(hz - pitch(samples, s))) for s in seconds]


CASES = [  # of ../shared/cases: seconds, and what is noted
    ("joined.ogg", 8.0, ""),
    ("joined.mp3", 8.1, ""),
    ("rate_changes.mp3", 8.1, ""),
    ("gap_20s.mkv", 28.0, "no sound from 3.99 to 24.00 s"),
    ("lost-page.ogg", 2.19, "sound may be missing from 2.19 s on"),
    ("cut.webm", 2.17, "the file was cut"),
    ("arecord_sigterm.wav", 4.0, "never completed"),
    ("data_size_is_file_size.wav", 4.0, "44 bytes of samples more than the file holds"),
    ("quiet_then_loud.mp3", 16.04, ""),
    ("flac_with_id3v1.flac", 4.0, ""),
]


@pytest.mark.parametrize(("name", "seconds", "note"), CASES, ids=[row[0] for row in CASES])
def test_shared_cases(name: str, seconds: float, note: str) -> None:
    samples, notes = read(case(name))
    assert len(samples) / RATE == pytest.approx(seconds, abs=0.11)
    assert any(note in found for found in notes) if note else not notes


# --- joined files -----------------------------------------------------------------------------------------------------

ID3V2 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
APE = b"".join(
    (
        b"APETAGEX" + struct.pack("<4I8x", 2000, 52, 1, 5 << 29),
        bytes(20),
        b"APETAGEX" + struct.pack("<4I8x", 2000, 52, 1, 1 << 31),
    )
)

JOINED: list[tuple[str, str, str | None, int, int, bytes]] = [  # name, format, subtype, rates, bytes between
    ("OGG Vorbis", "OGG", "VORBIS", 22050, 22050, b""),
    ("OGG Vorbis of two rates", "OGG", "VORBIS", 22050, 44100, b""),
    ("Opus", "OGG", "OPUS", 48000, 48000, b""),
    ("FLAC", "FLAC", None, 22050, 22050, b""),
    ("FLAC of two rates", "FLAC", None, 44100, 22050, b""),
    ("FLAC with a tag between", "FLAC", None, 22050, 22050, ID3V2),
    ("FLAC with a tag behind the first", "FLAC", None, 22050, 22050, ID3V1),
    ("MP3", "MP3", None, 44100, 44100, b""),
    ("MP3 of two rates", "MP3", None, 44100, 48000, b""),
    ("MP3 of two versions", "MP3", None, 22050, 44100, b""),
    ("MP3 with tags between", "MP3", None, 44100, 44100, ID3V1 + ID3V2),
    ("WAV", "WAV", None, 22050, 22050, b""),
    ("AIFF", "AIFF", None, 22050, 44100, b""),
    ("AU", "AU", None, 22050, 22050, b""),
    ("CAF", "CAF", None, 22050, 22050, b""),
    ("W64", "W64", None, 22050, 22050, b""),
    ("ADPCM in WAV", "WAV", "IMA_ADPCM", 22050, 22050, b""),
    ("ALAC in CAF", "CAF", "ALAC_16", 22050, 44100, b""),
]


@pytest.mark.parametrize(
    ("form", "subtype", "first", "second", "between"), [r[1:] for r in JOINED], ids=[r[0] for r in JOINED]
)
def test_joined_files_are_read_whole(
    tmp_path: Path, form: str, subtype: str | None, first: int, second: int, between: bytes
) -> None:
    a = encoded(tmp_path / "a", tone(LOW, first), first, form, subtype)
    b = encoded(tmp_path / "b", tone(HIGH, second), second, form, subtype)
    samples, notes = read(text(tmp_path / "joined", a + between + b))
    assert len(samples) / RATE == pytest.approx(2 * SECONDS, abs=0.15)  # MP3 pads
    assert pitches(samples, 0.5, 2.1, 3.0, 4.5) == [LOW, LOW, HIGH, HIGH]
    assert not notes


def test_mono_and_stereo_joined(tmp_path: Path) -> None:
    a = encoded(tmp_path / "a", tone(LOW), form="OGG")
    b = encoded(tmp_path / "b", tone(HIGH, channels=2), form="OGG")
    samples, _ = read(text(tmp_path / "joined.ogg", a + b + a))
    assert len(samples) == pytest.approx(3 * SECONDS * RATE, abs=2)
    assert pitches(samples, 1.0, 3.5, 6.0) == [LOW, HIGH, LOW]


def test_joined_mp3_without_a_length_header(tmp_path: Path) -> None:
    path = headerless_mp3(tmp_path / "a.mp3")
    data = path.read_bytes()
    samples, notes = read(text(path, data + data))
    assert len(samples) / RATE == pytest.approx(24.0, abs=0.2)
    assert not notes


def test_a_length_header_that_states_a_part_of_an_mp3(tmp_path: Path) -> None:
    a = encoded(tmp_path / "a", tone(LOW, 44100), 44100, "MP3")
    b = encoded(tmp_path / "b", tone(HIGH, 44100), 44100, "MP3")
    frame = b.find(b[:2], 4)  # behind the frame with its length header
    samples, _ = read(text(tmp_path / "joined.mp3", a + b[frame:]))
    assert len(samples) / RATE == pytest.approx(2 * SECONDS, abs=0.15)
    assert pitches(samples, 0.5, 4.5) == [LOW, HIGH]


@pytest.mark.parametrize("rates", [(RATE, RATE), (RATE, 44100)])
def test_a_joined_flac_is_found_where_its_decoder_stops(tmp_path: Path, rates: tuple[int, int]) -> None:
    """Longer than what is searched before decoding: noise, which FLAC does not make smaller."""
    loud = [
        np.concatenate([tone(hz, rate), 2 * noise(16, rate, seed=3)]) for hz, rate in zip((LOW, HIGH), rates, strict=True)
    ]
    a, b = (encoded(tmp_path / "a", x, rate, "FLAC") for x, rate in zip(loud, rates, strict=True))
    samples, notes = read(text(tmp_path / "joined.flac", a + b + ID3V2 + a))
    assert len(samples) / RATE == pytest.approx(3 * 18.5, abs=0.01)
    assert pitches(samples, 1.0, 19.5, 38.0) == [LOW, HIGH, LOW]
    assert not notes


def test_a_longer_flac_joined_to_a_shorter_one(tmp_path: Path) -> None:
    a, b = (encoded(tmp_path / "a", 2 * noise(seconds, RATE, seed=3), form="FLAC") for seconds in (4, 9))
    samples, notes = read(text(tmp_path / "joined.flac", a + b))
    assert len(samples) / RATE == pytest.approx(13.0, abs=0.01)
    assert not notes


@pytest.mark.parametrize("extra", [bytes(1), b"text behind it\n", JUNK], ids=["zero", "text", "noise"])
def test_bytes_behind_a_flac(tmp_path: Path, extra: bytes) -> None:
    data = encoded(tmp_path / "a", tone(LOW), form="FLAC")
    samples, notes = read(text(tmp_path / "a.flac", data + extra))
    assert len(samples) == round(SECONDS * RATE)
    assert notes == (() if extra == bytes(1) else ("bytes behind 2.50 s are no sound that can be read; left out",))


def test_a_flac_whose_checksum_ends_with_zeros_is_whole(tmp_path: Path) -> None:
    """Each 256th file ends so; a checksum cannot tell its own zeros from others."""
    x, data = (noise(2.1, RATE, seed=0) * 300).astype(np.int16), b"?"
    while data[-1]:
        x[-1] += 1
        data = encoded(tmp_path / "a", x, form="FLAC")
    for n in range(4):
        path = tmp_path / f"{n}.flac"
        path.write_bytes(data + bytes(n))
        decoded, notes = read(path)
        assert (len(decoded), notes) == (len(x), ()), f"{n} zeros behind it"


def test_a_flac_header_that_states_less_than_there_is(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a", tone(LOW), form="FLAC")
    data = data[:21] + bytes([data[21] & 0xF0]) + struct.pack(">I", RATE) + data[26:]
    samples, notes = read(text(tmp_path / "a.flac", data))
    assert len(samples) == round(SECONDS * RATE)
    assert notes == ("its header ends at 1.00 s, the file holds 2.50 s; all of it is read",)


@pytest.mark.parametrize("extra", [b"", bytes(3), b"\xff" * 100, JUNK], ids=["nothing", "zeros", "ones", "noise"])
def test_bytes_behind_an_aac(tmp_path: Path, extra: bytes) -> None:
    data = packets(tmp_path / "a.aac", "adts", "aac", 4.0)
    samples, notes = read(text(tmp_path / "a.aac", data + extra))
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    assert bool(notes) == bool(extra.strip(b"\0"))


def test_a_missing_page_of_a_flac_in_ogg_has_a_note(tmp_path: Path) -> None:
    all_pages = pages(packets(tmp_path / "a.ogg", "ogg", "flac", 8.0))
    del all_pages[-2]
    _, notes = read(text(tmp_path / "b.ogg", b"".join(all_pages)))
    assert any(note.startswith("pages of its OGG are missing from ") for note in notes)


def packets(path: Path, form: str, codec: str, seconds: float) -> bytes:
    """Encode noise with FFmpeg."""
    x = np.ascontiguousarray(noise(seconds, RATE, seed=2).reshape(1, -1), np.float32)
    with av.open(path, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=RATE, layout="mono")
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", RATE)
        for start in range(0, x.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(x[:, start : start + 1024].copy(), "flt", "mono")
            frame.sample_rate, frame.pts = RATE, start
            for piece in resampler.resample(frame):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path.read_bytes()


# --- headers of samples that state too little or too much ---------------------------------------------------------------


def wav(tmp_path: Path, size: int | None = None, extra: bytes = b"", subtype: str = "PCM_16") -> Path:
    """A WAV file whose chunk of samples states another size."""
    data = encoded(tmp_path / "a", tone(LOW), subtype=subtype)
    at = data.index(b"data") + 4
    stated = struct.pack("<I", len(data) - at - 4 if size is None else size)
    return text(tmp_path / "a.wav", data[:at] + stated + data[at + 4 :] + extra)


N_BYTES = 2 * round(SECONDS * RATE)
PLACEHOLDERS = [0x80000000, 0x7FFFFF00, 0x7F000000, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000024, 0xFFFFFFDB, 0x7FFF0000]


@pytest.mark.parametrize("size", PLACEHOLDERS, ids=hex)
@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU"])
def test_a_placeholder_for_a_size_means_all_there_is(tmp_path: Path, form: str, size: int) -> None:
    data = bytearray(encoded(tmp_path / "a", tone(LOW), form=form))
    at, order = {"WAV": (data.find(b"data") + 4, "<"), "AIFF": (data.find(b"SSND") + 4, ">"), "AU": (8, ">")}[form]
    data[at : at + 4] = struct.pack(f"{order}I", size)
    samples, notes = read(text(tmp_path / "a", bytes(data)))
    assert len(samples) == round(SECONDS * RATE)
    assert all("never completed" in note for note in notes)


def test_sizes_of_64_bits_that_were_never_written(tmp_path: Path) -> None:
    for form, name, skip, width in (("RF64", b"ds64", 16, 8), ("W64", b"data", 16, 8), ("CAF", b"data", 4, 8)):
        for value in (b"\0" * width, b"\xff" * width):
            data = bytearray(encoded(tmp_path / "a", tone(LOW), form=form))
            at = data.find(name) + skip
            data[at : at + width] = value
            samples, notes = read(text(tmp_path / "a", bytes(data)))
            assert len(samples) == pytest.approx(round(SECONDS * RATE), abs=4), (form, value)
            assert all("never completed" in note for note in notes)


@pytest.mark.parametrize("off", [8, 36, 44, 80, 1])
def test_a_size_that_counts_the_header(tmp_path: Path, off: int) -> None:
    samples, notes = read(wav(tmp_path, N_BYTES + off))
    assert len(samples) == round(SECONDS * RATE)
    assert notes == (f"its header states {off} bytes of samples more than the file holds; read to the end of the file",)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_samples_behind_those_that_the_header_states(tmp_path: Path, subtype: str) -> None:
    n = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4, "ULAW": 1}[subtype] * RATE
    samples, notes = read(wav(tmp_path, n, subtype=subtype))
    assert len(samples) == round(SECONDS * RATE)
    assert notes == ("its header ends at 1.00 s, the file goes on for 1.50 s; all of it is read",)


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF", "W64"])
def test_samples_behind_the_end_of_other_files(tmp_path: Path, form: str) -> None:
    more = (noise(1.0, RATE, seed=3) * 32767).astype("<i2").tobytes()
    samples, notes = read(text(tmp_path / "a", encoded(tmp_path / "b", tone(LOW), form=form) + more))
    assert len(samples) / RATE == pytest.approx(SECONDS + 1.0, abs=0.01)
    assert notes == ("its header ends at 2.50 s, the file goes on for 1.00 s; all of it is read",)


def test_two_chunks_of_samples(tmp_path: Path) -> None:
    more = (tone(HIGH)[:, 0] * 32767).astype("<i2").tobytes()
    samples, _ = read(wav(tmp_path, extra=b"LIST\4\0\0\0abcd" + b"data" + struct.pack("<I", len(more)) + more))
    assert len(samples) == 2 * round(SECONDS * RATE)
    assert pitches(samples, 1.0, 4.0) == [LOW, HIGH]


def test_many_zeros_behind_the_end_have_a_note(tmp_path: Path) -> None:
    samples, notes = read(wav(tmp_path, extra=bytes(2_000_000)))
    assert len(samples) == round(SECONDS * RATE)
    assert notes == ("2000000 zero bytes behind 2.50 s left out",)


def test_a_wav_of_nothing_but_a_hole_whose_sizes_wrapped(tmp_path: Path) -> None:
    path = wav(tmp_path)
    with path.open("r+b") as file:
        file.truncate((1 << 32) + path.stat().st_size)
    with path.open("rb") as file:
        (part,) = read_contents(file).parts
    assert part.n_frames == ((1 << 32) + N_BYTES) // 2


def test_a_wav_whose_sizes_wrapped_at_4_gib(tmp_path: Path) -> None:
    """27 hours at 22050 Hz, of which the sizes keep what is beyond 4 GiB; a sparse file, of which the start is read."""
    path = wav(tmp_path, N_BYTES)
    with path.open("r+b") as file:
        file.truncate((1 << 32) + 44 + N_BYTES)
        file.seek(-N_BYTES, 2)
        file.write((tone(HIGH)[:, 0] * 32767).astype("<i2").tobytes())
    with path.open("rb") as file:
        contents = read_contents(file)
    assert contents.parts[0].n_frames == ((1 << 32) + N_BYTES) // 2
    assert contents.notes == ("its sizes wrapped at 4 GiB; all 97394.05 s of it are read",)
    reader = AudioFile(path, RECIPE).blocks()
    assert sum(len(next(reader)) for _ in range(4)) > N_BYTES // 2


GOOD: list[tuple[str, Callable[[Path], bytes]]] = [
    ("ID3 before RIFF", lambda p: ID3V2 + encoded(p / "a", tone(LOW))),
    ("ID3v1 behind FLAC", lambda p: encoded(p / "a", tone(LOW), form="FLAC") + ID3V1),
    ("APE behind FLAC", lambda p: encoded(p / "a", tone(LOW), form="FLAC") + APE),
    ("APE and ID3v1 behind FLAC", lambda p: encoded(p / "a", tone(LOW), form="FLAC") + APE + ID3V1),
    ("zeros behind FLAC", lambda p: encoded(p / "a", tone(LOW), form="FLAC") + bytes(5000)),
    ("zeros behind OGG", lambda p: encoded(p / "a", tone(LOW), form="OGG") + bytes(200_000)),
    ("tag behind OGG", lambda p: encoded(p / "a", tone(LOW), form="OGG") + ID3V1),
    ("zeros behind WAV", lambda p: encoded(p / "a", tone(LOW)) + bytes(200_000)),
    ("tag behind WAV", lambda p: encoded(p / "a", tone(LOW)) + ID3V1),
    ("ID3 before AIFF", lambda p: ID3V2 + encoded(p / "a", tone(LOW), form="AIFF")),
    ("ID3 before FLAC", lambda p: ID3V2 + encoded(p / "a", tone(LOW), form="FLAC")),
    ("ID3 before OGG", lambda p: ID3V2 + encoded(p / "a", tone(LOW), form="OGG")),
    ("zeros behind MP3", lambda p: encoded(p / "a", tone(LOW), form="MP3") + bytes(5000)),
    ("APE and ID3v1 behind MP3", lambda p: encoded(p / "a", tone(LOW), form="MP3") + APE + ID3V1),
    ("a chunk of odd size without its pad byte", lambda p: unpadded(encoded(p / "a", tone(LOW)))),
    ("an odd number of bytes of samples, and a chunk behind", lambda p: odd(encoded(p / "a", tone(LOW), subtype="PCM_U8"))),
]


def unpadded(data: bytes) -> bytes:
    return data[:12] + b"note" + struct.pack("<I", 5) + b"abcde" + data[12:]


def odd(data: bytes) -> bytes:
    at = data.index(b"data")
    return data[: at + 4] + struct.pack("<I", 55001) + data[at + 8 : at + 8 + 55001] + b"\0LIST\4\0\0\0abcd"


@pytest.mark.parametrize("make", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_good_files_are_read_without_a_note(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    samples, notes = read(text(tmp_path / "good", make(tmp_path)))
    assert len(samples) / RATE == pytest.approx(SECONDS, abs=0.07)
    assert pitches(samples, 0.5, 2.0) == [LOW, LOW]
    assert not notes


# --- sound that is missing --------------------------------------------------------------------------------------------


def pages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        n = data[at + 26]
        end = at + 27 + n + sum(data[at + 27 : at + 27 + n])
        found.append(data[at:end])
        at = end
    return found


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 22050), ("OPUS", 48000)])
@pytest.mark.parametrize("damage", ["page lost", "two pages lost", "a bit in a page"])
def test_a_missing_page_of_an_ogg_is_silence_and_a_note(tmp_path: Path, subtype: str, rate: int, damage: str) -> None:
    x = np.concatenate([tone(LOW, rate, 4.0), tone(HIGH, rate, 4.0)])
    all_pages = pages(encoded(tmp_path / "a", x, rate, "OGG", subtype))
    if damage == "a bit in a page":
        all_pages[3] = all_pages[3][:2000] + bytes([all_pages[3][2000] ^ 4]) + all_pages[3][2001:]
    else:
        del all_pages[3 : 4 + (damage == "two pages lost")]
    samples, notes = read(text(tmp_path / "a.ogg", b"".join(all_pages)))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.02)
    assert pitches(samples, 0.3, 5.5, 7.5) == [LOW, HIGH, HIGH]
    (note,) = (n for n in notes if "no sound from" in n)
    assert "missing in the file; read as silence" in note


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 22050), ("OPUS", 48000)])
def test_the_first_page_of_an_ogg_is_missing_or_a_page_is_there_twice(tmp_path: Path, subtype: str, rate: int) -> None:
    x = np.concatenate([tone(LOW, rate, 4.0), tone(HIGH, rate, 4.0)])
    all_pages = pages(encoded(tmp_path / "a", x, rate, "OGG", subtype))
    samples, notes = read(text(tmp_path / "a.ogg", b"".join(all_pages[:2] + all_pages[3:])))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.02)
    assert pitches(samples, 3.0, 5.5) == [LOW, HIGH]
    assert [note for note in notes if note.startswith("no sound from 0.00 to ")]
    samples, _ = read(text(tmp_path / "b.ogg", b"".join(all_pages[:4] + all_pages[3:])))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.02)


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 22050), ("OPUS", 48000)])
def test_a_gap_in_the_time_stamps_of_an_ogg_is_silence_and_a_note(tmp_path: Path, subtype: str, rate: int) -> None:
    all_pages = pages(encoded(tmp_path / "a", tone(LOW, rate, 8.0), rate, "OGG", subtype))
    for i in range(4, len(all_pages)):
        head = bytearray(all_pages[i])
        (position,) = struct.unpack("<q", head[6:14])
        head[6:14] = struct.pack("<q", position + 20 * rate)
        head[22:26] = struct.pack("<I", ogg_checksum(bytes(head[:22]) + bytes(4) + bytes(head[26:])))
        all_pages[i] = bytes(head)
    samples, notes = read(text(tmp_path / "a.ogg", b"".join(all_pages)))
    assert len(samples) / RATE == pytest.approx(28.0, abs=0.05)
    assert pitches(samples, 0.5, 15.0, 27.0) == [LOW, 0.0, LOW]
    (start, end) = next(note.split()[3:6:2] for note in notes if note.startswith("no sound from "))
    assert 1.0 < float(start) < 6.0
    assert float(end) - float(start) == pytest.approx(20.0, abs=0.1)


def ogg_checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def matroska(path: Path, packets: list[float], seconds: float = 4.0, codec: str = "libopus", rate: int = 48000) -> Path:
    """Low, then high; packets from the second packets[0] on come packets[1] seconds later."""
    x = np.concatenate([tone(LOW, rate, seconds / 2), tone(HIGH, rate, seconds / 2)])
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 128_000  # Windows Media Audio has no default
        frame = av.AudioFrame.from_ndarray((x[:, 0] * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            second = float((packet.pts or 0) * (packet.time_base or 0))
            if second >= packets[0] and packets[1]:
                packet.pts = packet.dts = round((second + packets[1]) / (packet.time_base or 1))
            container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mka", "libopus"), ("webm", "libopus"), ("m4a", "aac"), ("wma", "wmav2"), ("ts", "aac")]
)
def test_a_gap_in_the_time_stamps_is_silence_and_a_note(tmp_path: Path, suffix: str, codec: str) -> None:
    samples, notes = read(matroska(tmp_path / f"a.{suffix}", [2.0, 3.0], codec=codec))
    assert len(samples) / RATE == pytest.approx(7.0, abs=0.1)
    assert pitches(samples, 1.0, 3.5, 6.0) == [LOW, 0.0, HIGH]
    assert [note for note in notes if "no sound from" in note]


def test_a_time_stamp_years_ahead_is_noted_and_not_filled(tmp_path: Path) -> None:
    samples, notes = read(matroska(tmp_path / "a.mka", [2.0, 100_000.0]))
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    assert [note for note in notes if note.startswith("100000 s are missing at 2.0")]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(
            ("mka", "aac"),
            ("webm", "libopus"),
            ("avi", "mp2"),
            ("aac", "aac"),
            ("ts", "aac"),
            ("m4a", "aac"),
            ("flv", "aac"),
        ),
        *(("wma", "wmav1"), ("wma", "wmav2"), ("caf", "alac")),
        *(("mov", "pcm_s16le"), ("tta", "tta"), ("wv", "wavpack"), ("ac3", "ac3"), ("voc", "pcm_s16le")),
    ],
)
def test_joined_files_of_ffmpeg_are_read_whole(tmp_path: Path, suffix: str, codec: str) -> None:
    rate = 44100 if suffix in ("flv", "tta") else 48000
    data = matroska(tmp_path / f"a.{suffix}", [0.0, 0.0], codec=codec, rate=rate).read_bytes()
    samples, notes = read(text(tmp_path / f"joined.{suffix}", data + data))
    assert len(samples) / RATE == pytest.approx(8.0, abs=0.15)
    assert pitches(samples, 1.0, 3.0, 5.0, 7.0) == [LOW, HIGH, LOW, HIGH]
    assert not notes


def test_an_avi_with_empty_chunks_is_read_with_a_note(tmp_path: Path) -> None:
    """FFmpeg writes one for each frame that is missing; a decoder steps over them, so sound comes too early."""
    samples, notes = read(matroska(tmp_path / "a.avi", [0.0, 10.0], codec="libmp3lame"))
    assert len(samples) / RATE == pytest.approx(4.0, abs=0.1)
    assert [note for note in notes if "its container states 14.0" in note]


@pytest.mark.parametrize("length", [0.8, 0.97])
def test_an_avi_cut_short_has_a_note(tmp_path: Path, length: float) -> None:
    data = matroska(tmp_path / "a.avi", [0.0, 0.0], codec="mp2").read_bytes()
    _, notes = read(text(tmp_path / "cut.avi", data[: round(length * len(data))]))
    assert any("it was cut at " in note for note in notes)


def test_several_tracks_have_a_note(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mka"), "w") as container:
        tracks: list[Any] = [container.add_stream("aac", rate=44100, layout="mono") for _ in range(2)]
        for track, hz in zip(tracks, (LOW, HIGH), strict=True):
            frame = av.AudioFrame.from_ndarray(tone(hz, 44100).T.copy(), "fltp", "mono")
            frame.sample_rate, frame.pts = 44100, 0
            container.mux([*track.encode(frame), *track.encode(None)])
    samples, notes = read(tmp_path / "a.mka")
    assert pitches(samples, 1.0) == [LOW]
    assert notes == ("it has 2 audio tracks; the first that can be decoded is read",)


CUT_NOTED = [("webm", "libopus", 48000), ("mka", "flac", 44100), ("mka", "aac", 44100)]


@pytest.mark.parametrize(("suffix", "codec", "rate"), CUT_NOTED)
@pytest.mark.parametrize("share", [0.7, 0.93])
def test_a_matroska_file_cut_short_has_a_note(tmp_path: Path, suffix: str, codec: str, rate: int, share: float) -> None:
    data = matroska(tmp_path / f"a.{suffix}", [0.0, 0.0], codec=codec, rate=rate).read_bytes()
    samples, notes = read(text(tmp_path / f"cut.{suffix}", data[: round(share * len(data))]))
    assert 2.0 < len(samples) / RATE < 3.95
    assert notes


@pytest.mark.parametrize(
    "form", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64", "SVX", "NIST", "VOC", "AVR", "MAT4", "MAT5", "MPC2K", "SDS"]
)
def test_a_file_of_stated_size_cut_short_is_refused(tmp_path: Path, form: str) -> None:
    data = encoded(tmp_path / "a", tone(LOW), form=form, subtype="PCM_16")
    with pytest.raises(AudioError, match="is truncated: the header promises"):
        read(text(tmp_path / "cut", data[: round(0.9 * len(data))]))


def test_an_mp3_with_a_hole_is_read_on_both_sides_of_it(tmp_path: Path) -> None:
    path = headerless_mp3(tmp_path / "a.mp3")
    data = path.read_bytes()
    samples, notes = read(text(path, data[:30_000] + data[30_777:]))
    assert len(samples) / RATE == pytest.approx(12.0, abs=0.3)
    assert len(notes) == 1
    assert "are missing or damaged; left out" in notes[0]


def test_a_flac_of_unknown_length_cut_short_is_refused(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a", noise(6.0), form="FLAC")
    data = data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]
    for share in (0.5, 0.77, 0.9):
        with pytest.raises(AudioError, match="cannot be decoded beyond"):
            read(text(tmp_path / "cut.flac", data[: round(share * len(data))]))
