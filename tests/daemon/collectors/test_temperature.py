import pytest

from daemon.collectors.temperature import SEARCH_EVERY_NS, TemperatureCollector
from daemon.errors import NotAvailable


def add_chip(tree, number, name, **sensors):
    folder = f"sys/class/hwmon/hwmon{number}"
    tree.write(f"{folder}/name", name + "\n")
    for place, content in sensors.items():
        tree.write(f"{folder}/{place}", content)


@pytest.fixture
def temperature(tree):
    collector = TemperatureCollector(paths=tree.paths)
    yield collector
    collector.close()


def test_chips_and_labels_make_the_names(tree, temperature):
    add_chip(tree, 0, "coretemp", temp1_input="45000\n", temp1_label="Package id 0\n", temp2_input="41500\n")
    add_chip(tree, 1, "nvme", temp1_input="38850\n", temp1_label="Composite\n")
    add_chip(tree, 2, "nvme", temp1_input="39850\n", temp1_label="Composite\n")
    assert tree.values(temperature, 100) == {
        "sensors.coretemp_package_id_0_celsius": 45.0,
        "sensors.coretemp_temp2_celsius": 41.5,
        "sensors.nvme_composite_celsius": 38.85,
        "sensors.nvme_composite_2_celsius": 39.85,
    }


def test_a_sensor_that_is_broken_or_refuses_is_left_out(tree, temperature):
    add_chip(tree, 0, "a", temp1_input="-128000\n", temp2_input="\n", temp3_input="30000\n")
    assert tree.values(temperature, 100) == {"sensors.a_temp3_celsius": 30.0}


def test_zones_serve_where_no_chip_is(tree, temperature):
    tree.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    tree.write("sys/class/thermal/thermal_zone0/temp", "51000\n")
    assert tree.values(temperature, 100) == {"sensors.cpu_thermal_celsius": 51.0}


def test_without_sensors_there_is_nothing_until_one_is_found_by_a_later_search(tree, temperature):
    with pytest.raises(NotAvailable):
        temperature.collect(0)
    add_chip(tree, 0, "late", temp1_input="30000\n")
    with pytest.raises(NotAvailable):
        temperature.collect(1)
    assert len(temperature.collect(SEARCH_EVERY_NS)) == 1


def test_sensors_beyond_the_bound_are_counted(tree, temperature):
    add_chip(tree, 0, "many", **{f"temp{n}_input": "30000\n" for n in range(1, 71)})
    assert len(tree.values(temperature, 100)) == 64
    assert temperature.dropped_sensors == 6
