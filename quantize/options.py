"""What a quantizer can be told, by `--quantize name=value`: options as targets have them (`toolchain.options`)."""

from edgepack.toolchain.options import Names, Options, Share, Value, fixed, is_fixed, split, takes

__all__ = ["Names", "Options", "Share", "Value", "fixed", "is_fixed", "split", "takes"]
