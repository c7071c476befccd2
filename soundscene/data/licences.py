"""Licences of recordings, as the rows of a manifest state them: a column named licence or license."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from soundscene.texts import fold_case, fold_name, short
from soundscene.types import Recording

COLUMNS = ("licence", "license", "licences", "licenses")
"""Names of the column, compared without case, spaces, hyphens and underscores."""


def licence_of(recording: Recording) -> str:
    """Return the licence that the row of a recording states; nothing where it states none.

    Args:
        recording: Row of a manifest.
    """
    stated = (cell for name, cell in recording.columns.items() if re.sub(r"[\s_-]", "", name).casefold() in COLUMNS)
    return next((short(licence) for cell in stated if (licence := fold_name(cell))), "")


def licence_facts(recordings: Iterable[Recording], otherwise: str | None = None) -> dict[str, Any]:
    """Count the licences of recordings for the provenance of a model.

    Spellings that differ in case, or in spaces and hyphens, are one licence, named as it is spelled first.

    Args:
        recordings: All that a model is trained on and calibrated with.
        otherwise: Licence of those whose rows state none.

    Returns:
        "licences", the number of recordings by licence, the most frequent first, and "recordings_without_licence", where
        there are some. Nothing where no licence is known.
    """
    spellings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    without = 0
    for recording in recordings:
        if not (licence := licence_of(recording) or short(fold_name(otherwise or ""))):
            without += 1
            continue
        counts[spellings.setdefault(re.sub(r"[\s_-]+", "-", fold_case(licence)), licence)] += 1
    if not counts:
        return {}
    return {"licences": dict(counts.most_common())} | ({"recordings_without_licence": without} if without else {})
