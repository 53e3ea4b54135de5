"""Rewrites of float graphs into what an accelerator runs, and runs well: one a file, found by a decorator.

`base` says what a rewrite is, `loop` when which is applied.
"""
