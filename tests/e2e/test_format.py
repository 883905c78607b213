"""docs/FORMAT.md is enough to read an export: a reader written from it alone rebuilds what is there."""

import filecmp
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys

import nbd

import clients
from harness import MIB, TOP, limit, on, quick

READER = os.path.join(TOP, "tests", "e2e", "format_reader.py")


def read_back(store, export, out, status=0):
    command = [sys.executable, READER, store, export, out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"{export}: status {done.returncode}: {done.stderr}"


def make_store(case, seed):
    folder = case.path(str(seed))
    program = os.path.join(case.build, "tests", "e2e", "made_store")
    subprocess.run([program, str(seed), folder], check=True, timeout=60)
    return folder


def decode_name(encoded):
    return os.fsdecode(re.sub(rb"=(..)", lambda found: bytes.fromhex(found[1].decode()), encoded.encode()))


@quick
@limit(300)
def test_made_up_stores(case):
    """Bases, batches, seals, gaps and all the rest of it, far more often than servers make them."""
    exports = 0
    for seed in range(8):
        folder = make_store(case, seed)
        for encoded in sorted(os.listdir(f"{folder}/expected")):
            out = case.path("out")
            read_back(f"{folder}/store", decode_name(encoded), out)
            assert filecmp.cmp(f"{folder}/expected/{encoded}", out, shallow=False), f"seed {seed}: {encoded}"
            exports += 1
    return f"{exports} exports and snapshots of 8 stores"


@quick
def test_damage_is_seen(case):
    """What one kind of object is made of is inverted: no export that has data is rebuilt from it."""
    for kind in ("format", "exports", "maps", "blocks"):
        folder = make_store(case, 3)
        store = f"{folder}/store"
        below = glob.glob(f"{store}/{kind}/**", recursive=True)
        for path in [f"{store}/{kind}", *below]:
            if os.path.isfile(path):
                with open(path, "r+b") as file:
                    inverted = bytes(byte ^ 255 for byte in file.read())
                    file.seek(0)
                    file.write(inverted)
        read_back(store, "b", case.path("out"), status=1)
        shutil.rmtree(folder)


SIZE = 48 * MIB + 512


class Disk:
    """An export, and what it must hold."""

    def __init__(self, handle, chance, image):
        self.handle, self.chance, self.image = handle, chance, image

    def change(self):
        at = self.chance.randrange(SIZE // 512) * 512
        length = min(self.chance.choice((512, 4096, 20480, 131072, 1 * MIB)), SIZE - at)
        verb = self.chance.randrange(6)
        if verb == 0:
            self.handle.trim(length, at)
            self.image[at:at + length] = bytes(length)
        elif verb == 1:
            self.handle.zero(length, at, self.chance.choice((0, nbd.CMD_FLAG_NO_HOLE)))
            self.image[at:at + length] = bytes(length)
        else:
            content = self.chance.randbytes(length)
            self.handle.pwrite(content, at)
            self.image[at:at + length] = content

    def changes(self, count):
        for _ in range(count):
            self.change()
            if self.chance.random() < 0.1:
                self.handle.flush()
        self.handle.flush()


@quick
@limit(300)
@on("dir")
def test_after_crashes_and_clean_ends(case):
    """What was flushed is in the store, in the log, behind a takeover, after a clean close."""
    chance, image = random.Random(4), bytearray(SIZE)
    options = ("--write-buffer", "4M", "--inline-buffer", "1M", "--flush-interval", "200ms")
    states = []
    server = case.server(*options, auto_create=SIZE)
    rounds = ((60, "kill"), (1, "kill"), (1, "kill"), (60, "kill"), (60, "stop"), (60, "kill"), (1, "stop"))
    for count, end in rounds:
        handle = clients.connect(server.uri("a/b"))
        Disk(handle, chance, image).changes(count)
        if end == "kill":
            server.kill()
        else:
            handle.shutdown()
            server.stop()
        out = case.path("out")
        read_back(case.store.path, "a/b", out)
        with open(out, "rb") as file:
            assert file.read() == image, f"after {states + [end]}"
        manifest = json.loads(case.store.get("exports/a=2Fb/manifest"))
        log = len(case.store.keys(f"exports/a=2Fb/{manifest['id']}/"))
        states.append(f"{end}: {manifest['state']}, {len(manifest['segments'])} segments, {log} in the log")
        server.start()
    return "; ".join(states)
