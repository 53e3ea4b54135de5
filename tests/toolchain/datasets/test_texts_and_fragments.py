"""Data from installed packages: what it holds, and that nothing tests what was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from edgepack.toolchain.datasets import docstrings, fragments


def test_paragraphs_of_docstrings_become_words_without_the_libraries_names(tmp_path):
    path = tmp_path / "module.py"
    long = "Computes the eigenvalues of a symmetric matrix with torch.linalg, or NumPy's, whichever is there first now."
    path.write_text(f'"""{long}\n\nShort one.\n"""\ndef f():\n    """{long.replace("matrix", "tensor")}"""\n')
    found = list(docstrings.paragraphs(path))
    assert len(found) == 2
    said = docstrings.words(found[0])
    assert "eigenvalues" in said
    assert not {"torch", "numpy"} & set(said)
    numbers = docstrings.tokens(found[0])
    assert len(numbers) == docstrings.LENGTH
    assert numbers[len(said) :] == [0] * (docstrings.LENGTH - len(said))
    assert all(0 < number < docstrings.VOCABULARY for number in numbers[: len(said)])
    path.write_text("def broken(:")
    assert list(docstrings.paragraphs(path)) == []


@pytest.mark.parametrize("data", [docstrings, fragments], ids=["docstrings", "fragments"])
def test_every_class_is_there_and_no_input_is_on_both_sides(data):
    inputs, labels, unseen, classes = data.load(60, 30)
    assert inputs.shape == (60, data.LENGTH)
    assert np.bincount(labels).tolist() == [10] * 6
    assert np.bincount(classes).tolist() == [5] * 6
    assert inputs.dtype == labels.dtype == np.int64
    assert not {row.tobytes() for row in inputs} & {row.tobytes() for row in unseen}
    for first, second in zip(data.load(60, 30), (inputs, labels, unseen, classes), strict=True):
        np.testing.assert_array_equal(first, second)


def test_fragments_do_not_overlap_and_leave_the_header_out():
    content = bytes(512) + bytes(range(1, 256)) * 20
    cut = fragments.fragments(content, 8, seed=0)
    assert len(cut) == 8
    assert len({piece.tobytes() for piece in cut}) == 8
    assert all(0 not in piece for piece in cut)
    assert fragments.fragments(bytes(700), 8, seed=0) == []
