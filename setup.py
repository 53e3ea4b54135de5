"""The one part of the package that is compiled: the library of native operators in runtime/kernels.

Everything else about the package stands in pyproject.toml. The library is loaded by ONNX Runtime and
not by Python, so one wheel serves every version of Python. Without cmake or a compiler the package
has no library, and models run their operators' fallback functions.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
LIBRARY = "libedgepack_kernels.dylib" if sys.platform == "darwin" else "libedgepack_kernels.so"


def _builder() -> ModuleType:
    """runtime/kernels/build.py, by its path: edgepack is not installed yet."""
    file = HERE / "edgepack" / "runtime" / "kernels" / "build.py"
    spec = importlib.util.spec_from_file_location("edgepack_kernels_build", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildKernels(build_ext):
    """Builds with CMake where setuptools would call a compiler itself."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")[:-1]) / LIBRARY)

    def build_extension(self, ext: Extension) -> None:
        builder = _builder()
        try:
            builder.build(Path(self.get_ext_fullpath(ext.name)))
        except builder.BuildError as error:
            self.warn(f"{error}\nModels with native operators will run their fallback functions.")


class PlatformWheel(bdist_wheel):
    """For one platform, and for every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return ("py3", "none", platform)


missing = _builder().what_is_missing()
if missing:
    print(f"edgepack: no {missing}, so the native kernels are not built", file=sys.stderr)  # noqa: T201
setup(
    ext_modules=[]
    if missing
    else [Extension("edgepack.runtime.kernels.edgepack_kernels", sources=[], optional=True)],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
