import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from detectors.kernels import Activation
from detectors.model_file import ARRAYS, MANIFEST, Card, ModelError, load_network, save_network
from detectors.network import Network
from detectors.parameters import Architecture

CARD = Card(
    signals=("cpu", "memory"),
    features=("shift", "slope"),
    centre=(0.1, 1 / 3),
    scale=(1.0, 2.5),
    parent="000000000001",
    first_ms=1_772_344_800_000,
    last_ms=1_772_344_900_000,
    metrics={"loss": 0.1 + 0.2, "recall": float("nan")},
)


def network(**words):
    return Network(Architecture((2, 3, 1), **words), seed=1)


@pytest.fixture
def stored(tmp_path):
    return save_network(tmp_path, "model", network(), CARD)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture((2, 1)),
        Architecture((5, 4, 4, 3), (Activation.GELU, Activation.TANH), Activation.SOFTMAX, "xavier"),
        Architecture((5, 4, 4, 3), non_negative=True, residual=True, batch_norm=True, dropout=0.1, l2=1e-9),
        Architecture((256, 128, 64, 32, 1), Activation.RELU, Activation.SIGMOID),
    ],
    ids=str,
)
def test_a_network_comes_back_bit_for_bit(tmp_path, architecture):
    saved = Network(architecture, seed=3)
    read, card = load_network(save_network(tmp_path, "model", saved, CARD))
    assert read.parameters.tobytes() == saved.parameters.tobytes()
    assert read.architecture.activations == architecture.activations
    assert read.architecture.plan() == architecture.plan()
    for name in ("sizes", "initialisation", "non_negative", "residual", "batch_norm", "dropout", "l2"):
        assert getattr(read.architecture, name) == getattr(architecture, name)
    assert card.metrics["loss"] == 0.1 + 0.2
    assert np.isnan(card.metrics["recall"])
    assert replace(card, metrics={}) == replace(CARD, metrics={})


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.text(max_size=20), max_size=3),
    st.lists(st.floats(allow_nan=False), max_size=3),
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3),
)
def test_whatever_a_card_says_is_read_back(tmp_path_factory, words, numbers, metrics):
    card = Card(signals=tuple(words), features=tuple(words), centre=tuple(numbers), metrics=metrics)
    read = load_network(save_network(tmp_path_factory.mktemp("models"), "model", network(), card))[1]
    assert read == card


def test_saving_again_replaces(tmp_path):
    save_network(tmp_path, "model", network(), CARD)
    other = Network(Architecture((2, 3, 1)), seed=2)
    folder = save_network(tmp_path, "model", other, Card())
    assert load_network(folder)[0].parameters.tobytes() == other.parameters.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", [ARRAYS, MANIFEST])
def test_a_file_cut_short_anywhere_is_refused(stored, name):
    whole = (stored / name).read_bytes()
    for length in range(0, len(whole) - 2, 97 if name == MANIFEST else 7):
        (stored / name).write_bytes(whole[:length])
        with pytest.raises(ModelError):
            load_network(stored)


def test_every_flipped_byte_of_the_arrays_is_noticed(stored):
    file = stored / ARRAYS
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="truncated or altered: its hash is not the manifest's"):
            load_network(stored)


def test_a_flipped_byte_of_the_manifest_is_refused_or_changes_nothing(stored):
    file = stored / MANIFEST
    whole = file.read_bytes()
    told = json.loads(whole)
    told["metrics"]["recall"] = None
    refused = 0
    for place in range(len(whole)):
        for flip in (0x01, 0x10, 0x80):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                load_network(stored)
            except ModelError:
                refused += 1
            else:
                now = json.loads(file.read_bytes())
                now["metrics"]["recall"] = None
                assert now == told  # white space
    assert refused > 2.5 * len(whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "unreadable manifest: JSONDecodeError"),
        ("{\udcff\udcff", "unreadable manifest: UnicodeDecodeError"),
        ("[" * 100_000, "unreadable manifest: RecursionError"),
        ("[]", "not a network of format 1"),
        ('{"format": 2, "network": "network"}', "not a network of format 1"),
        ('{"format": 1, "network": "anomaly"}', "not a network of format 1"),
        ('{"format": 1, "network": "network"}', "altered: the manifest has lost its digest"),
        ('{"format": 1, "network": "network", "manifest_sha256": "x"}', "altered: its digest is not its own"),
    ],
    ids=range(8),
)
def test_foreign_manifests_are_refused_with_a_reason(stored, text, reason):
    (stored / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=reason):
        load_network(stored)


