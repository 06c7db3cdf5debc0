"""Test a training step of every network with channels-last kernels.

The steps run in another process, because a fault in a library can end the process.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_pretrained import save_text, save_voice
from torch import nn

from multimodal_fer.labels import OPEN7
from multimodal_fer.layers.pointwise import Pointwise
from multimodal_fer.models import MODELS, build

ENCODERS = {"pretrained-voice": "wav2vec2-group", "pretrained-text": "bert"}
EVIDENCE = {"part_labels": {"face": list(OPEN7), "text": list(OPEN7)}}
NARROW = {
    "mini-xception": ([8, 8], [8, 16, 32]),
    "se-resnet": ([8, 8], [8, 16], [12, 12], [16, 16], [24, 16], [32, 16, 8]),
    "article": ([4, 8], [16, 16]),
}
CASES: dict[str, tuple[str, dict, str]] = {
    **{
        f"{model} of {'-'.join(map(str, widths))}, {precision}": (
            model,
            {"widths": widths, **({"blocks": [1] * len(widths)} if model == "se-resnet" else {})},
            precision,
        )
        for model, shapes in NARROW.items()
        for widths in shapes
        for precision in ("float32", "bfloat16")
    },
    "speech of 8-16": ("speech", {"channels": [8, 16]}, "float32"),
    **{
        model: (model, EVIDENCE if model == "late-attention" else {}, "float32")
        for model in MODELS
        if model not in ENCODERS
    },
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the outcome of each case: `learns`, or the error output of the process."""
    cases = CASES | {
        model: (model, {"backbone": str(folder)}, "float32")
        for model, folder in save_encoders(tmp_path_factory.mktemp("encoders")).items()
    }
    known: dict[str, str] = {}
    while left := [[case, *what] for case, what in cases.items() if case not in known]:
        known |= run_until_one_ends(left)
    return known


def save_encoders(root: Path) -> dict[str, Path]:
    kinds = zip(ENCODERS.items(), (save_voice, save_text), strict=True)
    return {model: save(root / model, kind) for (model, kind), save in kinds}


def run_until_one_ends(cases: list[list]) -> dict[str, str]:
    ended = subprocess.run(
        [sys.executable, ROOT / "tests" / "layers" / "training_steps.py", json.dumps(cases)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    lines = ended.stdout.splitlines()
    known = {line.removeprefix("ends "): "learns" for line in lines if line.startswith("ends ")}
    if ended.returncode:
        fault = f"ended the process with status {ended.returncode}: {ended.stderr[-2000:]}"
        known[lines[-1].removeprefix("begins ") if lines else cases[0][0]] = fault
    return known


@pytest.mark.parametrize("case", [*CASES, *ENCODERS])
def test_a_training_step_does_not_end_the_process(case: str, outcomes: dict[str, str]) -> None:
    assert outcomes[case] == "learns"


@pytest.mark.parametrize("model", sorted(set(MODELS) - set(ENCODERS)))
def test_no_network_leaves_a_strided_1x1_convolution_to_the_library(model: str) -> None:
    with torch.device("meta"):  # no memory is allocated
        network = build(model, EVIDENCE if model == "late-attention" else {})
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            assert module.stride == (1, 1) or isinstance(module, Pointwise), name


@pytest.mark.parametrize("sides", [(12, 12), (7, 9), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_steps_taken_first_give_the_numbers_of_a_strided_convolution(
    sides: tuple[int, int], stride: int
) -> None:
    torch.manual_seed(0)
    ours = Pointwise(
        5, 6, stride, bias=True
    ).double()  # oneDNN does not support float64, so that torch computes both
    theirs = nn.Conv2d(5, 6, 1, stride).double()
    theirs.load_state_dict(ours.state_dict())
    given = [torch.randn(3, 5, *sides).double().requires_grad_() for _ in range(2)]
    given[1].data.copy_(given[0].data)
    answers = [convolve(each) for convolve, each in zip((ours, theirs), given, strict=True)]
    torch.testing.assert_close(*answers)
    for answer in answers:
        answer.square().sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
