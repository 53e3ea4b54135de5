"""Which layers of a quantized model are to blame for its error, and what keeping them float would give.

`bisect.py` has the steps in order; `noise.py` and `tflite_noise.py` measure the layers, `trials.py` and `fixing.py`
what follows when some of them stay float.
"""
