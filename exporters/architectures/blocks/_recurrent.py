r"""Recurrent layers as plain steps: an LSTM over a sequence is what its cell gives when it is called for every element.

    (h_t, c_t) = cell(x_t, h_(t-1), c_(t-1))           (see `blocks/_transducer.py` for the cell)

A whole sequence of any length goes through `torch.nn.LSTM`, one ONNX operator; `Unrolled` shares the cell's weights and
writes the steps one after the other, for a length that is known: products of matrices and gates, which is what
accelerators have. The products with the inputs, which need no earlier step, are one.
"""

from __future__ import annotations

import torch

from edgepack.exporters.architectures.blocks._transducer import Cell, LSTMStep


class Unrolled(torch.nn.Module):
    """An LSTM over sequences of a known length.

    Args:
        inputs: Channels of an element.
        width: Of the state.
        backwards: From the last element to the first.
    """

    def __init__(self, inputs: int, width: int, *, backwards: bool = False) -> None:
        super().__init__()
        self.cell = LSTMStep(inputs, width)
        self.width, self.backwards = width, backwards

    def forward(self, x: torch.Tensor, cell: Cell | None = None) -> tuple[torch.Tensor, Cell]:
        """All states [batch, length, width] of `x` [batch, length, inputs], and the last ones."""
        if cell is None:
            zero = torch.zeros_like(x[:, 0, :1]).expand(-1, self.width)
            cell = (zero, zero)
        gates = self.cell.input(x).unbind(1)
        order = range(len(gates) - 1, -1, -1) if self.backwards else range(len(gates))
        found = []
        for t in order:
            cell = self.cell.gated(gates[t], cell)
            found.append(cell[0])
        return torch.stack(found[::-1] if self.backwards else found, 1), cell


class Bidirectional(torch.nn.Module):
    """Two LSTMs, one each way, their states side by side: [batch, length, 2 width]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards = Unrolled(inputs, width)
        self.backwards = Unrolled(inputs, width, backwards=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, inputs]."""
        return torch.cat([self.forwards(x)[0], self.backwards(x)[0]], -1)
