"""Our declarations of ONNX Runtime's C interface say what the runtime's own header says.

The header is no part of this project. It is looked for where Debian's libonnxruntime-dev and ONNX Runtime's
own archives put it, and where `EDGEPACK_ONNXRUNTIME_INCLUDE` points; without it these tests are skipped, and
what remains is that every entry is called in every release (`test_versions.py`). A compiler compares: the
place of each entry of the table, its type, and the layout of an operator.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgepack.runtime.kernels.build import SOURCES

HEADER = "onnxruntime_c_api.h"
PLACES = (
    "/usr/include/onnxruntime",
    "/usr/include/onnxruntime/core/session",
    "/usr/local/include",
    "/usr/local/include/onnxruntime",
    "/opt/onnxruntime/include",
)
DECLARED = SOURCES / "src" / "ort_c_api.h"

# Ours stand in a namespace, the runtime's outside of it; `Theirs` leads from one to the other.
CODE = """
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <@HEADER@>
namespace ours {
#include <@DECLARED@>
}
template <typename T> struct Theirs { using type = T; };
template <typename T> struct Theirs<const T> { using type = const typename Theirs<T>::type; };
template <typename T> struct Theirs<T*> { using type = typename Theirs<T>::type*; };
template <typename R, typename... A> struct Theirs<R(A...)> {
  using type = typename Theirs<R>::type(typename Theirs<A>::type...);
};
@NAMES@
template <typename Entry> struct Look;
template <size_t kPlace, typename R, typename... A> struct Look<ours::edgepack::ort::Entry<kPlace, R, A...>> {
  static constexpr size_t place = kPlace;
  using type = typename Theirs<R(A...)>::type*;
};
template <typename Entry, typename Function> constexpr bool agrees(size_t offset) {
  return Look<Entry>::place * sizeof(void*) == offset && std::is_convertible_v<Function, typename Look<Entry>::type>;
}
@CHECKS@
"""


def include() -> Path:
    named = os.environ.get("EDGEPACK_ONNXRUNTIME_INCLUDE")
    for place in [named] if named else PLACES:
        if (Path(place) / HEADER).is_file():
            return Path(place)
    return pytest.skip(f"no {HEADER} here (Debian 13: libonnxruntime-dev)")


def entries() -> dict[str, str]:
    """From our names to the places that we say."""
    found = dict(re.findall(r"using (\w+) =\s+Entry<(\d+),", DECLARED.read_text()))
    assert len(found) > 15
    return found


def their_names(header: str) -> dict[str, str]:
    """From our names to the header's, which have underscores; the entry of version 24 is in no older header."""
    words = {word.replace("_", "").lower(): word for word in re.findall(r"\b[A-Z]\w+", header)}
    exact = {name: name for name in entries() if re.search(rf"\b{name}\b", header)}
    found = {name: exact.get(name) or words.get(name.lower()) for name in entries()}
    (version,) = re.findall(r"#define ORT_API_VERSION (\d+)", header)
    young = {"GetTensorElementTypeAndShapeDataReference"} if int(version) < 24 else set()
    assert {name for name, theirs in found.items() if theirs is None} == young
    return {name: theirs for name, theirs in found.items() if theirs is not None}


def code(header: str) -> str:
    checks = [
        f"static_assert(agrees<ours::edgepack::ort::{ours}, decltype(OrtApi::{theirs})>"
        f'(offsetof(OrtApi, {theirs})), "{theirs}");'
        for ours, theirs in their_names(header).items()
    ]
    declared = DECLARED.read_text()
    (operator,) = re.findall(r"struct OrtCustomOp \{(.*?)\n\};", declared, re.DOTALL)
    members = re.findall(r"\(\*(\w+)\)|uint32_t (\w+);", operator)
    checks += [
        f"static_assert(offsetof(ours::OrtCustomOp, {name}) == offsetof(OrtCustomOp, {name}) && std::is_convertible_v<"
        f'decltype(OrtCustomOp::{name}), Theirs<decltype(ours::OrtCustomOp::{name})>::type>, "{name}");'
        for name in (one or other for one, other in members)
        if name != "InferOutputShapeFn"  # ours is never called, and names none of its types
    ]
    assert len(checks) > 35
    checks += [
        f'static_assert(int(ours::{name}) == int({name}), "{name}");'
        for name in re.findall(
            r"\b(?:ORT_[A-Z]+|ONNX_TENSOR_\w+|INPUT_OUTPUT_\w+|OrtMemTypeDefault)(?= = \d)", declared
        )
    ]
    types = re.findall(r"^(?:struct|enum) (\w+)\b(?: : int)?(?=;| \{)", declared, re.MULTILINE)
    names = [
        f"template <> struct Theirs<ours::{name}> {{ using type = ::{name}; }};"
        for name in types
        if name not in {"OrtApiBase", "Entry"}
    ]
    text = CODE.replace("@NAMES@", "\n".join(names)).replace("@CHECKS@", "\n".join(checks))
    return text.replace("@HEADER@", HEADER).replace("@DECLARED@", str(DECLARED))


def compiled(text: str, folder: Path, include: Path) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    (folder / "check.cpp").write_text(text)
    options = ["-std=c++17", "-fsyntax-only", "-Wno-invalid-offsetof", f"-I{include}"]
    return subprocess.run(
        [compiler, *options, folder / "check.cpp"], capture_output=True, text=True, check=False
    )


def test_every_declaration_agrees(tmp_path: Path) -> None:
    place = include()
    done = compiled(code((place / HEADER).read_text()), tmp_path, place)
    assert done.returncode == 0, done.stderr[:3000]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("CreateCustomOpDomain = Entry<26,", "CreateCustomOpDomain = Entry<27,"),
        ("Entry<61, OrtStatus*, const OrtTensorTypeAndShapeInfo*, size_t*>",
         "Entry<61, OrtStatus*, const OrtTensorTypeAndShapeInfo*, int*>"),
        ("  int (*GetStartVersion)", "  void* more; int (*GetStartVersion)"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_found(right: str, wrong: str, tmp_path: Path) -> None:
    place = include()
    changed = DECLARED.read_text().replace(right, wrong)
    assert changed != DECLARED.read_text()
    (tmp_path / "ort_c_api.h").write_text(changed)
    text = code((place / HEADER).read_text()).replace(str(DECLARED), str(tmp_path / "ort_c_api.h"))
    done = compiled(text, tmp_path, place)
    assert done.returncode != 0
    assert "static assertion failed" in done.stderr


def test_every_place_is_declared_once() -> None:
    places = [int(place) for place in entries().values()]
    assert places == sorted(set(places))
