"""An exported program without complex numbers: every complex tensor in it becomes two real ones.

The program is interpreted with `Pair`s in the place of complex tensors, by the rules of this folder, and what
the interpretation does is exported anew. Complex parameters, buffers and constants are split beforehand.
Values at the program's own inputs and outputs are real by then: see `boundary`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from edgepack.exporters.pairs.base import Pair, rules
from edgepack.exporters.refusals import where_of
from edgepack.toolchain.errors import ExportError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_ROUNDS = 8
"""How often composite operators are taken apart at most."""


def is_complex(exported: ExportedProgram) -> bool:
    """Whether a tensor anywhere in the program is complex."""
    return any(_complex_value(node.meta.get("val")) for node in _nodes(exported.graph_module))


def without_complex(
    exported: ExportedProgram,
    export: Callable[[torch.nn.Module], ExportedProgram],
) -> tuple[ExportedProgram, dict[str, int]]:
    """The same program in real numbers.

    Args:
        exported: Left as it is; `is_complex`.
        export: Exports a module of the same positional inputs.

    Returns:
        The program, and how many nodes of which operator were rewritten.

    Raises:
        ExportError: An operator that has no rule for complex numbers, with the module where it stands.
    """
    with torch.no_grad():
        functional = _taken_apart(exported.run_decompositions({}))
    counts: Counter[str] = Counter()
    written = export(_Real(functional, counts))
    return written, dict(sorted(counts.items()))


def _nodes(graph_module: torch.nn.Module) -> Iterator[torch.fx.Node]:
    for module in graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from module.graph.nodes


def _complex_value(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_complex_value(one) for one in value)
    return isinstance(value, torch.Tensor) and value.is_complex()


def _touches(node: torch.fx.Node) -> bool:
    """Whether a node takes or gives a complex tensor."""
    return _complex_value(node.meta.get("val")) or any(
        _complex_value(one.meta.get("val")) for one in node.all_input_nodes
    )


def _rule(target: Any) -> Callable[..., Any] | None:
    for name in (str(target), str(getattr(target, "overloadpacket", ""))):
        if name in rules:
            return rules.get(name)
    return None


def _taken_apart(exported: ExportedProgram) -> ExportedProgram:
    """Composite operators on complex numbers that have no rule, decomposed until none is left that can be."""
    own = torch.export.default_decompositions()
    for _ in range(_ROUNDS):
        wanted = {
            node.target: own[node.target]
            for node in _nodes(exported.graph_module)
            if node.op == "call_function"
            and _touches(node)
            and _rule(node.target) is None
            and node.target in own
        }
        if not wanted:
            break
        exported = exported.run_decompositions(wanted)
    return exported


class _Real(torch.nn.Module):
    """The program as a module of real tensors, under the names that its tensors had."""

    def __init__(self, exported: ExportedProgram, counts: Counter[str]) -> None:
        super().__init__()
        signature = exported.graph_signature
        kinds = {spec.arg.name: spec for spec in signature.input_specs if hasattr(spec.arg, "name")}
        held = {**exported.state_dict, **exported.constants}
        # Hidden in a function: the graph module is no child, and torch.export puts a module's own
        # attributes back as they were.
        self._interpreter: Callable[[], _Interpreter] = lambda: _Interpreter(exported.graph_module, counts)
        self._order: list[tuple[str, bool] | None] = []
        self._returned = [
            index
            for index, spec in enumerate(signature.output_specs)
            if spec.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT
        ]
        shared: dict[tuple[Any, ...], str] = {}
        for node in exported.graph_module.graph.nodes:
            if node.op != "placeholder":
                continue
            target = kinds[node.name].target if node.name in kinds else None
            if target is None:
                self._order.append(None)
                continue
            value = held[target]
            if target in exported.constants:
                # torch.export names constants of its own in the same way.
                target = f"constants.{target}"
            complex_value = value.is_complex()
            # A tied tensor is held once.
            address = (value.data_ptr(), tuple(value.shape), tuple(value.stride()), value.dtype)
            path = shared.setdefault(address, target)
            if path == target:
                for name, part in _parts(target, value):
                    _put(self, name, part, trained=target in signature.inputs_to_parameters.values())
            self._order.append((path, complex_value))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The program's inputs; its outputs as a tuple."""
        given = iter(inputs)
        values = [next(given) if place is None else self._held(*place) for place in self._order]
        interpreter = self._interpreter()
        with torch.fx.traceback.preserve_node_meta():
            outputs = interpreter.run(*values)
        return tuple(outputs[index] for index in self._returned)

    def _held(self, path: str, complex_value: bool) -> Any:  # noqa: FBT001 - as stored
        if not complex_value:
            return _get(self, path)
        return Pair(_get(self, f"{path}.real"), _get(self, f"{path}.imag"))


def _parts(path: str, value: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    if not value.is_complex():
        return [(path, value)]
    value = value.detach().resolve_conj()
    return [(f"{path}.real", value.real.contiguous()), (f"{path}.imag", value.imag.contiguous())]


def _put(root: torch.nn.Module, path: str, value: torch.Tensor, *, trained: bool) -> None:
    *owners, name = path.split(".")
    for owner in owners:
        if owner not in root._modules:  # noqa: SLF001
            root.add_module(owner, torch.nn.Module())
        root = root._modules[owner]  # type: ignore[assignment]  # noqa: SLF001
    if trained and value.is_floating_point():
        root.register_parameter(name, torch.nn.Parameter(value.detach(), requires_grad=False))
    else:
        root.register_buffer(name, value.detach())


def _get(root: torch.nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    held = root.get_submodule(owner)
    return held._parameters[name] if name in held._parameters else held._buffers[name]  # noqa: SLF001


class _Interpreter(torch.fx.Interpreter):
    """Runs a program's nodes, those that touch complex numbers by their rules."""

    def __init__(self, graph_module: torch.fx.GraphModule, counts: Counter[str]) -> None:
        super().__init__(graph_module, garbage_collect_values=True)
        self._counts = counts
        counts.clear()

    def run_node(self, n: torch.fx.Node) -> Any:
        """One node; its own meta data go with what it becomes."""
        if n.op != "call_function" or not _touches(n) or n.target is torch.ops.aten.sym_size.int:
            if n.op == "call_function" and n.target is torch.ops.aten.sym_size.int:
                return self._size(n)
            return super().run_node(n)
        with torch.fx.traceback.set_current_meta(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            if n.target.__name__ == "getitem":  # type: ignore[union-attr]
                return args[0][args[1]]
            rule = _rule(n.target)
            result = NotImplemented if rule is None else rule(*args, **kwargs)
            if result is NotImplemented:
                raise _refused(n)
        self._counts[str(n.target)] += 1
        return result

    def _size(self, n: torch.fx.Node) -> Any:
        (value, axis), _ = self.fetch_args_kwargs_from_env(n)
        with torch.fx.traceback.set_current_meta(n):
            return torch.ops.aten.sym_size.int(value.re if isinstance(value, Pair) else value, axis)


def _refused(node: torch.fx.Node) -> ExportError:
    shapes = [
        f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        for one in node.all_input_nodes
        if isinstance(value := one.meta.get("val"), torch.Tensor)
    ]
    return ExportError(
        f"{node.target} on complex numbers ({', '.join(shapes)}), in {where_of(node.meta)}, has no form in real "
        "numbers here, and ONNX has no complex tensors",
        todo="Write that step of the model with real and imaginary parts as tensors of their own",
    )
