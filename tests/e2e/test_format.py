"""docs/FORMAT.md is enough to read an export: a reader written from it alone rebuilds what is there."""

import filecmp
import glob
import os
import random
import re
import shutil
import subprocess
import sys

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
    for seed in range(12):
        folder = make_store(case, seed)
        for encoded in sorted(os.listdir(f"{folder}/expected")):
            out = case.path("out")
            read_back(f"{folder}/store", decode_name(encoded), out)
            assert filecmp.cmp(f"{folder}/expected/{encoded}", out, shallow=False), f"seed {seed}: {encoded}"
            exports += 1
    return f"{exports} exports and snapshots of 12 stores"


@quick
def test_damage_is_seen(case):
    """One bit in every object of a kind: no export that has data is rebuilt from them."""
    for kind in ("format", "exports", "maps", "blocks"):
        folder = make_store(case, 3)
        for path in glob.glob(f"{folder}/store/{kind}") + glob.glob(f"{folder}/store/{kind}/**", recursive=True):
            if os.path.isfile(path):
                with open(path, "r+b") as file:
                    file.seek(os.path.getsize(path) // 2)
                    byte = file.read(1)[0]
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte ^ 1]))
        read_back(f"{folder}/store", "b", case.path("out"), status=1)
        shutil.rmtree(folder)
