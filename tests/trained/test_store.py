"""A trained model is whole or absent, and its key is all that decides the weights."""

from __future__ import annotations

import pytest

from edgepack.toolchain.cache import Cache
from tests.trained.store import syntax, trained

CODE = ("store.py",)


@pytest.fixture
def store(tmp_path):
    with Cache(tmp_path / "store", warn=lambda _: None) as cache:
        yield cache


def train(into):
    (into / "weights").write_bytes(b"1234")


def test_a_model_is_trained_once(store, tmp_path):
    data = tmp_path / "data"
    data.write_text("a")
    calls = []

    def counted(into):
        calls.append(into)
        train(into)

    first = trained(CODE, [data], {"steps": 1}, counted, store)
    assert trained(CODE, [data], {"steps": 1}, counted, store) == first
    assert (first / "weights").read_bytes() == b"1234"
    assert len(calls) == 1
    assert trained(CODE, [data], {"steps": 2}, counted, store) != first
    data.write_text("b")
    assert trained(CODE, [data], {"steps": 1}, counted, store) != first
    assert len(calls) == 3


def test_an_interrupted_training_leaves_nothing(store):
    def interrupted(into):
        (into / "half").write_bytes(b"12")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(CODE, [], {}, interrupted, store)
    folder = trained(CODE, [], {}, train, store)
    assert [path.name for path in folder.iterdir()] == ["weights"]


def test_a_damaged_model_is_trained_again(store, tmp_path):
    folder = trained(CODE, [], {}, train, store)
    (folder / "weights").chmod(0o600)
    (folder / "weights").write_bytes(b"123")
    store.close()
    with Cache(tmp_path / "store", warn=lambda _: None) as again:
        assert (trained(CODE, [], {}, train, again) / "weights").read_bytes() == b"1234"


def test_only_what_a_file_does_counts():
    code = 'def f(x):\n    """A."""\n    return x + 1\n'
    assert syntax(code) == syntax('"""M."""\n\n\ndef f(x):  # adds\n    """B."""\n    return (x + 1)\n')
    assert syntax(code) != syntax(code.replace("1", "2"))
