"""A home whose network lets no UDP through: signalling and media go over TCP, and back to UDP when it does again."""

from .browser_stories import end, live, pages
from .cage import until
from .stories import call_between, watch

# The SDK asks every 15 s, a page after 20 s; and a leg needs a moment.
BACK_SECONDS = 60


def legs_over(world, transport):
    """Legs whose media goes over this, as the router counts them once a second."""
    lines = [line for line in world.server.metrics().splitlines() if line.startswith("duocast_router_leg_paths{")]
    return sum(float(line.split()[-1]) for line in lines if f'transport="{transport}"' in line)


def udp_blocked(world):
    watch(world)
    with world.lab.without_udp(world.homes["a"]):
        alice, bob = call_between(world, 40)
        until("one is on TCP and one on UDP", lambda: (legs_over(world, "tcp"), legs_over(world, "udp")) == (1, 1), 30)
    until("both are on UDP", lambda: (legs_over(world, "tcp"), legs_over(world, "udp")) == (0, 2), BACK_SECONDS)
    results = {}
    for person in (alice, bob):
        results[person.handle] = result = person.result(60)
        assert result["answered"] and result["ended"] == "hung_up", result
        assert result["stats"]["transport"] == "udp", result
        # 40 s have 2000 packets; the way back to UDP takes a few of them.
        assert result["stats"]["audio_packets_in"] > 1500, result
    ready = results["alice"]["stats"]["leg_ready_ms"]
    print(f"figure reach: UDP blocked, SDK: the leg was ready {ready:.0f} ms after the call was known", flush=True)


def udp_never_comes_back(world):
    watch(world)
    with world.lab.without_udp(world.homes["a"]), world.lab.without_udp(world.homes["b"]):
        alice, bob = call_between(world, 8)
        for person in (alice, bob):
            result = person.result(60)
            assert result["answered"] and result["ended"] == "hung_up", result
            assert result["stats"]["transport"] == "tcp", result
            assert result["stats"]["audio_packets_in"] > 200, result


def page_without_udp(world):
    alice, bob = pages(world)
    with world.lab.without_udp(world.homes["a"]):
        alice.does("calls", callee="bob")
        bob.does("accepts")
        live(alice, bob, video=True)
        assert (alice.does("transports"), bob.does("transports")) == (["tcp"], ["udp"])
    until("the page is on UDP", lambda: alice.does("transports") == ["udp"], BACK_SECONDS, every=1)
    live(alice, bob, video=True)
    end(alice, bob)


SDK_STORIES = {"UDP is blocked, then not": udp_blocked, "UDP is blocked at both": udp_never_comes_back}
PAGE_STORIES = {"UDP is blocked, then not": page_without_udp}
