"""The network: homes A, B and C behind a NAT each, an internet and a server.

    home.a ──lan── nat.a ──wan──┐
    home.b ──lan── nat.b ──wan──┼── inet ── srv
    home.c ──lan── nat.c ──wan──┘

`wan` is a veth pair, or two TUN devices with a lossy link between them (link.py). Every address is a documentation or
private one that occurs once: whoever finds one elsewhere has found a leak. IPv4 goes through NAT, IPv6 through a stateful
firewall that lets nothing in unasked.
"""

import ipaddress
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

GATEWAY4 = "192.0.2.1"
SERVER4, SERVER6 = "192.0.2.30", "2001:db8:30::30"

NO_UDP = """
table inet noudp {
    chain through { type filter hook forward priority -10; meta l4proto udp drop; }
}
"""

# What a strict firewall leaves: connections from the home to one TCP port.
ONLY_TCP = """
table inet onlytcp {
    chain through {
        type filter hook forward priority -10;
        meta l4proto udp drop
        iifname "lan" tcp dport != %d drop
    }
}
"""

# What may be wrong with the way between two homes: rules for packets that go on it, by the first byte of what UDP carries (RFC 7983).
TROUBLES = {
    "no checks": "counter drop",
    "no keys": "@th,64,8 >= 20 @th,64,8 <= 63 counter drop",
    "no media": "@th,64,8 >= 128 @th,64,8 <= 191 counter drop",
    # Enough for checks, keys, sound and the first picture; then nothing more, not even a check.
    "dies young": "quota over 60 kbytes counter drop",
}

NATS = {"cone": "masquerade", "symmetric": "masquerade random,fully-random"}


@dataclass
class Home:
    """One home: a client's namespace and its NAT's."""

    name: str
    number: int
    public: list
    nat: str = "cone"
    # True while the client is on another network than at first.
    moved: bool = False
    # Every address that anything in this home has or will have in this run.
    addresses: dict = field(default_factory=dict)

    @property
    def client(self):
        return f"home.{self.name}"

    @property
    def router(self):
        return f"nat.{self.name}"

    def private(self, host=2):
        return f"10.{self.number}.0.{host}"

    def six(self, host=2):
        return f"2001:db8:{self.number}::{host}"

    def is_public(self, address):
        """An address that others on the internet may reach this home's client by."""
        return str(address) in (*self.public, self.six(2), self.six(3))

    def know(self, address, what):
        self.addresses.setdefault(ipaddress.ip_address(address), f"{self.name}'s {what}")


def homes(nats):
    # The second public address is the one of the network that a home moves to.
    public = {"a": ["203.0.113.61", "203.0.113.71"], "b": ["198.51.100.62", "198.51.100.72"], "c": ["203.0.113.163", "203.0.113.173"]}
    return {name: Home(name, 61 + at, public[name], nats[at]) for at, name in enumerate("abc")}


