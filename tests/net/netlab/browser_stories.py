"""The same kinds of stories with Chromium in the homes: Alice's page in home a, Bob's in home b."""

import time

from .cage import until
from .parties import Browser, Foreign, Sdk
from .stories import flows, forges, talking


def pages(world):
    """The two pages; they stay open from story to story."""
    if not world.browsers:
        Browser(world, world.homes["a"], "alice")
        Browser(world, world.homes["b"], "bob")
    alice, bob = world.browsers[:2]
    for page in (alice, bob):
        page.does("home")
        page.does("online")
    return alice, bob


def live(alice, bob, video=False):
    for page in (alice, bob):
        page.does("live")
    for page in (alice, bob):
        page.does("receives", video=video)


def end(alice, bob):
    for page in (alice, bob):
        page.does("keep")
    alice.does("click", target="hangup")
    for page in (alice, bob):
        assert page.does("ended")["reason"] == "hung_up"
        page.does("closesEnded")


def routed_call(world):
    alice, bob = pages(world)
    alice.does("calls", callee="bob")
    bob.does("accepts")
    live(alice, bob, video=True)
    end(alice, bob)


def cancelled(world):
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("rings")
    time.sleep(1)
    alice.does("click", target="hangup")
    assert alice.does("ended")["reason"] == "cancelled"
    until("it stopped ringing", lambda: bob.does("state")["incoming"] is None)


def declined(world):
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("rings")
    bob.does("click", target="decline")
    assert alice.does("ended")["reason"] == "declined"


def not_answered(world):
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("rings")
    deadline = time.monotonic() + 60
    until("it ended", lambda: alice.does("state")["ended"], deadline - time.monotonic(), every=1)
    assert alice.does("ended")["reason"] == "timed_out"


def busy(world):
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("accepts", video=False)
    live(alice, bob)
    carol = Sdk(world, world.homes["c"], "carol", "--to", "bob", *talking(world))
    assert carol.result()["ended"] == "busy"
    end(alice, bob)


def blocked(world):
    alice, bob = pages(world)
    other = Foreign(world, world.homes["b"], "bob", "bobs-other")
    other.call("PrivacyService/Block", handle="alice")
    try:
        until("the page lets go", lambda: alice.does("state")["call"] is None)
        caller = Foreign(world, world.homes["a"], "alice", "alices-other")
        caller.refused(
            "CallService/PlaceCall", sessionId=caller.session, requestId="3f0c9f5c-0000-4000-8000-000000000002", calleeHandle="bob"
        )
        time.sleep(0.5)
        assert bob.does("state")["incoming"] is None
    finally:
        other.call("PrivacyService/Unblock", handle="alice")


def two_devices(world):
    """Bob's page rings, and so does his SDK device away from home, which answers."""
    alice, bob = pages(world)
    before = world.server.metric("duocast_control_streams")
    device = Sdk(world, world.homes["c"], "bob", "--answer", *talking(world))
    until("bob's other device is online", lambda: world.server.metric("duocast_control_streams") > before, 15)
    alice.does("calls", callee="bob", video=False)
    alice.does("live")
    alice.does("receives", video=False)
    until("the page stopped ringing", lambda: bob.does("state")["incoming"] is None)
    assert bob.does("state")["call"] is None
    alice.does("keep")
    alice.does("click", target="hangup")
    assert device.result()["answered"]


def offline_then_online(world):
    """Bob's page loses its network before anybody calls, comes back, and takes the call."""
    alice, bob = pages(world)
    bob.does("offline", yes=True)
    time.sleep(2)
    bob.does("offline", yes=False)
    bob.does("online")
    alice.does("calls", callee="bob", video=False)
    bob.does("accepts", video=False)
    live(alice, bob)
    end(alice, bob)


def ice_restart(world):
    """The page is told that its network changed and restarts ICE: nothing else moved."""
    alice, bob = pages(world)
    alice.does("calls", callee="bob")
    bob.does("accepts")
    live(alice, bob, video=True)
    for page in (alice, bob):
        page.does("keep")
        before = world.server.metric("duocast_router_offers_total")
        page.does("networkChanged")
        until("a new offer was answered", lambda: world.server.metric("duocast_router_offers_total") > before)
    live(alice, bob, video=True)
    end(alice, bob)


def network_change(world):
    """Alice's home gets other addresses in mid-call."""
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("accepts", video=False)
    live(alice, bob)
    alice.does("keep")
    world.lab.move(world.homes["a"])
    live(alice, bob)
    end(alice, bob)


def with_sdk(world):
    """Alice's page calls Bob's SDK device."""
    alice, _ = pages(world)
    carol_before = world.server.metric("duocast_control_streams")
    carol = Sdk(world, world.homes["c"], "carol", "--answer", *talking(world))
    until("carol's device is online", lambda: world.server.metric("duocast_control_streams") > carol_before, 15)
    alice.does("calls", callee="carol")
    alice.does("live")
    alice.does("receives", video=False)
    flows(world)
    alice.does("keep")
    alice.does("click", target="hangup")
    assert carol.result()["answered"]


def replayed_accepts(world):
    """Bob's page answered a call that is over. Somebody sends its commands again, as they were, also while the next one rings."""
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("accepts", video=False)
    live(alice, bob)
    end(alice, bob)
    bob.does("remember")

    def again():
        for method in ("AcceptCall", "ConnectLeg"):
            # FAILED_PRECONDITION, or NOT_FOUND once the server has forgotten it.
            status = bob.does("replay", method=method)
            assert status in ("9", "5"), f"{method} again: status {status}"

    again()
    alice.does("calls", callee="bob", video=False)
    bob.does("rings")
    # A page prepares its connection while it rings.
    time.sleep(0.5)
    touched = bob.does("touched")
    again()
    time.sleep(0.5)
    assert alice.does("state")["call"]["state"] == "ringing" and bob.does("state")["call"] is None
    assert bob.does("touched") == touched, "bob's page did something about media"
    bob.does("click", target="decline")
    assert alice.does("ended")["reason"] == "declined"


def forged_accepts(world):
    """Carol knows every id of Alice's and Bob's pages, and is neither."""
    alice, bob = pages(world)
    alice.does("calls", callee="bob", video=False)
    bob.does("accepts", video=False)
    live(alice, bob)
    sessions = [page.does("ids")["session"] for page in (alice, bob)]
    end(alice, bob)
    eve = Foreign(world, world.homes["c"], "carol", "eve")
    alice.does("calls", callee="bob", video=False)
    bob.does("rings")
    time.sleep(0.5)
    touched = bob.does("touched")
    call = bob.does("state")["incoming"]["id"]
    forges(world, eve, (eve.session, *sessions), call)
    time.sleep(0.5)
    assert alice.does("state")["call"]["state"] == "ringing" and bob.does("state")["incoming"]["id"] == call
    assert bob.does("touched") == touched, "bob's page did something about media"
    bob.does("accepts", video=False)
    live(alice, bob)
    forges(world, eve, (eve.session, *sessions), call)
    live(alice, bob)
    assert not [e for e in eve.events if "callUpdated" in e.get("event", {})], "eve heard of it"
    end(alice, bob)


STORIES = {
    "routed call": routed_call,
    "ICE restart": ice_restart,
    "caller cancels": cancelled,
    "callee declines": declined,
    "nobody answers": not_answered,
    "callee is busy": busy,
    "callee blocked the caller": blocked,
    "two devices, one answers elsewhere": two_devices,
    "offline, then online": offline_then_online,
    "replayed accepts": replayed_accepts,
    "forged accepts": forged_accepts,
    "network change": network_change,
    "page calls SDK": with_sdk,
}
