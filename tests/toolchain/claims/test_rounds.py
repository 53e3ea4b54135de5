"""What is computed from times: ratios within rounds, intervals, and every output length of one generation."""

import pytest

from edgepack.toolchain.claims._rounds import token_times_ms, values


def test_turns_are_taken_and_every_token_is_timed():
    clock, order = iter(range(0, 10**9, 10**6)), []

    def run(name, count):
        def generate(on_token):
            order.append(name)
            for token in range(count):
                on_token(token)

        return generate

    times = token_times_ms({"a": run("a", 3), "b": run("b", 2)}, 4, clock=lambda: next(clock))
    assert order == ["a", "b", "b", "a", "b", "a", "a", "b"]
    assert times == {"a": [[1, 2, 3]] * 4, "b": [[1, 2]] * 4}


def test_ratios_are_of_one_round():
    # The machine halves its speed in the second half: the ratio stays, medians of times would mislead.
    claimed = [[10.0 * drift, 12.0 * drift, 14.0 * drift] for drift in (1, 1, 1, 2, 2, 2)]
    other = [[20.0 * drift, 30.0 * drift, 40.0 * drift] for drift in (1, 1, 1, 2, 2, 2)]
    found = {(v.name, v.at.get("output")): v for v in values({"new": claimed, "old": other}, [1, 3])}
    first = found["first-token latency", None]
    assert (first.ratio, first.ci_low, first.ci_high, first.rounds) == (2, 2, 2, 6)
    assert first.medians == {"new": 15, "old": 30}
    assert found["throughput", 3].ratio == pytest.approx(40 / 14)
    assert found["throughput", 1].ratio == pytest.approx(2)
    assert found["decoding rate", 3].ratio == pytest.approx(20 / 4)
    assert found["decoding rate", 3].better == "higher"


def test_few_rounds_have_no_interval():
    (first, *_) = values({"new": [[1.0, 2.0]] * 5, "old": [[2.0, 3.0]] * 5}, [2])
    assert first.ci_low is None
    assert first.ci_high is None
