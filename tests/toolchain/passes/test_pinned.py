"""Named dimensions become numbers, and what follows from them is known."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgepack.toolchain.passes.pinned import pin_sizes


def model() -> ir.Model:
    """A view through a computed shape, whose result an exporter calls by names of its own."""
    proto = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 21]>
        net (int64[batch, sequence] ids) => (float[batch, sequence, 2] y)
        <int64[s43, s53] flat, float[s43, s53] real, int64[1] any = {-1}>
        {
            n = Shape<start = 1>(ids)
            target = Concat<axis = 0>(any, n)
            flat = Reshape<allowzero = 1>(ids, target)
            real = Cast<to = 1>(flat)
            wide = Unsqueeze(real, any)
            y = Concat<axis = -1>(wide, wide)
        }
    """)
    return ir.serde.deserialize_model(proto)


def dims(pinned: ir.Model, name: str) -> list[int | str | None]:
    found = next(value for node in pinned.graph for value in node.outputs if value.name == name)
    assert found.shape is not None
    return [dim if isinstance(dim, int) else dim.value for dim in found.shape]


def test_names_of_an_exporters_own_give_way_to_numbers() -> None:
    pinned = model()
    assert pin_sizes(pinned, {"batch": 3, "sequence": 4}) > 0
    assert dims(pinned, "y") == [3, 4, 2]
    assert all(
        isinstance(dim, int) for node in pinned.graph for value in node.outputs for dim in value.shape or ()
    )


def test_a_name_without_a_size_stays() -> None:
    pinned = model()
    pin_sizes(pinned, {"batch": 3})
    assert dims(pinned, "y") == [3, "sequence", 2]
    assert "s53" not in {
        dim for node in pinned.graph for value in node.outputs for dim in dims(pinned, value.name or "")
    }
