"""Declared comparisons: two small networks whose cost is known, measured, counted, fitted and kept."""

import pytest
import torch

from edgepack.exporters.architectures._building import one_part
from edgepack.toolchain.cache import Cache
from edgepack.toolchain.claims import comparing, shown, text
from edgepack.toolchain.claims._fits import exponent
from edgepack.toolchain.claims._rounds import call_times_ms, compared
from edgepack.toolchain.claims.base import Claim, Settings, Statement
from edgepack.toolchain.claims.comparing import LATENCY, MACS, Comparison, Side, Work, measure
from edgepack.toolchain.errors import UnknownNameError, UsageError

WIDTH = {"small": 8}


class Linear(torch.nn.Module):
    """n d^2 multiply-accumulates."""

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Linear(width, width, bias=False)

    def forward(self, x):
        return self.weight(x)


class Scores(torch.nn.Module):
    """n^2 d multiply-accumulates."""

    def forward(self, x):
        return x @ x.mT


def side(name, net):
    def build(size, length):
        width = WIDTH[size]
        return one_part(name, net(width), "none", f"x:float32[batch=2,n=4,{width}]", outputs=["y"])

    return Side(name, build, lambda length: [Work(sizes={"batch": 1, "n": length})])


COMPARISON = Comparison(
    name="linear-against-scores", row="00", paper="Linear", arxiv=None,
    statements=(Statement(LATENCY, "2x faster", "nowhere", 2.0, "times"),),
    sides=(side("linear", Linear), side("scores", lambda _: Scores())),
    lengths=(8, 16, 32, 64), quick=(8, 16), of="rows", sizes=("small",), quick_size="small", memory=True,
)  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    with Cache(tmp_path / "cache") as cache:
        yield lambda **more: Settings(tmp_path / "out", cache, rounds=2, **more)


@pytest.mark.slow
def test_a_comparison_is_measured_counted_fitted_and_kept(settings):
    told = []
    results = measure(COMPARISON, settings(), lambda *words: told.append(words))
    assert [point.at["input"] for point in results.points] == [8, 16, 32, 64]
    for point in results.points:
        by_name = {value.name: value for value in point.values}
        n = int(point.at["input"])
        assert by_name[MACS].medians == pytest.approx({"linear": n * 64 / 1e6, "scores": n * n * 8 / 1e6})
        assert by_name[MACS].ratio == pytest.approx(n / 8)
        assert by_name[LATENCY].rounds == 2
        assert all(figure > 0 for figure in by_name[LATENCY].medians.values())
    fits = {(fit.value, fit.side): fit.exponent for fit in results.fits}
    assert fits[MACS, "linear"] == pytest.approx(1)
    assert fits[MACS, "scores"] == pytest.approx(2)
    assert (LATENCY, "linear") in fits
    assert results.facts["linear small"] == "64 parameters, main"
    assert any("n^1.00 (linear), n^2.00 (scores)" in line for line in text.conditions(results))
    claim = Claim("linear-against-scores", "00", "Linear", None, COMPARISON.statements, lambda *_: results)
    assert "latency: the paper says 2x faster; here" in text.sentences(claim, results)[0]
    assert "| small | 64 |" in shown.markdown(claim, results)
    again = measure(COMPARISON, settings(), lambda *words: told.append(words))
    assert again.points == results.points, "what was measured is read"
    quick = measure(COMPARISON, settings(quick=True), lambda *_: None)
    assert len(quick.points) == 2
    assert not quick.fits, "two lengths have no exponent"


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"sizes": ("huge",)}, UnknownNameError, "size 'huge'"),
        ({"inputs": (0,)}, UsageError, "below 1"),
        ({"outputs": (4,)}, UsageError, "no output lengths"),
        ({"precision": "int8-dynamic"}, UsageError, "no other precision"),
    ],
)
def test_a_setting_that_it_does_not_have_is_refused(settings, more, error, message):
    with pytest.raises(error, match=message):
        measure(COMPARISON, settings(**more), lambda *_: None)


def test_the_exponent_is_that_of_the_law():
    assert exponent({n: 3 * n**1.5 for n in (8, 16, 32, 64)}) == pytest.approx(1.5)


def test_short_calls_are_averaged_and_ratios_are_of_one_round():
    clock = iter(range(0, 10**12, 4 * 10**6))
    calls = []

    def old():
        calls.append("old")
        next(clock)

    runs = {"new": lambda: calls.append("new"), "old": old}
    times = call_times_ms(runs, 2, clock=lambda: next(clock), least_ms=10)
    assert times == {"new": [4.0, 4.0], "old": [8.0, 8.0]}
    assert calls.count("new") == 6
    value = compared("latency", "ms", "lower", times)
    assert (value.ratio, value.medians) == (2.0, {"new": 4.0, "old": 8.0})
    assert compared("rate", "calls/s", "higher", times).ratio == 0.5


def test_the_command_says_what_was_asked(settings):
    asked = settings(inputs=(8, 16), quick=True)
    words = comparing._command(COMPARISON, asked)
    assert words == "edgepack claims linear-against-scores --quick --input 8,16 --rounds 2"
