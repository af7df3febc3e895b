import numpy as np
import pytest

from detectors.optimizers import OPTIMIZERS, Adam, AdamW, QuickProp, RmsProp, RProp, Sgd, clip_norm
from detectors.schedules import SCHEDULES, Cosine, Exponential, Schedule, Step

CURVATURE = np.array([0.2, 1.0, 3.0])
BOTTOM = np.array([1.0, -2.0, 0.5])
RATES = {"sgd": 0.05, "rmsprop": 0.02, "adam": 0.1, "adamw": 0.1, "rprop": 0.1, "quickprop": 0.1}


def slope(block):
    return CURVATURE * (block - BOTTOM)


def height(block):
    return float((0.5 * CURVATURE * (block - BOTTOM) ** 2).sum())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_a_bowl(name):
    options = {"weight_decay": 0.0} if name == "adamw" else {}
    optimizer = OPTIMIZERS[name](rate=RATES[name], **options)
    block = np.zeros(3)
    state = optimizer.start(block)
    before = height(block)
    for _ in range(300):
        optimizer.step(state, block, slope(block), optimizer.rate)
    assert height(block) < 1e-3 * before
    assert state.steps == 300


def run(optimizer, gradients, rate, start):
    block = np.array(start, np.float64)
    state = optimizer.start(block)
    path = []
    for gradient in gradients:
        optimizer.step(state, block, np.array(gradient, np.float64), rate)
        path.append(block.copy())
    return np.array(path)


GRADIENTS = [[1.0, -2.0], [0.5, -1.0], [-0.25, -1.5], [0.1, 0.4], [0.1, 0.0], [-0.2, 0.3]]
START = [3.0, -1.0]


def by_hand(step):
    """Run a scalar recipe on each coordinate: `step(memory, x, g, t)` returns the new x."""
    columns = []
    for place in range(2):
        memory, x, path = {}, START[place], []
        for number, gradient in enumerate(GRADIENTS, start=1):
            x = step(memory, x, gradient[place], number)
            path.append(x)
        columns.append(path)
    return np.array(columns).T


def test_sgd_by_hand():
    def step(memory, x, g, _t):
        memory["v"] = 0.8 * memory.get("v", 0.0) + g
        return x - 0.1 * memory["v"]

    np.testing.assert_allclose(run(Sgd(momentum=0.8), GRADIENTS, 0.1, START), by_hand(step), rtol=1e-12)


def test_rmsprop_by_hand():
    def step(memory, x, g, _t):
        memory["s"] = 0.9 * memory.get("s", 0.0) + 0.1 * g * g
        return x - 0.1 * g / (memory["s"] ** 0.5 + 1e-8)

    np.testing.assert_allclose(run(RmsProp(decay=0.9), GRADIENTS, 0.1, START), by_hand(step), rtol=1e-12)


def adam(memory, x, g, t):
    memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g * g
    mean, square = memory["m"] / (1 - 0.9**t), memory["v"] / (1 - 0.999**t)
    return x - 0.1 * mean / (square**0.5 + 1e-8)


def test_adam_by_hand():
    np.testing.assert_allclose(run(Adam(), GRADIENTS, 0.1, START), by_hand(adam), rtol=1e-9)


def test_adamw_by_hand():
    def step(memory, x, g, t):
        return adam(memory, x * (1 - 0.1 * 0.3), g, t)

    np.testing.assert_allclose(run(AdamW(weight_decay=0.3), GRADIENTS, 0.1, START), by_hand(step), rtol=1e-9)


def test_adamw_decays_only_what_is_marked():
    optimizer = AdamW(rate=0.1, weight_decay=0.5)
    block = np.array([1.0, 1.0])
    state = optimizer.start(block, np.array([True, False]))
    optimizer.step(state, block, np.zeros(2), 0.1)
    assert block.tolist() == [0.95, 1.0]


def test_rprop_by_hand():
    def step(memory, x, g, t):
        size = memory.get("size", 0.1)
        agree = g * memory.get("g", 0.0)
        if t > 1 and agree > 0:
            size *= 1.2
        elif agree < 0:
            size *= 0.5
            g = 0.0
        memory["size"], memory["g"] = size, g
        return x - np.sign(g) * size

    np.testing.assert_allclose(run(RProp(), GRADIENTS, 0.1, START), by_hand(step), rtol=1e-12)


def test_quickprop_by_hand():
    """The recipe of Fahlman's own program, one weight at a time."""
    growth = 1.75
    shrink = growth / (1 + growth)

    def step(memory, x, g, _t):
        last, before, move = memory.get("move", 0.0), memory.get("g", 0.0), 0.0
        if last < 0:
            if g > 0:
                move -= 0.1 * g
            move += growth * last if g >= shrink * before else last * g / (before - g)
        elif last > 0:
            if g < 0:
                move -= 0.1 * g
            move += growth * last if g <= shrink * before else last * g / (before - g)
        else:
            move -= 0.1 * g
        memory["move"], memory["g"] = move, g
        return x + move

    np.testing.assert_allclose(run(QuickProp(), GRADIENTS, 0.1, START), by_hand(step), rtol=1e-12)


def test_quickprop_jumps_to_the_bottom_of_a_parabola():
    block = np.array([0.0])
    optimizer = QuickProp(rate=0.5, growth=10)
    state = optimizer.start(block)
    for _ in range(2):
        optimizer.step(state, block, block - 1.0, 0.5)
    assert abs(block[0] - 1.0) < 0.26  # the parabola's own jump and the gradient's part
    for _ in range(6):
        optimizer.step(state, block, block - 1.0, 0.5)
    assert block[0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_gradient_nothing_moves(name):
    options = {"weight_decay": 0.0} if name == "adamw" else {}
    optimizer = OPTIMIZERS[name](**options)
    block = np.array([1.5, -2.5], np.float32)
    state = optimizer.start(block)
    for _ in range(3):
        optimizer.step(state, block, np.zeros(2, np.float32), 0.1)
    assert block.tolist() == [1.5, -2.5]
    assert block.dtype == np.float32


def test_a_rate_must_be_above_zero():
    with pytest.raises(ValueError, match="rate is above 0, not 0"):
        Adam(rate=0)


def test_clipping_keeps_the_direction():
    gradient = np.array([3.0, 4.0])
    assert clip_norm(gradient, 10.0) == 5.0
    assert gradient.tolist() == [3, 4]
    assert clip_norm(gradient, 1.0) == 5.0
    np.testing.assert_allclose(gradient, [0.6, 0.8])
    nothing = np.zeros(2)
    assert clip_norm(nothing, 1.0) == 0


def test_schedules_by_hand():
    assert set(SCHEDULES) == {"constant", "exponential", "step", "cosine"}
    assert [Schedule().factor(epoch, 5) for epoch in range(5)] == [1] * 5
    assert [Exponential(decay=0.5).factor(epoch, 4) for epoch in range(4)] == [1, 0.5, 0.25, 0.125]
    assert [Step(every=2, decay=0.1).factor(epoch, 5) for epoch in range(5)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = [Cosine(lowest=0.2).factor(epoch, 5) for epoch in range(5)]
    assert cosine == pytest.approx([1, 0.2 + 0.4 * (1 + 0.5**0.5), 0.6, 0.2 + 0.4 * (1 - 0.5**0.5), 0.2])
    warm = [Cosine(warm_up=2).factor(epoch, 5) for epoch in range(5)]
    assert warm == pytest.approx([1 / 3, 2 / 3, 1, 0.5, 0])
    assert Cosine().factor(0, 1) == 1
    assert Cosine(warm_up=3).factor(2, 3) == 0.75
