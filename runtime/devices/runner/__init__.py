"""What runs on the device: one file for its Python, made of edgepack's own sessions, states and warm-up.

`archive.write` packs these modules and those that they import; the device needs Python 3.10, numpy and the
runtime (onnxruntime or ai-edge-litert), and nothing of edgepack.

    python3 runner.pyz check   request.json      outputs of the recorded calls
    python3 runner.pyz measure request.json      times, memory, clocks, temperatures

Everything ends in `result.json` (see `toolchain/answers.py`); arrays and samples lie in files beside it, each
named there with its SHA-256.
"""
