"""A row fails when a peer of the same quality is faster, and when a bound is missed; worse peers do not count."""

import pytest

from tests.benchmarks.peers import table
from tests.benchmarks.peers.models import Row
from tests.benchmarks.peers.ours import TITLE

ROW = Row("MiniLM", {"cosine": 0.99}, 2.0)


def result(ours, peers):
    """Entries are (cosine, speed against fp32), ours behind the peers'."""
    entries = [
        {
            "who": who,
            "form": f"form {index}",
            "measures": {"cosine": cosine},
            "ms": 10 / ratio,
            "ratio": ratio,
        }
        for index, (who, (cosine, ratio)) in enumerate([*(("Peer", peer) for peer in peers), (TITLE, ours)])
    ]
    pairs = {str(index): ours[1] / ratio for index, (_, ratio) in enumerate(peers)}
    return {"entries": entries, "pairs": {str(len(peers)): pairs}, "load": 0.0}


@pytest.mark.parametrize(
    ("ours", "peers", "missed"),
    [
        ((0.995, 3.0), [(1.0, 1.0), (0.992, 2.9)], None),
        ((0.995, 3.0), [(1.0, 1.0), (0.98, 9.0)], None),
        ((0.995, 3.0), [(1.0, 1.0), (0.992, 3.05)], None),
        ((0.995, 3.0), [(1.0, 1.0), (0.992, 3.5)], "Peer form 1 is faster: 0.86 of its speed"),
        ((0.985, 3.0), [(1.0, 1.0)], "cosine 0.9850 is below the gate's 0.99"),
        ((0.995, 1.5), [(1.0, 1.0)], "1.50x ONNX Runtime fp32 is below 2x"),
    ],
)
def test_verdict(ours, peers, missed):
    found = table.verdict(ROW, len(peers), result(ours, peers))
    assert found.missed == ([missed] if missed else [])


def test_an_artifact_that_does_not_run_fails_its_row():
    entries = [{"who": TITLE, "form": "x", "failed": "no such file"}]
    found = table.verdict(ROW, 0, {"entries": entries, "pairs": {}, "load": 0.0})
    assert found.missed == ["edgepack's artifact does not run: no such file"]


def test_the_page_shows_winners_and_failures():
    made = result((0.995, 3.0), [(1.0, 1.0), (0.992, 3.5)])
    made["entries"].append({"who": "Peer", "form": "broken", "failed": "a | b"})
    verdicts = [table.verdict(ROW, 2, made)]
    lines = table.page(verdicts, {}, {"date": "d", "cpu": "c", "load": 1.0, "versions": {"x": "1"}})
    assert "| 3.50x | 0.86 | Peer form 1 is faster" in lines
    text = table.PLACE.put(f"a\n{table.PLACE.begin}\nold\n{table.PLACE.end}\nb", lines)
    assert text.startswith("a\n")
    assert text.endswith("\nb")
    assert "old" not in text
    with pytest.raises(ValueError, match="once each"):
        table.PLACE.put("no markers", lines)
