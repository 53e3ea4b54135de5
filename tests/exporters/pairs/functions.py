# ruff: noqa: ARG005 - functions of one form
"""Functions of a complex matrix z [4, 4] and a real one x, by name: what they return is compared."""

import torch


def grid(n=4):
    """Complex numbers of both signs, on the axes, zero and large, and real ones."""
    torch.manual_seed(3)
    z = torch.complex(torch.randn(n, n), torch.randn(n, n))
    z[0, 0], z[0, 1], z[1, 1], z[2, 0] = 0, 2, -1.5, 0.5j  # type: ignore[assignment]
    return z, torch.randn(n, n)


def einsum_of_three(z, x):
    return torch.einsum("ij,jk,kl->il", z, z.mT, x.to(z.dtype))


def written_into(z, x):
    out = torch.zeros(4, 4, dtype=torch.complex64)
    out[:, :2] = z[:, :2] * 2
    out[0, 0] = 3 - 1j  # type: ignore[assignment]
    out += x
    out[x > 0] = 1j  # type: ignore[assignment]
    return out


def padded(z, x):
    return torch.nn.functional.pad(z, (1, 0, 0, 2), value=2)


FUNCTIONS = {
    "add": lambda z, x: z + x + 2 - 1j,
    "sub": lambda z, x: x - z * 0.5 - 1j,
    "alpha": lambda z, x: torch.add(z, x, alpha=2) + torch.sub(x, z, alpha=3),
    "mul": lambda z, x: z * z.flip(0) * x * 2j,
    "turned": lambda z, x: (z * 1j, z * (2 - 1j), x * (2 - 1j), x * 1j),
    "div": lambda z, x: (z / (z.flip(0) + 3), x / (z + 3j), z / x, z / (1 + 2j), 1 / (z + 3)),
    "square": lambda z, x: (z**2, z.square(), z**5, (z + 3) ** -2, (z + 3) ** 0),
    "power": lambda z, x: (z**0.5, (z + 3) ** (0.3 - 1j), (z + 3) ** x, z ** (z + 1), 2.0**z),
    "reciprocal": lambda z, x: (z + 3).reciprocal(),
    "large": lambda z, x: ((z * 1e25).abs() * 1e-25, (1 / (z * 1e25 + 1e25)) * 1e25),
    "conj": lambda z, x: (z.conj() * z, z.mH @ z, z.conj().imag, z.resolve_conj().real),
    "abs-angle": lambda z, x: (z.abs(), z.angle(), torch.angle(z.real), z.sgn()),
    "exp": lambda z, x: (z.exp(), z.expm1(), torch.exp(1j * x)),
    "log": lambda z, x: ((z + 0.1).log(), z.log1p(), (z + 2).log2(), (z + 2).log10()),
    "sqrt": lambda z, x: (z.sqrt(), (z + 2).rsqrt()),
    "trigonometric": lambda z, x: (z.sin(), z.cos(), z.tan(), z.sinh(), z.cosh(), z.tanh(), (z * 30).tanh()),
    "sigmoid": lambda z, x: (z.sigmoid(), torch.nn.functional.silu(z)),
    "compare": lambda z, x: (z == z.conj(), z != 2, z.isnan(), z.isfinite(), (z / 0).isinf()),
    "reduce": lambda z, x: (z.sum(), z.sum(0), z.mean(1, keepdim=True), z.cumsum(1), z.prod(1), z.var(), z.std(0)),
    "norm": lambda z, x: (z.norm(), torch.linalg.vector_norm(z, dim=1), torch.linalg.vector_norm(z, 1)),
    "join": lambda z, x: (torch.cat([z, x], 1), torch.stack([z, z * 2], 1), torch.cat([z, z.conj()])),
    "apart": lambda z, x: (*z.chunk(2, 1), *z.unbind(0), *z.split([1, 3])),
    "shape": lambda z, x: (z.reshape(2, 8), z.T, z[1:, None, ::2], z.roll(1, 0), z.tril(), z.diagonal(), z[..., -1]),
    "index": lambda z, x: (z[torch.tensor([2, 0])], z.gather(1, (x > 0).long()), z.index_select(0, torch.tensor([3]))),
    "repeat": lambda z, x: (z.repeat(2, 1), z.expand(3, 4, 4), z.repeat_interleave(2, 0), z.unfold(0, 2, 1)),
    "where": lambda z, x: (torch.where(x > 0, z, -z), torch.where(x > 0, z, 2.0), z.masked_fill(x > 0, 1 - 1j)),
    "written-into": written_into,
    "pad": padded,
    "matmul": lambda z, x: (z @ z.mT, z @ x.to(z.dtype), z[0] @ z, torch.outer(z[0], z[1]), torch.vdot(z[0], z[1])),
    "einsum": lambda z, x: (torch.einsum("ij,kj->ik", z, z), torch.einsum("ii->i", z), einsum_of_three(z, x)),
    "fused": lambda z, x: (torch.addmm(z, z, z, beta=2, alpha=1j), torch.lerp(z, z * 2, 0.25), torch.addcmul(z, z, z)),
    "linear": lambda z, x: torch.nn.functional.linear(z, z, z[0]),
    "conv1d": lambda z, x: torch.nn.functional.conv1d(z[None], z.reshape(4, 4, 1), z[0], padding="same"),
    "conv2d": lambda z, x: torch.nn.functional.conv2d(z[None, None], z[None, None, :2, :2], padding=1),
    "transposed": lambda z, x: torch.nn.functional.conv_transpose1d(z[None], z.reshape(4, 2, 2), stride=2),
    "made": lambda z, x: (
        torch.polar(z.abs(), x), torch.complex(x, x * 2), torch.view_as_complex(x.reshape(4, 2, 2)),
        torch.view_as_real(z), torch.full((2,), 1 + 2j), torch.ones_like(z) * z.new_zeros(4), x.to(z.dtype),
        torch.zeros(3, dtype=torch.complex64), torch.eye(2, dtype=torch.complex64), z.to(torch.complex128),
        torch.tensor([1j, 2.0]), torch.full_like(z, 2j), z.to(torch.bool),
    ),
    "fft": lambda z, x: (
        torch.fft.fft(z), torch.fft.ifft(z, dim=0), torch.fft.fft(x, norm="ortho"),
        torch.fft.ifft(x, 7, norm="forward"),
        torch.fft.fftn(z), torch.fft.ifft2(z, norm="ortho"), torch.fft.fft2(x, s=(3, 5)), torch.fft.fftshift(z),
        torch.fft.ifftn(z, dim=(0, 1)),
    ),
    "rfft": lambda z, x: (
        torch.fft.rfft(x), torch.fft.rfft(x, 3), torch.fft.rfft(x, 9, 0, "ortho"), torch.fft.rfft2(x),
        torch.fft.rfftn(x, norm="forward"), torch.fft.rfft(x).angle(),
    ),
    "irfft": lambda z, x: (
        torch.fft.irfft(z), torch.fft.irfft(z, 7), torch.fft.irfft(z, 5, 0, "ortho"), torch.fft.irfft2(z),
        torch.fft.irfftn(z, (4, 7), norm="forward"), torch.fft.hfft(z), torch.fft.hfft(z, 7), torch.fft.ihfft(x),
    ),
}  # fmt: skip
