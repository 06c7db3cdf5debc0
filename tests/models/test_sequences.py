"""Sequences of unequal lengths: `run_gru` equals torch's packed sequences, and is faster."""

import time

import pytest
import torch
from torch import nn

from multimodal_fer.layers.sequences import _gru_packed, run_gru


def gradients(run, layer, steps, lengths):
    """Return outputs, last states, and the gradients of a sum over both by weights and inputs."""
    steps = steps.clone().requires_grad_()
    outputs, last = run(layer, steps, lengths)
    weight = torch.arange(outputs.numel()).reshape(outputs.shape).sin()
    found = (outputs * weight).sum() + last.square().sum()
    return outputs, last, *torch.autograd.grad(found, [*layer.parameters(), steps])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [[5], [7, 1, 4], [3, 6, 6, 2]])
def test_gru_equals_the_packed_one(bidirectional, lengths):
    torch.manual_seed(3)
    layer = nn.GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    steps, sizes = torch.randn(len(lengths), 9, 5), torch.tensor(lengths)
    got, wanted = (gradients(run, layer, steps, sizes) for run in (run_gru, _gru_packed))
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_affects_neither_outputs_nor_gradients(bidirectional):
    torch.manual_seed(3)
    layer = nn.GRU(5, 4, batch_first=True, bidirectional=bidirectional)
    steps, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    clean = gradients(run_gru, layer, steps, lengths)
    steps[1, 3:] = torch.nan
    for ours, theirs in zip(gradients(run_gru, layer, steps, lengths), clean, strict=True):
        assert torch.equal(ours, theirs)


def test_training_without_packing_is_faster_on_a_cpu():
    torch.manual_seed(3)
    layer = nn.GRU(39, 128, batch_first=True)
    steps, lengths = torch.randn(16, 600, 39), torch.full((16,), 600)

    def seconds(run):
        started = time.perf_counter()
        gradients(run, layer, steps, lengths)
        return time.perf_counter() - started

    pairs = [(seconds(run_gru), seconds(_gru_packed)) for _ in range(4)]
    ours, packed = (min(times) for times in zip(*pairs, strict=True))
    assert 1.2 * ours < packed
