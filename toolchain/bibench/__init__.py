"""BiBench here: every registered method of binarization over tasks, architectures, corruption, training and inference.

After Qin, Zhang, Ding, Li, Cai, Liu, Yu and Liu, "BiBench: Benchmarking and Analyzing Network Binarization", ICML 2023
(arXiv:2301.11233): its six tracks, with data, networks and a machine of our own, so that no figure is comparable with
the paper's. `cells/` does what takes time, one trained network a cell; the rest plans, stores and shows.
"""
