"""`python -m edgepack`: the command line."""

from edgepack.toolchain.cli import main

main()
