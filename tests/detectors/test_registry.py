import hashlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from detectors import model_file, registry, roles
from detectors.anomaly import LiveScorer
from detectors.features import FEATURES, HOURS, INPUTS, SPAN, surprise
from detectors.registry import Manifest, ModelError, Registry, State, load, read_manifest, save


def manifest(number):
    return {
        "name": f"{number:012d}",
        "number": number,
        "trained_ms": 1_772_344_800_000,
        "interval_seconds": 30.0,
        "samples": 400,
        "first_seq": 1,
        "last_seq": number,
    }


@pytest.fixture
def models(tmp_path):
    models = Registry(tmp_path / "models")
    models.prepare()
    return models


@pytest.fixture
def stored(tmp_path, trained):
    """A model's folder, whole."""
    return save(tmp_path / "kept", trained, manifest(400))


def bring_in(models, model, number):
    save(models.incoming, model, manifest(number))
    models.accept(f"{number:012d}")


def rewrite(folder, change):
    """Change the arrays of a model and make its hash right again: what a faulty program would write."""
    file = folder / "model.safetensors"
    arrays = load_file(file)
    change(arrays)
    save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, file)
    record = json.loads((folder / "manifest.json").read_text())
    record["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(record))


@pytest.mark.parametrize("with_network", [True, False])
def test_a_model_comes_back_bit_for_bit(tmp_path, trained, model_of, with_network):
    model = trained if with_network else model_of(200, 5)[0]
    model.context.season[3] = np.nan
    got, read = load(save(tmp_path, model, manifest(400)))
    assert asdict(read) == {**asdict(Manifest(**manifest(400), sha256=read.sha256))}
    assert got.signal_ids == model.signal_ids
    assert got.scales == model.scales
    assert got.quiet_scores.tobytes() == model.quiet_scores.tobytes()
    assert got.tails.tobytes() == model.tails.tobytes()
    for key, array in model.context.arrays().items():
        assert got.context.arrays()[key].tobytes() == array.tobytes(), key
    if with_network:
        assert got.network.parameters.tobytes() == model.network.parameters.tobytes()
    else:
        assert got.network is None
    window = np.random.default_rng(0).random((16, len(model.signal_ids))).astype(np.float32)
    expected, again = (LiveScorer(one).score(window, 5) for one in (model, got))
    assert again.raw[0] == expected.raw[0]


def test_every_flipped_byte_is_noticed(stored):
    file = stored / "model.safetensors"
    whole = file.read_bytes()
    places = range(0, len(whole), 1000)
    assert len(places) > 100
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="truncated or altered"):
            load(stored)
    file.write_bytes(whole)
    load(stored)


def test_a_flipped_byte_of_the_manifest_is_no_other_error(stored):
    file = stored / "manifest.json"
    whole = file.read_bytes()
    refused = 0
    for place in range(len(whole)):
        for flip in (0x01, 0x10, 0x80):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            try:
                read_manifest(stored)
                load(stored)
            except ModelError:
                refused += 1
    assert refused > 2 * len(whole)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_what_is_cut_short_is_refused(stored, name, length):
    whole = (stored / name).read_bytes()
    (stored / name).write_bytes(whole[: length if name == "model.safetensors" or length >= 0 else -4])
    with pytest.raises(ModelError):
        load(stored)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "unreadable manifest"),
        ("[]", "not an anomaly model of format 3"),
        ("null", "not an anomaly model of format 3"),
        ('{"format": 2, "network": "anomaly"}', "not an anomaly model of format 3"),
        ('{"format": 3, "network": "capacity"}', "not an anomaly model of format 3"),
        ('{"format": 3, "network": "anomaly"}', "unreadable manifest: KeyError"),
        (json.dumps({"format": 3, "network": "anomaly", **manifest(1), "sha256": "x", "number": None}), "TypeError"),
        (json.dumps({"format": 3, "network": "anomaly", **manifest(1), "sha256": "x", "number": 1e999}), "Overflow"),
        ("[" * 100_000, "RecursionError"),
        ("\udcff", "unreadable manifest"),
    ],
    ids=range(10),
)
def test_foreign_manifests_are_refused_with_a_reason(stored, text, reason):
    (stored / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=reason):
        load(stored)


def test_files_that_are_gone_or_no_files_are_refused(stored, tmp_path):
    with pytest.raises(ModelError, match="unreadable manifest"):
        load(tmp_path / "nowhere")
    (stored / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="FileNotFoundError"):
        load(stored)
    (stored / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match="IsADirectoryError"):
        load(stored)


