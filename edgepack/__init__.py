"""edgepack: a model in, verified artifacts for a CPU, an NPU and a mobile runtime out."""
