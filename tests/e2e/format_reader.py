#!/usr/bin/env python3
"""Rebuilds an export's content from a directory store. Written from docs/FORMAT.md, without ashlar's code.

usage: format_reader.py STORE_DIR EXPORT[@SNAPSHOT] OUT

Nothing may write the store meanwhile. Exit status 1 and a sentence when something is missing or damaged.
"""

import bisect
import functools
import hashlib
import json
import os
import re
import struct
import sys

HOLE, ZEROS, PIECE, INLINE, BASE = "hole", "zeros", "piece", "inline", "base"


class Damaged(Exception):
    pass


def require(condition, message):
    if not condition:
        raise Damaged(message)


# ---------------------------------------------------------------------------------------- objects and keys

class Store:
    def __init__(self, folder):
        self.folder = folder

    def path(self, key):
        return os.path.join(self.folder, key)

    def read(self, key, offset=0, length=None):
        try:
            with open(self.path(key), "rb") as file:
                file.seek(offset)
                content = file.read() if length is None else file.read(length)
        except FileNotFoundError:
            raise Damaged(f"{key} is missing") from None
        require(length is None or len(content) == length, f"{key} is too short")
        return content

    def read_checked(self, key, offset, length, sha256):
        content = self.read(key, offset, length)
        require(hashlib.sha256(content).digest() == sha256, f"{key} is damaged at {offset}")
        return content


def encode_name(name):
    encoded = b""
    for i, byte in enumerate(os.fsencode(name)):
        char = bytes([byte])
        plain = char.isalnum() or char in b"_-" or (char == b"." and i > 0)
        encoded += char if plain and byte < 128 else b"=%02X" % byte
    return encoded.decode()


def object_key(folder, name):
    sha256, turn = name
    return f"{folder}/{sha256.hex()}-{turn:08x}"


# ----------------------------------------------------------------------------------------------- documents

def no_twins(pairs):
    members = dict(pairs)
    require(len(members) == len(pairs), "a member stands twice")
    return members


def read_document(store, key, kind):
    content = store.read(key)
    match = re.match(rb'\{"sha256":"([0-9a-f]{64})",\n', content)
    require(match, f"{key} does not begin as it should")
    require(hashlib.sha256(content[78:]).hexdigest().encode() == match[1], f"{key} is damaged")
    document = json.loads(content.decode(), object_pairs_hook=no_twins)
    require(document["ashlar"] == 1, f"{key} is of version {document['ashlar']}, which is unknown here")
    require(document["kind"] == kind, f"{key} is not a {kind}")
    return document


# ------------------------------------------------------------------------------------------ binary objects

def check_envelope(content, magic):
    require(len(content) >= 48 and content[:4] == magic, "wrong magic")
    require(struct.unpack_from("<I", content, 8)[0] == len(content), "wrong length")
    require(hashlib.sha256(content[:16] + content[48:]).digest() == content[16:48], "wrong checksum")
    require(struct.unpack_from("<H", content, 4)[0] == 1, "unknown version")


def read_tables(content, at, object_count, piece_count):
    objects = []
    for _ in range(object_count):
        objects.append(struct.unpack_from("<32sI", content, at))
        at += 36
    pieces = []
    for _ in range(piece_count):
        number, offset, stored, length, codec, cipher, key, sha256 = \
            struct.unpack_from("<IIIIBBH32s", content, at)
        require((codec, cipher, key) == (0, 0, 0) and stored == length > 0, "a piece is not plain")
        pieces.append((objects[number], offset, length, sha256))
        at += 52
    return pieces, at


def region_of(block_size, level):
    return block_size * 128 * 256 ** level


