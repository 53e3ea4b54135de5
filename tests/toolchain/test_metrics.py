"""A user's metric: read, taken, and held against fp32's number."""

import numpy as np
import pytest

from edgepack.toolchain import metrics
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.links import StatefulProgram
from edgepack.toolchain.program import Signature, TensorSpec
from edgepack.toolchain.recipe import make
from edgepack.toolchain.results import Parity

SIGNATURE = Signature((TensorSpec("x", "float32", ("n",)),), (TensorSpec("y", "float32", ("n",)),))
CODE = """
def accuracy(model):
    return float(model({"x": X})["y"].mean())

def error(model):
    return 3.0
error.lower_is_better = True

def raises(model):
    return {}["gone"]

def nothing(model):
    return float("nan")

number = 4
"""


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import numpy as np\nX = np.full(3, 2.0, np.float32)\n" + CODE)
    return lambda name: f"python:{path}:{name}"


def double():
    return StatefulProgram({"main": SIGNATURE}, [], lambda _, feed: {"y": 2 * feed["x"]})


def test_a_function_is_called_with_the_model(code):
    metric = metrics.read_metric(code("accuracy"))
    assert metrics.evaluate(metric, double()) == 4.0
    assert not metric.lower_is_better
    assert metrics.read_metric(code("error")).lower_is_better


@pytest.mark.parametrize(
    ("name", "says"),
    [("raises", "raised KeyError: 'gone'"), ("nothing", "returned nan")],
)
def test_a_function_that_fails_says_how(code, name, says):
    with pytest.raises(UsageError, match=says):
        metrics.evaluate(metrics.read_metric(code(name)), double())


@pytest.mark.parametrize(
    ("name", "says"),
    [("absent", "no attribute 'absent'"), ("number", "int, not a function")],
)
def test_a_reference_that_is_no_function_is_refused(code, name, says):
    with pytest.raises(UsageError, match=says):
        metrics.read_metric(code(name))


def test_names_are_checked_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="no metric 'acuracy'"):
        make(model="m", metric="acuracy")
    with pytest.raises(UsageError, match=r"cannot be loaded: FileNotFoundError"):
        make(model="m", metric=f"python:{tmp_path}/none.py:f")
    with pytest.raises(UsageError, match="the metric is not given"):
        make(model="m", gate={"perplexity": 1.05})
    assert make(model="m", metric="perplexity", gate={"perplexity": 1.05}).gate == {"perplexity": 1.05}


@pytest.mark.parametrize(
    ("lower", "key", "reference", "limit", "value", "passes"),
    [
        (False, "metric", 0.90, 0.99, 0.8911, True),
        (False, "metric", 0.90, 0.99, 0.8909, False),
        (False, "metric", -2.0, 0.90, -2.19, True),  # of a negative number a share is kept downwards
        (False, "metric", -2.0, 0.90, -2.21, False),
        (True, "metric", 2.0, 0.90, 2.19, True),
        (True, "metric", 2.0, 0.90, 2.21, False),
        (True, "perplexity", 20.0, 1.02, 20.39, True),
        (True, "perplexity", 20.0, 1.02, 20.41, False),
    ],
)
def test_limits(lower, key, reference, limit, value, passes):
    metric = metrics.Metric("m", key, None, lower)
    parity = Parity(passed=True)
    metrics.judge(parity, metric, value, reference, limit)
    assert parity.passed is passes
    assert bool(parity.failed) is not passes
    assert (parity.metric.value, parity.metric.reference) == (value, reference)


def test_a_candidate_without_a_number_fails_in_words():
    parity = Parity(passed=True)
    metrics.judge(parity, metrics.Metric("m", "metric"), "the metric returned nan", 1.0, 0.99)
    assert not parity.passed
    assert parity.failed == ["the metric returned nan"]
    assert parity.metric is None


def test_a_program_of_one_part_is_called_by_itself_and_one_of_several_is_not():
    np.testing.assert_array_equal(double()({"x": np.ones(2, np.float32)})["y"], [2, 2])
    both = StatefulProgram({"a": SIGNATURE, "b": SIGNATURE}, [], lambda _, feed: dict(feed))
    with pytest.raises(UsageError, match=r"program\.call"):
        both({"x": np.ones(2, np.float32)})
