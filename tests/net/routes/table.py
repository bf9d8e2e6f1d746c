"""What was measured of two ways, as a table: for terminals, and in Markdown."""

import json
from statistics import mean, stdev

# What the server may cost where the path is the same.
WITHIN = 0.05
# Nothing is frozen on either way of a good path: so much of the time, more than on the other way, is no difference.
FROZEN_WITHIN = 0.005
# Of 127 (VP8): a coarser picture than this can be seen, if at all, beside the other one.
QUANTISER_WITHIN = 1.0
CONDITION = ("rtt_ms", "loss_percent", "rate_kbit", "red_allowed", "one_size")


def read(path):
    return json.loads(path.read_text()) if path.exists() else []


def settled(page):
    """The delay with what the jitter buffer aims at in the place of what it holds.

    What it aims at follows from how evenly packets come. What it holds stays for minutes what it was by chance, anywhere between three quarters of
    that and 30 ms above: two calls by one way differ by 40 ms. Older files do not say what it aimed at.
    """
    return page["delay"]["delay_ms"] - page["jitter_buffer_ms"] + page.get("jitter_target_ms", page["jitter_buffer_ms"])


def picture(page):
    """Bits of the picture in kbit/s: with what came again because it had been lost, without what else came to make up for losses or to try the way."""
    recovered = page["video_kbit"] * page["video_lost"] / max(1 - page["video_lost"], 0.01)
    return page["video_kbit"] + min(page.get("repair_kbit", 0), recovered)


class Way:
    """All that was measured of one way under one condition: several calls, both directions of each."""

    def __init__(self, rows):
        self.rows = rows
        self.pages = [page for row in rows for page in row["pages"]]
        self.scores = [score for page in self.pages for score in page["scores"]]
        self.delays = [page["delay"]["delay_ms"] for page in self.pages if page["delay"]]
        self.settled = [settled(page) for page in self.pages if page["delay"]]
        self.seconds = sum(page["seconds"] for page in self.pages)

    def each(self, name):
        return [page[name] for page in self.pages]

    def average(self, name):
        return mean(self.each(name))

    def text(self, name):
        """Older files do not say everything."""
        return f"{self.average(name):.0f}" if self.says(name) else "?"

    def says(self, name):
        return all(name in page for page in self.pages)

    @property
    def pictures(self):
        return [picture(page) for page in self.pages]

    @property
    def pesq(self):
        return mean(self.scores) if self.scores else None

    @property
    def pesq_text(self):
        if not self.scores:
            return "none"
        return f"{self.pesq:.2f} ({min(self.scores):.2f}-{max(self.scores):.2f})"

    @property
    def delay(self):
        # Half of what two machines' clocks may differ by is in one direction and half in the other.
        return self.of_all(self.delays)

    @property
    def settled_delay(self):
        return self.of_all(self.settled)

    def of_all(self, values):
        """The average, if every page has one."""
        return mean(values) if len(values) == len(self.pages) else None

    @property
    def freezes(self):
        return sum(page["freezes"] for page in self.pages)

    @property
    def frozen(self):
        return sum(page["frozen_seconds"] for page in self.pages) / self.seconds

    @property
    def red_text(self):
        """Whether the pages sent redundant sound: both, one of them, or none."""
        return ("no", "one way", "yes")[round(2 * self.average("peer_sends_red"))]

    @property
    def sizes_text(self):
        """In how many sizes the pages sent their pictures at the end, each of them; older files do not say."""
        counts = sorted({page["peer_sizes"] for page in self.pages if "peer_sizes" in page})
        return " or ".join(map(str, counts)) or "?"


def is_as_good(routed, direct):
    """The pictures are: as many, as large and as fine. An encoder that has reached its finest takes no more bits, whatever is left."""
    more = all(routed.average(name) >= (1 - WITHIN) * direct.average(name) for name in ("lines", "fps"))
    return more and routed.says("quantiser") and direct.says("quantiser") and not is_coarser(routed, direct)


def is_coarser(routed, direct):
    return routed.average("quantiser") > direct.average("quantiser") + QUANTISER_WITHIN


def whole(value):
    return "none" if value is None else f"{value:.0f}"


def error(values):
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("inf")


