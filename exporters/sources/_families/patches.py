"""Rewrites of single functions of a family, in force only while a graph is traced.

Each replaces what torch cannot trace by what computes the same; the reference is the unchanged model.

FastSpeech2 repeats the state of token s for d(s) frames. Frame f belongs to the first token whose running
sum of durations exceeds f: a comparison and a gather, in which the number of frames depends on data and no
loop over rows does. Its table of relative positions is read without a test whether it is long enough.

Conformers shift scores of relative positions, s'[i, j] = s[i, L - 1 - i + j], by padding and reading the
memory in rows of another length, which torch cannot follow for a length that varies: a gather does the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from edgepack.exporters.sources._families.state_space import homes


@contextlib.contextmanager
def applied(model: torch.nn.Module) -> Iterator[None]:
    """While it lasts, the functions that a family's entry names are replaced; others are left alone."""
    with contextlib.ExitStack() as stack:
        for home in homes(model):
            for (holder, name), function in _OWN.items():
                owner = home if not holder else getattr(home, holder, None)
                if owner is not None and hasattr(owner, name):
                    stack.callback(setattr, owner, name, getattr(owner, name))
                    setattr(owner, name, function)
        yield


def notes(model: torch.nn.Module) -> list[str]:
    """What is replaced in this model, in words."""
    found = any(hasattr(home, "length_regulator") for home in homes(model))
    return (
        ["durations: frames are gathered by comparing running sums, not filled in row by row"]
        if found
        else []
    )


def repeat_by_duration(
    encoded_embeddings: torch.Tensor, duration_labels: torch.Tensor, speaking_speed: float = 1.0
) -> torch.Tensor:
    """FastSpeech2's length regulator.

    Args:
        encoded_embeddings: One state a token [batch, tokens, width].
        duration_labels: Frames a token [batch, tokens].
        speaking_speed: Factor on durations.

    Returns:
        [batch, frames, width], zeros after a row's last frame.
    """
    durations = duration_labels
    if speaking_speed != 1.0:
        durations = torch.round(durations.float() * speaking_speed).long()
    # The source gives silence one frame a token.
    durations = torch.where(durations.sum() == 0, torch.ones_like(durations), durations)
    ends = durations.cumsum(1)
    frames: Any = ends[:, -1].max().item()
    told: Any = torch._check  # noqa: SLF001 - how torch.export is told of a size
    told(frames > 1)
    told(frames < _MOST_FRAMES)
    at = torch.arange(frames)
    token = (ends[:, None, :] <= at[None, :, None]).sum(-1)
    inside = at[None, :] < ends[:, -1:]
    token = token.clamp(max=durations.shape[1] - 1)
    states = encoded_embeddings.gather(1, token[..., None].expand(-1, -1, encoded_embeddings.shape[2]))
    return states * inside[..., None]


_MOST_FRAMES = 5000


def relative_positions(self: Any, feature_representation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """FastSpeech2's encoding of relative positions, from the table that it was built with.

    Args:
        self: The module.
        feature_representation: [batch, length, width].

    Returns:
        The scaled features, and the encoding [1, 2 length - 1, width].
    """
    length = feature_representation.size(1)
    center = self.pos_enc.size(1) // 2
    places = torch.arange(2 * length - 1) + (center - length + 1)
    return feature_representation * self.input_scale, self.pos_enc[:, places]


def relative_shift(_: Any, scores: torch.Tensor) -> torch.Tensor:
    """Scores of relative positions, one row a query, brought to one column a key.

    Args:
        scores: [batch, heads, length, 2 length - 1].

    Returns:
        [batch, heads, length, length].
    """
    batch, heads, length = scores.shape[:3]
    place = torch.arange(length)
    index = (length - 1) - place[:, None] + place[None, :]
    return scores.gather(-1, index.expand(batch, heads, length, length))


def relative_bias(
    module: Any, query: torch.Tensor, key: torch.Tensor, relative_position_embeddings: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Wav2Vec2-Conformer's relative positions: the query with its bias, and what is added to the scores.

    Args:
        module: The attention.
        query: [batch, heads, length, head_size].
        key: Of the query's shape; its length counts.
        relative_position_embeddings: [1, 2 length - 1, width].

    Returns:
        The query of the products with keys, and the scaled scores of positions [batch, heads, length, length].
    """
    places = module.linear_pos(relative_position_embeddings).unflatten(-1, (-1, module.head_size))
    by_row = query.transpose(1, 2)
    towards_keys = (by_row + module.pos_bias_u).transpose(1, 2)
    towards_places = (by_row + module.pos_bias_v).transpose(1, 2)
    scores = torch.matmul(towards_places, places.permute(0, 2, 3, 1))
    return towards_keys, relative_shift(module, scores)[..., : key.size(2)] * module.scaling


_OWN: dict[tuple[str, str], Any] = {
    ("", "length_regulator"): repeat_by_duration,
    ("FastSpeech2ConformerRelPositionalEncoding", "forward"): relative_positions,
    ("FastSpeech2ConformerAttention", "shift_relative_position_tensor"): relative_shift,
    ("ParakeetEncoderAttention", "_rel_shift"): relative_shift,
    ("", "_apply_relative_position_encoding"): relative_bias,
}
