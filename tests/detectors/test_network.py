import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.backpropagation import forward
from detectors.kernels import NUMPY, Activation
from detectors.network import Network
from detectors.parameters import Architecture, Initialisation, activation, fold, initial, layers_of

SMALL = Architecture((3, 4, 2), Activation.RELU)


def test_the_parameters_are_one_block_and_the_rest_are_views():
    architecture = Architecture((4, 3, 2))
    block = np.arange(architecture.count, dtype=np.float32)
    layers = layers_of(architecture, block)
    assert block.shape == (4 * 3 + 3 + 3 * 2 + 2,)
    assert (layers[0].weights[2, 1], layers[0].biases[0]) == (9, 12)
    assert (layers[1].weights[1, 2], layers[1].biases[1]) == (20, 22)
    layers[1].weights[0, 0] = -1
    assert block[15] == -1


def test_with_normalisation_its_values_follow_the_canonical_ones():
    architecture = Architecture((4, 3, 2), batch_norm=True)
    block = np.arange(architecture.count, dtype=np.float32)
    assert (architecture.canonical_count, architecture.count) == (23, 35)
    norm = layers_of(architecture, block)[0].norm
    assert norm.scale.tolist() == [23, 24, 25]
    assert norm.variance.tolist() == [32, 33, 34]
    assert layers_of(architecture, block)[1].norm is None


def test_the_forward_pass_is_the_one_written_down():
    block = np.array([1, 2, -1, -1, 0.5, 0.25, 2, 100, -1], np.float32)
    network = Network(Architecture((2, 2, 1)), block)
    assert network.backend is NUMPY
    out = network.predict(np.array([[1, 1], [-1, 0.5]], np.float32))
    assert out.dtype == np.float32
    assert out.tolist() == [[2 * 3.5 - 1], [2 * 0.5 + 100 * 0.75 - 1]]  # the last layer has no relu


def test_one_sample_is_a_batch_of_one():
    network = Network(Architecture((5, 4, 3), output=Activation.SOFTMAX), seed=1)
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    batch = network.predict(rows)
    assert network.predict(rows[2]).shape == (3,)
    np.testing.assert_allclose(network.predict(rows[2]), batch[2], rtol=1e-6)
    np.testing.assert_allclose(batch.sum(axis=1), 1, rtol=1e-6)


def test_logits_lie_below_the_output_activation():
    network = Network(Architecture((5, 4, 1), output=Activation.SIGMOID), seed=1)
    rows = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(network.predict(rows), 1 / (1 + np.exp(-network.logits(rows))), rtol=1e-5)
    linear = Network(SMALL, seed=1)
    rows = rows[:, :3]
    assert np.array_equal(linear.predict(rows), linear.logits(rows))


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (np.ones(4, np.float32), ValueError, r"^this network takes a sample \(3,\), not \(4,\)$"),
        (np.ones((2, 4)), ValueError, r"^this network takes inputs \(rows, 3\), not \(2, 4\)$"),
        (np.ones((1, 1, 3)), ValueError, r"^this network takes inputs \(rows, 3\), not \(1, 1, 3\)$"),
        (np.float32(1) * np.ones(()), ValueError, r"^this network takes inputs \(rows, 3\), not \(\)$"),
        (np.ones((2, 3), np.complex64), TypeError, "^this network takes float32 inputs, not complex64$"),
        (np.ones((2, 3), object), TypeError, "^this network takes float32 inputs, not object$"),
        (np.ones((2, 3), bool), TypeError, "^this network takes float32 inputs, not bool$"),
        (np.full(3, "1"), TypeError, "^this network takes float32 inputs, not <U1$"),
    ],
    ids=range(8),
)
def test_what_does_not_fit_is_refused_with_what_would(inputs, error, message):
    with pytest.raises(error, match=message):
        Network(SMALL).predict(np.asarray(inputs))


@pytest.mark.timeout(240)  # may wait for a compilation
def test_rows_that_are_not_aligned_are_read_too(jit):
    rows = np.frombuffer(b"\0" + np.ones((2, 3), np.float32).tobytes(), np.float32, 6, 1).reshape(2, 3)
    assert not rows.flags.aligned
    for backend in (NUMPY, jit):
        network = Network(SMALL, seed=1, backend=backend)
        assert np.array_equal(network.predict(rows), network.predict(rows.copy()))


