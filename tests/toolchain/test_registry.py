"""The registry: what it imports, what it refuses, what it offers."""

import sys
import textwrap
import threading

import pytest

from edgepack.toolchain.errors import UnknownNameError
from edgepack.toolchain.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with members, a folder of members, and private modules that must not be imported."""
    files = {
        "kinds/__init__.py": "from edgepack.toolchain.registry import Registry\nkinds = Registry('kind', 'kinds')\n",
        "kinds/one.py": "from kinds import kinds\n@kinds.register('one')\ndef one(): ...\n",
        "kinds/deep/__init__.py": "",
        "kinds/deep/two.py": "from kinds import kinds\n@kinds.register('two')\ndef two(): ...\n",
        "kinds/_private.py": "raise RuntimeError('imported')",
        "kinds/_folder/__init__.py": "raise RuntimeError('imported')",
        "kinds/_folder/three.py": "raise RuntimeError('imported')",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "kinds"]:
        del sys.modules[name]


def test_members_are_found_in_folders_and_private_modules_are_left_alone(package):
    import kinds

    assert kinds.kinds.names() == ["one", "two"]


def test_an_unknown_name_offers_the_nearest(package):
    import kinds

    with pytest.raises(UnknownNameError, match="two"):
        kinds.kinds.get("twoo")


def test_a_name_is_taken_once():
    registry: Registry[object] = Registry("kind", "edgepack.toolchain.passes")
    registry.register("same")(print)
    registry.register("same")(print)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("same")(len)


def test_a_thread_waits_for_what_another_is_importing(package, tmp_path):
    slow = (
        "import time\nfrom kinds import kinds\ntime.sleep(0.3)\n@kinds.register('three')\ndef three(): ...\n"
    )
    (tmp_path / "kinds" / "three.py").write_text(slow)
    import kinds

    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(kinds.kinds.names())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [["one", "three", "two"]] * 4