def spoil(key, value, place=0):
    def change(arrays):
        arrays[key] = arrays[key].copy()
        arrays[key].flat[place] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoil("network", np.nan), "the network holds values that are not finite"),
        (spoil("network", np.inf, 1000), "the network holds values that are not finite"),
        (spoil("context.scale", np.nan), "scale holds values that are not finite"),
        (spoil("context.scale", 0.0), "scale holds values that are not above zero"),
        (spoil("context.noise", 0.5), "noise below one"),
        (spoil("context.centre", np.inf), "centre holds"),
        (spoil("context.season", np.inf), "season holds"),
        (spoil("scales.quiet", np.nan), "the scales"),
        (spoil("scales.quiet", 1e9), "the scales"),
        (spoil("scales.means", np.nan, 1), "the scales"),
        (spoil("scales.means", -1.0, 2), "the scales"),
        (spoil("quiet_scores", np.nan), "quiet time"),
        (spoil("tails", np.nan), "the tails"),
        (lambda arrays: arrays.update({"tails": arrays["tails"][:-1]}), "the tails"),
        (spoil("signal_ids", 11), "a signal comes twice"),
        (lambda arrays: arrays.pop("context.own"), "TypeError"),
        (lambda arrays: arrays.pop("signal_ids"), "KeyError"),
        (lambda arrays: arrays.update({"context.more": np.zeros(3)}), "TypeError"),
        (lambda arrays: arrays.update({"context.centre": arrays["context.centre"].T}), "centre is float64"),
        (lambda arrays: arrays.update({"context.own": arrays["context.own"].astype(np.int64)}), "own is int64"),
        (lambda arrays: arrays.update({"context.loadings": np.zeros(())}), "loadings is"),
        (lambda arrays: arrays.update({"signal_ids": arrays["signal_ids"][:-1]}), "not float64"),
        (lambda arrays: arrays.update({"signal_ids": np.array(7)}), "TypeError|not float64"),
        (lambda arrays: arrays.update({"network": arrays["network"][:-1]}), "has 43265 float32 parameters"),
        (lambda arrays: arrays.update({"network": arrays["network"].astype(np.float64)}), "float32 parameters"),
        (lambda arrays: arrays.update({"scales.quiet": np.zeros(1)}), "TypeError|ValueError"),
        (lambda arrays: arrays.update({"scales.means": np.ones((2, 2))}), "the scales"),
        (lambda arrays: arrays.clear(), "KeyError|TypeError"),
    ],
    ids=range(28),
)
def test_a_wrong_model_with_a_right_hash_is_refused_with_the_reason(stored, change, reason):
    rewrite(stored, change)
    with pytest.raises(ModelError, match=reason):
        load(stored)


def test_a_foreign_file_with_a_right_hash_is_refused(stored):
    (stored / "model.safetensors").write_bytes(b"PK\x03\x04 something else entirely")
    record = json.loads((stored / "manifest.json").read_text())
    record["sha256"] = hashlib.sha256((stored / "model.safetensors").read_bytes()).hexdigest()
    (stored / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(ModelError, match="SafetensorError"):
        load(stored)


def test_without_a_model_nothing_serves_and_nothing_is_refused(models):
    assert models.champion() == (None, None, [])


def test_the_champion_is_the_promoted_one(models, trained):
    for number in (100, 200):
        bring_in(models, trained, number)
    models.promote(f"{100:012d}")
    _, serves, refused = models.champion()
    assert (serves.number, refused) == (100, [])
    models.promote(f"{200:012d}")
    assert models.champion()[1].number == 200


@pytest.mark.parametrize("damage", ["flip", "gone", "empty"])
def test_a_corrupt_champion_gives_way_to_the_version_before(models, trained, damage):
    for number in (100, 200, 300):
        bring_in(models, trained, number)
    models.promote(f"{200:012d}")
    file = models._accepted / f"{200:012d}" / "model.safetensors"
    if damage == "flip":
        whole = bytearray(file.read_bytes())
        whole[500] ^= 1
        file.write_bytes(whole)
    elif damage == "gone":
        shutil.rmtree(file.parent)
    else:
        file.write_bytes(b"")
    _, serves, refused = models.champion()
    assert serves.number == 300
    assert len(refused) == 1
    assert "000000000200" in refused[0]
    for path in models.versions():
        (path / "manifest.json").unlink()
    assert models.champion()[:2] == (None, None)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"../../elsewhere\n", b"none such\n", b"\0", b"x" * 5000])
def test_a_pointer_that_points_nowhere_costs_only_itself(models, trained, content):
    bring_in(models, trained, 100)
    models._pointer._path.write_bytes(content)
    assert models._pointer.read().champion in {"", content.decode(errors="replace").strip()}
    assert models.champion()[1].number == 100


