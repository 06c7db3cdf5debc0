"""Check the wording of docstrings: they say what something does or is, and pose no question."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = ("multimodal_fer", "recipes", "benchmarks", "examples", "tests")
QUESTIONS = {"What", "Whether", "How", "Who", "Where", "Which", "Why", "When"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def openings(path: Path) -> list[tuple[int, str]]:
    """Return line and first word of each docstring in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            word = re.match(r"\w+", text)
            found.append((node.body[0].lineno, word[0] if word else ""))
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_open_with_no_question(folder):
    count: Counter[str] = Counter()
    places = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, word in openings(path):
            count[word] += 1
            if word in QUESTIONS:
                places.append(f"{path.relative_to(ROOT)}:{line}: {word} …")
    assert count.total() > 0
    assert not places, "\n".join(
        [f"{len(places)} of {count.total()} docstrings open with a question word:", *places]
    )


def test_openings_of_all_kinds_of_docstrings(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""What it is."""\nclass A:\n    """A thing."""\n    async def run(self):\n'
        '        """Whether it runs."""\ndef bare():\n    pass\n'
    )
    assert openings(path) == [(1, "What"), (3, "A"), (5, "Whether")]
