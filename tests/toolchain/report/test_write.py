"""What is written: complete, safe whatever the names are, and cheap."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from edgepack.toolchain import report
from edgepack.toolchain.report import document
from edgepack.toolchain.report.markdown import code, prose
from edgepack.toolchain.results import Manifest

HOSTILE = (
    "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'`|${7*7}{{ 7*7 }}"
    "[a](http://evil.example) ![b](https://evil.example/c.png) <http://evil.example> \u2028 \u202e \x1b[31m @PLOTLY@"
)


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside scripts and style."""

    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "link", "input", "br"}:  # the elements without an end that the page uses
            self.open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._inside = tag
            if tag == "script":
                self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> ends nothing at {self.getpos()}"
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text.append(data)


def parse(content: str) -> Elements:
    parser = Elements()
    parser.feed(content)
    parser.close()
    assert parser.open == []
    return parser


def written(manifest, folder) -> str:
    """The words on the page, one space between them."""
    report.write(manifest, folder)
    content = re.sub(r"<script.*?</script>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", " ".join(parse(content).text))


def poison(value, text=HOSTILE):
    """The same manifest with every free string replaced."""
    fixed = {
        "kind",
        "verdict",
        "outcome",
        "better",
        "created",
    }  # words of a closed list, and edgepack's own clock
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [poison(item, text) for item in value]
    if isinstance(value, dict):
        return {key: item if key in fixed else poison(item, text) for key, item in value.items()}
    return value


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)


@pytest.fixture
def hostile(manifest) -> Manifest:
    return Manifest.model_validate(poison(manifest.model_dump()))