def test_leftovers_of_a_killed_child_are_cleared(models, trained):
    save(models.incoming, trained, manifest(5))
    (models.incoming / ".000000000006.partial").mkdir()
    (models.incoming / ".000000000006.partial" / "model.safetensors").write_bytes(b"half")
    (models.incoming / "a file").write_text("what is it?")
    models.prepare()
    assert list(models.incoming.iterdir()) == []


def test_what_is_not_whole_is_not_accepted(models, trained):
    folder = save(models.incoming, trained, manifest(5))
    rewrite(folder, spoil("network", np.nan))
    for name in (folder.name, "none such", "", ".."):
        with pytest.raises(ModelError):
            models.accept(name)
    assert models.versions() == []


class Killed(BaseException):
    pass


@pytest.fixture
def cut_off(monkeypatch):
    """Run something and stop it dead before its step number `limit`; a step is a sync or the removal of a folder."""

    def run(limit, work):
        left = [limit]

        def stepping(function):
            def stepped(*arguments, **options):
                for act in (lambda: None, lambda: function(*arguments, **options)):
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    act()

            return stepped

        with monkeypatch.context() as patch:
            for module in (registry, roles, model_file):
                patch.setattr(module, "sync", stepping(model_file.sync))
            patch.setattr(registry.shutil, "rmtree", stepping(shutil.rmtree))
            try:
                work()
            except Killed:
                return True
        return False

    return run


def test_a_kill_between_any_two_steps_leaves_a_champion(models, trained, cut_off):
    """Every step of saving, accepting and promoting is cut off once; the champion is always whole."""
    bring_in(models, trained, 100)
    models.promote(f"{100:012d}")
    for limit in range(100):
        number = 200 + limit

        def replace(number=number):
            bring_in(models, trained, number)
            models.promote(f"{number:012d}")

        if not cut_off(limit, replace):
            break
        again = Registry(models.incoming.parent)
        again.prepare()
        model, serves, refused = again.champion()
        assert model is not None
        assert refused == []
        assert serves.number in {100, number}
        assert list(again.incoming.iterdir()) == []
        again.promote(f"{100:012d}")
    assert limit >= 12
    assert models.champion()[1].number == number


def test_the_oldest_versions_leave_and_the_champion_stays(models, trained):
    for number in range(1, 8):
        bring_in(models, trained, number)
    models.promote(f"{2:012d}")
    assert [path.name for path in models.versions()] == [f"{number:012d}" for number in (7, 6, 5, 2)]
    models.promote(f"{7:012d}")
    assert [path.name for path in models.versions()] == [f"{number:012d}" for number in (7, 6, 5, 2)]


