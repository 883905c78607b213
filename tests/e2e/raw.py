"""The NBD protocol by hand, for what no well-behaved client sends."""

import socket
import struct

MAGIC, OPTION_MAGIC, REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO, OPT_STRUCTURED = 1, 2, 3, 6, 7, 8
REP_ACK, REP_INFO, REP_ERR_UNKNOWN = 1, 3, 0x80000006
READ, WRITE, DISC, FLUSH, TRIM = 0, 1, 2, 3, 4


class Raw:
    """One connection to a server's unix socket."""

    def __init__(self, server, greet=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(server.socket_path)
        if greet:
            assert self.read(8) == MAGIC and self.read(8) == OPTION_MAGIC
            flags, = struct.unpack(">H", self.read(2))
            assert flags & 3 == 3, flags
            self.send(struct.pack(">I", 3))

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

    def go(self, export):
        """The type of the last reply: REP_ACK or an error."""
        name = export.encode()
        self.option(OPT_GO, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        while True:
            _, kind, data = self.option_reply()
            if kind != REP_INFO:
                return kind, data

    def request(self, command, offset=0, length=0, payload=b"", flags=0, cookie=1):
        self.send(struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length) + payload)

    def simple_reply(self, length=0):
        """(error, data)"""
        magic, error, _ = struct.unpack(">IIQ", self.read(16))
        assert magic == SIMPLE_MAGIC, hex(magic)
        return error, self.read(length) if not error else b""

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
