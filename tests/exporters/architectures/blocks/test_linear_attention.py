"""Chunked gated linear attention against the recurrence that it stands for, in both directions."""

import pytest
import torch

from edgepack.exporters.architectures.blocks import _linear_attention as gla


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("length", [1, 8, 21])
@pytest.mark.parametrize("size", [0.05, 5.0])
def test_chunks_are_the_recurrence(length, size, *, backward):
    generator = torch.Generator().manual_seed(length)
    q, k, rate = torch.randn(3, 2, length, 3, 4, generator=generator).unbind(0)
    v, state = torch.randn(2, length, 3, 5, generator=generator), torch.randn(2, 3, 4, 5, generator=generator)
    rate = rate.abs() * size
    got, reached = gla.attend(q, k, v, rate, chunk=8, backward=backward, initial=state)
    outputs = {}
    for t in reversed(range(length)) if backward else range(length):
        outputs[t], state = gla.step(q[:, t], k[:, t], v[:, t], rate[:, t], state)
    expected = torch.stack([outputs[t] for t in range(length)], 1)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(reached, state, atol=1e-4, rtol=1e-4)
