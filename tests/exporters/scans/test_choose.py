import pytest

from edgepack.exporters.scans.choose import Recurrence, choose


@pytest.mark.parametrize(
    ("recurrence", "name", "word"),
    [
        (Recurrence(time_invariant=True, decay="matrix"), "convolution", "impulse response"),
        (Recurrence(time_invariant=True, decay="element"), "convolution", "impulse response"),
        (Recurrence(time_invariant=False, decay="head"), "chunked", "product of matrices"),
        (Recurrence(time_invariant=False, decay="element"), "scan", "element's own"),
        (Recurrence(time_invariant=False, decay="matrix"), "scan", "full matrix"),
        (Recurrence(time_invariant=True, decay="matrix", streaming=True), "step", "one step"),
        (Recurrence(time_invariant=False, decay="head", streaming=True), "step", "one step"),
    ],
)
def test_the_structure_names_the_form_and_the_reason(recurrence, name, word):
    form = choose(recurrence)
    assert form.name == name
    assert word in form.reason
