import numpy as np
import pytest

from edgepack.exporters.sources.inputs import other_sizes, parse, random_inputs
from edgepack.toolchain.errors import UnknownNameError, UsageError
from edgepack.toolchain.program import TensorSpec


def test_parse_reads_names_dtypes_and_dimensions():
    specs, sizes = parse(["ids:int64[1,seq=128]", "mask:bool[1, seq=128]", "scale:float32[]"])
    assert specs == (
        TensorSpec("ids", "int64", (1, "seq")),
        TensorSpec("mask", "bool", (1, "seq")),
        TensorSpec("scale", "float32", ()),
    )
    assert sizes == {"seq": 128}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["ids"], "name:dtype"),
        (["ids:int64"], "name:dtype"),
        (["ids:int64[seq]"], "'seq', which has no size"),
        (["ids:int64[seq?]"], "neither a positive number"),
        (["ids:int64[0]"], "neither a positive number"),
        (["ids:int64[n=-3]"], "neither a positive number"),
        (["a:int64[n=3]", "b:int64[n=4]"], "two sizes"),
        (["a:int64[3]", "a:int64[3]"], "twice"),
    ],
)
def test_parse_refuses_what_it_cannot_read(texts, said):
    with pytest.raises(UsageError, match=said):
        parse(texts)


def test_parse_offers_the_nearest_dtype():
    with pytest.raises(UnknownNameError, match="Did you mean 'float32'"):
        parse(["x:float23[1]"])


def test_random_inputs_keep_to_bounds_and_seed():
    specs, sizes = parse(["ids:int64[batch=4,seq=64]", "x:float32[batch=4,3]"])
    made = random_inputs(specs, sizes, 1, {"ids": 7})
    assert made["ids"].shape == (4, 64)
    assert made["x"].dtype == np.float32
    assert set(np.unique(made["ids"])) <= set(range(7))
    again = random_inputs(specs, sizes, 1, {"ids": 7})
    assert all(np.array_equal(made[k], again[k]) for k in made)
    assert not np.array_equal(made["x"], random_inputs(specs, sizes, 2)["x"])


def test_other_sizes_differ_from_the_first_and_respect_limits():
    first, smaller, larger = other_sizes({"batch": 2, "sequence": 16}, {"sequence": 17})
    assert first == {"batch": 2, "sequence": 16}
    assert 1 <= smaller["sequence"] < 16
    assert larger["sequence"] == 17
    assert larger["batch"] != larger["sequence"]
