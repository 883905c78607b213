"""What is damaged in the store: check names it and the ranges concerned; all else stays readable."""

import os
import random
import re

from clients import connect
from harness import MIB, limit, on, quick

SIZE = 8 * MIB
BLOCK = 128 << 10


def disks(case):
    """Two exports that share nothing; the first has a snapshot. Returns what each holds."""
    chance = random.Random(11)
    server = case.server(auto_create=SIZE)
    held = {}
    for name in ("one", "two"):
        held[name] = chance.randbytes(SIZE)
        with connect(server.uri(name)) as handle:
            for at in range(0, SIZE, MIB):
                handle.pwrite(held[name][at:at + MIB], at)
            handle.flush()
    case.ashlar("snapshot", "one@then")
    held["one@then"] = held["one"]
    with connect(server.uri("one")) as handle:
        fresh = chance.randbytes(MIB)
        handle.pwrite(fresh, 0)
        handle.flush()
    held["one"] = fresh + held["one"][MIB:]
    server.stop()
    return held


def bad_ranges(case, *options):
    """{name: [(start, end)]} that check reports, and what it said."""
    done = case.ashlar("check", *options, status=None)
    found = {}
    for name, count, start in re.findall(r"^(\S+): (\d+) bytes at (\d+) cannot be read$", done.stdout, re.M):
        found.setdefault(name, []).append((int(start), int(start) + int(count)))
    assert (done.returncode == 1) == bool(found), done
    return found, done.stdout + done.stderr


def assert_readable_but(case, held, found):
    """What check does not name is there, byte by byte; what it names is an I/O error."""
    server = case.server()
    for name, content in held.items():
        bad = {at for start, end in found.get(name, []) for at in range(start // BLOCK * BLOCK, end, BLOCK)}
        with connect(server.uri(name)) as handle:
            for at in range(0, SIZE, BLOCK):
                try:
                    assert handle.pread(BLOCK, at) == content[at:at + BLOCK]
                    assert at not in bad, f"{name}: {at} can be read"
                except Exception as error:  # libnbd's own
                    assert at in bad and "Input/output" in str(error), f"{name}: {at}: {error}"
    server.kill()


def path_of(case, key):
    return os.path.join(case.store.url.removeprefix("file:"), key)


@quick
@on("dir", "rgw", "minio")
def test_a_whole_bucket_is_clean(case):
    disks(case)
    said = case.ashlar("check", "--read-data")
    assert re.match(r"2 exports, 1 snapshots, \d+ pages, \d+ objects, of which .* were read\n$", said), said
    assert case.ashlar("check").startswith("2 exports")


@quick
@on("dir")
def test_one_flipped_byte(case):
    held = disks(case)
    block = sorted(case.store.keys("blocks/"))[0]
    with open(path_of(case, block), "r+b") as file:
        file.seek(5 * BLOCK // 2)
        byte = file.read(1)
        file.seek(5 * BLOCK // 2)
        file.write(bytes([byte[0] ^ 1]))
    assert bad_ranges(case)[0] == {}
    found, said = bad_ranges(case, "--read-data")
    assert f"{block}: damaged" in said
    assert sum(end - start for ranges in found.values() for start, end in ranges) in (BLOCK, 2 * BLOCK)
    assert_readable_but(case, held, found)
    return said.strip().split("\n")[-1]


@on("dir")
def test_one_removed_object(case):
    held = disks(case)
    block = sorted(case.store.keys("blocks/"))[0]
    os.unlink(path_of(case, block))
    found, said = bad_ranges(case)
    assert f"{block}: missing" in said and found
    assert_readable_but(case, held, found)
    return said.strip().split("\n")[-1]


@on("dir")
def test_one_removed_page(case):
    held = disks(case)
    page = sorted(case.store.keys("maps/"))[0]
    os.unlink(path_of(case, page))
    found, said = bad_ranges(case)
    assert f"{page}: missing" in said and found
    assert_readable_but(case, held, found)
    return said.strip().split("\n")[-1]


@limit(200)
@on("dir")
def test_repair_discards_what_nothing_refers_to(case):
    held = disks(case)
    case.ashlar("rm", "two")
    del held["two"]
    before = set(case.store.keys("exports/two/"))
    said = case.ashlar("check", "--repair")
    assert "discarded" in said
    after = set(case.store.keys("exports/two/"))
    assert after == {"exports/two/manifest"}, (before, after)
    assert_readable_but(case, held, {})