def test_logits_want_rows():
    with pytest.raises(ValueError, match=r"takes inputs \(rows, 3\), not \(3,\)"):
        Network(SMALL).logits(np.ones(3, np.float32))


@pytest.mark.parametrize(
    "parameters", [np.zeros(7, np.float32), np.zeros(9, np.float32), np.zeros(8, np.float64), np.zeros((2, 4), "f4")]
)
def test_parameters_of_another_shape_or_type_are_refused(parameters):
    with pytest.raises(ValueError, match=r"^a network 3-2 has 8 float32 parameters, not "):
        Network(Architecture((3, 2)), parameters)
    network = Network(Architecture((3, 2)), np.zeros(8, np.float32))
    with pytest.raises(ValueError, match="float32 parameters, not"):
        network.assign(parameters)


def test_parameters_change_by_assignment_alone():
    given_block = np.zeros(8, np.float32)
    network = Network(Architecture((3, 2)), given_block)
    rows = np.ones((1, 3), np.float32)
    assert network.predict(rows).tolist() == [[0, 0]]
    given_block[:] = 1
    assert network.predict(rows).tolist() == [[0, 0]]
    for view in (network.parameters, network.layers[0].weights, network.layers[0].biases):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 1
    network.assign(given_block)
    assert network.predict(rows).tolist() == [[4, 4]]
    assert (network.layers[0].weights == 1).all()


layouts = st.sampled_from(["c", "fortran", "every second", "backwards", "transposed"])
kinds = st.sampled_from(["f2", "f4", ">f4", "f8", "i1", "u2", "i8"])


@settings(deadline=None, max_examples=80)
@given(st.tuples(st.integers(0, 40), st.integers(1, 33), st.integers(1, 9)), layouts, kinds, st.integers(0, 2**31))
def test_rows_of_any_layout_and_type_give_what_float32_gives(shape, layout, kind, seed):
    rows, wide, out = shape
    network = Network(Architecture((wide, 5, out), Activation.TANH), seed=seed)
    plain = np.random.default_rng(seed).integers(0, 9, (rows, wide)).astype(kind)
    given_rows = {
        "c": plain,
        "fortran": np.asfortranarray(plain),
        "every second": np.repeat(plain, 2, axis=1)[:, ::2],
        "backwards": plain[::-1].copy()[::-1],
        "transposed": plain.T.copy().T,
    }[layout]
    expected = network.predict(plain.astype(np.float32))
    got = network.predict(given_rows)
    assert got.shape == (rows, out)
    assert got.dtype == np.float32
    assert np.array_equal(got, expected)


architectures = st.builds(
    Architecture,
    st.lists(st.integers(1, 20), min_size=2, max_size=5).map(tuple),
    st.sampled_from([one for one in Activation if one is not Activation.SOFTMAX]),
    st.sampled_from(list(Activation)),
    residual=st.booleans(),
    batch_norm=st.booleans(),
)


