"""Numbers in words, and text that cannot hurt."""

from __future__ import annotations

import pytest

from edgepack.toolchain.report import text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "—"),
        (0.0, "0 ms"),
        (0.0004, "0.400 µs"),
        (0.05, "0.0500 ms"),
        (7.914, "7.91 ms"),
        (9.999, "10.0 ms"),
        (412.5, "412 ms"),
        (1234.5, "1,234 ms"),
        (12_345.0, "12.3 s"),
        (float("nan"), "NaN ms"),
    ],
)
def test_milliseconds(value, words):
    assert text.milliseconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "—"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (23 * 2**20, "23.0 MiB"),
        (3 * 2**30, "3.00 GiB"),
    ],
)
def test_size(value, words):
    assert text.size(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "—"),
        (0.98999, "0.9899"),  # rounded, it would read as a gate of 0.99
        (0.99, "0.9900"),
        (0.9999996, "0.999999"),
        (1.0, "1.000000"),
        (-0.5, "-0.5000"),
        (float("nan"), "NaN"),
    ],
)
def test_cosine_is_cut_and_not_rounded(value, words):
    assert text.cosine(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "—"), (0.0, "0 %"), (0.29, "29 %"), (0.8999, "89.9 %"), (0.9999, "99.9 %"), (1.0, "100 %")],
)
def test_share_is_cut_so_that_100_percent_means_all(value, words):
    assert text.share(value) == words


def test_ratio_and_gate():
    assert text.ratio(None) == "—"
    assert text.ratio(2.441) == "2.44" + text.TIMES
    assert text.ratio(12.34) == "12.3" + text.TIMES
    assert text.gate({"cosine": 0.99, "max_abs_error": 0.001}) == "cosine ≥ 0.99, max abs error ≤ 0.001"


def test_clean_writes_out_what_cannot_be_seen():
    assert text.clean("a\x1b[31mb\u202ec\x00d\u2028e\u200bf\udcff") == (
        r"a\x1b[31mb\u202ec\x00d\u2028e\u200bf\udcff"
    )
    assert text.clean("tab\tline\nÄ 漢 ≥ 🙂") == "tab\tline\nÄ 漢 ≥ 🙂"


def test_cleaned_reaches_every_string(manifest):
    dirty = manifest.model_copy(
        update={"bundle": "a\x1bb", "recipe": {"k\x1b": ["v\x1b", {"n": 1.5}]}, "warnings": ["w\x07"]}
    )
    done = text.cleaned(dirty)
    assert done.bundle == r"a\x1bb"
    assert done.recipe == {r"k\x1b": [r"v\x1b", {"n": 1.5}]}
    assert done.warnings == [r"w\x07"]
    assert text.cleaned(manifest) == manifest
