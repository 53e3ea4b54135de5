"""Times of a layer's forms and the limits of this core, in turn in one process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edgepack.runtime import kernels
from tests.benchmarks.binary.models import Shape, models, nothing

_ROUND_S = 2e-3
_ROUNDS = 60
_WARM = 5
CALL = "calling"


@dataclass(frozen=True)
class Limits:
    """Loops that do nothing else; each call gives a rate a second of its thread's time.

    They take turns with the forms: a rate of another minute says little on a machine whose clock moves.
    """

    products: Callable[[], float]
    tiles: Callable[[], float]
    near: Callable[[], float]
    far: Callable[[], float]


def limits(folder: Path) -> Limits:
    """Products counted, products by tiles (0 without AMX), bytes read from 64 KiB, bytes read from 64 MiB.

    Raises:
        subprocess.CalledProcessError: The compiler lacks the instructions.
        OSError: There is no compiler.
    """
    library = folder / "limits.so"
    source = Path(__file__).with_name("limits.cpp")
    flags = ["-O2", "-shared", "-fPIC", "-mavx512f", "-mavx512vpopcntdq"]
    subprocess.run([os.environ.get("CXX", "c++"), *flags, str(source), "-o", str(library)], check=True)
    loops = ctypes.CDLL(str(library))
    loops.popcount_products.restype = loops.bytes_read.restype = loops.tile_products.restype = ctypes.c_double
    loops.popcount_products.argtypes = loops.tile_products.argtypes = [ctypes.c_size_t]
    loops.bytes_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    near, far = np.ones(1 << 16, np.uint8), np.ones(1 << 26, np.uint8)
    tiled = "amx" in kernels.available()
    return Limits(
        products=lambda: float(loops.popcount_products(20_000)),
        tiles=lambda: float(loops.tile_products(2_000)) if tiled else 0.0,
        near=lambda: float(loops.bytes_read(near.ctypes.data, near.size, 200)),
        far=lambda: float(loops.bytes_read(far.ctypes.data, far.size, 1)),
    )


def measure(shape: Shape, peak: Limits) -> dict[str, Any]:
    """Medians over rounds: microseconds by form and by limit, and each form's time over that of one bit.

    The roofline is what the runtime takes for a call, and the longer of the time to count all products and the time to
    read activations and weights once from the first two caches, where a benchmark has them; it is by processors'
    counting, whichever kernel ran. `at_most` is fp32's time over it: no kernel that counts is that many times as fast
    as fp32. `tiles_us` is what all products take a loop of tiles that does nothing else, 0
    without AMX: it says what other threads of the core left at the time.
    """
    least: dict[str, list[float]] = {"counting": [], "reading": []}

    tiles: list[float] = []

    def limits_now() -> None:
        rate = peak.tiles()
        tiles.append(shape.products / rate * 1e6 if rate else 0.0)
        for name, of in roofline_us(shape, peak.products(), peak.near()).items():
            least[name].append(of)

    x = shape.x()
    runs = {name: bound(model, x) for name, model in models(shape).items()}
    times = in_turn(runs | {CALL: call_of_nothing()}, limits_now)
    bit = times["1-bit"]
    limits = {name: np.array(of) for name, of in least.items()} | {CALL: times.pop(CALL)}
    limit = np.maximum(limits["counting"], limits["reading"]) + limits[CALL]
    return {
        "shape": shape.title,
        "threads": 1,
        "us": medians(times),
        "over": medians({name: of / bit for name, of in times.items() if name != "1-bit"}),
        "roofline_us": medians(limits),
        "share_of_roofline": float(np.median(limit / bit)),
        "at_most": float(np.median(times["fp32"] / limit)),
        "tiles_us": float(np.median(tiles)),
    }


def in_turn(
    runs: Mapping[str, Callable[[], Any]], between: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """Microseconds of process time of each, [rounds]; all of them take turns in every round."""
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
        between()
    return {name: np.array(of) for name, of in times.items()}


def roofline_us(shape: Shape, products: float, near: float) -> dict[str, float]:
    """Microseconds that counting and reading take at rates a second."""
    return {"counting": shape.products / products * 1e6, "reading": shape.bytes_read / near * 1e6}


def medians(values: Mapping[str, Any]) -> dict[str, float]:
    """The median of each."""
    return {name: float(np.median(of)) for name, of in values.items()}


def threads_gain(shape: Shape) -> dict[str, Any]:
    """Wall times in microseconds of the binary layer with one thread and with two, call by call in turn.

    Only wall time can tell, and an interrupted call is no call of the kernel's: the shortest of each counts.
    """
    x, model = shape.x(), models(shape)["1-bit"]
    runs = [bound(model, x, threads) for threads in (1, 2)]
    times: list[list[float]] = [[], []]
    for _ in range(10 * _ROUNDS):
        for run, of in zip(runs, times, strict=True):
            begin = time.perf_counter()
            run()
            of.append((time.perf_counter() - begin) * 1e6)
    one, two = (min(of[_WARM:]) for of in times)
    return {"shape": shape.title, "threads": 2, "wall_us": [one, two], "gain": one / two}


def two_cores(peak: Limits) -> dict[str, float]:
    """What a second core adds where there is nothing but one loop on each: the sum of two rates over one, medians.

    A processor whose cores shared their tiles would give 1 for them.
    """
    together = Barrier(2)

    def rate(loop: Callable[[], float]) -> float:
        return sum(loop() for _ in range(10)) / 10

    def rate_together(loop: Callable[[], float]) -> float:
        together.wait()
        return rate(loop)

    gains: dict[str, list[float]] = {}
    with ThreadPoolExecutor(2) as threads:
        for name, loop in (("counting", peak.products), ("tiles", peak.tiles)):
            for _ in range(_ROUNDS):
                alone = threads.submit(rate, loop).result()
                total = sum(threads.map(rate_together, [loop, loop]))
                gains.setdefault(name, []).append(total / alone if alone else 0.0)
    return medians(gains)


def call_of_nothing() -> Callable[[], Any]:
    """A call of the runtime that computes nothing."""
    return bound(nothing(), np.zeros(1, np.float32))


def bound(
    model: onnx.ModelProto, x: np.ndarray, threads: int = 1, *, native: bool = True
) -> Callable[[], Any]:
    """A call of a model with its input and output in place; without `native` its functions run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    assert not native or kernels.register(options), kernels.why_not()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y")
    return lambda: session.run_with_iobinding(binding)