def rewrite(folder, *, record=None, arrays=None):
    """Change a model and make its hashes right again: what a faulty program would write."""
    file = folder / MANIFEST
    told = json.loads(file.read_text())
    if arrays is not None:
        numbers = load_file(folder / ARRAYS)
        arrays(numbers)
        save_file(numbers, folder / ARRAYS)
    if record is not None:
        record(told)
    told = {key: value for key, value in told.items() if key not in ("sha256", "manifest_sha256")}
    told["manifest_sha256"] = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    told["sha256"] = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    file.write_text(json.dumps(told))


def test_a_model_that_is_rewritten_well_is_read(stored):
    rewrite(stored, record=lambda told: told.update(parent="other"))
    assert load_network(stored)[1].parent == "other"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"arrays": lambda numbers: numbers["parameters"].__setitem__(3, np.nan)}, "values that are not finite"),
        (
            {"arrays": lambda numbers: numbers.update(parameters=numbers["parameters"][:-1].copy())},
            "has 13 float32 parameters, not float32 .12,",
        ),
        ({"arrays": lambda numbers: numbers.update(parameters=np.zeros(13))}, "float32 parameters, not float64 .13,"),
        ({"arrays": lambda numbers: numbers.clear()}, "KeyError: 'parameters'"),
        ({"record": lambda told: told.pop("architecture")}, "KeyError: 'architecture'"),
        ({"record": lambda told: told.update(architecture=3)}, "AttributeError"),
        ({"record": lambda told: told["architecture"].update(sizes=[2, -1])}, "sizes are two or more widths"),
        ({"record": lambda told: told["architecture"].update(sizes="abc")}, "TypeError"),
        ({"record": lambda told: told["architecture"].update(sizes=[math.inf, 2])}, "TypeError"),
        ({"record": lambda told: told["architecture"].update(sizes=[2.5, 2])}, "TypeError"),
        ({"record": lambda told: told["architecture"].update(sizes=None)}, "TypeError"),
        ({"record": lambda told: told["architecture"].update(output="rulu")}, "no activation is called 'rulu'"),
        ({"record": lambda told: told["architecture"].update(output=[])}, "AttributeError|TypeError"),
        ({"record": lambda told: told["architecture"].update(dropout="much")}, "TypeError"),
        ({"record": lambda told: told["architecture"].update(more=1)}, "TypeError"),
        ({"record": lambda told: told.pop("metrics")}, "KeyError: 'metrics'"),
    ],
    ids=range(16),
)
def test_a_wrong_model_with_right_hashes_is_refused_with_the_reason(stored, change, reason):
    rewrite(stored, **change)
    with pytest.raises(ModelError, match=reason):
        load_network(stored)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 another thing", b"\xff" * 100, b"\0" * 8])
def test_foreign_arrays_with_a_right_hash_are_refused(stored, content):
    (stored / ARRAYS).write_bytes(content)
    rewrite(stored)
    with pytest.raises(ModelError, match="SafetensorError"):
        load_network(stored)


def test_files_that_are_gone_or_no_files_are_refused(stored, tmp_path):
    with pytest.raises(ModelError, match="unreadable manifest: FileNotFoundError"):
        load_network(tmp_path / "nowhere")
    (stored / ARRAYS).unlink()
    with pytest.raises(ModelError, match="FileNotFoundError"):
        load_network(stored)
    (stored / ARRAYS).mkdir()
    with pytest.raises(ModelError, match="IsADirectoryError"):
        load_network(stored)
