"""Layers of the recurrent encoders of Yoon, Byun and Jung 2018 (arXiv 1810.04635).

ARE encodes voice, TRE text, MDRE both; MDREA adds attention from voice to text. Details that the paper
leaves open follow the authors' released code, where no feature is normalised. A length below 1 raises
`ValueError`; leave the network out if there is no voice or no text. Padding is ignored.

Shapes: B utterances, T frames or tokens, I inputs of a step, G gate values (2H), H hidden units,
D outputs, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from multimodal_fer.layers.sequences import check_lengths, present

SPREAD = 0.25  # linear layers start with uniform weights in ±SPREAD


class GRU(nn.Module):
    """One layer of gated recurrent units as TensorFlow 1 defines them; (B, T, I) to (B, T, H) and (B, H).

    It differs from `torch.nn.GRU` in three ways, so that weights and parameter counts are the published
    ones. The reset gate acts on the state before the matrix product. Each gate has one bias instead of
    two. Input and state share one orthogonal matrix (I + H, 2H) for both gates and one (I + H, H) for the
    candidate; the bias of the gates starts at 1. Parameters: 3H(I + H + 1).
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.sizes = [inputs, units]
        self.gates_kernel = nn.Parameter(torch.empty(inputs + units, 2 * units))
        self.gates_bias = nn.Parameter(torch.ones(2 * units))
        self.candidate_kernel = nn.Parameter(torch.empty(inputs + units, units))
        self.candidate_bias = nn.Parameter(torch.zeros(units))
        nn.init.orthogonal_(self.gates_kernel)
        nn.init.orthogonal_(self.candidate_kernel)

    def forward(self, inputs_BTI: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs up to the longest length, zero in the padding, and the last states."""
        longest = check_lengths(lengths_B, inputs_BTI.shape[1])
        absent_BT1 = ~present(lengths_B, longest).unsqueeze(2)
        # Set to zero, because a NaN in the padding would reach the gradient.
        inputs_BTI = inputs_BTI[:, :longest].masked_fill(absent_BT1, 0.0)
        # No mixed precision: its rounding errors would add up over hundreds of steps.
        with torch.autocast(inputs_BTI.device.type, enabled=False):
            outputs_BTH = self.unroll(inputs_BTI.to(self.gates_kernel.dtype))
        rows_B = torch.arange(len(lengths_B), device=outputs_BTH.device)
        last_BH = outputs_BTH[rows_B, lengths_B.to(outputs_BTH.device) - 1]
        return outputs_BTH.masked_fill(absent_BT1, 0.0), last_BH

    def unroll(self, inputs_BTI: Tensor) -> Tensor:
        """Return all states (B, T, H), those of the padding included."""
        gates_of_input, gates_of_state = self.gates_kernel.split(self.sizes)
        candidate_of_input, candidate_of_state = self.candidate_kernel.split(self.sizes)
        inputs_TBI = inputs_BTI.transpose(0, 1)
        # One matrix product for all steps is faster than one in each step.
        gates = (inputs_TBI @ gates_of_input + self.gates_bias).unbind()
        candidates = (inputs_TBI @ candidate_of_input + self.candidate_bias).unbind()
        state_BH = torch.zeros_like(candidates[0])
        states = []
        for gates_BG, candidate_BH in zip(gates, candidates, strict=True):
            gates_BG = torch.addmm(gates_BG, state_BH, gates_of_state).sigmoid()
            reset_BH, update_BH = gates_BG.chunk(2, dim=1)
            new_BH = torch.addmm(candidate_BH, reset_BH * state_BH, candidate_of_state).tanh()
            state_BH = torch.lerp(new_BH, state_BH, update_BH)  # update · old + (1 - update) · new
            states.append(state_BH)
        return torch.stack(states, dim=1)


class ScalarBiasLinear(nn.Module):
    """A linear layer whose outputs share one bias, as in the released code; (B, I) to (B, D)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-SPREAD, SPREAD))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, inputs_BI: Tensor) -> Tensor:
        return functional.linear(inputs_BI, self.weight) + self.bias


def sigmoid_cross_entropy(logits_BK: Tensor, classes_B: Tensor) -> Tensor:
    """Return the published loss: sigmoid cross-entropy with one-hot targets, mean over batch and labels.

    The paper states a softmax, the released code uses a sigmoid. `classes_B` are int64 label numbers;
    one outside 0..K-1 raises `RuntimeError`.
    """
    targets_BK = functional.one_hot(classes_B, logits_BK.shape[1]).to(logits_BK.dtype)
    return functional.binary_cross_entropy_with_logits(logits_BK, targets_BK)
