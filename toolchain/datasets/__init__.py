"""Data to learn from that nothing has to be downloaded for: a system package's, and installed packages' files."""
