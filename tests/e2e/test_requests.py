"""What it costs in requests, counted between the S3 client and the server, retries included."""

import os
import random
import time

import clients
from harness import GIB, MIB, limit, on, plain_only
from relay import Relay

BOTH = ("rgw", "minio")


def behind_relay(case, *arguments, **options):
    relay = Relay(case.store.daemon.endpoint)
    server = case.server(*arguments, url=case.store.url_through(relay.endpoint), **options)
    relay.reset()
    return relay, server


@plain_only
@limit(400)
@on("minio")
def test_puts_of_a_long_write(case):
    """4 GiB in order, every PUT counted, in objects of 4 MiB."""
    case.ashlar("create", "disk", "4G")
    relay, server = behind_relay(case)
    began = time.monotonic()
    piece = bytearray(os.urandom(4 * MIB))
    with clients.connect(server.uri()) as handle:
        for at in range(0, 4 * GIB, 4 * MIB):
            piece[:] = piece[97:] + piece[:97]  # no two blocks alike
            handle.pwrite(piece, at)
        handle.flush()
    server.stop()
    puts, bound = relay.count("PUT", without=()), 1.1 * 1024
    assert puts <= bound, f"{puts} PUTs, at most {bound:.0f}: {relay.by_kind()}"
    return f"{puts} PUTs for 4 GiB in {time.monotonic() - began:.0f} s"


@limit(200)
@on(*BOTH)
def test_puts_of_small_flushes(case):
    """1,000 times: write 4 KiB, flush."""
    case.ashlar("create", "disk", "1G")
    relay, server = behind_relay(case)
    with clients.connect(server.uri()) as handle:
        for n in range(1000):
            handle.pwrite(os.urandom(4096), n * 250 * 4096)
            handle.flush()
    server.stop()
    puts = relay.count("PUT", without=())
    assert puts <= 1050, f"{puts} PUTs: {relay.by_kind()}"
    return f"{puts} PUTs"


@on(*BOTH)
def test_gets_of_a_cold_reader(case):
    """512 blocks read in order: what is read ahead comes a mebibyte at a time. Read at random: a GET each."""
    image = case.path("image")
    with open(image, "wb") as file:
        file.write(os.urandom(64 * MIB))
    case.ashlar("import", image, "disk")
    relay, server = behind_relay(case)
    with clients.connect(server.uri()) as handle, open(image, "rb") as file:
        for at in range(0, 64 * MIB, 128 << 10):
            assert handle.pread(128 << 10, at) == file.read(128 << 10), at
        in_order = relay.count("GET")
    server.stop()
    server.start()
    relay.reset()
    places = random.Random(1).sample(range(512), 100)
    with clients.connect(server.uri()) as handle:
        for place in places:
            handle.pread(4096, place * (128 << 10))
        at_random = relay.count("GET")
    server.stop()
    assert in_order <= 90, f"{in_order} GETs in order: {relay.by_kind()}"
    assert at_random <= 130, f"{at_random} GETs at random: {relay.by_kind()}"
    return f"{in_order} GETs for 512 blocks in order, {at_random} for 100 at random"


@on(*BOTH)
def test_opening_a_terabyte(case):
    """2 requests after a clean close; after a crash at most 10 and one for each record of the log."""
    case.ashlar("create", "disk", "1T")
    relay, server = behind_relay(case)
    with clients.connect(server.uri()) as handle:
        for n in range(40):
            handle.pwrite(os.urandom(65536), n * (25 * GIB))
            handle.flush()
    server.restart()
    relay.reset()
    with clients.connect(server.uri()) as handle:
        clean = relay.count()
        assert clean <= 2, relay.requests
        for n in range(40):
            handle.pwrite(os.urandom(4096), n * (25 * GIB))
            handle.flush()
    server.kill()
    server.start()
    relay.reset()
    with clients.connect(server.uri()):
        crashed = relay.count()
    assert crashed <= 10 + 40, relay.requests
    return f"{clean} requests after a clean close, {crashed} after a crash with 40 records"
