"""The judge of the crash tests, judged: it accepts every cut of a random history and nothing else."""

import random

from harness import quick
from history import SECTOR, History, Operation, Violation, ZERO, stamp

SECTORS = 40


def random_history(chance):
    """Operations on a line of time, up to four at once, never overlapping while under way; some flushes."""
    history, clock, under_way = History(7, SECTORS * SECTOR), 0, []
    share_of_zeroes = chance.choice((0, 0.25))
    flushes = []
    for sequence in range(1, chance.randrange(5, 60)):
        while len(under_way) > chance.randrange(4):
            clock += 1
            under_way.pop(chance.randrange(len(under_way))).answered = clock
        length = chance.randrange(1, 6)
        first = chance.randrange(SECTORS - length + 1)
        if any(first < s + 1 and s < first + length for o in under_way for s in o.sectors()):
            continue
        clock += 1
        operation = Operation(sequence, first * SECTOR, length * SECTOR, chance.random() < share_of_zeroes,
                              chance.random() < 0.05, clock)
        history.add(operation)
        under_way.append(operation)
        if chance.random() < 0.1:
            clock += 1
            flushes.append(clock)
    for sent in flushes[:-1]:
        history.promise(sent)
    return history


def a_cut(history, chance):
    """A set that a crash may leave: closed under "answered before sent", promises kept."""
    promised = max([history.durable_before] + [o.sent for o in history.operations if o.fua and o.answered])
    last = chance.choice([0] + [o.sent for o in history.operations])
    cut = {o for o in history.operations if o.sent <= last and (o.answered or 1 << 60) <= last or
           (o.answered and (o.answered < promised or o.fua)) or (o.sent <= last and chance.random() < 0.5)}
    grown = True
    while grown:
        more = {o for o in history.operations if o not in cut and o.answered and
                any(o.answered < other.sent for other in cut)}
        grown = bool(more)
        cut |= more
    return cut


def content_of(history, cut):
    sectors = [ZERO] * SECTORS
    for o in history.operations:
        if o in cut:
            for s in o.sectors():
                sectors[s] = ZERO if o.zeroes else stamp(7, s * SECTOR, o.sequence)
    return sectors


def refused(history, sectors):
    try:
        history.check(b"".join(sectors))
    except Violation:
        return True
    return False


@quick
def test_every_cut_is_accepted(_case):
    for seed in range(2000):
        chance = random.Random(seed)
        history = random_history(chance)
        history.check(b"".join(content_of(history, a_cut(history, chance))))


@quick
def test_what_is_no_cut_is_refused(_case):
    lost = torn = older = mixed = 0
    for seed in range(2000):
        chance = random.Random(seed)
        history = random_history(chance)
        cut = a_cut(history, chance)
        sectors = content_of(history, cut)
        visible = [o for o in cut if not o.zeroes and
                   all(sectors[s] == stamp(7, s * SECTOR, o.sequence) for s in o.sectors())]
        for o in visible[:3]:
            broken = list(sectors)
            for s in o.sectors():
                broken[s] = ZERO
            plain = all(not other.zeroes for other in history.operations)
            if plain and o.answered and o.answered < history.durable_before:
                assert refused(history, broken), f"seed {seed}: {o} was promised and is lost"
                lost += 1
            later = [x for x in cut if o.answered and x.sent > o.answered and x in visible]
            if plain and later:
                assert refused(history, broken), f"seed {seed}: {o} is lost, {later[0]} is there"
                mixed += 1
            if plain and len(list(o.sectors())) > 1:
                broken = list(sectors)
                broken[o.sectors()[0]] = ZERO
                assert refused(history, broken), f"seed {seed}: {o} is torn"
                torn += 1
        broken = list(sectors)
        broken[0] = stamp(7, SECTOR, 1)
        assert refused(history, broken), f"seed {seed}: a sector in the wrong place"
        broken[0] = stamp(7, 0, 1 << 40)
        assert refused(history, broken), f"seed {seed}: a write that never was"
        older += 1
    assert min(lost, torn, older, mixed) > 50, (lost, torn, older, mixed)
    return f"{lost} lost, {mixed} mixed, {torn} torn, {older} foreign"
