"""Places that programs fill in pages that people write."""

import pytest

from edgepack.toolchain.markdown import Place

PLACE = Place("<!-- begin -->", "<!-- /begin -->")
PAGE = "words\n\n<!-- begin -->\n\nold\n<!-- /begin -->\n\nmore words\n"


def test_what_was_there_is_replaced():
    assert PLACE.put(PAGE, "new") == PAGE.replace("old", "new")


def test_figures_of_other_processors_stay(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    PLACE.write("| b |", [file], of="Processor B (R)")
    assert "old" not in file.read_text()
    PLACE.write("| a |\n", [file], of="A")
    both = file.read_text()
    assert both.index("<!-- of A -->\n\n| a |\n") < both.index("<!-- of Processor B (R) -->\n\n| b |\n")
    assert (both.startswith("words\n"), both.endswith("<!-- /begin -->\n\nmore words\n")) == (True, True)
    PLACE.write("| c |", [file], of="A")
    assert file.read_text() == both.replace("| a |", "| c |")


@pytest.mark.parametrize("page", ["no markers", PAGE + PAGE])
def test_a_page_without_one_place_is_refused(page):
    with pytest.raises(ValueError, match="not there once each"):
        PLACE.put_of(page, "A", "made")