def outside(routed, direct):
    """What is not within the limit, and by how much; with a question mark where the measurements of each differ by as much."""
    for name, ours, theirs, samples, more_is_better in (
        ("PESQ", routed.pesq, direct.pesq, (routed.scores, direct.scores), True),
        ("delay", routed.delay, direct.delay, (routed.delays, direct.delays), False),
        ("settled", routed.settled_delay, direct.settled_delay, (routed.settled, direct.settled), False),
        ("picture", mean(routed.pictures), mean(direct.pictures), (routed.pictures, direct.pictures), True),
        ("pictures/s", routed.average("fps"), direct.average("fps"), (routed.each("fps"), direct.each("fps")), True),
        ("lines", routed.average("lines"), direct.average("lines"), (routed.each("lines"), direct.each("lines")), True),
    ):
        # Where nothing came directly there is nothing to compare with.
        if ours is None or not theirs:
            yield f"{name} unknown"
            continue
        if name == "picture" and is_as_good(routed, direct):
            continue
        change = ours / theirs - 1
        if change < -WITHIN if more_is_better else change > WITHIN:
            noise = 2 * sum(error(one) ** 2 for one in samples) ** 0.5
            yield f"{name} {change:+.0%}{'?' if noise > abs(ours - theirs) else ''}"
    if routed.says("quantiser") and direct.says("quantiser") and is_coarser(routed, direct):
        yield f"quantiser {routed.average('quantiser'):.0f}, not {direct.average('quantiser'):.0f}"
    if routed.frozen > direct.frozen + FROZEN_WITHIN:
        yield f"freezes {routed.frozen:.1%} of the time, not {direct.frozen:.1%}"


def pairs(rows):
    """Both ways under each condition, in their order."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row.get(name, False) for name in CONDITION), {}).setdefault(row["way"], []).append(row)
    for condition, ways in sorted(found.items(), key=lambda one: (not one[0][3], one[0][4], one[0][:3])):
        if {"routed", "direct"} <= ways.keys():
            yield condition, Way(ways["routed"]), Way(ways["direct"])


def name(condition):
    rtt, loss, rate, red_allowed, one_size = condition
    return f"{rtt} ms, {loss} %, {rate if rate < 1000 else f'{rate // 1000}000'} kbit/s" + ("" if red_allowed else ", no RED") + (", one size" if one_size else "")


HEAD = ("way", "PESQ-wb (least-most)", "delay ms", "settled", "sound kbit/s", "made up", "RED", "picture kbit/s", "quantiser", "repair kbit/s", "sizes", "lines", "pictures/s", "freezes", "frozen s", "load")


def cells(way_name, way):
    loads = [row["load"] for row in way.rows]
    return (
        way_name,
        way.pesq_text,
        whole(way.delay),
        whole(way.settled_delay),
        f"{way.average('audio_kbit'):.0f}",
        f"{way.average('audio_concealed'):.1%}",
        way.red_text,
        f"{mean(way.pictures):.0f}",
        way.text("quantiser"),
        way.text("repair_kbit"),
        way.sizes_text,
        f"{way.average('lines'):.0f}",
        f"{way.average('fps'):.0f}",
        f"{way.freezes}",
        f"{way.frozen * way.seconds:.1f} of {way.seconds:.0f}",
        f"{max(loads):.1f}",
    )


def terminal(rows):
    lines = [("condition", *HEAD)]
    ends = [""]
    for condition, routed, direct in pairs(rows):
        lines += [(name(condition), *cells("routed", routed)), ("", *cells("direct", direct))]
        ends += [", ".join(outside(routed, direct)) or f"within {WITHIN:.0%}", ""]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(f"{line}  {end}".rstrip() for line, end in zip(padded, ends, strict=True))


def markdown(rows):
    """Each cell has both ways: routed / direct."""
    heads = ("Round trip, loss, rate", "RED", "PESQ-wb", "delay, ms", "settled, ms", "sound, kbit/s", "made up, %", "picture, kbit/s", "quantiser", "repair, kbit/s", "sizes", "lines", "pictures/s", "frozen, % of the time (times)", "not within 5 %")
    lines = [heads, ("---",) * len(heads)]
    for condition, *ways in pairs(rows):
        columns = (
            lambda way: way.pesq_text,
            lambda way: whole(way.delay),
            lambda way: whole(way.settled_delay),
            lambda way: f"{way.average('audio_kbit'):.0f}",
            lambda way: f"{100 * way.average('audio_concealed'):.1f}",
            lambda way: f"{mean(way.pictures):.0f}",
            lambda way: way.text("quantiser"),
            lambda way: way.text("repair_kbit"),
            lambda way: way.sizes_text,
            lambda way: f"{way.average('lines'):.0f}",
            lambda way: f"{way.average('fps'):.0f}",
            lambda way: f"{100 * way.frozen:.1f} ({way.freezes})",
        )
        lines.append((name(condition), " / ".join(way.red_text for way in ways), *(" / ".join(map(column, ways)) for column in columns), ", ".join(outside(*ways)) or "-"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("--- |", "---|")
