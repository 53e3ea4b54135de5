"""ONNX to ncnn without pnnx: edgepack's own translation, for graphs that pnnx does not bring into layers of ncnn."""
