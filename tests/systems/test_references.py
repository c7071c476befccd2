"""Citations of the systems of Table 3 against the paper's list of references: number, authors, year, title."""

import ast
import re
from pathlib import Path

import pytest

from soundscene.report.published import PUBLISHED, REFERENCES

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for package in ("systems", "training", "network") for path in (ROOT / "soundscene" / package).glob("*.py")
)
PAGES = sorted(
    path for n in ("0054", *map("01{}".format, range(10, 19))) for path in (ROOT / "docs/decisions").glob(f"{n}-*")
)
NAME = r"[A-Z][a-zé]+"
CITATION = re.compile(rf"{NAME}(?:(?:, {NAME})* and {NAME}| et al\.) \d{{4}}")
OTHERS = {  # works that are not in Table 3, and are cited as such
    "Bisot and Serizel 2017",
    "Phan, Hertel, Maass, Mazur and Mertins 2016",
    "Perronnin, Sanchez and Mensink 2010",
    "Eggert and Koerner 2004",
}


def wrong_citations(text: str, every_number: bool) -> list[str]:
    """Citations of a text that differ from the list, and with `every_number` numbers alone whose work is not named."""
    text = " ".join(text.split())
    known = OTHERS | {work.cited for work in REFERENCES.values()}
    wrong = [found for found in CITATION.findall(text) if found not in known]
    for number, cited in re.findall(r"\[(\d+)\][\"”]? \(([^()\d]* \d{4})[^()]*\)", text):
        if REFERENCES[int(number)].cited != cited:
            wrong.append(f"[{number}] {cited}")
    if every_number:
        numbers = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
        wrong += [
            f"[{number}] without {REFERENCES[number].cited}" for number in numbers if REFERENCES[number].cited not in text
        ]
    return wrong


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def head(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("**Choice.**")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_docstrings_cite_what_the_paper_cites(path: Path) -> None:
    text = docstring(path)
    assert wrong_citations(text, every_number=path.parent.name == "systems") == []
    numbers = [int(number) for number in re.findall(r"\[(\d+)\]", text)]
    for title in re.findall(r"\d{4}, \"([^\"]+)\"", " ".join(text.split())):
        assert title in {REFERENCES[number].title for number in numbers}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_heads_of_pages_cite_what_the_paper_cites(page: Path) -> None:
    assert wrong_citations(head(page), every_number=True) == []
    assert wrong_citations(page.read_text(encoding="utf-8"), every_number=False) == []


def test_every_system_of_another_author_has_a_reference_that_its_page_and_its_module_name() -> None:
    rows = [row for row in PUBLISHED if row.page]
    assert {row.reference for row in rows} == {*REFERENCES}
    cited = " ".join(docstring(path) for path in MODULES if path.parent.name == "systems")
    for row in rows:
        (page,) = (path for path in PAGES if path.name.startswith(row.page))
        assert f"[{row.reference}]" in head(page)
        assert f"[{row.reference}]" in cited
    assert not any(row.reference for row in PUBLISHED if not row.page)


@pytest.mark.parametrize(
    "altered",
    [
        "LSTM-SA [34] (Zhang, Zhang and Wu 2017)",
        "LSTM-SA [34] (Bae, Choi and Kim 2018)",
        "LTE-CNN [6] (Phan et al. 2017)",
        "HOG+SPD [39] (Bisot, Serizel, Essid and Richard 2016)",  # another work of the list
        "CNNs [9]: networks. Source: Yin, Shah, Wang and Zimmermann 2018",
        "CNNs [9]: networks",
    ],
)
def test_an_altered_name_or_year_is_noticed(altered: str) -> None:
    assert wrong_citations("LSTM-SA [34] (Zhang, Zhang and Wu 2018)", every_number=True) == []
    assert wrong_citations(altered, every_number=True) != []
