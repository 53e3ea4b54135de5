"""The idx files of Debian's package, and files that are none."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from edgepack.toolchain.datasets import fashion_mnist
from tests.conftest import DATA


@pytest.mark.system(fashion_mnist.PACKAGE)
def test_the_data_are_those_of_the_paper():
    images, labels = fashion_mnist.load("test")
    assert images.shape == (10_000, 1, 28, 28)
    assert np.bincount(labels).tolist() == [1000] * 10
    pixels = fashion_mnist.read_idx(fashion_mnist.FOLDER / fashion_mnist.FILES["train"][0])
    assert pixels.shape == (60_000, 28, 28)
    assert pixels.mean() == pytest.approx(fashion_mnist.MEAN, abs=0.01)
    assert pixels.std() == pytest.approx(fashion_mnist.DEVIATION, abs=0.01)


def test_the_tests_look_where_the_package_puts_it():
    assert DATA[fashion_mnist.PACKAGE] == fashion_mnist.FOLDER


@pytest.mark.parametrize("content", [b"", b"\0\0\x0d\1\0\0\0\1abcd", b"\0\0\x08\2\0\0\0\2\0\0\0\3abcde"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"is no idx file|cannot reshape"):
        fashion_mnist.read_idx(path)


def test_an_idx_file_is_read(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\2\0\0\0\2\0\0\0\3abcdef"))
    assert fashion_mnist.read_idx(path).tolist() == [[97, 98, 99], [100, 101, 102]]