def run(namespace, *command, check=True, **more):
    """Runs a command in a namespace and gives its output."""
    done = subprocess.run(inside(namespace, *command), capture_output=True, text=True, **more)
    if check and done.returncode != 0:
        raise RuntimeError(f"{namespace}: {' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace, *command):
    return ["ip", "netns", "exec", namespace, *map(str, command)]


def ip(namespace, line):
    run(namespace, "ip", *line.split())


def sysctl(namespace, **values):
    for name, value in values.items():
        run(namespace, "sh", "-c", f"echo {value} > /proc/sys/net/{name.replace('__', '/')}")


@dataclass
class Shape:
    """What a WAN link does to packets, each way."""

    delay_ms: float = 0
    loss: float = 0
    rate_kbit: float = 0
    seed: int = 1


class Lab:
    """Makes the network; `close` takes it down again."""

    def __init__(self, nats=("cone", "cone", "cone"), shape=None, log=None):
        self.homes = homes(nats)
        self.shape = shape
        self.log = log
        self.links, self.link_of = [], {}
        self.made = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self):
        self._namespace("inet", forwards=True)
        ip("inet", f"addr add {GATEWAY4}/32 dev lo")
        self._namespace("srv")
        self._pair("srv", "eth0", "inet", "srv")
        ip("srv", f"addr add {SERVER4}/32 dev eth0")
        ip("srv", f"addr add {SERVER6}/64 dev eth0 nodad")
        ip("srv", f"route add {GATEWAY4}/32 dev eth0")
        ip("srv", f"route add default via {GATEWAY4}")
        ip("inet", f"route add {SERVER4}/32 dev srv")
        ip("inet", "addr add 2001:db8:30::1/64 dev srv nodad")
        ip("srv", "route add default via 2001:db8:30::1")
        for home in self.homes.values():
            self._home(home)

    def _namespace(self, name, forwards=False):
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.made.append(name)
        ip(name, "link set lo up")
        for which in ("all", "default"):
            sysctl(name, **{f"ipv6__conf__{which}__accept_dad": 0, f"ipv6__conf__{which}__accept_ra": 0})
            if forwards:
                sysctl(name, **{f"ipv6__conf__{which}__forwarding": 1})
        if forwards:
            sysctl(name, ipv4__ip_forward=1)

    def _pair(self, one, name, other, peer):
        subprocess.run(["ip", "link", "add", name, "netns", one, "type", "veth", "peer", "name", peer, "netns", other], check=True)
        for namespace, device in ((one, name), (other, peer)):
            ip(namespace, f"link set {device} up")

    def _home(self, home):
        self._namespace(home.client)
        self._namespace(home.router, forwards=True)
        self._pair(home.client, "eth0", home.router, "lan")
        uplink = f"home-{home.name}"
        if self.shape:
            self._tunnel(home, uplink)
        else:
            self._pair(home.router, "wan", "inet", uplink)
        ip(home.router, f"addr add {home.private(1)}/24 dev lan")
        ip(home.router, f"addr add {home.six(1)}/64 dev lan nodad")
        ip(home.router, "addr add fe80::2/64 dev wan nodad")
        ip("inet", f"addr add fe80::1/64 dev {uplink} nodad")
        ip("inet", f"route add 2001:db8:{home.number}::/64 via fe80::2 dev {uplink}")
        for public in home.public:
            ip("inet", f"route add {public}/32 dev {uplink}")
        self._wan(home, home.public[0])
        ip(home.router, "route add default via fe80::1 dev wan")
        run(home.router, "nft", "-f", "-", input=firewall(NATS[home.nat]))
        self._join(home, 2)
        for device in json.loads(run(home.client, "ip", "-j", "addr", "show", "dev", "eth0")) + json.loads(
            run(home.router, "ip", "-j", "addr", "show", "dev", "lan")
        ):
            for one in device["addr_info"]:
                home.know(one["local"], f"{device['ifname']} address")
        for public in home.public:
            home.know(public, "public address")
        for host in (2, 3):
            home.know(home.private(host), "private address")
            home.know(home.six(host), "IPv6 address")

    def _wan(self, home, public):
        ip(home.router, "addr flush dev wan scope global")
        ip(home.router, f"addr add {public}/32 dev wan")
        ip(home.router, f"route replace {GATEWAY4}/32 dev wan src {public}")
        ip(home.router, f"route replace default via {GATEWAY4} dev wan")

    def _join(self, home, host):
        ip(home.client, f"addr add {home.private(host)}/24 dev eth0")
        ip(home.client, f"addr add {home.six(host)}/64 dev eth0 nodad")
        ip(home.client, f"route replace default via {home.private(1)}")
        ip(home.client, f"route replace default via {home.six(1)}")

    def _tunnel(self, home, uplink):
        shape, number = self.shape, home.number
        command = [sys.executable, str(Path(__file__).with_name("link.py")), home.router, "wan", "inet", uplink]
        command += [str(shape.delay_ms), str(shape.loss), str(shape.rate_kbit), str(shape.seed * 1000 + number)]
        link = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.links.append(link)
        self.link_of[home.name] = link
        if link.stdout.readline().strip() != "up":
            raise RuntimeError(f"the link of home {home.name} did not come up")

    def limit(self, home, up_kbit, down_kbit):
        """The home's way to the internet carries no more than this from now on; 0 is no limit. Needs a shape."""
        link = self.link_of[home.name]
        link.stdin.write(f"{up_kbit} {down_kbit}\n")
        link.stdin.flush()

    def move(self, home):
        """The client's network changes: new private and public addresses, the old ones are gone at once."""
        ip(home.client, "addr flush dev eth0 scope global")
        self._wan(home, home.public[1])
        self._join(home, 3)
        home.moved = True

    def return_home(self, home):
        """Back to the first addresses."""
        ip(home.client, "addr flush dev eth0 scope global")
        self._wan(home, home.public[0])
        self._join(home, 2)
        home.moved = False

    @contextmanager
    def without_udp(self, home):
        """The home's network lets no UDP through meanwhile, and says nothing of it."""
        run(home.router, "nft", "-f", "-", input=NO_UDP)
        try:
            yield
        finally:
            run(home.router, "nft", "delete", "table", "inet", "noudp")

    @contextmanager
    def with_only_tcp(self, home, port):
        """The home's network lets nothing through meanwhile but TCP to this port, and says nothing of it."""
        run(home.router, "nft", "-f", "-", input=ONLY_TCP % port)
        try:
            yield
        finally:
            run(home.router, "nft", "delete", "table", "inet", "onlytcp")

    @contextmanager
    def trouble(self, what, one="a", other="b"):
        """The way between two homes is so meanwhile; their ways to the server stay as they are."""
        rules = []
        for source, destination in ((one, other), (other, one)):
            for family, of in (("ip", lambda home: home.public), ("ip6", lambda home: [home.six(2), home.six(3)])):
                match = [f"{family} {side} {{ {', '.join(of(self.homes[home]))} }}" for side, home in (("saddr", source), ("daddr", destination))]
                rules.append(f"{' '.join(match)} meta l4proto udp {TROUBLES[what]}")
        table = "table inet trouble { chain through { type filter hook forward priority -10; %s; }; }"
        run("inet", "nft", "-f", "-", input=table % "; ".join(rules))
        try:
            yield
        finally:
            met = run("inet", "nft", "list", "table", "inet", "trouble")
            run("inet", "nft", "delete", "table", "inet", "trouble")
        assert re.search(r"counter packets [1-9]", met), f"nobody met the trouble: {met}"

    @contextmanager
    def without_six(self):
        """For a while the internet carries no IPv6."""
        drop = "table ip6 cut { chain through { type filter hook forward priority 0; policy drop; }; }"
        run("inet", "nft", "-f", "-", input=drop)
        try:
            yield
        finally:
            run("inet", "nft", "delete", "table", "ip6", "cut")

    def namespaces(self):
        return list(self.made)

    def close(self):
        for link in self.links:
            link.terminate()
            link.wait()
        for name in reversed(self.made):
            subprocess.run(["ip", "netns", "del", name], check=False)
        self.links, self.made = [], []


def firewall(masquerade):
    """Lets answers in and nothing else. What comes unasked is dropped, not rejected: a rejection would leave a mapping."""
    return f"""
table ip nat {{
    chain out {{ type nat hook postrouting priority 100; oifname "wan" {masquerade}; }}
}}
table inet filter {{
    chain through {{
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "lan" oifname "wan" accept
    }}
    chain in {{
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname {{ "lo", "lan" }} accept
        meta l4proto ipv6-icmp accept
    }}
}}
"""
