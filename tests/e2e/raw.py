"""The NBD protocol by hand, for what no well-behaved client sends."""

import socket
import struct

MAGIC, OPTION_MAGIC, REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC = 0x25609513, 0x67446698
STRUCTURED_MAGIC = 0x668E33EF
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO, OPT_STRUCTURED = 1, 2, 3, 5, 6, 7, 8
OPT_LIST_META, OPT_SET_META, OPT_EXTENDED = 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_INVALID = 0x80000001, 0x80000002, 0x80000003
REP_ERR_UNKNOWN, REP_ERR_TOO_BIG = 0x80000006, 0x80000009
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_ERROR = 0, 1, 2, 5, 0x8001
EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 22, 28, 75, 95, 108


def string(text):
    content = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(content)) + content


class Raw:
    """One connection to a server: to its unix socket, or to an address. flags: what answers the greeting."""

    def __init__(self, server, greet=True, address=None, flags=3):
        family = socket.AF_UNIX if not address else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(60)
        self.socket.connect(address or server.socket_path)
        if greet:
            assert self.read(8) == MAGIC and self.read(8) == OPTION_MAGIC
            offered, = struct.unpack(">H", self.read(2))
            assert offered == 3, offered
            self.send(struct.pack(">I", flags))

    def send(self, content):
        self.socket.sendall(content)

    def read(self, length):
        found = b""
        while len(found) < length:
            more = self.socket.recv(length - len(found))
            if not more:
                raise EOFError(f"closed after {len(found)} of {length} bytes")
            found += more
        return found

    def option(self, number, data=b"", length=None):
        self.send(OPTION_MAGIC + struct.pack(">II", number, len(data) if length is None else length) + data)

    def option_reply(self):
        """(option, type, data)"""
        magic, option, kind, length = struct.unpack(">QIII", self.read(20))
        assert magic == REPLY_MAGIC, hex(magic)
        return option, kind, self.read(length)

    def option_replies(self, number):
        """[(type, data)] up to the last one: an ACK or an error."""
        found = []
        while not found or (found[-1][0] != REP_ACK and found[-1][0] < 0x80000000):
            option, kind, data = self.option_reply()
            assert option == number, option
            found.append((kind, data))
        return found

    def ask(self, number, data=b""):
        self.option(number, data)
        return self.option_replies(number)

    def info(self, export, option=OPT_INFO, wanted=()):
        """({information type: data}, type of the last reply, its data)"""
        asked = struct.pack(f">H{len(wanted)}H", len(wanted), *wanted)
        *infos, last = self.ask(option, string(export) + asked)
        assert all(kind == REP_INFO for kind, _ in infos), infos
        return {struct.unpack(">H", data[:2])[0]: data[2:] for _, data in infos}, *last

    def go(self, export):
        """The type of the last reply, REP_ACK or an error, and its text."""
        return self.info(export, OPT_GO)[1:]

    def structured(self):
        assert self.ask(OPT_STRUCTURED) == [(REP_ACK, b"")]
        return self

    def set_contexts(self, export, *queries, option=OPT_SET_META):
        """{name: id}; None when refused."""
        *found, (kind, _) = self.ask(option, string(export) + struct.pack(">I", len(queries)) +
                                     b"".join(map(string, queries)))
        if kind != REP_ACK:
            return None
        return {data[4:].decode(): struct.unpack(">I", data[:4])[0] for _, data in found}

    def export_name(self, export, zeroes=False):
        """(size, flags)"""
        self.option(OPT_EXPORT_NAME, export.encode())
        found = self.read(10 + (124 if zeroes else 0))
        assert not any(found[10:])
        return struct.unpack(">QH", found[:10])

    def request(self, command, offset=0, length=0, payload=b"", flags=0, cookie=1):
        self.send(struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length) + payload)

    def simple_reply(self, length=0):
        """(error, data)"""
        magic, error, _ = struct.unpack(">IIQ", self.read(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return error, self.read(length) if not error else b""

    def chunk(self):
        """(cookie, done, type, data)"""
        magic, flags, kind, cookie, length = struct.unpack(">IHHQI", self.read(20))
        assert magic == STRUCTURED_MAGIC and flags in (0, 1), (hex(magic), flags)
        return cookie, bool(flags), kind, self.read(length)

    def chunks(self, cookie=1):
        """[(type, data)] of one structured reply."""
        found, done = [], False
        while not done:
            told, done, kind, data = self.chunk()
            assert told == cookie, told
            found.append((kind, data))
        return found

    def error_chunk(self, cookie=1):
        (kind, data), = self.chunks(cookie)
        assert kind == CHUNK_ERROR, kind
        error, length = struct.unpack(">IH", data[:6])
        assert len(data) == 6 + length
        return error

    def structured_read(self, offset, length, flags=0):
        """(content, [(offset, length, is it data)]) of a READ that succeeds; checks its chunks."""
        self.request(READ, offset, length, flags=flags)
        content, parts = bytearray(length), []
        for kind, data in self.chunks():
            if kind == CHUNK_NONE:
                continue
            assert kind in (CHUNK_DATA, CHUNK_HOLE), kind
            at, = struct.unpack(">Q", data[:8])
            size = len(data) - 8 if kind == CHUNK_DATA else struct.unpack(">I", data[8:])[0]
            assert size > 0 and offset <= at and at + size <= offset + length, (at, size)
            if kind == CHUNK_DATA:
                content[at - offset:at - offset + size] = data[8:]
            parts.append((at, size, kind == CHUNK_DATA))
        parts.sort()
        assert sum(size for _, size, _ in parts) == length and \
            all(a[0] + a[1] == b[0] for a, b in zip(parts, parts[1:])), parts
        return bytes(content), parts

    def closed(self):
        """True once the server has closed; whatever it still says is thrown away."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except socket.timeout:
            return False
        return True
