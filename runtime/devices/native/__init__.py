"""The runner for devices without Python: a C++ program over ONNX Runtime's C interface, and the host's side of it.

    build.py     the program, for this machine, 64-bit ARM with Linux, or Android
    library.py   ONNX Runtime's own library for the device
    request.py   what the program reads
    answers.py   what it leaves

The program does what `runtime/devices/runner` does with Python: the same warm-up, samples, windows and rules.
"""
