"""kill -9 of the server under a writer that stamps every sector: what is left is one cut, promises kept.

SEED=n repeats a run as far as the writer's choices go.
"""

import os
import random
import time

import nbd

from clients import connect
from harness import MIB, limit, on, until
from writer import Gone, Writer

ALL = ("dir", "rgw", "minio")
SIZE = 8 * MIB
# Small buffers, so that write-back, records, batches and checkpoints all happen within a second.
OPTIONS = ["--write-buffer", "4M", "--inline-buffer", "1M", "--cache-size", "8M", "--flush-interval", "200ms"]


class Crashes:
    """Rounds of writing, dying and looking, on two exports of one server."""

    def __init__(self, case):
        self.case = case
        self.seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 32)
        print(f"SEED={self.seed}")
        self.chance = random.Random(self.seed)
        self.server = case.server(*OPTIONS, build="faults", auto_create=SIZE)
        self.writers = {f"disk{n}": Writer(n, SIZE, self.chance.random()) for n in (1, 2)}
        self.rounds = self.operations = 0

    def write(self, until_time=None):
        """Until that moment, or until the server is gone, if no moment is given."""
        deadline = until_time or time.monotonic() + 60
        try:
            for name, writer in self.writers.items():
                writer.open(self.server.uri(name))
            while time.monotonic() < deadline:
                for writer in self.writers.values():
                    writer.step()
        except (Gone, OSError):
            assert not until_time, "the server closed a connection before it was killed"
        else:
            assert until_time, "the server passed no such mark within 60 s"
            self.server.kill()
            self.drain()
        self.server.wait_for_death(30)
        for writer in self.writers.values():
            writer.close()

    def drain(self):
        """What was answered before the server died counts as answered."""
        for writer in self.writers.values():
            try:
                for _ in range(1000):
                    writer.poll()
            except (nbd.Error, OSError, KeyError):
                pass

    def verify(self):
        self.server.start()
        for name, writer in self.writers.items():
            self.operations += writer.verify(self.server.uri(name))
        self.rounds += 1

    def note(self):
        flushes = sum(writer.flushes for writer in self.writers.values())
        return f"{self.rounds} rounds, {self.operations} changes, {flushes} flushes"


@limit(400)
@on(*ALL)
def test_at_random_moments(case):
    crashes = Crashes(case)
    for _ in range(5 if case.sanitized else 20):
        crashes.write(time.monotonic() + crashes.chance.uniform(0.05, 1.2))
        crashes.verify()
    return crashes.note()


def at_mark(case, *marks):
    crashes = Crashes(case)
    for _ in range(3 if case.sanitized else 10):
        mark = f"{crashes.chance.choice(marks)}:{crashes.chance.randint(1, 4)}"
        crashes.server.stop()
        crashes.server.start(env={"ASHLAR_CRASH_AT": mark})
        crashes.write()
        crashes.verify()
    return crashes.note()


@limit(400)
@on(*ALL)
def test_inside_a_checkpoint(case):
    return at_mark(case, "checkpoint", "checkpoint-swapped")


@limit(400)
@on(*ALL)
def test_inside_a_log_deletion(case):
    return at_mark(case, "log-delete")


@limit(400)
@on(*ALL)
def test_inside_a_takeover(case):
    """Killed under load; the next server dies in the takeover; the one after that has it all."""
    crashes = Crashes(case)
    for _ in range(3 if case.sanitized else 10):
        crashes.write(time.monotonic() + crashes.chance.uniform(0.05, 0.5))
        mark = f"{crashes.chance.choice(('takeover', 'takeover-swapped'))}:{crashes.chance.randint(1, 2)}"
        crashes.server.start(env={"ASHLAR_CRASH_AT": mark})
        for name in crashes.writers:
            try:
                connect(crashes.server.uri(name))
            except nbd.Error:
                break
        until(lambda: not crashes.server.alive(), 30, f"death at {mark}")
        crashes.verify()
    return crashes.note()
