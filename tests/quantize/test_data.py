import numpy as np
import pytest

from edgepack.quantize.data import fit, fit_feed, load
from edgepack.quantize.text import generic_sentences
from edgepack.toolchain.errors import UsageError
from edgepack.toolchain.program import Case, Part, Signature, TensorSpec

TEXT = Signature(
    tuple(
        TensorSpec(n, "int64", ("batch", "sequence"))
        for n in ("input_ids", "attention_mask", "token_type_ids")
    ),
    (),
)


def part(signature, tmp_path, **arrays):
    return Part("main", tmp_path / "main.onnx", signature, [Case("c", arrays, {})])


@pytest.fixture
def vector(tmp_path):
    signature = Signature((TensorSpec("x", "float32", ("batch", 6)),), ())
    return part(signature, tmp_path, x=np.random.default_rng(0).normal(3, 2, (2, 6)).astype(np.float32))


@pytest.fixture
def text(tmp_path):
    return part(TEXT, tmp_path, **{spec.name: np.ones((2, 9), np.int64) for spec in TEXT.inputs})


def test_an_npz_of_samples(vector, tmp_path):
    rows = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=rows)
    data = load(str(tmp_path / "d.npz"), vector, {}, "model", 12)
    assert (data.facts.kind, data.facts.samples, data.facts.held_out) == ("user", 12, 8)
    np.testing.assert_array_equal(
        np.concatenate([feed["x"] for feed in (*data.samples, *data.held_out)]), rows
    )


def test_a_sample_axis_of_its_own(vector, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(1).standard_normal((9, 3, 6)).astype(np.float32))
    assert load(str(tmp_path / "d.npz"), vector, {}, "model", 4).samples[0]["x"].shape == (3, 6)


def test_a_folder_of_files(vector, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    for index in range(6):
        np.save(folder / f"{index}.npy", np.full((1, 6), index, np.float32))
    data = load(str(folder), vector, {}, "model", 100)
    assert [float(feed["x"][0, 0]) for feed in data.samples] == [0, 1, 2, 3]
    assert data.facts.held_out == 2


def test_a_factory(vector, tmp_path):
    (tmp_path / "f.py").write_text(
        "import numpy as np\ndef make():\n"
        "    for i in range(10**9):\n        yield {'x': np.full((1, 6), i, np.float32)}\n"
    )
    data = load(f"python:{tmp_path / 'f.py'}:make", vector, {}, "model", 5)
    # An endless factory is asked for what is needed only.
    assert (data.facts.samples, data.facts.held_out) == (5, 5)


def test_calibration_and_judging_share_nothing(text, minilm, tmp_path):
    (tmp_path / "s.txt").write_text("\n".join(f"Sentence number {i} is here." for i in range(40)))
    data = load(str(tmp_path / "s.txt"), text, {"sequence": 16}, str(minilm), 20)
    seen = {feed["input_ids"].tobytes() for feed in data.samples}
    assert seen.isdisjoint(feed["input_ids"].tobytes() for feed in data.held_out)
    assert data.samples[0]["input_ids"][0, 0] == 101  # [CLS]


def test_text_models_get_generic_sentences_when_nobody_gives_any(text, minilm):
    data = load(None, text, {"sequence": 16}, str(minilm), 8)
    assert data.facts.kind == "generic"
    assert "not your data" in data.facts.description
    assert max(feed["input_ids"].shape[1] for feed in data.samples) <= 16


def test_other_models_get_noise_of_the_references_spread_and_it_is_said(vector):
    data = load(None, vector, {"batch": 500}, "model", 4)
    assert data.facts.kind == "synthetic"
    values = np.concatenate([feed["x"] for feed in data.samples])
    reference = vector.cases[0].inputs["x"]
    assert abs(values.mean() - reference.mean()) < 0.2
    assert abs(values.std() - reference.std()) < 0.2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": np.zeros((9, 6), np.float32)}, "no array 'x'"),
        ({"x": np.zeros((9, 7), np.float32)}, "has shape"),
        ({"x": np.full((9, 6), np.nan, np.float32)}, "NaN"),
        ({"x": np.zeros((2, 6), np.float32)}, "at least 4"),
        ({"x": np.full((9, 6), "text")}, "is <U4"),
        ({"x": np.zeros((0, 6), np.float32)}, "has 0 samples"),
        ({"x": np.full((9, 6), 0.5, np.float32)}, "samples of the calibration data are the same"),
        ({"x": np.zeros((9, 6), complex)}, "is complex128"),
    ],
)
def test_data_that_does_not_fit(vector, tmp_path, arrays, said):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UsageError, match=said):
        load(str(tmp_path / "d.npz"), vector, {}, "model", 4)


def test_pickled_arrays_are_refused(vector, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}] * 9, dtype=object))
    with pytest.raises(UsageError, match="cannot be read"):
        load(str(tmp_path / "d.npz"), vector, {}, "model", 4)


@pytest.mark.parametrize(
    ("name", "content"), [("d.npz", b"not a zip"), ("d.npz", b""), ("empty", None), ("d.txt", b"text")]
)
def test_files_that_are_no_data(vector, tmp_path, name, content):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UsageError):
        load(str(path), vector, {}, "model", 4)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('gone')", "OSError: gone"),
        ("return [3]", "is int, not a dict"),
        ("return [{}]", "has no 'x'"),
    ],
)
def test_factories_that_fail(vector, tmp_path, body, said):
    (tmp_path / "f.py").write_text(f"def make():\n    {body}\n")
    with pytest.raises(UsageError, match=said):
        load(f"{tmp_path / 'f.py'}:make", vector, {}, "model", 4)


