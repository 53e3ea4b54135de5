"""Functions replaced while a model is traced give what torch gives, and a program that hides operators is opened."""

import pytest
import torch

from edgepack.exporters.substitutes import substituted
from tests.exporters.test_ladder import climbed, factory

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(5))
TALL = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(6))
DEFICIENT = TALL.clone()
DEFICIENT[..., 2] = DEFICIENT[..., 0] + DEFICIENT[..., 1]

CALLS = {
    "cov": lambda: torch.cov(X),
    "cov of one row": lambda: torch.Tensor.cov(X[0]),
    "cov of whole numbers": lambda: torch.cov(X.round().long(), correction=0),
    "cov with weights": lambda: torch.cov(X, fweights=torch.tensor([1, 2, 1, 3, 1, 1])),
    "corrcoef": lambda: torch.corrcoef(X),
    "corrcoef of one row": lambda: torch.Tensor.corrcoef(X[0]),
    "least squares": lambda: torch.linalg.lstsq(TALL, TALL[..., :2] + 1).solution,
    "least squares of a vector": lambda: torch.linalg.lstsq(TALL, TALL[..., 0] + TALL[..., 1] ** 2).solution,
    "least squares of a deficient matrix": lambda: torch.linalg.lstsq(DEFICIENT, TALL + 1).solution,
    "rank": lambda: torch.linalg.lstsq(DEFICIENT, TALL + 1).rank,
    "fewer equations than unknowns": lambda: torch.linalg.lstsq(TALL.mT, TALL.mT[..., :1]).solution,
    "residuals": lambda: torch.linalg.lstsq(TALL, TALL + 1, driver="gels").residuals,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_substitute_gives_what_torch_gives(call):
    expected = call()
    with substituted():
        got = call()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_torch_is_left_as_it_was():
    before = torch.cov, torch.Tensor.cov, torch.linalg.lstsq, torch.istft, torch.Tensor.istft
    with pytest.raises(RuntimeError, match="in the middle"), substituted():
        raise RuntimeError("in the middle")
    assert (torch.cov, torch.Tensor.cov, torch.linalg.lstsq, torch.istft, torch.Tensor.istft) == before


@pytest.mark.slow
def test_operators_that_hide_others_export_with_a_varying_batch(tmp_path):
    """A norm and a rank are singular values, a negative power an inverse: torch says so only when it translates."""
    source = factory(
        tmp_path,
        """
        class Hidden(torch.nn.Module):
            def forward(self, x):
                well = x + 4 * torch.eye(4)
                fitted = torch.linalg.lstsq(well, x[..., :2]).solution
                return (
                    torch.linalg.matrix_norm(x, "nuc"),
                    torch.linalg.matrix_rank(well),
                    torch.linalg.matrix_power(well, -2),
                    fitted,
                    torch.cov(x[:, 0].mT, correction=0),
                )
        def make():
            return Hidden(), (torch.randn(5, 4, 4),)
        """,
    )
    result = climbed(source, tmp_path)
    assert result.rung == "dynamo", result.left
    assert result.program.parts["main"].signature.inputs[0].shape == ("batch", 4, 4)
