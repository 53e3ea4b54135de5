r"""The transducer's decoder: a prediction network over the tokens so far, joined with one frame of the encoder.

    i, f, g, o = W x + U h + b;   c' = sigmoid(f) c + sigmoid(i) tanh(g);   h' = sigmoid(o) tanh(c')
    joint(frame, prediction) = V relu(W_e frame + W_p prediction)

A. Graves, Sequence Transduction with Recurrent Neural Networks, arXiv:1211.3711; S. Hochreiter and J. Schmidhuber,
Long Short-Term Memory, 1997. The prediction network runs once for every token that is not blank; the joint network
runs for every frame and every token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgepack.exporters.architectures.blocks._each import each

Cell = tuple[torch.Tensor, torch.Tensor]


class LSTMStep(torch.nn.Module):
    """One step of an LSTM, as two products of matrices."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input = torch.nn.Linear(inputs, 4 * width)
        self.recurrent = torch.nn.Linear(width, 4 * width)

    def forward(self, x: torch.Tensor, cell: Cell) -> Cell:
        """Next h and c, [batch, width] both, from `x` [batch, inputs] and the last ones."""
        return self.gated(self.input(x), cell)

    def gated(self, gates: torch.Tensor, cell: Cell) -> Cell:
        """As `forward`, with what the input adds to the gates computed already, [batch, 4 width]."""
        hidden, memory = cell
        i, f, g, o = (gates + self.recurrent(hidden)).chunk(4, -1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        return o.sigmoid() * memory.tanh(), memory


class Prediction(torch.nn.Module):
    """Tokens to vectors; the last entry of the vocabulary is blank, which also begins a sequence."""

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, width)
        self.cells = torch.nn.ModuleList(LSTMStep(width, width) for _ in range(layers))
        self.project = torch.nn.Linear(width, width)

    def forward(self, token: torch.Tensor, states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """One token, int64 [batch].

        Args:
            token: The last one that was emitted.
            states: h and c of every layer in turn, [batch, width].

        Returns:
            The prediction [batch, width], already projected for the joint network, and the new states.
        """
        x, after = self.embed(token), list[torch.Tensor]()
        for index, cell in enumerate(each(self.cells, LSTMStep)):
            after += cell(x, (states[2 * index], states[2 * index + 1]))
            x = after[-2]
        return self.project(x), *after


class Joint(torch.nn.Module):
    """Scores of the next token from a frame [batch, encoder's width] and a prediction [batch, width]."""

    def __init__(self, encoder: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.frame = torch.nn.Linear(encoder, width)
        self.out = torch.nn.Linear(width, vocabulary)

    def forward(self, frame: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """[batch, vocabulary]."""
        return self.out(torch.relu(self.frame(frame) + prediction))  # type: ignore[no-any-return]
