"""The text of a CSV file: UTF-8, UTF-16 or UTF-32, or one line that says that it is something else."""

from pathlib import Path

from soundscene.audio.containers import not_audio
from soundscene.audio.folders import AUDIO_SUFFIXES
from soundscene.errors import ManifestError
from soundscene.texts import short

_HEAD = 4000  # bytes
_SOUND = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b"caff")


def read_text(path: Path) -> str:
    """Read the text of a CSV file.

    Args:
        path: The file.

    Raises:
        ManifestError: It cannot be read, or is no Unicode; the message names the byte.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise ManifestError(
            f"{path}: is a directory; expected the CSV file itself, for example manifest.csv in it"
        ) from None
    except FileNotFoundError:
        raise ManifestError(f"{short(str(path))}: does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise ManifestError(f"{short(str(path))}: cannot be read ({reason})") from None
    if what := _no_text(path, data):
        raise ManifestError(f"{path}: is {what}, expected a CSV with the columns path and scene, or a folder of recordings")
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ManifestError(
                f"{path}: is {encoding.upper()}, but damaged ({error.reason}); save the file as UTF-8 (in spreadsheet "
                'programs: "CSV UTF-8")'
            ) from None
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 "
            '(in spreadsheet programs: "CSV UTF-8")'
        ) from None


def _no_text(path: Path, data: bytes) -> str:
    """Say what a file is that stands in the place of a CSV; nothing of what may be one."""
    head = data[:_HEAD]
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "a model"
    if path.suffix.lower() == ".onnx" and b"\0" in head:
        return "an exported model"
    if (what := not_audio(head)) and what != "plain text":
        return what
    binary = b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return "a sound file" if path.suffix.lower() in AUDIO_SUFFIXES and (binary or head.startswith(_SOUND)) else ""


def _encoding(data: bytes) -> str:
    """Name the encoding by the byte order mark, or by where the zeros are: text in UTF-8 holds none."""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = data[:4000]
    zeros = head.count(0)
    if 4 * zeros < len(head) or len(head) < 8:
        return "utf-8-sig"
    width = "32" if 2 * zeros > len(head) + len(head) // 8 else "16"
    return f"utf-{width}-{'be' if head[0] == 0 else 'le'}"  # a header begins with ASCII, whose first byte is zero or last
