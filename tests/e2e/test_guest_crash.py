"""The machine dies, page cache and all: server and directory store in the guest, QEMU killed after a FLUSH.

The writer is here and reaches the guest's server through a forwarded port; the guest's disk is a file that
lives on. Because kill -9 of the server alone spares the page cache, only this shows that every fsync is
there; and each fsync that is taken out on purpose is missed.
"""

import os
import random
import time

import nbd

from clients import connect
from guest import Guest, bundle
from harness import MIB, limit, plain_only
from server import free_port
from writer import Gone, Writer

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest-server")
ROUNDS = 10
SIZE = 8 * MIB
MOUNT = {"xfs": "rw", "ext4": "noauto_da_alloc,commit=300"}


class Machine:
    """A guest with a disk that lives on, which can be switched off."""

    def __init__(self, case, filesystem, faults=""):
        self.case, self.filesystem, self.faults = case, filesystem, faults
        self.disk = case.path("disk.img")
        with open(self.disk, "wb") as file:
            file.truncate(2 << 30)
        self.program = bundle(case.program("faults"), case.path("bundle"))
        self.boots = 0

    def boot(self):
        self.port = free_port()
        self.boots += 1
        self.guest = Guest(
            self.case, SCRIPT, self.filesystem, MOUNT[self.filesystem], SIZE, self.faults, timeout=120,
            name=f"boot{self.boots}",
            options=["--file", f"{self.program}:/opt/ashlar", "--forward", f"{self.port}:10809",
                     "--qemu-arg", "-drive",
                     "--qemu-arg", f"file={self.disk},format=raw,if=none,id=data,cache=writeback",
                     "--qemu-arg", "-device", "--qemu-arg", "virtio-blk-pci,drive=data"])
        self.guest.wait_event("ready", 90)
        self.wait_for_the_lease()

    def wait_for_the_lease(self):
        """What died with the machine holds the export until its lease is over."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with connect(self.uri()):
                    return
            except nbd.Error as error:
                if "held by" not in "".join(self.guest.lines[-5:]):
                    raise
                if time.monotonic() > deadline:
                    raise RuntimeError("the export is held longer than any lease") from error
            time.sleep(0.5)

    def uri(self):
        return f"nbd://127.0.0.1:{self.port}/disk"

    def off(self):
        self.guest.kill()


def rounds(case, filesystem, faults=""):
    """A round: boot, look at what the last one left, write, switch off right after an answered flush."""
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 32)
    print(f"SEED={seed}")
    chance = random.Random(seed)
    machine, writer, changes = Machine(case, filesystem, faults), Writer(1, SIZE, seed), 0
    for number in range(ROUNDS + 1):
        machine.boot()
        changes += writer.verify(machine.uri())
        if number < ROUNDS:
            writer.open(machine.uri())
            wanted = writer.flushes + chance.randint(3, 60)
            try:
                while writer.flushes < wanted:
                    writer.step()
            except (Gone, nbd.Error) as error:
                raise AssertionError(f"the connection broke before the machine was off: {error}") from None
        machine.off()
        writer.close()
    return f"{ROUNDS} rounds, {changes} changes, {writer.flushes} flushes"


def missed(case, faults):
    """Rounds without some fsync: one of them has to fail."""
    try:
        rounds(case, "ext4", faults)
    except (AssertionError, nbd.Error) as error:
        return str(error).splitlines()[0][:150]
    raise AssertionError(f"{ROUNDS} rounds without {faults}, and none failed")


@plain_only
@limit(900)
def test_missing_fsync_of_records_is_seen(case):
    return missed(case, "file=exports/*/*/*/*")


@plain_only
@limit(900)
def test_missing_fsync_of_blocks_is_seen(case):
    return missed(case, "file=blocks/*")


@plain_only
@limit(900)
def test_missing_fsync_of_manifests_is_seen(case):
    return missed(case, "file=exports/*/manifest")


@plain_only
@limit(900)
def test_missing_fsync_of_directories_is_seen(case):
    return missed(case, "dir=exports/*/*/*/*,dir=exports/*/manifest,dir=blocks/*")


@plain_only
@limit(900)
def test_xfs(case):
    return rounds(case, "xfs")


@plain_only
@limit(900)
def test_ext4(case):
    return rounds(case, "ext4")
