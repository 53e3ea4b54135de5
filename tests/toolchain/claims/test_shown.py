"""A claim's results as people see them: never other than measured, the paper's figure beside them."""

import io
import json
import re
from html import unescape

import pytest
from rich.console import Console

from edgepack.runtime import environment
from edgepack.toolchain.claims import page, shown, text
from edgepack.toolchain.claims.base import claims
from edgepack.toolchain.claims.points import Points
from edgepack.toolchain.claims.results import ClaimResults, Point, Value
from edgepack.toolchain.errors import UsageError

CLAIM = claims.get("return-of-the-encoder")


def value(name="first-token latency", ratio=1.5, low=1.25, high=2.0, **at):
    better = "lower" if "latency" in name else "higher"
    unit = "ms" if "latency" in name else "tokens/s"
    medians = {"encoder-decoder": 1234.5, "decoder-only": 0.5}
    return Value(
        name=name,
        unit=unit,
        better=better,
        at=at,
        medians=medians,
        ratio=ratio,
        ci_low=low,
        ci_high=high,
        rounds=7,
    )


def results(*points):
    return ClaimResults(
        claim=CLAIM.name,
        command="edgepack claims return-of-the-encoder",
        sides=["encoder-decoder", "decoder-only"],
        facts={"<b>": "1 & 2"},
        points=list(points)
        or [point(128), point(512, value(), value("throughput", 3.0, 2.5, 3.5, output=16))],
        environment=environment.capture(1, spinning=False),
    )


def point(length, *values):
    at = {"size": "30m", "input": length, "precision": "fp32", "threads": 1}
    return Point(
        at=at, values=list(values or [value()]), load_average=9.0, seconds=1, measured_on="2026-01-02"
    )


@pytest.mark.parametrize(
    ("ratio", "low", "high", "words", "expected"),
    [
        (2.0, 1.6, 2.5, "lower", "50.0 % lower [37.5, 60.0]"),
        (0.8, 0.5, 1.25, "lower", "25.0 % higher [-20.0, 100.0]"),
        (2.0, None, None, "lower", "50.0 % lower"),
        (4.7, 4.0, 5.0, "times", "4.70x [4.00, 5.00]"),
        (0.5, None, None, "times", "0.50x"),
    ],
)
def test_ratios_in_words(ratio, low, high, words, expected):
    assert text.better(value(ratio=ratio, low=low, high=high), words) == expected


def test_sentences_put_the_paper_beside_what_was_measured():
    found = text.sentences(CLAIM, results())
    assert found == [
        "first-token latency: the paper says 47 % lower; here 33.3 % lower [20.0, 50.0] at 30m, input 128",
        "first-token latency: the paper says 47 % lower; here 33.3 % lower [20.0, 50.0] at 30m, input 512",
        "throughput: the paper says 4.7x higher; here 3.00x [2.50, 3.50] at 30m, input 512, output 16",
    ]


def test_the_statements_ratios_are_the_papers_figures():
    latency, throughput = CLAIM.statements
    assert latency.ratio is not None
    assert 100 * (1 - 1 / latency.ratio) == pytest.approx(47)
    assert throughput.ratio == 4.7


def test_numbers_keep_three_digits():
    assert [text.number(x) for x in (0.123, 9.87, 45.67, 1234.5)] == ["0.12", "9.87", "45.7", "1,234"]


def test_a_busy_machine_is_told():
    assert any("9.0 to 9.0 (other work ran" in line for line in text.conditions(results()))


def test_markdown_is_put_between_its_markers_and_only_there():
    begin, end = f"<!-- claim {CLAIM.name} 30m -->", f"<!-- /claim {CLAIM.name} 30m -->"
    document = f"before\n{begin}\nold\n{end}\nafter\n"
    once = shown.put(document, CLAIM, results())
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "edgepack claims return-of-the-encoder" in once
    assert once == shown.put(once, CLAIM, results())
    table = [line for line in once.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1
    with pytest.raises(UsageError, match="markers"):
        shown.put("nothing", CLAIM, results())


def test_the_terminal_shows_every_value():
    shown_text = io.StringIO()
    Console(width=200, file=shown_text).print(shown.terminal(CLAIM, results()))
    out = shown_text.getvalue()
    assert out.count("47 % lower") == 4
    assert "3.00x [2.50, 3.50]" in out


def test_the_page_needs_nothing_else_and_escapes_text():
    html = page.html(CLAIM, results()).decode()
    assert "default-src 'none'; script-src 'sha256-" in unescape(html)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", html)
    assert "&lt;b&gt;: 1 &amp; 2" in html
    assert html.count("data-figure=") == 4
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', html).group(1))
    ratio = figures["ratio-0"]["data"]
    assert ratio[0]["y"] == [1.5, 1.5]
    assert ratio[0]["error_y"]["array"] == [0.5, 0.5]
    assert ratio[-1]["name"] == "paper: 47 % lower"
    assert ratio[-1]["y"][0] == pytest.approx(1.8868, abs=1e-4)


def test_points_are_kept_and_a_damaged_one_is_measured_again(tmp_path):
    store = Points(tmp_path, {"rounds": 7})
    one = point(128)
    assert store.read(one.at) is None
    store.write(one)
    assert store.read(one.at) == one
    assert Points(tmp_path, {"rounds": 8}).read(one.at) is None
    store.path(one.at).write_text('{"at": {')
    assert store.read(one.at) is None
