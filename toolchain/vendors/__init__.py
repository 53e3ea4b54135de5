"""What edgepack knows of vendors' tools: their calls, environments, files and habits.

Shared by the quantizers, targets and sessions of one vendor, which do not import one another. A vendor's compiler
runs in a process of its own, most in an environment of their own (`isolated_worker`).
"""
