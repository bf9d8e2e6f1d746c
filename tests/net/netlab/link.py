"""A slow and lossy link between two TUN devices: link.py NS1 DEV1 NS2 DEV2 DELAY_MS LOSS RATE_KBIT SEED

Each direction delays every packet by DELAY_MS, loses a share LOSS of them (repeatable by SEED) and, with a rate above 0, sends
no faster than that from a queue of at most 200 ms. Prints `up` when both devices are there and runs until it is ended.

A line `UP_KBIT DOWN_KBIT` on its input changes the rates from the first device to the second and back; 0 is no limit.
"""

import collections
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from netlab.cage import enter_network  # noqa: E402

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
QUEUE_SECONDS = 0.2
PACKET_BYTES_MAX = 65_535


def tun(namespace, name):
    enter_network(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "up", "txqueuelen", "1000"], check=True)
    return device


class Direction:
    def __init__(self, source, sink, delay, loss, rate, seed):
        self.source, self.sink, self.delay, self.loss, self.rate = source, sink, delay, loss, rate
        self.random = random.Random(seed)
        self.queue = collections.deque()
        self.free_at = 0.0

    def take(self, now):
        while True:
            try:
                packet = os.read(self.source, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            if self.random.random() < self.loss:
                continue
            leaves = now
            if self.rate:
                leaves = max(now, self.free_at)
                if leaves - now > QUEUE_SECONDS:
                    continue
                leaves = self.free_at = leaves + len(packet) * 8 / self.rate
            self.queue.append((leaves + self.delay, packet))

    def give(self, now):
        while self.queue and self.queue[0][0] <= now:
            try:
                os.write(self.sink, self.queue.popleft()[1])
            except (BlockingIOError, OSError):
                pass  # The device is down or full: the packet is lost, as on any link.

    def due(self):
        return self.queue[0][0] if self.queue else float("inf")


def main():
    first, device1, second, device2, delay, loss, rate, seed = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    one, two = tun(first, device1), tun(second, device2)
    shape = (float(delay) / 1000, float(loss), float(rate) * 1000)
    directions = [Direction(one, two, *shape, f"{seed}-up"), Direction(two, one, *shape, f"{seed}-down")]
    told = [sys.stdin]
    print("up", flush=True)
    while True:
        wait = min(direction.due() for direction in directions) - time.monotonic()
        ready, _, _ = select.select([one, two, *told], [], [], max(0, min(wait, 1)))
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                told = []
            for direction, kbit in zip(directions, line.split()):
                direction.rate = float(kbit) * 1000
        now = time.monotonic()
        for direction in directions:
            if direction.source in ready:
                direction.take(now)
            direction.give(time.monotonic())


if __name__ == "__main__":
    main()
