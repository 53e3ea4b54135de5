"""Operators on images, for the worker that has coremltools (see `_coreml_operators`).

A Resize reads pixel i of the result at x(i) of an input of n pixels, for a result of m:

    half_pixel        x = (i + 1/2) n / m - 1/2       Core ML's UNALIGN_CORNERS
    align_corners     x = i (n - 1) / (m - 1)         STRICT_ALIGN_CORNERS
    asymmetric        x = i n / m                     DEFAULT

The nearest pixel is the one below x for asymmetric, and the one beside it for half_pixel. Where m is a multiple of n
both are floor(i n / m), which is what Core ML's upsampling by a whole number repeats; other nearest ones are refused,
for Core ML does not say how it rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coremltools.converters.mil import Builder

if TYPE_CHECKING:
    from edgepack.toolchain.vendors._coreml_operators import Node, number, on
else:
    from _coreml_operators import Node, number, on

_FLAT = 3  # axes of [batch, channels, length]
_IMAGE = 4
_LINEAR = {
    "half_pixel": "UNALIGN_CORNERS",
    "align_corners": "STRICT_ALIGN_CORNERS",
    "asymmetric": "DEFAULT",
}
_NEAREST = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")}


@on("Resize")
def _resize(n: Node) -> Any:
    x = n.input(0)
    if x.rank not in {_FLAT, _IMAGE} or list(x.shape[:2]) != n.shape[:2]:
        raise n.refuse("it resizes something else than the pixels of [batch, channels, height, width]")
    height, width = ([1] * (_IMAGE - x.rank) + list(x.shape[2:]))[-2:]
    wide, high = n.shape[-1], n.shape[-2] if x.rank == _IMAGE else 1
    place = n.attribute("coordinate_transformation_mode", "half_pixel")
    kind = n.attribute("mode", "nearest")
    if kind == "nearest":
        if (place, n.attribute("nearest_mode", "round_prefer_floor")) not in _NEAREST or (
            high % height or wide % width
        ):
            raise n.refuse("Core ML repeats pixels a whole number of times, and does not say how it rounds")
        words = {"scale_factor_height": high // height, "scale_factor_width": wide // width}
        make = Builder.upsample_nearest_neighbor
    else:
        if kind != "linear" or place not in _LINEAR or (n.attribute("antialias", 0) and wide < width):
            raise n.refuse(f"Core ML has no resizing that is {kind} and {place}")
        words = {"target_size_height": high, "target_size_width": wide, "sampling_mode": _LINEAR[place]}
        make = Builder.resize_bilinear
    if x.rank == _IMAGE:
        return make(x=x, **words)
    image = Builder.reshape(x=x, shape=[*x.shape[:2], 1, width])
    return Builder.reshape(x=make(x=image, **words), shape=n.shape)


@on("DepthToSpace")
def _depth_to_space(n: Node) -> Any:
    size = n.attribute("blocksize")
    if n.attribute("mode", "DCR") == "CRD":
        return Builder.pixel_shuffle(x=n.input(0), upscale_factor=size)
    return Builder.depth_to_space(x=n.input(0), block_size=size)


@on("SpaceToDepth")
def _space_to_depth(n: Node) -> Any:
    return Builder.space_to_depth(x=n.input(0), block_size=n.attribute("blocksize"))


@on("ConvTranspose")
def _conv_transpose(n: Node) -> Any:
    spatial = n.input(0).rank - 2
    if n.attribute("auto_pad", "NOTSET") != "NOTSET" or n.attribute("output_shape") is not None:
        raise n.refuse("its padding follows from the size of its result")
    pads = n.attribute("pads", [0] * 2 * spatial)
    more = n.attribute("output_padding", [0] * spatial)
    # What is computed at the end and cut off there is kept by so many.
    ends = [pad - kept for pad, kept in zip(pads[spatial:], more, strict=True)]
    if min(ends) < 0:
        raise n.refuse("its result is longer than what it computes")
    words = {
        "x": n.input(0),
        "weight": n.input(1),
        "strides": n.attribute("strides", [1] * spatial),
        "dilations": n.attribute("dilations", [1] * spatial),
        "groups": n.attribute("group", 1),
        **({} if n.input(2) is None else {"bias": n.input(2)}),
    }
    begins = pads[:spatial]
    if begins == ends:
        both = [size for pad in begins for size in (pad, pad)]
        return Builder.conv_transpose(pad_type="custom", pad=both, **words)
    # coremltools itself cuts a result whose two ends differ out of the whole one, and so does this.
    whole = Builder.conv_transpose(pad_type="valid", **words)
    kept = [size - end for size, end in zip(whole.shape[2:], ends, strict=True)]
    return Builder.slice_by_index(x=whole, begin=[0, 0, *begins], end=[*whole.shape[:2], *kept])


@on("InstanceNormalization")
def _instance_norm(n: Node) -> Any:
    x = n.input(0)
    words = {
        "gamma": n.constant(1),
        "beta": n.constant(2),
        "epsilon": number(x, n.attribute("epsilon", 1e-5)),
    }
    if x.rank <= _IMAGE:
        return Builder.instance_norm(x=x, **words)
    flat = Builder.reshape(x=x, shape=[*x.shape[:2], -1])
    return Builder.reshape(x=Builder.instance_norm(x=flat, **words), shape=n.shape)
