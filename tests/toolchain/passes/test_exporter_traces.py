from edgepack.toolchain.passes.exporter_traces import exporter_traces


def test_traces_of_the_exporter_go_and_nothing_else(graph):
    model = graph("g (float[3] x) => (float[3] y) { a = Neg(x) y = Exp(a) }")
    first, second = model.graph
    first.metadata_props["pkg.torch.onnx.stack_trace"] = 'File "/home/somebody/secret.py", line 1'
    first.metadata_props["namespace"] = "net/layer"
    second.metadata_props["author"] = "somebody"
    second.metadata_props["namespace"] = "of their own"
    model.graph.outputs[0].metadata_props["pkg.torch.export.graph_signature"] = "y"
    assert exporter_traces(model) == 2
    assert not first.metadata_props
    assert second.metadata_props == {"author": "somebody", "namespace": "of their own"}
    assert exporter_traces(model) == 0