def test_a_full_disk_leaves_no_half_model(models, trained, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    for module in (registry, model_file):
        monkeypatch.setattr(module, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        save(models.incoming, trained, manifest(5))
    monkeypatch.undo()
    with pytest.raises(ModelError):
        load(models.incoming / f"{5:012d}")


def states(models):
    return {version.name.lstrip("0"): version.state.value for version in models.lineage()}


def test_lineage_and_exclusions_come_back_and_nonsense_in_them_is_refused(tmp_path, trained):
    told = {"parent": "000000000100", "trigger": "drift", "first_ms": 5, "last_ms": 9, "exclusions": {"alarmed": 12}}
    folder = save(tmp_path, trained, {**manifest(400), **told, "metrics": {"suite": 0.5}})
    read = read_manifest(folder)
    assert {key: getattr(read, key) for key in told} == told
    assert read.metrics == {"suite": 0.5}
    for wrong in ({"metrics": ["a"]}, {"exclusions": {"alarmed": "many"}}, {"metrics": {"a": None}}):
        with pytest.raises(ModelError):
            read_manifest(save(tmp_path, trained, {**manifest(400), **wrong}))


def test_who_is_what_after_promotions_and_a_rollback(models, trained):
    for number in (100, 200, 300):
        bring_in(models, trained, number)
    models.promote(f"{100:012d}", 10)
    models.promote(f"{200:012d}", 20, "better")
    models.note(f"{300:012d}", State.SHADOW, 25)
    assert states(models) == {"300": "shadow", "200": "champion", "100": "predecessor"}
    assert models.predecessor()[1].number == 100
    assert models.predecessor()[2] == 20
    assert models.rollback(30, "too loud") == f"{100:012d}"
    assert states(models) == {"300": "shadow", "200": "retired", "100": "champion"}
    assert [one.reason for one in models.lineage()][1] == "too loud"
    with pytest.raises(ModelError, match="no model before"):
        models.rollback(40, "again")
    models.promote(f"{300:012d}", 50)
    (models.folder(f"{100:012d}") / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        models.rollback(60, "its predecessor is broken")
    assert models.champion()[1].number == 300


def test_pruning_spares_whom_something_needs(models, trained):
    for number in range(1, 5):
        bring_in(models, trained, number)
        models.promote(f"{number:012d}")
    models.pin(f"{1:012d}", pinned=True)
    for number in range(5, 13):
        bring_in(models, trained, number)
    models.note(f"{5:012d}", State.SHADOW, 0)
    models.prune()
    assert [int(path.name) for path in models.versions()] == [12, 11, 10, 5, 4, 3, 1]
    for needed in (4, 3, 1):
        with pytest.raises(ModelError, match="stays"):
            models.remove(f"{needed:012d}")
    models.remove(f"{12:012d}")
    models.pin(f"{1:012d}", pinned=False)
    models.prune()
    assert [int(path.name) for path in models.versions()] == [11, 10, 5, 4, 3, 1]
    assert set(models._roles.read()) <= {path.name for path in models.versions()}
    for act in (models.remove, models.folder):
        with pytest.raises(ModelError, match="there is no model"):
            act("../champion")


def test_a_pointer_of_before_predecessors_were_kept_still_points(models, trained):
    for number in (100, 200):
        bring_in(models, trained, number)
    models._pointer._path.write_text(f"{100:012d}\n")
    assert models.champion()[1].number == 100
    assert models.predecessor() == (None, None, 0)
    models.promote(f"{200:012d}", 5)
    assert states(models) == {"200": "champion", "100": "predecessor"}


def test_a_challenger_that_never_won_is_the_last_to_stand_in(models, trained):
    for number in (100, 200, 300):
        bring_in(models, trained, number)
        if number < 300:
            models.promote(f"{number:012d}")
    models.note(f"{300:012d}", State.SHADOW, 0)
    shutil.rmtree(models.folder(f"{200:012d}"))
    assert models.champion()[1].number == 100
    shutil.rmtree(models.folder(f"{100:012d}"))
    assert models.champion()[1].number == 300


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 5}', '{"a": {"state": "king", "since_ms": 0}}', "[" * 100_000])
def test_roles_that_cannot_be_read_cost_only_themselves(models, trained, text):
    bring_in(models, trained, 100)
    models.promote(f"{100:012d}")
    (models._accepted / "roles.json").write_text(text)
    assert states(models) == {"100": "champion"}
    models.pin(f"{100:012d}", pinned=True)
    assert models.lineage()[0].pinned


def test_kill_9_at_any_moment_of_retraining_and_promotion_leaves_one_champion(tmp_path, trained, scale, seed):
    """200 kills at scale 25: a child that saves, a daemon that accepts, shadows, promotes, rolls back and prunes."""
    models = Registry(tmp_path / "models")
    models.prepare()
    bring_in(models, trained, 1)
    models.promote(f"{1:012d}", 1)
    draw = random.Random(seed)
    seen = set()
    for _ in range(8 * scale):
        process = os.fork()
        if process == 0:
            live(models, trained, max(int(path.name) for path in models.versions()) + 1)
        time.sleep(draw.uniform(0.001, 0.3))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        again = Registry(tmp_path / "models")
        again.prepare()
        model, serves, refused = again.champion()
        assert model is not None
        assert refused == []
        held = [version for version in again.lineage() if version.state is State.CHAMPION]
        assert [version.name for version in held] == [serves.name]
        assert not [version for version in again.lineage() if version.problem]
        assert list(again.incoming.iterdir()) == []
        seen.add(serves.number)
    assert len(seen) > 1


def live(models, model, number):
    """Retrain, promote and roll back until killed."""
    try:
        while True:
            save(models.incoming, model, manifest(number))
            models.accept(f"{number:012d}", State.SHADOW, number)
            if number % 3 == 0:
                models.note(f"{number:012d}", State.RETIRED, number, "not better")
            else:
                models.promote(f"{number:012d}", number)
            if number % 5 == 0:
                models.rollback(number, "too loud")
            number += 1
    finally:
        os._exit(1)


def test_other_features_are_another_format(trained):
    """A model computes what it has learned only with the features that it was trained on.

    Who changes what this pins raises FORMAT, and pins it anew: hosts then go on with what the window teaches, and the
    next model scores in shadow first (daemon/models/superseded).
    """
    rows = np.random.default_rng(7).normal(size=(80, len(trained.signal_ids))).astype(np.float32)
    rows[40:, 0] += 3.0
    found = surprise(trained.context, rows, np.arange(80) % HOURS)
    assert (FEATURES, SPAN, INPUTS, HOURS) == (
        ("shift", "slope", "difference", "volatility", "season", "factors", "autoregression", "range"), 15, 256, 168,
    )  # fmt: skip
    pinned = {3: (1.48385, 1.13688, 2.23512, 2.01484, 0.0, 2.30127, 2.01762, 0.90319)}  # the mean of each
    np.testing.assert_allclose(found.mean(axis=(0, 1)), pinned[registry.FORMAT], rtol=2e-3)
