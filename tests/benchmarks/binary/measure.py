"""Times of a layer's forms, in turn in one process, and the limits of this core in the same minute."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgepack.runtime import kernels
from tests.benchmarks.binary.models import Shape, models

_ROUND_S = 2e-3
_ROUNDS = 60
_WARM = 5


def limits(folder: Path) -> dict[str, float]:
    """Products and bytes a second of process time: counting, reading 64 KiB, reading 64 MiB.

    Raises:
        subprocess.CalledProcessError: The compiler lacks the instructions.
        OSError: There is no compiler.
    """
    library = folder / "limits.so"
    source = Path(__file__).with_name("limits.cpp")
    flags = ["-O2", "-shared", "-fPIC", "-mavx512f", "-mavx512vpopcntdq"]
    subprocess.run([os.environ.get("CXX", "c++"), *flags, str(source), "-o", str(library)], check=True)
    loops = ctypes.CDLL(str(library))
    loops.popcount_products.restype = loops.bytes_read.restype = ctypes.c_double
    loops.popcount_products.argtypes = [ctypes.c_size_t]
    loops.bytes_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    near, far = np.ones(1 << 16, np.uint8), np.ones(1 << 26, np.uint8)
    tries = range(7)
    return {
        "products": max(loops.popcount_products(200_000) for _ in tries),
        "near": max(loops.bytes_read(near.ctypes.data, near.size, 200) for _ in tries),
        "far": max(loops.bytes_read(far.ctypes.data, far.size, 1) for _ in tries),
    }


def measure(shape: Shape) -> dict[str, Any]:
    """Medians in microseconds by form, and medians over rounds of each form's time over that of one bit."""
    x = shape.x()
    runs = {name: _bound(model, x, 1) for name, model in models(shape).items()}
    clock = time.process_time
    times: dict[str, list[float]] = {name: [] for name in runs}
    counts = {}
    for name, run in runs.items():
        for _ in range(_WARM):
            run()
        begin = clock()
        run()
        counts[name] = max(1, int(_ROUND_S / max(clock() - begin, 1e-6)))
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            begin = clock()
            for _ in range(counts[name]):
                run()
            times[name].append((clock() - begin) / counts[name] * 1e6)
    bit = np.array(times["1-bit"])
    return {
        "us": {name: float(np.median(of)) for name, of in times.items()},
        "over": {name: float(np.median(np.array(of) / bit)) for name, of in times.items() if name != "1-bit"},
    }


def threads_gain(shape: Shape) -> dict[str, Any]:
    """Wall times in microseconds of the binary layer with one thread and with two, call by call in turn.

    Only wall time can tell, and an interrupted call is no call of the kernel's: the shortest of each counts.
    """
    x, model = shape.x(), models(shape)["1-bit"]
    runs = [_bound(model, x, threads) for threads in (1, 2)]
    times: list[list[float]] = [[], []]
    for _ in range(10 * _ROUNDS):
        for run, of in zip(runs, times, strict=True):
            begin = time.perf_counter()
            run()
            of.append((time.perf_counter() - begin) * 1e6)
    one, two = (min(of[_WARM:]) for of in times)
    return {"shape": shape.title, "threads": 2, "wall_us": [one, two], "gain": one / two}


def _bound(model: onnx.ModelProto, x: np.ndarray, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    assert kernels.register(options), kernels.why_not()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)


def line(shape: Shape, found: dict[str, Any], peak: dict[str, float]) -> dict[str, Any]:
    """What `make bench-binary` prints of a shape.

    The roofline is the longer of the time to count all products and the time to read activations and weights once from
    the first two caches, where a benchmark has them; it is by processors' counting, whichever kernel ran.
    """
    counting = shape.products / peak["products"] * 1e6
    reading = shape.bytes_read / peak["near"] * 1e6
    limit = max(counting, reading)
    return {
        "shape": shape.title,
        "threads": 1,
        **found,
        "roofline_us": {"counting": counting, "reading": reading},
        "share_of_roofline": limit / found["us"]["1-bit"],
    }