@settings(deadline=None, max_examples=80)
@given(architectures, st.integers(0, 30), st.integers(0, 2**31))
def test_the_back_end_computes_what_the_layers_say(architecture, rows, seed):
    """Folding included: the layer by layer pass knows batch normalisation, the back end does not."""
    rng = np.random.default_rng(seed)
    block = initial(architecture, seed)
    for layer in layers_of(architecture, block):
        if layer.norm is not None:
            layer.norm.mean[:] = rng.normal(size=layer.norm.mean.shape)
            layer.norm.shift[:] = rng.normal(size=layer.norm.mean.shape)
            layer.norm.scale[:] = rng.normal(size=layer.norm.mean.shape)
            layer.norm.variance[:] = rng.random(layer.norm.mean.shape) + 0.1
    inputs = rng.normal(size=(rows, architecture.sizes[0])).astype(np.float32)
    expected = forward(architecture, layers_of(architecture, block.astype(np.float64)), inputs.astype(np.float64))[-1]
    network = Network(architecture, block)
    np.testing.assert_allclose(network.predict(inputs), expected.activated, atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose(network.logits(inputs), expected.pre, atol=2e-5, rtol=2e-5)


def test_folding_is_normalisation_to_a_millionth():
    architecture = Architecture((6, 8, 5, 2), Activation.RELU, batch_norm=True)
    rng = np.random.default_rng(2)
    block = rng.normal(size=architecture.count)
    for layer in layers_of(architecture, block):
        if layer.norm is not None:
            layer.norm.variance[:] = rng.random(layer.norm.variance.shape) + 0.01
    plain = Architecture((6, 8, 5, 2), Activation.RELU)
    folded = fold(architecture, block)
    assert folded.shape == (plain.count,)
    inputs = rng.normal(size=(50, 6))
    expected = forward(architecture, layers_of(architecture, block), inputs)[-1].pre
    got = forward(plain, layers_of(plain, folded), inputs)[-1].pre
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_a_residual_layer_adds_its_input():
    architecture = Architecture((2, 2, 2, 1), Activation.RELU, residual=True)
    assert architecture.residuals == (True, True, False)
    assert Architecture((2, 3, 3, 3), residual=True).residuals == (False, True, False)  # never the output
    network = Network(architecture, np.zeros(architecture.count, np.float32))
    block = network.parameters.copy()
    layers_of(architecture, block)[2].weights[:] = 1
    network.assign(block)
    assert network.predict(np.array([[3, 4]], np.float32)).tolist() == [[7]]


@pytest.mark.parametrize("kind", list(Initialisation))
def test_initialisation_is_uniform_within_its_limit_and_by_seed(kind):
    architecture = Architecture((300, 200, 100), initialisation=kind)
    block = initial(architecture, 5)
    for layer in layers_of(architecture, block):
        out, wide = layer.weights.shape
        limit = (6 / (wide if kind is Initialisation.HE else wide + out)) ** 0.5
        assert np.abs(layer.weights).max() <= limit
        assert layer.weights.std() == pytest.approx(limit / 3**0.5, rel=0.02)
        assert abs(layer.weights.mean()) < limit / 50
        assert (layer.biases == 0).all()
    assert np.array_equal(block, initial(architecture, 5))
    assert not np.array_equal(block, initial(architecture, 6))


def test_non_negative_networks_begin_without_a_negative_weight():
    architecture = Architecture((30, 20, 10), non_negative=True, batch_norm=True)
    block = initial(architecture, 5)
    assert (block >= 0).all()
    out = Network(Architecture((500, 300, 200, 40), non_negative=True), seed=1).predict(np.full(500, 3.0))
    np.testing.assert_allclose(out, 3, rtol=0.2)
    norm = layers_of(architecture, block)[0].norm
    assert (norm.scale.tolist(), norm.variance.tolist(), norm.mean.tolist()) == ([1] * 20, [1] * 20, [0] * 20)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"sizes": (3,)}, r"sizes are two or more widths from 1 to 65536, not \(3,\)"),
        ({"sizes": (3, 0)}, "sizes are two or more widths"),
        ({"sizes": (3, 2, 1), "hidden": (Activation.RELU,) * 2}, "1 hidden layers need as many activations, not 2"),
        ({"sizes": (3, 2, 1), "hidden": Activation.SOFTMAX}, "softmax is an output activation"),
        ({"sizes": (3, 2, 1), "hidden": "rellu"}, "no activation is called 'rellu': there are linear, relu"),
        ({"sizes": (3, 2), "dropout": 1.0}, "dropout is a share from 0 to below 1, not 1.0"),
        ({"sizes": (3, 2), "l2": -1.0}, "l2 is 0 or more, not -1.0"),
        ({"sizes": (3, 2), "initialisation": "she"}, "'she' is not a valid Initialisation"),
    ],
    ids=range(8),
)
def test_what_cannot_be_built_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**words)


def test_activations_come_one_for_all_or_one_each_and_by_name():
    assert activation("leaky_relu") is Activation.LEAKY_RELU
    each = Architecture((3, 2, 2, 1), ("tanh", "gelu"), "sigmoid")
    assert each.activations == (Activation.TANH, Activation.GELU, Activation.SIGMOID)
    assert Architecture((3, 2, 2, 1), "tanh").activations[:2] == (Activation.TANH,) * 2
    assert Architecture((3, 1)).activations == (Activation.LINEAR,)
