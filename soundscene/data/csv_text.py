"""The text of a CSV file: UTF-8, or one line that says what else it is."""

from pathlib import Path

from soundscene.errors import ManifestError
from soundscene.texts import short


def read_text(path: Path) -> str:
    """Read the text of a CSV file.

    Args:
        path: The file.

    Raises:
        ManifestError: It cannot be read, or is no UTF-8; the message says what it is.
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
    if (encoding := _utf_16(data)) is not None:
        raise ManifestError(f'{path}: is {encoding}; save the file as UTF-8 (in spreadsheet programs: "CSV UTF-8")')
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 "
            '(in spreadsheet programs: "CSV UTF-8")'
        ) from None


def _utf_16(data: bytes) -> str | None:
    """Name the encoding of text of two or four bytes a character; None for others. Text in UTF-8 holds no zeros."""
    head = data[:4000]
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    zeros = head.count(0)
    if 4 * zeros < len(head) or len(head) < 8:
        return None
    wide = 2 * zeros > len(head) + len(head) // 8
    return f"{'UTF-32' if wide else 'UTF-16'} without a byte order mark"
