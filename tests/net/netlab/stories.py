"""What happens between people, with SDK clients (`duocast call`) and a foreign client. Alice lives in home a, Bob in b."""

import time

from .cage import until
from .parties import Foreign, Sdk, speech

SPEAKING = 3


def talking(world):
    path = world.root / "voice.wav"
    return ("--audio", path if path.exists() else speech(path), "--loop", "--video")


def watch(world):
    """Another device of each account that only listens: its messages are what the account was told, decrypted."""
    return Foreign(world, world.homes["a"], "alice", "watch-a"), Foreign(world, world.homes["b"], "bob", "watch-b")


def call_between(world, seconds=SPEAKING, callee="bob", callee_home="b"):
    """Alice calls somebody whose device answers."""
    before = world.server.metric("duocast_control_streams")
    bob = Sdk(world, world.homes[callee_home], callee, "--answer", *talking(world))
    until(f"{callee}'s device is online", lambda: world.server.metric("duocast_control_streams") > before, 15)
    alice = Sdk(world, world.homes["a"], "alice", "--to", callee, "--duration", f"{seconds}s", *talking(world))
    return alice, bob


def flows(world, packets=100):
    """Waits until the call's media is forwarded."""
    before = world.server.metric("duocast_router_packets_forwarded_total")
    until("media flows", lambda: world.server.metric("duocast_router_packets_forwarded_total") > before + packets)


def both_heard(alice, bob, at_least=20, seconds=40):
    for person in (alice, bob):
        result = person.result(seconds)
        assert result["answered"] and result["ended"] == "hung_up", result
        heard = result["stats"]["audio_packets_in"]
        assert heard >= at_least, f"{person.handle} heard {heard} packets of audio: {result}"
    return result


def routed_call(world):
    watch(world)
    both_heard(*call_between(world))


def cancelled(world):
    alice, bob = watch(world)
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
    bob.sees_call("RINGING")
    time.sleep(1)
    caller.stop()
    assert bob.sees_call("ENDED")["endReason"] == "END_REASON_CANCELLED"
    assert not caller.result()["answered"]


def not_answered(world):
    _, bob = watch(world)
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
    bob.sees_call("RINGING")
    result = caller.result(60)
    assert result["ended"] == "timed_out", result


def declined(world):
    _, bob = watch(world)
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
    call = bob.sees_call("RINGING")
    bob.call("CallService/DeclineCall", sessionId=bob.session, callId=call["callId"])
    assert caller.result()["ended"] == "declined"


def busy(world):
    watch(world)
    alice, bob = call_between(world, 6)
    flows(world)
    carol = Sdk(world, world.homes["c"], "carol", "--to", "bob", *talking(world))
    assert carol.result()["ended"] == "busy"
    both_heard(alice, bob)


def not_allowed(world):
    _, bob = watch(world)
    world.server.ctl("follow", "alice", "bob", "--mutual", "--remove")
    try:
        caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
        caller.fails()
        time.sleep(0.5)
        assert not [e for e in bob.events if "callUpdated" in e.get("event", {})], "bob heard of it"
    finally:
        world.server.ctl("follow", "alice", "bob", "--mutual")


def blocked(world):
    _, bob = watch(world)
    bob.call("PrivacyService/Block", handle="alice")
    try:
        caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
        caller.fails()
        time.sleep(0.5)
        assert not [e for e in bob.events if "callUpdated" in e.get("event", {})], "bob heard of it"
    finally:
        bob.call("PrivacyService/Unblock", handle="alice")


def two_devices(world):
    """Bob answers away from home; his device at home rang as well."""
    _, at_home = watch(world)
    alice, bob = call_between(world, callee_home="c")
    at_home.sees_call("RINGING")
    ended = at_home.sees_call("ENDED")
    both_heard(alice, bob)
    assert ended["endReason"] == "END_REASON_ANSWERED_ELSEWHERE", ended


def offline_then_online(world):
    """Dave was never online before: a device that just left counts as there for half a minute."""
    Foreign(world, world.homes["a"], "alice", "watch-a")
    world.server.ctl("account", "dave")
    world.server.ctl("follow", "alice", "dave", "--mutual")
    Sdk(world, world.homes["a"], "alice", "--to", "dave", *talking(world)).fails()
    both_heard(*call_between(world, callee="dave"))


def replayed_accepts(world):
    _, bob = watch(world)
    other = Foreign(world, world.homes["b"], "bob", "bobs-other")
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", *talking(world))
    call = bob.sees_call("RINGING")["callId"]
    accept = {"sessionId": bob.session, "callId": call}
    bob.call("CallService/AcceptCall", **accept)
    other.refused("CallService/AcceptCall", sessionId=other.session, callId=call)
    bob.call("CallService/HangUp", **accept)
    caller.result()
    for _ in range(3):
        again = bob.refused("CallService/AcceptCall", **accept)
        assert again == "FAILED_PRECONDITION", again
    bob.refused("CallService/ConnectLeg", **accept, sdpOffer=offer_with_everything(world.homes["b"]))


def forges(world, eve, sessions, call):
    """Eve knows the ids of a call and of its sessions: it gets her nothing, not even that they are right."""
    offer = offer_with_everything(world.homes["c"])

    def tries(call):
        heard = []
        for session in sessions:
            body = {"sessionId": session, "callId": call}
            for method in ("AcceptCall", "DeclineCall", "HangUp"):
                heard.append(eve.refused(f"CallService/{method}", **body))
            heard.append(eve.refused("CallService/ConnectLeg", **body, sdpOffer=offer))
            heard.append(eve.refused("CallService/UpdateMedia", **body, media={"audio": True}))
            heard.append(eve.refused("CallService/SetDirect", **body, consent=True))
        heard.append(eve.refused("CallService/GetCall", callId=call))
        return heard

    assert tries(call) == tries("0" * len(call)), "another's call answers otherwise than one that never was"


