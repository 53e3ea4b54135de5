"""`edgepack explain`: what stays off a target's accelerator, why, what would cure it, what it costs, and a proof.

`asking` builds what export would build and reads its placement, `costs` weighs what was left, `smallest` cuts out and
tries the smallest model that shows each problem, `results` is what comes out, `shown` prints it.
"""
