"""The clients people have: libnbd's and QEMU's programs, fio, and libnbd itself from Python."""

import fcntl
import json
import os
import random
import re
import subprocess
import tempfile

import nbd

from stores import Missing


def run(*command, timeout=300, status=0, env=None):
    """Its stdout, when it ends with that status."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=timeout, env={**os.environ, **(env or {})})
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed") from None
    print(f"$ {' '.join(command)} -> {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    assert done.returncode == status, f"{' '.join(command)}: status {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def info(uri, *options):
    """What nbdinfo says of the one export."""
    return json.loads(run("nbdinfo", "--json", *options, uri))["exports"][0]


class Handle(nbd.NBD):
    """With `with`: says goodbye to the server at the end."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.shutdown()
        self.drop()

    def drop(self):
        """Closes the socket without a word, now and not when Python collects the handle."""
        handle, self._o = self._o, None
        if handle is not None:
            nbd.libnbdmod.close(handle)

    def __del__(self):
        self.drop()


def connect(uri, contexts=()):
    handle = Handle()
    for context in contexts:
        handle.add_meta_context(context)
    handle.connect_uri(uri)
    return handle


def extents(handle, length, offset=0):
    """[(length, flags)] of base:allocation, adjacent equal ones joined."""
    found = []

    def take(_context, _offset, entries, _error):
        for size, flags in zip(entries[0::2], entries[1::2]):
            if found and found[-1][1] == flags:
                found[-1] = (found[-1][0] + size, flags)
            else:
                found.append((size, flags))

    end = offset + length
    while offset < end:
        before = sum(size for size, _ in found)
        handle.block_status(min(end - offset, 1 << 30), offset, take)
        gained = sum(size for size, _ in found) - before
        assert gained > 0
        offset += gained
    return found


def qemu_extents(uri):
    return json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", uri))


def ext4_image(folder, size_mib, data_mib):
    """The path of an ext4 image with a tree of files in it, made by mke2fs -d; made once for all tests."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"ext4-{size_mib}-{data_mib}")
    with open(path + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            make_ext4(path, folder, size_mib, data_mib)
    return path


def make_ext4(path, folder, size_mib, data_mib):
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(dir=folder) as tree:
        left, n = data_mib << 20, 0
        while left > 0:
            size = min(left, chance.choice((100, 4096, 70000, 1 << 20, 9 << 20)))
            os.makedirs(os.path.join(tree, str(n % 17)), exist_ok=True)
            with open(os.path.join(tree, str(n % 17), str(n)), "wb") as file:
                file.write(chance.randbytes(size))
            left -= max(size, 4096)
            n += 1
        run("mke2fs", "-q", "-t", "ext4", "-d", tree, path + ".new", f"{size_mib}M")
    os.rename(path + ".new", path)


def fio(uri, *options, timeout=300):
    """Runs one job on fio's nbd engine; its figures. Fails when fio saw any error."""
    return fio_figures(run("fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--output-format=json",
                           *options, timeout=timeout))


def fio_file(path, timeout=300):
    return fio_figures(run("fio", "--output-format=json", path, timeout=timeout))


def fio_figures(text):
    jobs = json.loads(text[text.index("{"):])["jobs"]
    assert all(job["error"] == 0 for job in jobs), text[-2000:]
    return jobs


def sha256_of_file(path):
    return re.match(r"\w+", run("sha256sum", path)).group()
