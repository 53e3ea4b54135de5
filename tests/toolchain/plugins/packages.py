"""Packages of other people's, built and installed as they would be, without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "plugins.md"


def example() -> tuple[str, str]:
    """The pyproject.toml and the module that the page for authors shows."""
    text = PAGE.read_text(encoding="utf-8")
    (project,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (module,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return project, module


def write(folder: Path, project: str, module: str) -> Path:
    """The package's source tree."""
    home = folder / "acme_edgepack"
    home.mkdir(parents=True)
    (home / "__init__.py").touch()
    (home / "ort_format.py").write_text(module)
    (folder / "pyproject.toml").write_text(project)
    return folder


def installed(source: Path, site: Path) -> Path:
    """Build a wheel of `source` with this environment's setuptools and install it into the folder `site`."""
    wheels = source / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(source)]
    _run(build)
    (wheel,) = wheels.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    _run([*pip, "--target", str(site), str(wheel)])
    return site


def fake(site: Path, name: str, module: str, group: str = "edgepack.targets") -> None:
    """What an installed package leaves behind, without building it: a module and its entry point."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}.py").write_text(module)
    facts = site / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")


def edgepack(site: Path, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run edgepack's command where the packages in `site` are installed."""
    paths = os.pathsep.join(filter(None, [str(ROOT), str(site), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "edgepack", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
