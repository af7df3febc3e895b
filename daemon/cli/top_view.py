"""What `presage top` shows: facts as lines of text, in one column on a small terminal and in two on a wide one.

Enters: facts, what was picked, and how many columns and rows there are. Leaves: exactly that many lines. It knows no
terminal and asks nobody; where rows are short, the less important parts shrink first. ASCII where the terminal is.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.text import Text

from daemon.cli.status import span
from daemon.cli.terminal import printable
from daemon.cli.top_blocks import (
    Block,
    View,
    alerts_block,
    brief_block,
    changes_block,
    cut,
    ellipsis,
    past_block,
    resources_block,
    signals_block,
)
from daemon.cli.top_facts import HOUR_SECONDS, Facts

_WIDE = 132  # columns from which there are two
_GAP = 3
_LABEL = 7
_STALE = 3  # intervals
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", ".:-=+*%#"
_TALL = 36  # rows from which there is a picture
_CRITICAL = "bold red"


def draw(facts: Facts, view: View, columns: int, rows: int, now: datetime) -> list[Text]:
    """Return the whole screen."""
    head = [_header(facts, view, columns, now), *_score(facts, view, columns, now)]
    foot = _footer(view, columns)
    room = rows - len(head) - 1
    large = rows >= _TALL
    if columns >= _WIDE:
        half = (columns - _GAP) // 2
        past = [past_block(facts, view, half, now)] if large else []
        left = _fitted([alerts_block(facts, view, half, now), signals_block(facts, half), *past], room, half, view)
        other = columns - half - _GAP
        right = _fitted(
            [resources_block(facts, view, other), brief_block(facts, other, now), changes_block(facts, other)],
            room,
            other,
            view,
        )
        body = [_beside(one, two, half) for one, two in zip(left, right, strict=True)]
    else:
        body = _fitted(
            [
                alerts_block(facts, view, columns, now),
                signals_block(facts, columns),
                resources_block(facts, view, columns),
                brief_block(facts, columns, now),
                changes_block(facts, columns),
                *([past_block(facts, view, columns, now)] if large else []),
            ],
            room,
            columns,
            view,
        )
    return [_last(line, columns, view) for line in (*[*head, *body][: rows - 1], foot)]


def _last(line: Text, columns: int, view: View) -> Text:
    """Return a line that surely fits, and is ASCII where that is all there is but for names."""
    line = cut(line, columns)
    if view.plain:
        line.plain = line.plain.replace("…", "~")
    return line


def _fitted(blocks: list[Block], room: int, columns: int, view: View) -> list[Text]:
    """Return exactly `room` lines: the last blocks shrink first, and each keeps its least."""
    least = sum(min(block.least, len(block.lines)) + 1 for block in blocks)
    blocks = [block for block in blocks if not block.whole or least <= room]
    counts = [len(block.lines) for block in blocks]
    for shrink_to in ([block.least for block in blocks], [0] * len(blocks)):
        for place in reversed(range(len(blocks))):
            over = sum(count + 1 for count in counts if count) - room
            if over <= 0:
                break
            counts[place] = max(min(shrink_to[place], counts[place]), counts[place] - over)
    out: list[Text] = []
    for block, count in zip(blocks, counts, strict=True):
        if count:
            out += [_heading(block, count, columns, view), *block.lines[:count]]
    out = out[:room]
    return out + [Text("")] * (room - len(out))


def _heading(block: Block, count: int, columns: int, view: View) -> Text:
    line = "-" if view.plain else "─"
    more = len(block.lines) - count
    said = f"{line}{line} {block.heading}{f' ({more} more)' if more > 0 and block.counts else ''} "
    return Text(said + line * max(0, columns - len(said)), "dim")


def _beside(left: Text, right: Text, width: int) -> Text:
    out = cut(left, width)
    out.append(" " * (width - out.cell_len + _GAP), "default")
    return out.append_text(right)


def _header(facts: Facts, view: View, columns: int, now: datetime) -> Text:
    status = facts.status
    left = " presage top"
    if status is not None:
        up = span((now - datetime.fromisoformat(status.started_at)).total_seconds())
        size = f"{status.host.cpus:g} CPUs, {status.host.memory_bytes / 2**30:.1f} GiB"
        left += printable(f"  {status.host.name}  {size}, presaged {status.version} up {up}")
    right = f"  {'PAUSED  ' if view.paused else ''}{now.astimezone():%H:%M:%S} "
    room = max(0, columns - len(right))
    return Text(f"{left[:room]:<{room}}{right}"[:columns], "reverse bold")


def _score(facts: Facts, view: View, columns: int, now: datetime) -> Iterator[Text]:
    """Yield the score with its last hour, and what hinders it or that nothing answers."""
    status = facts.status
    if facts.problem:
        age = f" ({span(max(0.0, now.timestamp() - facts.at))} old)" if facts.at else ""
        yield Text(printable(f"no answer{age}: {facts.problem}; asking again")[:columns], _CRITICAL)
    if status is None:
        if not facts.problem:
            yield Text("asking presaged ...", "dim")
        return
    anomaly = status.anomaly
    if anomaly is None or anomaly.score is None:
        line = Text(f"{'score':<{_LABEL}}").append("none yet", "dim")
    else:
        over = anomaly.score >= anomaly.score_threshold
        line = Text(f"{'score':<{_LABEL}}")
        line.append(f"{anomaly.score:.2f}", "bold red" if over else "bold green")
        line.append(f" {'is over' if over else 'of'} {anomaly.score_threshold:.2f} ")
    line.append(" last hour ", "dim")
    room = columns - line.cell_len
    threshold = anomaly.score_threshold if anomaly is not None else 1.0
    yield line.append_text(spark(facts.scores, threshold, room, now.timestamp(), plain=view.plain))
    last = status.last_sample_at
    late = None if last is None else max(0.0, (now - datetime.fromisoformat(last)).total_seconds())
    words = []
    if late is not None and late > _STALE * status.interval_seconds + 1 and not facts.problem:
        yield Text(
            f"the last sample is {span(late)} old, and one is due every {status.interval_seconds:g} s", _CRITICAL
        )
    for mode, why in status.degraded.items():
        yield ellipsis(Text(printable(f"short of {mode}: {why}"), _CRITICAL), columns)
    if anomaly is not None and anomaly.learning:
        words.append(anomaly.learning)
    words += [f"{one.name}: {one.problem}" for one in status.collectors if one.problem and not one.absent]
    if words:
        yield ellipsis(Text(printable("; ".join(words)), "cyan"), columns)


def spark(scores: Sequence[tuple[float, float]], threshold: float, width: int, now: float, *, plain: bool) -> Text:
    """Return the last hour as a line of `width` columns, the worst of each; red where it was over the threshold."""
    blocks = _PLAIN_BLOCKS if plain else _BLOCKS
    worst: dict[int, float] = {}
    for at, score in scores:
        column = int((at - now + HOUR_SECONDS) / HOUR_SECONDS * width)
        if 0 <= column <= width:
            column = min(column, width - 1)
            worst[column] = max(score, worst.get(column, 0.0))
    out = Text()
    for column in range(max(0, width)):
        if column - 1 in worst and column not in worst and any(column + far in worst for far in (1, 2)):
            worst[column] = worst[column - 1]  # more columns than samples: no gap
        if column not in worst:
            out.append(" ")
            continue
        level = min(len(blocks) - 1, int(max(0.0, worst[column]) * len(blocks)))
        out.append(blocks[level], "bold red" if worst[column] >= threshold else "green")
    return out


def _footer(view: View, columns: int) -> Text:
    if view.asked or view.said:
        return ellipsis(Text(printable(view.asked or view.said), "bold"), columns)
    arrows = "up/down" if view.plain else "↑↓"
    keys = (("q", "quit"), ("p", "go on" if view.paused else "pause"), (arrows, "pick"), ("e", "explain"), ("a", "ack"))
    line = Text()
    for key, what in (*keys, ("f", "feedback"), ("s", "silence"), ("?", "help")):
        line.append(key, "bold reverse").append(f" {what}  ")
    return cut(line, columns)
