"""What was written to an export, by whom and when: and whether what is there after a crash is one cut of it.

Every sector that is written carries its export, its own offset and the sequence number of the write, all
over its 512 bytes, so that a wrong byte names its writer. Time is the client's: a counter of events, moved
on by each request sent and each answer received. One operation *precedes* another if it was answered
before the other was sent; operations under way at the same time never overlap (the writer sees to that),
so each sector's history is in order of sequence.

A crash keeps the operations of some set that is closed under *precedes* and holds everything that a flush
promised: whatever was answered before an answered FLUSH was sent, the same for an answered operation with
FUA, and that operation itself. Any such set is the state at one moment. `History.check` finds the smallest
set that explains every sector, or raises.
"""

import struct

SECTOR = 512
STAMP = struct.Struct("<8sQQQ")
MAGIC = b"ashlar.."
ZERO = bytes(SECTOR)


def stamp(export, offset, sequence):
    return STAMP.pack(MAGIC, export, offset, sequence) * (SECTOR // STAMP.size)


def payload(export, offset, length, sequence):
    return b"".join(stamp(export, at, sequence) for at in range(offset, offset + length, SECTOR))


class Operation:
    __slots__ = ("sequence", "offset", "length", "zeroes", "fua", "sent", "answered")

    def __init__(self, sequence, offset, length, zeroes, fua, sent):
        self.sequence, self.offset, self.length = sequence, offset, length
        self.zeroes, self.fua, self.sent, self.answered = zeroes, fua, sent, None

    def sectors(self):
        return range(self.offset // SECTOR, (self.offset + self.length) // SECTOR)

    def __repr__(self):
        kind = "zeroes" if self.zeroes else "write"
        return (f"{kind} {self.sequence} of {self.length} at {self.offset}, "
                f"sent {self.sent}, answered {self.answered}")


class Violation(AssertionError):
    """The export is no cut of its history."""


class History:
    """Of one export, from one crash to the next. `base`: what each sector held at first, a sequence or 0."""

    def __init__(self, export, size, base=None):
        self.export, self.size = export, size
        self.base = base or [0] * (size // SECTOR)
        self.operations = []
        self.by_sector = {}
        self.durable_before = -1  # what was answered before this event is promised

    def add(self, operation):
        self.operations.append(operation)
        for sector in operation.sectors():
            self.by_sector.setdefault(sector, []).append(operation)

    def promise(self, sent):
        """A flush that was sent at this event has been answered."""
        self.durable_before = max(self.durable_before, sent)

    def check(self, content):
        """The sectors' sequence numbers, for the next history. content: the whole export."""
        assert len(content) == self.size
        found = [self.read(sector, content) for sector in range(self.size // SECTOR)]
        included = self.explain(found)
        base = list(self.base)
        for operation in sorted(included, key=lambda o: o.sequence):
            for sector in operation.sectors():
                base[sector] = 0 if operation.zeroes else operation.sequence
        assert base == found
        return base

    def read(self, sector, content):
        raw = content[sector * SECTOR:(sector + 1) * SECTOR]
        if raw == ZERO:
            return 0
        magic, export, offset, sequence = STAMP.unpack_from(raw)
        if magic != MAGIC or raw != stamp(export, offset, sequence):
            raise Violation(f"sector {sector} holds what nobody wrote: {raw[:64].hex()}...")
        if (export, offset) != (self.export, sector * SECTOR):
            raise Violation(f"sector {sector} of export {self.export} holds write {sequence} "
                            f"to offset {offset} of export {export}")
        return sequence

    def explain(self, found):
        """The smallest set of operations closed under all the rules."""
        included = set()
        for o in self.operations:
            if o.fua and o.answered is not None:
                self.promise(o.sent)
        work = [o for o in self.operations if o.fua and o.answered is not None]
        for sector, sequence in enumerate(found):
            work += self.needed(sector, sequence, None)
        by_answer = sorted((o for o in self.operations if o.answered is not None), key=lambda o: o.answered)
        work += [o for o in by_answer if o.answered < self.durable_before]
        preceding = 0  # by_answer up to here is included, because something sent later is
        while work:
            operation = work.pop()
            if operation in included:
                continue
            included.add(operation)
            while preceding < len(by_answer) and by_answer[preceding].answered < operation.sent:
                work.append(by_answer[preceding])
                preceding += 1
            for sector in operation.sectors():
                work += self.needed(sector, found[sector], operation)
        return included

    def needed(self, sector, sequence, at_least):
        """What must have happened to a sector for it to hold `sequence`, with `at_least` among it."""
        history = self.by_sector.get(sector, [])
        if sequence:
            if sequence == self.base[sector] and at_least is None:
                return []
            for n, operation in enumerate(history):
                if operation.sequence == sequence and not operation.zeroes:
                    if at_least and at_least not in history[:n + 1]:
                        break
                    return history[:n + 1]
            if at_least:
                raise Violation(self.lost(sector, sequence, at_least))
            raise Violation(f"sector {sector} holds write {sequence}, which was never sent there; "
                            f"its history: first {self.base[sector]}, then {history}")
        if at_least is None and (self.base[sector] == 0 or any(o.zeroes for o in history)):
            return [] if self.base[sector] == 0 else self.up_to_first_zeroes(history, 0)
        if at_least is None:
            raise Violation(f"sector {sector} is zero; it held {self.base[sector]}, then {history}")
        start = history.index(at_least)
        if not any(o.zeroes for o in history[start:]):
            raise Violation(self.lost(sector, 0, at_least))
        return self.up_to_first_zeroes(history, start)

    @staticmethod
    def up_to_first_zeroes(history, start):
        for n in range(start, len(history)):
            if history[n].zeroes:
                return history[:n + 1]
        return []

    def lost(self, sector, sequence, operation):
        why = "promised by a flush" if (operation.answered or 1 << 62) < self.durable_before else \
            "older than, or part of, something that is there"
        return (f"sector {sector} holds {sequence or 'zeroes'}, but {operation} is {why} "
                f"(promised: what was answered before event {self.durable_before})")
