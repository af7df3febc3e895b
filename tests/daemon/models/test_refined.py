import pytest

from daemon.models.refined import RefinedModels
from detectors.failure import FailureForecaster, load_forecaster, save, shipped
from detectors.model_file import ModelError


def taught(events):
    whole = shipped()
    return FailureForecaster(whole.network, whole.calibrations, whole.base, taught=events)


@pytest.fixture
def models(tmp_path):
    return RefinedModels(tmp_path, "failure", load_forecaster)


def hand_over(models, until_ms, events=5):
    save(models.incoming, taught(events), {})
    return models.accept(until_ms)


def names(models):
    return sorted(path.name for path in models.folder(0).parent.iterdir())


def test_without_any_there_is_none(models):
    assert models.newest() == (None, 0, [])


def test_the_newest_serves_and_its_predecessor_stays(models):
    for until_ms, events in ((1000, 5), (2000, 11), (3000, 17)):
        assert hand_over(models, until_ms, events).taught == events
    found, until_ms, refused = models.newest()
    assert (found.taught, until_ms, refused) == (17, 3000, [])
    assert names(models) == ["000000000002000", "000000000003000"]
    assert not models.incoming.exists()


def test_one_of_a_clock_that_was_wrong_goes(models):
    for until_ms in (1000, 9000, 2000):
        hand_over(models, until_ms)
    assert models.newest()[1] == 2000
    assert names(models) == ["000000000001000", "000000000002000"]


def test_what_is_broken_gives_way_and_says_why(models):
    for until_ms, events in ((1000, 5), (2000, 11)):
        hand_over(models, until_ms, events)
    (models.folder(2000) / "network" / "model.safetensors").write_bytes(b"")
    found, until_ms, refused = models.newest()
    assert (found.taught, until_ms) == (5, 1000)
    assert "truncated or altered" in refused[0]
    (models.folder(1000) / "calibration" / "manifest.json").unlink()
    found, until_ms, refused = models.newest()
    assert (found, until_ms, len(refused)) == (None, 0, 2)


def test_what_is_not_whole_is_not_accepted(models):
    hand_over(models, 1000)
    with pytest.raises(ModelError, match="unreadable manifest"):
        models.accept(2000)
    folder = models.incoming
    save(folder, taught(6), {})
    (folder / "network" / "model.safetensors").write_bytes(b"?")
    with pytest.raises(ModelError, match="truncated or altered"):
        models.accept(2000)
    assert models.newest()[1] == 1000
    assert names(models) == ["000000000001000"]


def test_other_names_are_left_alone(models):
    hand_over(models, 1000)
    (models.folder(1000).parent / "notes").mkdir()
    (models.folder(1000).parent / "12").mkdir()
    hand_over(models, 2000)
    assert names(models) == ["000000000001000", "000000000002000", "12", "notes"]


def test_what_is_written_comes_back_as_it_was(models):
    before = taught(7)
    save(models.incoming, before, {"before": 0.2, "after": 0.1})
    found = models.accept(1000)
    assert found.network.parameters.tobytes() == before.network.parameters.tobytes()
    assert (found.calibrations, found.base, found.taught) == (before.calibrations, before.base, 7)
