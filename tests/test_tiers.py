"""The lists of tests name tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_listed_tests_exist() -> None:
    for name in ("long_tests.txt", "allowed_skips.txt"):
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            node = line.partition("#")[0].strip()
            file, _, test = node.partition("::")
            if node:
                text = (HERE.parent / file).read_text(encoding="utf-8")
                assert not test or re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{name}: {node}"
