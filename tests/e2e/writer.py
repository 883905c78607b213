"""A load that knows what it wrote: stamped writes, zeroes, trims, flushes, FUA over several connections."""

import random
import select

import nbd

from clients import connect
from history import History, Operation, SECTOR, payload


class Gone(Exception):
    """The server closed a connection."""


class Writer:
    """Writes to one export over several connections, round after round."""

    def __init__(self, export, size, seed):
        self.export, self.size = export, size
        self.chance = random.Random(seed)
        self.sequence = 0
        self.clock = 0
        self.history = History(export, size)
        self.flushes = 0

    def open(self, uri, connections=4, depth=4):
        self.handles = []
        self.depth = depth
        for _ in range(connections):
            self.handles.append(connect(uri))
        self.busy = {}  # of the operations under way: key -> (handle, operation or None, finish)
        self.failed = None

    def close(self):
        for handle in self.handles:
            handle.drop()
        self.handles = []

    def step(self):
        """Sends what fits, takes what has been answered. Raises Gone when the server has."""
        try:
            for handle in self.handles:
                while handle.aio_in_flight() < self.depth:
                    self.send(handle)
            self.poll()
        except nbd.Error as error:
            raise Gone(str(error)) from None
        if self.failed:
            raise AssertionError(f"a request was answered with an error: {self.failed}")
        if any(handle.aio_is_dead() or handle.aio_is_closed() for handle in self.handles):
            raise Gone("connection closed")

    def finish(self):
        """Takes the answers to everything under way, then flushes."""
        for handle in self.handles:
            while handle.aio_in_flight():
                handle.poll(-1)
        sent = self.tick()
        self.handles[0].flush()
        self.tick()
        self.history.promise(sent)

    def poll(self):
        poller = select.poll()
        by_fd = {}
        for handle in self.handles:
            wanted = handle.aio_get_direction()
            events = (select.POLLIN if wanted & nbd.AIO_DIRECTION_READ else 0) | \
                (select.POLLOUT if wanted & nbd.AIO_DIRECTION_WRITE else 0)
            by_fd[handle.aio_get_fd()] = handle
            poller.register(handle.aio_get_fd(), events)
        for fd, events in poller.poll(5):
            handle = by_fd[fd]
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and \
                    handle.aio_get_direction() & nbd.AIO_DIRECTION_READ:
                handle.aio_notify_read()
            elif events & select.POLLOUT:
                handle.aio_notify_write()

    def tick(self):
        self.clock += 1
        return self.clock

    def send(self, handle):
        kind = self.chance.random()
        if kind < 0.06:
            self.flush(handle)
            return
        length = SECTOR * self.chance.choice((1, 1, 2, 7, 8, 8, 8, 16, 64, 256, 300))
        offset = self.free_range(length)
        if offset is None:
            self.flush(handle)
            return
        zeroes = kind > 0.95
        fua = self.chance.random() < 0.03
        self.sequence += 1
        operation = Operation(self.sequence, offset, length, zeroes, fua, self.tick())
        self.history.add(operation)
        self.busy[operation.sequence] = operation
        flags = nbd.CMD_FLAG_FUA if fua else 0

        def done(error, operation=operation):
            self.answered(operation, error)
            return 1

        if not zeroes:
            buffer = nbd.Buffer.from_bytearray(bytearray(payload(self.export, offset, length, self.sequence)))
            handle.aio_pwrite(buffer, offset, done, flags)
        elif kind > 0.975:
            handle.aio_trim(length, offset, done, flags)
        else:
            handle.aio_zero(length, offset, done, flags)

    def answered(self, operation, error):
        del self.busy[operation.sequence]
        if error.value:
            self.fail(operation, error.value)
        else:
            operation.answered = self.tick()
            if operation.fua:
                self.flushes += 1
        return 1

    def flush(self, handle):
        sent = self.tick()

        def done(error, sent=sent):
            if error.value:
                self.fail("flush", error.value)
            else:
                self.tick()
                self.flushes += 1
                self.history.promise(sent)
            return 1

        handle.aio_flush(done)

    def fail(self, what, error):
        """An error that the server answered, not one of a connection that broke (ENOTCONN)."""
        if error != 107:
            self.failed = f"{what}: errno {error}"

    def free_range(self, length):
        """An aligned range that nothing under way overlaps; near others, so that writes hide each other."""
        for _ in range(20):
            offset = self.chance.randrange(0, (self.size - length) // SECTOR + 1) * SECTOR
            if self.chance.random() < 0.5:
                offset = min(offset % (self.size // 8), self.size - length)
            if all(offset + length <= o.offset or o.offset + o.length <= offset for o in self.busy.values()):
                return offset
        return None

    def verify(self, uri):
        """After a crash: the whole export is one cut of the history, which is where the next one begins."""
        parts = range(0, self.size, 4 << 20)
        with connect(uri) as handle:
            content = b"".join(handle.pread(min(4 << 20, self.size - at), at) for at in parts)
        base = self.history.check(content)
        operations = len(self.history.operations)
        self.history = History(self.export, self.size, base)
        return operations