class Map:
    """Yields (start, end, kind, piece, skip) for a range of the export, in order."""

    def __init__(self, store, block_size):
        self.store, self.block_size = store, block_size

    def walk_root(self, root, end):
        if root["tree"] != "page":
            yield 0, end, root["tree"], None, 0
            return
        sha256, turn = root["object"].split("-")
        holder = (bytes.fromhex(sha256), int(turn, 16))
        ref = (holder, root["offset"], root["bytes"], bytes.fromhex(root["page"]))
        yield from self.walk(ref, root["level"], 0, end)

    def walk(self, ref, level, start, end, floor=0):
        holder, offset, length, sha256 = ref
        page = self.store.read_checked(object_key("maps", holder), offset, length, sha256)
        check_envelope(page, b"ASHP")
        says, flags, block_size = page[6], page[7], struct.unpack_from("<I", page, 12)[0]
        require(block_size == self.block_size and flags < 2, "a page of another map")
        require(says == level if level is not None else floor <= says <= 6, "a page of another level")
        base, at = None, 80
        if flags & 1:
            sha, turn, own, *where = struct.unpack_from("<32sIIII32s", page, 80)
            base, at = (holder if own & 1 else (sha, turn), *where), 160
        region = region_of(block_size, says)
        read = self.leaf if says == 0 else self.node
        for lo, hi, kind, what, skip in read(page, at, says, start // region * region, holder):
            cut_lo, cut_hi = max(lo, start), min(hi, end)
            if cut_lo >= cut_hi:
                continue
            if kind == BASE and base:
                yield from self.walk(base, None, cut_lo, cut_hi, says)
            elif kind == "page":
                yield from self.walk(what, says - 1, cut_lo, cut_hi)
            else:
                yield cut_lo, cut_hi, HOLE if kind == BASE else kind, what, skip + cut_lo - lo

    def leaf(self, page, at, _level, start, _holder):
        object_count, piece_count, extent_count = struct.unpack_from("<QII", page, 64)
        pieces, at = read_tables(page, at, object_count, piece_count)
        region_start, end = start, start + region_of(self.block_size, 0)
        for _ in range(extent_count):
            offset, length, number, skip = struct.unpack_from("<IIII", page, at)
            at += 16
            lo, hi = region_start + offset, region_start + offset + length
            require(start <= lo < hi <= end, "extents out of order")
            if lo > start:
                yield start, lo, BASE, None, 0
            if number >= 0xfffffffe:
                yield lo, hi, HOLE if number == 0xffffffff else ZEROS, None, 0
            else:
                yield lo, hi, PIECE, pieces[number], skip
            start = hi
        require(at == len(page), "a leaf of another length")
        if start < end:
            yield start, end, BASE, None, 0

    def node(self, page, at, level, start, holder):
        object_count, page_count = struct.unpack_from("<II", page, 72)
        kinds, at = page[at:at + 64], at + 64
        objects = [struct.unpack_from("<32sI", page, at + 36 * i) for i in range(object_count)]
        at += 36 * object_count
        region = region_of(self.block_size, level - 1)
        for child in range(256):
            lo, kind = start + child * region, kinds[child // 4] >> 2 * (child % 4) & 3
            ref = None
            if kind == 2:
                number, offset, length, sha256 = struct.unpack_from("<III32s", page, at)
                ref = (holder if number == 0xffffffff else objects[number], offset, length, sha256)
                at, page_count = at + 68, page_count - 1
            yield lo, lo + region, (HOLE, ZEROS, "page", BASE)[kind], ref, 0
        require(at == len(page) and page_count == 0, "a node of another length")


# ------------------------------------------------------------------------------------------------- the log

class Record:
    def __init__(self, content, export_id, epoch, folder, slot):
        require(len(content) <= 1 << 20, "too long")
        check_envelope(content, b"ASHR")
        flags, _, says_epoch = struct.unpack_from("<HII", content, 6)
        says = struct.unpack_from("<16s8sQ", content, 48)
        require((says_epoch,) + says == (epoch, export_id, folder, slot), "it belongs elsewhere")
        self.first, objects, pieces, entries, data = struct.unpack_from("<QIIII", content, 80)
        self.last = bool(flags & 1)
        pieces, at = read_tables(content, 136, objects, pieces)
        require(at + 24 * entries + data == len(content), "wrong counts")
        self.entries = []
        for _ in range(entries):
            offset, length, number, skip = struct.unpack_from("<QQII", content, at)
            at += 24
            kinds = {0xffffffff: HOLE, 0xfffffffe: ZEROS, 0xfffffffd: INLINE}
            kind = kinds.get(number, PIECE)
            what = pieces[number] if kind == PIECE else content if kind == INLINE else None
            self.entries.append((offset, offset + length, kind, what, skip))


def read_slot(store, name, manifest, epoch, folder, slot):
    """The record, or "gap", or "seal"."""
    key = f"exports/{name}/{manifest['id']}/{epoch:08x}-{folder}/{slot:016x}"
    if not os.path.exists(store.path(key)):
        return "gap"
    content = store.read(key)
    try:
        if len(content) == 128:
            check_envelope(content, b"ASHS")
            return "seal"
        return Record(content, bytes.fromhex(manifest["id"]), epoch, bytes.fromhex(folder), slot)
    except (Damaged, struct.error, IndexError) as error:
        raise Damaged(f"{key}: {error}") from None


def read_log(store, name, manifest):
    """The entries that count, in order."""
    for segment in manifest["segments"]:
        batch = []
        for slot in range(segment["from"], segment["to"]):
            record = read_slot(store, name, manifest, segment["epoch"], segment["folder"], slot)
            require(isinstance(record, Record), f"slot {slot} of epoch {segment['epoch']} is a {record}")
            batch += record.entries
            if record.last:
                yield from batch
                batch = []
        require(not batch, f"the log of epoch {segment['epoch']} ends inside a batch")
    slot, batch = manifest["position"], []
    while True:
        record = read_slot(store, name, manifest, manifest["epoch"], manifest["folder"], slot)
        if not isinstance(record, Record):
            return
        batch += record.entries
        if record.last:
            yield from batch
            batch = []
        slot += 1


class Overlay:
    """Ranges, the later over the earlier."""

    def __init__(self):
        self.starts, self.ranges = [], []

    def lay(self, start, end, kind, what, skip):
        first = bisect.bisect_right(self.starts, start)
        if first and self.ranges[first - 1][1] > start:
            first -= 1
        last = bisect.bisect_left(self.starts, end)
        kept = []
        for lo, hi, old_kind, old_what, old_skip in self.ranges[first:last]:
            if lo < start:
                kept.append((lo, start, old_kind, old_what, old_skip))
            if hi > end:
                kept.append((end, hi, old_kind, old_what, old_skip + end - lo))
        kept.append((start, end, kind, what, skip))
        kept.sort(key=lambda one: one[0])
        self.ranges[first:last] = kept
        self.starts[first:last] = [one[0] for one in kept]

    def gaps(self, start, end):
        i = max(bisect.bisect_right(self.starts, start) - 1, 0)
        while start < end and i < len(self.ranges):
            lo, hi = self.ranges[i][:2]
            if lo > start:
                yield start, min(lo, end)
            start, i = max(start, hi), i + 1
        if start < end:
            yield start, end


# ----------------------------------------------------------------------------------------------- all of it

class Image:
    def __init__(self, store, path, size):
        self.store, self.size = store, size
        self.file = open(path, "wb")
        self.file.truncate(size)
        self.piece = functools.lru_cache(maxsize=16)(self.fetch)

    def fetch(self, piece):
        holder, offset, length, sha256 = piece
        return self.store.read_checked(object_key("blocks", holder), offset, length, sha256)

    def put(self, start, end, kind, what, skip):
        end = min(end, self.size)
        if start >= end or kind in (HOLE, ZEROS):
            return
        content = self.piece(what) if kind == PIECE else what
        require(skip + end - start <= len(content), "a range is longer than its piece")
        self.file.seek(start)
        self.file.write(content[skip:skip + end - start])


def rebuild(folder, export, path):
    store = Store(folder)
    read_document(store, "format", "format")
    plain, _, snapshot = export.partition("@")
    name = encode_name(plain)
    manifest = read_document(store, f"exports/{name}/manifest", "manifest")
    require(manifest["state"] in ("open", "closed"), f"the export is in state {manifest['state']}")
    source, overlay = manifest, Overlay()
    if snapshot:
        source = next((s for s in manifest["snapshots"] if s["name"] == snapshot), None)
        require(source, f"{plain} has no snapshot {snapshot}")
    elif manifest["state"] == "open":
        for entry in read_log(store, name, manifest):
            overlay.lay(*entry)
    image = Image(store, path, source["size"])
    below = Map(store, manifest["block_size"])
    for start, end, kind, what, skip in below.walk_root(source["root"], source["size"]):
        for lo, hi in overlay.gaps(start, end):
            image.put(lo, hi, kind, what, skip + lo - start)
    for one in overlay.ranges:
        image.put(*one)
    image.file.close()


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        rebuild(*sys.argv[1:])
    except (Damaged, KeyError, ValueError, IndexError, struct.error) as error:
        sys.exit(f"format_reader: {error!r}")


if __name__ == "__main__":
    main()
