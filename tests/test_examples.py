"""Check the notebooks in examples/: they run from first to last cell and are committed without outputs."""

import csv
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SECONDS = 300  # for one cell on a busy machine


def read(path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: extra dev")
    return nbformat.read(path, as_version=4)


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Return a function that runs a notebook in an empty working directory and returns what it printed."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: extra dev")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: extra dev")
    for variable in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    for variable in ("MULTIMODAL_FER_WEIGHTS", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)

    def run(name):
        book = read(ROOT / "examples" / name)
        place = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(
            book, timeout=SECONDS, kernel_name="python3", resources=place
        ).execute()
        outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
        return "".join(output.text for output in outputs if output.output_type == "stream")

    return run


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert cells
    for cell in cells:
        assert not cell.outputs and cell.execution_count is None, "clear all outputs and save again"


@pytest.mark.skipif(
    shutil.which("espeak-ng") is None,
    reason="needs espeak-ng, which speaks the sessions",
)
def test_a_usability_study(execute, tmp_path):
    printed = execute("usability_study.ipynb")
    results = only(tmp_path, "usability-study-*/results")
    segments = rows_of(results / "segments.csv")
    assert len({row["file"] for row in segments}) == 6
    assert {row["participant"] for row in segments} == {"P01", "P02", "P03"}
    assert any(row["emotion_face"] for row in segments)  # faces were detected
    assert rows_of(results / "errors.csv") == []
    assert (results / "index.html").as_uri() in printed and "P01_search" in printed


def test_training_and_publishing(execute, tmp_path):
    printed = execute("train_and_publish.ipynb")
    fetched = only(tmp_path, "train-and-publish-*/cache/lab--tiny7/*/tiny7/config.json")
    commit = fetched.parts[-3]
    assert f"/lab/tiny7/commit/{commit}" in printed
    assert "lab/tiny7: 'i love the help' expresses happiness" in printed