def test_writes_three_files_and_names_them(manifest, tmp_path):
    assert report.write(manifest, tmp_path) == ["report.json", "report.html", "report.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


def test_json_is_the_manifest_without_hashes(manifest, tmp_path):
    report.write(manifest, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert "files" not in content
    assert Manifest.model_validate(content) == manifest.model_copy(update={"files": {}})


def test_json_has_no_word_for_not_a_number(manifest, tmp_path):
    manifest.artifacts[0].parity.cosine = float("nan")
    manifest.artifacts[0].latency.ci_high_ms = float("inf")
    manifest.artifacts[1].latency.p50_ms = float("nan")
    report.write(manifest, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["artifacts"][0]["parity"]["cosine"] is None
    assert "NaN" in (tmp_path / "report.html").read_text()


def test_every_word_of_the_manifest_is_on_the_page(manifest, tmp_path):
    flat = written(manifest, tmp_path)
    content = manifest.model_dump(exclude={"files"})
    for stage in content["stages"]:
        stage.pop("name")  # stages, too short to prove anything
    missing = {word for word in strings(content) if re.sub(r"\s+", " ", word) not in flat}
    # These are shown in other words: "failed gate", "npu cycles".
    assert missing == {"failed-gate", "not-built", "npu_cycles"}


def test_figures_and_reasons_are_on_the_page(manifest, tmp_path):
    shown = written(manifest, tmp_path)
    expected = (
        "7.91 ms", "95 %: 7.75 to 8.15 ms", "2.44\N{MULTIPLICATION SIGN}", "0.9931", "142 MiB", "86 %",
        "412 ms", "61.0 MiB before loading", "leaves out the 28 operators", "27 nodes", "64.1 %",
        "fold_constants 41", "206,250,000",
        "Calibrated on synthetic data only: npu:ethos-u55-128 int16x8-static", "not exposed here", "22,713,216",
        "no interval: not a measurement", "failed gate",
        "not compared", "not built", "cosine ≥ 0.99, neighbour agreement ≥ 0.9",
    )  # fmt: skip
    assert [words for words in expected if words not in shown] == []


def test_a_figure_that_nobody_got_is_a_dash_and_never_zero(bare, manifest, tmp_path):
    artifact = manifest.artifacts[0]
    for gone in ("latency", "memory", "profile", "comparison", "changed_nodes"):
        setattr(artifact, gone, None)
    artifact.parity = artifact.parity.model_copy(
        update={"cosine": None, "min_cosine": None, "max_abs_error": None, "neighbour_agreement": None}
    )
    bare.artifacts = [artifact]
    report.write(bare, tmp_path)
    content = (tmp_path / "report.html").read_text()
    found = re.search(r'<table id="artifacts".*?</table>', content, re.DOTALL)
    assert found is not None
    rows = found[0]
    cells = [re.sub(r"<[^>]+>", " ", cell).split() for cell in re.findall(r"<td.*?</td>", rows, re.DOTALL)]
    assert ["—", "not", "timed"] in cells
    assert ["—", "not", "compared"] in cells
    assert ["—", "not", "measured"] in cells
    assert not any(cell and cell[0] == "0" for cell in cells)
    assert 'id="accuracy"' in content
    assert 'data-figure="latency' not in content


def test_a_run_that_came_to_nothing(bare, tmp_path):
    report.write(bare, tmp_path)
    assert "This run had no target" in (tmp_path / "report.html").read_text()
    assert "This run had no target" in (tmp_path / "report.md").read_text()


def test_hostile_text_stays_text(manifest, hostile, tmp_path):
    plain, poisoned = tmp_path / "plain", tmp_path / "hostile"
    for folder, what in ((plain, manifest), (poisoned, hostile)):
        folder.mkdir()
        report.write(what, folder)
    content = (poisoned / "report.html").read_text()
    found = parse(content)
    tags = {tag for tag, _ in parse((plain / "report.html").read_text()).tags}
    assert {tag for tag, _ in found.tags} <= tags
    assert len(found.scripts) == 3
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    figures = json.loads(found.scripts[0])
    assert "<" not in found.scripts[0]
    hovers = [text for figure in figures.values() for trace in figure["data"] for text in trace["hovertext"]]
    assert hovers
    assert not any(re.search(r"<(?!br>)", text) for text in hovers)  # plotly reads a little markup
    assert "\u202e" not in content
    assert "\x1b" not in content
    assert "49" not in " ".join(found.text).split(), "a template ran inside a name"


def test_hostile_text_in_markdown(hostile, tmp_path):
    report.write(hostile, tmp_path)
    content = (tmp_path / "report.md").read_text()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(content)
    inline = [child for token in tokens for child in token.children or []]
    assert not {token.type for token in [*tokens, *inline]} & {"link_open", "image", "html_block"}
    assert {token.content for token in inline if token.type == "html_inline"} <= {"<br>"}
    rows = re.findall(r"<tr>.*?</tr>", MarkdownIt().enable("table").render(content), re.DOTALL)
    heads = [len(re.findall("<th", row)) for row in rows if "<th" in row]
    assert heads
    for table in re.findall(r"<table>.*?</table>", MarkdownIt().enable("table").render(content), re.DOTALL):
        assert (
            len({len(re.findall("<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)})
            == 1
        )


def test_an_address_in_prose_is_no_link():
    assert (
        prose("see http://evil.example or www.evil.example")
        == r"see http\://evil.example or www\.evil.example"
    )
    assert prose("a|b *c* _d_ `e` <f>") == r"a\|b \*c\* \_d\_ \`e\` \<f\>"
    assert code("a|`b`\nc") == "``a\\|`b` c``"
    assert code("`") == "`` ` ``"


def test_a_name_that_is_not_unicode(manifest, tmp_path):
    manifest.recipe = {"out": "caf\udce9"}
    manifest.warnings = ["caf\udce9"]
    report.write(manifest, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["warnings"] == ["caf\udce9"]
    assert r"caf\udce9" in (tmp_path / "report.html").read_text()


def test_the_policy_allows_exactly_the_two_scripts(manifest, tmp_path):
    report.write(manifest, tmp_path)
    found = parse((tmp_path / "report.html").read_bytes().decode())
    metas = [attributes for tag, attributes in found.tags if tag == "meta"]
    policy = next(meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy
    rules = {rule.split()[0]: " ".join(rule.split()[1:]) for rule in policy.split(";")}
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in found.scripts[1:]
    }
    assert set(rules["script-src"].split()) == hashes
    assert len(hashes) == 2
    # The policy must come before anything it is to hold for.
    assert metas.index(next(m for m in metas if "http-equiv" in m)) <= 1


def test_without_plotly_the_page_says_so(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(document, "plotly_script", lambda: b"")
    report.write(manifest, tmp_path)
    content = (tmp_path / "report.html").read_text()
    assert "plotly was not installed" in content
    assert "data-figure" not in content
    assert "7.91 ms" in content


def test_writing_imports_nothing_heavy(manifest, tmp_path):
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    script = (
        "import sys, pathlib\n"
        "from edgepack.toolchain import report\n"
        "from edgepack.toolchain.results import Manifest\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "report.write(Manifest.model_validate_json((folder / 'manifest.json').read_text()), folder)\n"
        "heavy = {'plotly', 'numpy', 'torch', 'onnx', 'onnxruntime', 'rich', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
