"""Every back end that this machine can run against NumPy: outputs, trained weights, sorting, KS."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from detectors.kernels import (
    NUMPY,
    Activation,
    KsWindow,
    Loss,
    Plan,
    Precision,
    Rule,
    TrainSettings,
    TrainState,
    dense,
)
from detectors.kernels.layout import panels
from detectors.kernels.plan import BF16_ERROR
from detectors.kernels.reference import gradient, outputs_of, split, step
from detectors.network import Network
from detectors.parameters import Architecture

pytestmark = pytest.mark.timeout(240)  # the first test waits for three compilations

A = Activation
NETWORKS = {
    "anomaly": dense((256, 128, 64, 32, 1), A.RELU, A.SIGMOID),
    "capacity": dense((384, 192, 96, 48, 12), A.RELU, A.LINEAR),
    "failure": dense((512, 256, 128, 64, 2), A.RELU, A.SIGMOID),
}


RATES = {  # RMSprop's first steps are ten rates long: with more, float32 and float64 part by themselves
    Rule.SGD: {"learning_rate": 1e-2},
    Rule.RMSPROP: {"learning_rate": 1e-4, "decay_second": 0.99},
    Rule.ADAM: {"learning_rate": 1e-3},
    Rule.ADAMW: {"learning_rate": 1e-3, "weight_decay": 1e-2},
}


def parameters_of(plan, seed=0):
    rng = np.random.default_rng(seed)
    flat = np.zeros(plan.parameters, np.float32)
    for weights, bias in split(plan, flat):
        weights[:] = rng.normal(size=weights.shape) / np.sqrt(weights.shape[1])
        bias[:] = rng.normal(size=bias.shape) * 0.1
    return flat


def outputs(backend, plan, flat, inputs):
    out = np.full((len(inputs), plan.sizes[-1]), 7, np.float32)
    backend.forward(plan, backend.pack(plan, flat), inputs, backend.scratch(plan, len(inputs)), out)
    return out


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 13, 64, 65, 300])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_back_end_gives_what_numpy_gives(backends, name, batch):
    plan = NETWORKS[name]
    flat, inputs = parameters_of(plan), np.random.default_rng(1).normal(size=(batch, plan.sizes[0])).astype(np.float32)
    exact = outputs_of(plan, flat.astype(np.float64), inputs.astype(np.float64))[-1]
    for backend in backends:
        np.testing.assert_allclose(outputs(backend, plan, flat, inputs), exact, rtol=0, atol=1e-6)


@st.composite
def plans(draw, smooth=False):
    sizes = tuple(draw(st.lists(st.integers(1, 600) | st.integers(1, 20), min_size=2, max_size=5)))
    kinds = [A.LINEAR, A.RELU, A.LEAKY_RELU, A.SIGMOID, A.TANH] if smooth else list(A)
    activations = tuple(draw(st.sampled_from(kinds)) for _ in sizes[1:])
    residual = tuple(not smooth and a == b and draw(st.booleans()) for a, b in itertools.pairwise(sizes))
    return Plan(sizes, activations, residual)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), batch=st.integers(0, 300), seed=st.integers(0, 2**32))
def test_any_shape_and_batch(backends, plan, batch, seed):
    rng = np.random.default_rng(seed)
    flat, inputs = parameters_of(plan, seed), rng.normal(size=(batch, plan.sizes[0])).astype(np.float32)
    wanted = outputs(NUMPY, plan, flat, inputs)
    size = max(1.0, float(np.abs(wanted).max(initial=0.0)))  # what large sums leave of a small one is as exact as they
    for backend in backends:
        packed = backend.pack(plan, flat)
        assert (backend.unpack(plan, packed) == flat).all()
        got = outputs(backend, plan, flat, inputs)
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=5e-6 * size)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), batch=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_bf16_computes_with_the_weights_that_it_holds(backends, plan, batch, seed):
    rng = np.random.default_rng(seed)
    flat, inputs = parameters_of(plan, seed), rng.normal(size=(batch, plan.sizes[0])).astype(np.float32)
    flat[rng.integers(0, len(flat), 3)] = 0, -0.0, 1e-39
    inputs[batch // 2 :][:1, -1] = np.nan  # the last of an odd number meets no other weight's bits
    half = replace(plan, precision=Precision.BF16)
    for backend in backends:
        packed = backend.pack(half, flat)
        held = backend.unpack(half, packed)
        np.testing.assert_allclose(held, flat, rtol=BF16_ERROR, atol=2e-38)
        for (_, bias), (_, wanted) in zip(split(plan, held), split(plan, flat), strict=True):
            assert np.array_equal(bias, wanted)
        got = outputs(backend, half, flat, inputs)
        np.testing.assert_allclose(got, outputs(NUMPY, plan, held, inputs), rtol=2e-5, atol=5e-6)
        for row in range(min(batch, 3)):
            assert np.array_equal(outputs(backend, half, flat, inputs[row : row + 1])[0], got[row], equal_nan=True)


@pytest.mark.parametrize("tolerance", [0.05, 1e-9])
@pytest.mark.parametrize("output", [A.SIGMOID, A.LINEAR])
def test_a_network_reads_bf16_where_its_outputs_stay(backends, output, tolerance):
    rows = np.random.default_rng(1).normal(size=(50, 96)).astype(np.float32)
    network = Network(Architecture((96, 64, 5), output=output), seed=1)
    for backend in backends:
        network.use(backend)
        exact, logits = network.predict(rows), network.logits(rows[:1])
        alone = network.predict(rows[0])
        moved = network.use_bf16(rows, tolerance)
        assert 1e-5 < moved < 0.05
        got = np.array([network.predict(row) for row in rows])
        if moved <= tolerance:
            assert np.abs(got - exact).max() == pytest.approx(moved)
        assert np.array_equal(network.predict(rows[0]), alone) == (moved > tolerance)
        assert np.array_equal(network.predict(rows), exact)
        assert np.array_equal(network.logits(rows[:1]), logits)
        network.assign(network.parameters)
        assert np.array_equal(network.predict(rows[0]), alone)
    network.use(NUMPY)
    assert network.use_bf16(rows, 0) == 0  # it holds float32
    with pytest.raises(ValueError, match="one row at least"):
        network.use_bf16(rows[:0], 1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), batch=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_what_is_not_finite_comes_out_as_declared(backends, plan, batch, seed):
    rng = np.random.default_rng(seed)
    flat, plain = parameters_of(plan, seed), rng.normal(size=(batch, plan.sizes[0])).astype(np.float32)
    inputs = plain.copy()
    rows = rng.choice(batch, 2 * (batch // 2), replace=False).reshape(2, -1)[:, : 1 + batch // 8]
    missing, infinite = rows
    for row in infinite:
        inputs[row, rng.integers(0, plan.sizes[0], 2)] = rng.choice([np.inf, -np.inf], 2)
    for row in missing:
        inputs[row, rng.integers(0, plan.sizes[0])] = np.nan
    finite = np.setdiff1d(np.arange(batch), rows)
    with np.errstate(all="ignore"):
        exact = outputs_of(plan, flat.astype(np.float64), inputs[infinite].astype(np.float64))[-1]
    for backend in (*backends, NUMPY):
        got = outputs(backend, plan, flat, inputs)
        assert np.isnan(got[missing]).all()
        np.testing.assert_allclose(got[infinite], exact, rtol=2e-5, atol=5e-6)  # NaN and infinities in the same places
        assert np.array_equal(got[finite], outputs(backend, plan, flat, plain)[finite])


layouts = st.sampled_from(["fortran", "every second", "backwards", "unaligned"])
types = st.sampled_from(["f2", "f4", ">f4", "f8", "i1", "u2", "i8"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.integers(2, 40), st.integers(2, 33)), layouts, types, st.integers(0, 2**31))
def test_a_network_converts_and_a_back_end_refuses(backends, shape, layout, kind, seed):
    rows, wide = shape
    network = Network(Architecture((wide, 5, 3), A.TANH), seed=seed)
    plain = np.random.default_rng(seed).integers(0, 9, shape).astype(kind)
    given_rows = {
        "fortran": np.asfortranarray(plain),
        "every second": np.repeat(plain, 2, axis=1)[:, ::2],
        "backwards": plain[::-1].copy()[::-1],
        "unaligned": np.frombuffer(b"\0" + plain.tobytes(), kind, plain.size, 1).reshape(shape),
    }[layout]
    plan, out = network.architecture.plan(), np.full((rows, 3), 7, np.float32)
    for backend in (*backends, NUMPY):
        network.use(backend)
        wanted = network.predict(plain.astype(np.float32))
        assert np.array_equal(network.predict(given_rows), wanted)
        if backend is NUMPY and layout == "unaligned" and kind == "f4":
            continue  # it reads these as well
        with pytest.raises(ValueError, match=r"inputs"):
            backend.forward(plan, backend.pack(plan, network.parameters), given_rows, backend.scratch(plan, rows), out)
        assert (out == 7).all()


@pytest.mark.parametrize("kind", A)
def test_nan_and_infinity_come_out_as_numpy_gives_them_and_stay_in_their_row(backends, kind):
    plan = Plan((3, 3), (kind,), (False,))
    flat = np.r_[np.eye(3, dtype=np.float32).ravel(), np.zeros(3, np.float32)]
    inputs = np.ones((40, 3), np.float32)
    inputs[5] = np.nan
    inputs[17] = 3e38, -3e38, 0
    inputs[33] = -200, 200, -0.0
    wanted = outputs(NUMPY, plan, flat, inputs)
    for backend in backends:
        for rows in (inputs, inputs[5:6], inputs[17:18]):
            got = outputs(backend, plan, flat, np.ascontiguousarray(rows))
            np.testing.assert_allclose(got, outputs(NUMPY, plan, flat, rows), rtol=1e-6, atol=1e-6)
        infinite = np.full((9, 3), 1, np.float32)
        infinite[4] = np.inf  # 0 * inf in the sums: NaN
        assert np.isnan(outputs(backend, plan, flat, infinite)[4]).all()
        assert np.isfinite(np.delete(outputs(backend, plan, flat, infinite), 4, axis=0)).all()
    assert np.isnan(wanted[5]).all()


@pytest.mark.parametrize("kind", [kind for kind in A if kind is not A.SOFTMAX])
def test_activations_over_their_whole_range(backends, kind):
    plan = Plan((1, 1), (kind,), (False,))
    points = np.r_[np.linspace(-110, 110, 20_001), np.linspace(-2, 2, 4_001), np.inf, -np.inf, np.nan, -1e-40, 3e38]
    inputs = points.astype(np.float32)[:, None]
    wanted = outputs(NUMPY, plan, np.array([1, 0], np.float32), inputs)
    for backend in backends:
        got = outputs(backend, plan, np.array([1, 0], np.float32), inputs)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


def trained(backend, plan, data, rule, batch, **more):
    inputs, targets, order, weights = data
    loss = Loss.BCE if plan.activations[-1] is A.SIGMOID else Loss.MSE
    how = TrainSettings(rule=rule, loss=loss, batch=batch, **(RATES[rule] | more))
    flat, state = parameters_of(plan), TrainState.start(plan)
    loss = backend.train(plan, flat, inputs, targets, order, how, state, weights=weights)
    assert state.step == -(-len(order) // batch)
    return flat, loss, state


def exactly(plan, data, rule, batch, **more):
    """The same training in float64."""
    inputs, targets, order, weights = data
    loss = Loss.BCE if plan.activations[-1] is A.SIGMOID else Loss.MSE
    how = TrainSettings(rule=rule, loss=loss, batch=batch, **(RATES[rule] | more))
    flat = parameters_of(plan).astype(np.float64)
    state = TrainState(np.zeros(len(flat)), np.zeros(len(flat)))
    total = 0.0
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        factors = np.ones(len(rows)) if weights is None else weights[rows].astype(np.float64)
        one, slopes = gradient(plan, flat, inputs[rows].astype(np.float64), targets[rows], factors, loss)
        total += one * len(rows)
        state.step += 1
        step(plan, flat, slopes, how, state)
    return flat, total / len(order), state


def data_of(plan, rows, seed=2, *, weighted=False):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, plan.sizes[0])).astype(np.float32)
    targets = rng.random((rows, plan.sizes[-1])).astype(np.float32)  # soft
    weights = rng.random(rows).astype(np.float32) * 3 if weighted else None
    return inputs, targets, rng.permutation(rows), weights


@pytest.mark.parametrize(("batch", "rows"), [(8, 203), (32, 1000), (256, 1100)])
def test_trained_weights_agree_wherever_the_activation_has_no_kink(backends, batch, rows, seed):
    plan = dense((512, 256, 128, 64, 2), A.TANH, A.SIGMOID)
    data = data_of(plan, rows, seed)
    wanted, loss, _ = exactly(plan, data, Rule.ADAM, batch)
    for backend in backends:
        got, its_loss, _ = trained(backend, plan, data, Rule.ADAM, batch)
        assert np.linalg.norm(got - wanted) < 2e-5 * np.linalg.norm(wanted)  # 1.03e-5 was seen, with seed 2126432616
        assert its_loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("rule", Rule)
def test_decay_l2_weights_and_projection(backends, rule):
    plan = dense((37, 21, 50, 3), A.LEAKY_RELU, A.SIGMOID)
    data = data_of(plan, 200, weighted=True)
    for more in ({"weight_decay": 0.3, "l2": 0.01}, {"non_negative": True}):
        wanted, loss, its_state = exactly(plan, data, rule, 16, **more)
        for backend in backends:
            got, its_loss, state = trained(backend, plan, data, rule, 16, **more)
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=2e-5)
            np.testing.assert_allclose(state.second, its_state.second, rtol=1e-3, atol=1e-9)
            assert its_loss == pytest.approx(loss, rel=1e-5)
            if more.get("non_negative"):
                assert all((weights >= 0).all() for weights, _ in split(plan, got))
                assert min(bias.min() for _, bias in split(plan, got)) < 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(smooth=True), rows=st.integers(1, 70), batch=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_training_of_any_shape(backends, plan, rows, batch, seed):
    data = data_of(plan, rows, seed)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted, loss, _ = trained(NUMPY, plan, data, Rule.SGD, batch)
    assume(np.isfinite(wanted).all() and np.abs(wanted).max() < 100)  # one that diverges makes much of the last bit
    for backend in backends:
        got, its_loss, _ = trained(backend, plan, data, Rule.SGD, batch)
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
        assert its_loss == pytest.approx(loss, rel=1e-3, abs=1e-5)


def test_xor_trains(backends):
    plan = dense((2, 3, 1), A.TANH, A.SIGMOID)
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    targets = np.array([[0], [1], [1], [0]], np.float32)
    for backend in backends:
        flat, state = parameters_of(plan, 5), TrainState.start(plan)
        how = TrainSettings(loss=Loss.BCE, batch=4, learning_rate=0.05)
        backend.train(plan, flat, inputs, targets, np.tile(np.arange(4), 2000), how, state)
        assert (outputs(backend, plan, flat, inputs).round() == targets).all()
        assert state.step == 2000


def test_a_training_that_diverges_says_so(backends):
    plan = NETWORKS["capacity"]
    data = data_of(plan, 200)
    for backend in backends:
        flat, state = parameters_of(plan), TrainState.start(plan)
        how = TrainSettings(rule=Rule.SGD, batch=8, learning_rate=1e12)
        with np.errstate(all="ignore"):
            assert not np.isfinite(backend.train(plan, flat, *data[:3], how, state))


def test_what_does_not_fit_is_refused_in_words(backends):
    plan = NETWORKS["anomaly"]
    flat, inputs, out = parameters_of(plan), np.zeros((4, 256), np.float32), np.zeros((4, 1), np.float32)
    for backend in (*backends, NUMPY):
        packed, scratch = backend.pack(plan, flat), backend.scratch(plan, 4)
        for bad, words in (
            ((inputs.astype(np.float64), out), "inputs"),
            ((np.zeros((4, 512), np.float32)[:, ::2], out), "inputs"),
            ((inputs[:, :255].copy(), out), "inputs"),
            ((inputs[0], out), "inputs"),
            ((inputs, out[:3]), "outputs"),
            ((inputs, np.zeros((4, 2), np.float32)), "outputs"),
        ):
            with pytest.raises(ValueError, match=words):
                backend.forward(plan, packed, bad[0], scratch, bad[1])
        frozen = out.copy()
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match=r"writable|read-only"):
            backend.forward(plan, packed, inputs, scratch, frozen)
        assert not frozen.any()
        state = TrainState.start(plan)
        with pytest.raises(ValueError, match="outside 0 to 3"):
            backend.train(plan, flat, inputs, out, np.array([4]), TrainSettings(), state)
        with pytest.raises(ValueError, match="targets"):
            backend.train(plan, flat, inputs, out.astype(np.float64), np.array([0]), TrainSettings(), state)
        softmax = dense((256, 128, 64, 32, 1), A.RELU, A.SOFTMAX)
        assert not backend.can_train(softmax, TrainSettings())
        assert not backend.can_train(replace(plan, precision=Precision.BF16), TrainSettings())


@pytest.mark.parametrize("lanes", [8, 16])
def test_panels_cover_every_column_once(lanes):
    for width in range(1, 601):
        at = 0
        for column, wide in panels(width, lanes):
            assert column == at
            assert wide in (lanes, 2 * lanes, 3 * lanes)
            at += wide
        assert width <= at < width + lanes


def ties(rng, features, width):
    values = rng.normal(size=(features, width)).astype(np.float32)
    values[: features // 2] = values[: features // 2].round(1)  # many ties, 0.0 and -0.0
    return values


def test_rows_are_sorted_and_nan_goes_last(backends):
    rng = np.random.default_rng(3)
    values = ties(rng, 20, 701)
    values[3, ::7], values[4], values[5, :4] = np.nan, np.nan, [np.inf, -np.inf, 3e38, -1e-42]
    values[6, :2] = np.array([0xFFC00001, 0x7F800001], np.uint32).view(np.float32)  # other NaN
    for backend in backends:
        got = backend.sorted(values)
        np.testing.assert_array_equal(got.values, np.sort(values, axis=1))
        assert (got.numbers == np.count_nonzero(~np.isnan(values), axis=1)).all()


@pytest.mark.parametrize("width", [1, 2, 50, 2880])
def test_ks_is_that_of_scipy(backends, width):
    from scipy.stats import ks_2samp  # noqa: PLC0415 - half a second that only this test needs

    rng = np.random.default_rng(width)
    reference, sample = ties(rng, 12, 800), ties(rng, 12, width)
    wanted = [ks_2samp(a, b, method="asymp").statistic for a, b in zip(reference, sample, strict=True)]
    for backend in (*backends, NUMPY):
        np.testing.assert_allclose(backend.ks(backend.sorted(reference), sample), wanted, rtol=0, atol=1e-12)


def test_ks_leaves_missing_values_out(backends):
    rng = np.random.default_rng(5)
    reference, sample = ties(rng, 6, 90), ties(rng, 6, 70)
    reference[0, 80:], sample[1, 3:20], sample[2] = np.nan, np.nan, np.nan
    for backend in (*backends, NUMPY):
        got = backend.ks(backend.sorted(reference), sample)
        first, second = reference[0:1, :80].copy(), np.delete(sample[1:2], np.s_[3:20], axis=1)
        assert got[0] == backend.ks(backend.sorted(first), sample[0:1].copy())[0]
        assert got[1] == backend.ks(backend.sorted(reference[1:2].copy()), second)[0]
        assert np.isnan(got[2])


def test_a_window_of_counters_gives_what_sorting_gives(backends):
    rng = np.random.default_rng(6)
    reference, stream = ties(rng, 8, 300), ties(rng, 8, 120)
    stream[:, 17] = np.nan
    for backend in (*backends, NUMPY):
        ordered = backend.sorted(reference)
        window = KsWindow(backend, ordered)
        assert np.isnan(window.statistic()).all()
        for at in range(120):
            window.add(stream[:, at].copy())
            if at >= 50:
                window.remove(stream[:, at - 50].copy())
            if at % 20 == 19:
                wanted = backend.ks(ordered, stream[:, max(0, at - 49) : at + 1].copy())
                np.testing.assert_allclose(window.statistic(), wanted, rtol=0, atol=1e-12)
        window.add(stream[:, :30].T.copy())
        window.remove(stream[:, 90:].T.copy())
        wanted = backend.ks(ordered, np.concatenate([stream[:, :30], stream[:, 70:90]], axis=1))
        np.testing.assert_allclose(window.statistic(), wanted, rtol=0, atol=1e-12)


def test_what_passes_through_a_window_may_be_more_than_its_counters_hold(backends):
    """A clock that was set back far brings weeks into a day, and out of it again."""
    rng = np.random.default_rng(7)
    reference, passing, stay = ties(rng, 4, 300), np.zeros((40_000, 4), np.float32), ties(rng, 4, 50)
    for backend in (*backends, NUMPY):
        ordered = backend.sorted(reference)
        window = KsWindow(backend, ordered)
        window.add(passing)
        window.add(stay.T.copy())
        window.remove(passing)
        np.testing.assert_allclose(window.statistic(), backend.ks(ordered, stay), rtol=0, atol=1e-12)