def forged_accepts(world):
    """Carol knows Bob's call and session ids, and is not Bob."""
    alice, bob = watch(world)
    eve = Foreign(world, world.homes["c"], "carol", "eve")
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", "--duration", "2s", *talking(world))
    call = bob.sees_call("RINGING")["callId"]
    sessions = (eve.session, bob.session, alice.session)
    forges(world, eve, sessions, call)
    nobody = eve.ask(method="CallService/AcceptCall", body={"sessionId": bob.session, "callId": call}, metadata={"authorization": ""})
    assert nobody["error"] == "UNAUTHENTICATED", nobody
    assert bob.call("CallService/GetCall", callId=call)["call"]["state"] == "CALL_STATE_RINGING"
    assert not [e for e in eve.events if "callUpdated" in e.get("event", {})], "eve heard of it"
    bob.call("CallService/AcceptCall", sessionId=bob.session, callId=call)
    forges(world, eve, sessions, call)
    bob.call("CallService/HangUp", sessionId=bob.session, callId=call)
    caller.result()


def offers_with_everything(world):
    """Both sides write every address of theirs wherever a description has room for one."""
    alice, bob = watch(world)
    placed = alice.call(
        "CallService/PlaceCall", sessionId=alice.session, requestId="3f0c9f5c-0000-4000-8000-000000000001", calleeHandle="bob", video=True
    )
    call = placed["call"]["callId"]
    bob.sees_call("RINGING")
    bob.call("CallService/AcceptCall", sessionId=bob.session, callId=call)
    for person, home in ((alice, world.homes["a"]), (bob, world.homes["b"])):
        offer = offer_with_everything(home)
        answer = person.call("CallService/ConnectLeg", sessionId=person.session, callId=call, sdpOffer=offer)
        descriptions = [{"side": "local", "sdp": offer}, {"side": "remote", "sdp": answer["sdpAnswer"]}]
        world.described(home, descriptions, world.directory / f"{home.name}.{person.handle}.sdp.json")
        person.call("CallService/UpdateMedia", sessionId=person.session, callId=call, media={"audio": True, "video": False})
    bob.sees_call("ACCEPTED")
    time.sleep(1)
    alice.call("CallService/HangUp", sessionId=alice.session, callId=call)
    bob.sees_call("ENDED")


def network_change(world):
    """Alice's network changes in mid-call: the path is lost, ICE restarts, both hear each other again."""
    watch(world)
    alice, bob = call_between(world, 16)
    flows(world)
    world.lab.move(world.homes["a"])
    result = alice.result(60)
    assert result["answered"], result
    assert result["stats"]["leg_reconnects"] >= 1, result
    heard = bob.result(60)["stats"]["audio_packets_in"]
    # 16 s have 800 packets; the break and the restart take some seconds of them.
    assert heard > 300, f"bob heard {heard} packets"


def offer_with_everything(home):
    """A description with a home's addresses in each field that could carry one."""
    number = home.number
    candidates = [
        f"a=candidate:1 1 udp 2122260223 {home.private()} 50001 typ host generation 0 network-id 1",
        f"a=candidate:2 1 udp 2122262783 {home.six()} 50001 typ host generation 0 network-id 2",
        f"a=candidate:3 1 udp 1686052607 {home.public[0]} 50001 typ srflx raddr {home.private()} rport 50001",
        f"a=candidate:4 1 tcp 1518280447 {home.private()} 9 typ host tcptype active",
        f"a=candidate:5 1 udp 2122260223 {number:08x}-0000-4000-8000-000000000000.local 50001 typ host",
        f"a=candidate:6 1 udp 41885439 {home.public[1]} 50001 typ relay raddr {home.public[0]} rport 50001",
    ]
    lines = [
        "v=0",
        f"o=- 46117{number}4836123{number} 2 IN IP4 {home.private()}",
        f"s={home.public[0]}",
        f"i={home.six()}",
        f"c=IN IP6 {home.six()}",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=msid-semantic: WMS",
        "m=audio 50001 UDP/TLS/RTP/SAVPF 111",
        f"c=IN IP4 {home.public[0]}",
        f"a=rtcp:50001 IN IP4 {home.public[0]}",
        *candidates,
        f"a=ice-ufrag:uf{number}",
        f"a=ice-pwd:password-of-home-{number}-24chars",
        "a=ice-options:trickle",
        "a=fingerprint:sha-256 " + ":".join(f"{(number * at) % 251:02X}" for at in range(1, 33)),
        "a=setup:actpass",
        "a=mid:0",
        f"a=x-home:{home.private()} {home.six()}",
        "a=sendrecv",
        f"a=msid:stream-of-home-{number} track-of-home-{number}",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        f"a=ssrc:38291{number} cname:cname-of-home-{number}",
        f"a=ssrc:38291{number} msid:stream-of-home-{number} track-of-home-{number}",
    ]
    return "\r\n".join(lines) + "\r\n"


STORIES = {
    "routed call": routed_call,
    "caller cancels": cancelled,
    "callee declines": declined,
    "nobody answers": not_answered,
    "callee is busy": busy,
    "callee does not allow it": not_allowed,
    "callee blocked the caller": blocked,
    "two devices, one answers elsewhere": two_devices,
    "offline, then online": offline_then_online,
    "replayed accepts": replayed_accepts,
    "forged accepts": forged_accepts,
    "offers with every address": offers_with_everything,
    "network change, ICE restart": network_change,
}
