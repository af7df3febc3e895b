"""The state of all resources as the HTTP interface tells it: shares of the capacity, and times on the wall clock."""

from math import isfinite

from daemon.capacity.state import HI80, HI95, LO80, LO95, MEAN, Accuracy, CapacityState, Made, ResourceState
from daemon.errors import NotFound, did_you_mean
from daemon.web.forecast_answers import AccuracyAnswer, ExhaustionAnswer, ForecastAnswer, ForecastsAnswer, HorizonAnswer
from detectors.exhaustion import WITHIN
from detectors.findings import Unit
from detectors.forecasts import Floats

_PLACES = 6  # of a share: a byte in a megabyte
_UNITS = {Unit.BYTES: "bytes", Unit.RATIO: "ratio", Unit.BYTES_PER_SECOND: "bytes_per_second"}


def forecasts_answer(state: CapacityState, resource: str | None) -> ForecastsAnswer:
    """Return all resources, or the one that is asked for, with its history. Raises NotFound where it is not there."""
    ranked = list(state.ranked())
    if resource is not None:
        names = [one.resource.name for one, _, _ in ranked]
        if resource not in names:
            raise NotFound(_not_there(resource, names))
        ranked = [ranked[names.index(resource)]]
    return ForecastsAnswer(
        forecasts=[_forecast(one, used, size, whole=resource is not None) for one, used, size in ranked],
        problem=state.problem,
    )


def _not_there(resource: str, names: list[str]) -> str:
    if not names:
        return "no resource is known yet: the first sample is not taken, or no source tells of one"
    hint = did_you_mean(resource, names, f"there is {', '.join(sorted(names))}", likeness=0.5)
    return f'there is no resource "{resource}"; {hint}'


def _forecast(one: ResourceState, used: float, size: float, *, whole: bool) -> ForecastAnswer:
    outlook = one.outlook
    return ForecastAnswer(
        resource=one.resource.name,
        kind=one.resource.kind.value,
        unit=_UNITS[one.resource.unit],
        capacity=size,
        floor_ratio=one.floor_ratio,
        used_ratio=round(used / size, _PLACES),
        made_ms=max((made.made_ms for made in one.horizons), default=one.told_ms),
        exhaustion=ExhaustionAnswer(
            probability={
                within: round(chance, _PLACES) for within, chance in zip(WITHIN, outlook.probability, strict=True)
            },
            lo80_ms=_moment(one, outlook.lo80),
            median_ms=_moment(one, outlook.median),
            hi80_ms=_moment(one, outlook.hi80),
            text=one.text,
        ),
        explanation=list(one.explanation),
        horizons=[_horizon(made, size, whole=whole) for made in one.horizons],
    )


def _moment(one: ResourceState, seconds: float) -> int | None:
    return round(one.time_ms(seconds)) if isfinite(seconds) else None


def _horizon(made: Made, size: float, *, whole: bool) -> HorizonAnswer:
    step_ms = 1000.0 * made.horizon.step_seconds
    bands = made.bands
    lines = {
        name: [] if bands is None else _shares(bands[row], size)
        for name, row in (("mean", MEAN), ("lo80", LO80), ("hi80", HI80), ("lo95", LO95), ("hi95", HI95))
    }
    back = len(made.points) - 1
    history = [
        (round(made.made_ms - (back - place) * step_ms), share)
        for place, share in enumerate(_shares(made.points, size) if whole else ())
        if isfinite(share)
    ]
    return HorizonAnswer(
        name=made.horizon.name,
        step_seconds=made.horizon.step_seconds,
        needs=made.needs,
        methods=list(made.methods),
        start_ms=None if bands is None else round(made.made_ms + step_ms),
        history=history,
        accuracy=None if made.accuracy is None else _accuracy(made.accuracy),
        **lines,
    )


def _shares(values: Floats, size: float) -> list[float]:
    return [round(value, _PLACES) for value in (values / size).tolist()]


def _accuracy(one: Accuracy) -> AccuracyAnswer:
    return AccuracyAnswer(
        forecasts=one.forecasts,
        mase=round(one.mase, 4) if isfinite(one.mase) else None,
        coverage80=round(one.coverage80, 4),
        coverage95=round(one.coverage95, 4),
    )