def test_no_such_data(vector):
    with pytest.raises(UsageError, match="no calibration data at"):
        load("nowhere.npz", vector, {}, "model", 4)


def test_fitting_pads_with_masked_zeros_and_cuts():
    static = Signature(tuple(TensorSpec(s.name, s.dtype, (1, 8)) for s in TEXT.inputs), ())
    short = {s.name: np.ones((1, 5), np.int64) for s in TEXT.inputs}
    long = {s.name: np.ones((2, 20), np.int64) for s in TEXT.inputs}
    padded, cut = fit_feed(short, static), fit_feed(long, static)
    assert padded["attention_mask"].tolist() == [[1] * 5 + [0] * 3]
    assert cut["input_ids"].shape == (1, 8)


def test_fitting_to_what_varies_changes_nothing(text, minilm):
    data = load(None, text, {}, str(minilm), 4)
    assert fit(data, TEXT) is data


def test_generic_sentences_are_many_different_and_always_the_same():
    first, second = list(generic_sentences()), list(generic_sentences())
    assert first == second
    assert len(set(first)) == len(first) > 1000


SCALED = Signature((TensorSpec("image", "uint8", ("batch", 6)), TensorSpec("scale", "float32", ())), ())


@pytest.fixture
def scaled(tmp_path):
    return part(SCALED, tmp_path, image=np.full((2, 6), 9, np.uint8), scale=np.float32(2))


def test_a_scalar_stays_one(scaled, tmp_path):
    made = load(None, scaled, {}, "model", 4)
    np.savez(tmp_path / "d.npz", image=np.arange(48).reshape(8, 6), scale=np.arange(8, dtype=np.float32))
    given = load(str(tmp_path / "d.npz"), scaled, {}, "model", 4)
    for data in (made, given, fit(given, SCALED.pinned({"batch": 2}))):
        assert data.samples[1]["scale"].shape == ()
    assert given.samples[3]["scale"] == 3


def test_values_that_the_inputs_dtype_lacks_are_refused(scaled, tmp_path):
    np.savez(tmp_path / "d.npz", image=np.arange(250, 298).reshape(8, 6), scale=np.zeros(8, np.float32))
    with pytest.raises(UsageError, match="holds values beyond uint8: 256 to 261"):
        load(str(tmp_path / "d.npz"), scaled, {}, "model", 4)
    np.savez(tmp_path / "d.npz", image=np.ones((8, 6), np.uint8), scale=np.full(8, 1e300))
    with pytest.raises(UsageError, match="holds values beyond float32"):
        load(str(tmp_path / "d.npz"), scaled, {}, "model", 4)


@pytest.mark.parametrize("scale", [np.zeros(7, np.float32), np.float32(1)])
def test_arrays_of_different_lengths_are_refused(scaled, tmp_path, scale):
    np.savez(tmp_path / "d.npz", image=np.ones((8, 6), np.uint8), scale=scale)
    with pytest.raises(UsageError, match="different numbers of samples: image 8, scale"):
        load(str(tmp_path / "d.npz"), scaled, {}, "model", 4)


def test_an_empty_npy_is_refused(vector, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "0.npy").touch()
    with pytest.raises(UsageError, match="cannot be read"):
        load(str(folder), vector, {}, "model", 4)


IDS_AND_MASK = Signature(
    (TensorSpec("ids", "int64", ("batch", "sequence")), TensorSpec("seen", "bool", ("batch", "sequence"))), ()
)


@pytest.fixture
def masked(tmp_path):
    ids = np.arange(6, dtype=np.int64)[None]
    return part(IDS_AND_MASK, tmp_path, ids=ids, seen=np.ones((1, 6), bool))


def given_lengths(tmp_path, masked, lengths):
    seen = np.stack([np.arange(8)[None] < n for n in lengths])
    ids = np.arange(seen.size).reshape(seen.shape)
    np.savez(tmp_path / "d.npz", ids=ids, seen=seen)
    return load(str(tmp_path / "d.npz"), masked, {}, "model", 4)


def test_where_no_sample_is_padded_the_first_is_masked_in_part(masked, tmp_path):
    data = given_lengths(tmp_path, masked, [8] * 8)
    fitted = fit(data, IDS_AND_MASK.pinned({"batch": 1, "sequence": 8}))
    assert [feed["seen"].sum() for feed in fitted.samples] == [6, *[8] * (len(data.samples) - 1)]
    assert all((a["ids"] == b["ids"]).all() for a, b in zip(fitted.samples, data.samples, strict=True))
    assert all(feed["seen"].all() for feed in fitted.held_out)
    assert "masked" in fitted.facts.description
    assert "masked" not in data.facts.description


@pytest.mark.parametrize(("lengths", "size"), [([8, 8, 5, 8] * 2, 8), ([8] * 8, 12)], ids=["theirs", "ours"])
def test_where_one_is_padded_nothing_is_masked(masked, tmp_path, lengths, size):
    data = given_lengths(tmp_path, masked, lengths)
    fitted = fit(data, IDS_AND_MASK.pinned({"batch": 1, "sequence": size}))
    assert [feed["seen"].sum() for feed in fitted.samples] == lengths[: len(data.samples)]
    assert fitted.facts == data.facts
