"""Signs, and bits in bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgepack.quantize.binary._bits import pack, unpack
from edgepack.quantize.binary._sign import sign, sign_with
from tests.quantize.binary.reference import bits


def test_the_signs_of_both_zeros_and_of_nan_are_plus_one():
    smallest = 2.0**-149
    values = torch.tensor([0.0, -0.0, smallest, -smallest, torch.inf, -torch.inf, torch.nan])
    expected = [1, 1, 1, -1, 1, -1, 1]
    assert sign(values).tolist() == expected
    assert sign_with(values, torch.zeros(7)).tolist() == expected


def test_gradients_are_multiplied_by_the_slope():
    values = torch.randn(5, requires_grad=True)
    slope = torch.arange(5.0)
    (sign_with(values, slope) * torch.tensor([1.0, -2, 3, 0, 5])).sum().backward()
    assert values.grad.tolist() == [0, -2, 6, 0, 20]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 77])
def test_packed_bits_are_least_significant_first_and_filled_up_with_zeros(count):
    signs = sign(torch.randn(5, 3, count))
    packed = pack(signs)
    assert packed.dtype == torch.uint8
    assert packed.shape == (5, 3, (count + 7) // 8)
    np.testing.assert_array_equal(bits(packed.numpy(), count), signs.numpy())
    filled = packed.shape[-1] * 8
    assert (bits(packed.numpy(), filled)[..., count:] == 1).all()
    torch.testing.assert_close(unpack(packed, count), signs, rtol=0, atol=0)


def test_one_byte():
    assert pack(torch.tensor([-1.0, 1, 1, -1, 1, 1, 1, 1, 1, -1])).tolist() == [0b1001, 0b10]
