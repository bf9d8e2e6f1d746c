"""Stories of direct legs: who learns whose address is decided by both people, and the ledger says so."""

import os
import subprocess
import time
from contextlib import contextmanager
from datetime import datetime

from . import capture
from .browser_stories import end, live, pages
from .cage import until
from .lab import SERVER4, SERVER6, TROUBLES, inside, run
from .oracle import Window
from .parties import Foreign, Missing, Sdk
from .stories import both_heard, flows, offer_with_everything, talking, watch

# After "go private now" nothing may go to the other party's address later than this.
PRIVATE_SECONDS = 0.3
# What is judged where the machine has other things to do: that it happens. `make leak` judges by the other one.
PRIVATE_SECONDS_BUSY = 1
# The other side may need a while longer: the news travels, and it keeps its end until media comes by the server.
OTHER_SIDE_SECONDS = 2
# A direct leg carries at least this much where one is up for a second and more.
CARRIES = 50

NEVER = {"enhancedCallPrivacy": True, "direct": "DIRECT_SETTING_NEVER"}
ASK = {"enhancedCallPrivacy": False, "direct": "DIRECT_SETTING_ASK"}
ANYONE = {"enhancedCallPrivacy": False, "direct": "DIRECT_SETTING_ANYONE"}


def sets(watcher, change):
    watcher.call("PrivacyService/UpdateSettings", change=change)


@contextmanager
def settings(world, watchers, changes):
    """Settings of alice and bob for the length of a story. Home c takes them back: the others may have moved by then."""
    try:
        for watcher, change in zip(watchers, changes, strict=True):
            sets(watcher, change)
        yield
    finally:
        for watcher in watchers:
            sets(Foreign(world, world.homes["c"], watcher.handle), NEVER)


def present(watcher):
    """The account's newest call."""
    call = watcher.call("CallService/ListCalls", pageSize=1)["calls"][0]["callId"]
    return watcher.call("CallService/GetCall", callId=call)["call"]


def seconds(timestamp):
    head, _, fraction = timestamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{fraction or 0}")


def forwarded_in(world, span=0.5):
    """How many packets the router forwards in a moment."""
    before = world.server.metric("duocast_router_packets_forwarded_total")
    time.sleep(span)
    return world.server.metric("duocast_router_packets_forwarded_total") - before


def active(world, patience=25):
    """Only the devices in the call see its phase. Everybody sees that the router has nothing to forward any more. It counts once a
    second: looked at for less, it seems to stand still."""
    until("media goes directly", lambda: forwarded_in(world, 1.3) < 5, patience)


def routed_again(world, patience=25):
    until("media goes by the server again", lambda: forwarded_in(world) > CARRIES / 2, patience)


def page_phase(page):
    return page.does("state")["direct"]["phase"]


def page_kind(page):
    """What the page tells its person of the call's way."""
    return page.does("reads", target="call-privacy", attribute="data-kind")


def exposed(watchers):
    """The ledger says on both sides that public addresses became known, and nothing else."""
    for watcher in watchers:
        call = present(watcher)
        for whose in ("ownExposure", "peerExposure"):
            ledger = call.get(whose) or {}
            assert ledger.get("kinds") == ["ADDRESS_KIND_PUBLIC"], f"{watcher.handle}'s ledger, {whose}: {ledger}"


def unexposed(watchers):
    for watcher in watchers:
        call = present(watcher)
        assert "ownExposure" not in call and "peerExposure" not in call, f"{watcher.handle}'s ledger: {call}"


def between(oracle, since=0.0, until=float("inf"), one=None):
    return [at for source, _, at in oracle.direct if since <= at <= until and one in (None, source)]


def carried(since, homes="ab"):
    """Looks at a finished story: media went both ways between the homes, and only after both had said yes."""

    def look(oracle, _):
        for one in homes:
            count = len(between(oracle, since, one=one))
            assert count >= CARRIES, f"{count} packets went directly from home {one}"

    return look


def routed_packets(path, since, until):
    """RTP that a home sent to the server."""
    return [
        packet.time
        for packet in capture.packets(path)
        if packet.outgoing and capture.is_rtp(packet.payload) and str(packet.destination) in (SERVER4, SERVER6) and since <= packet.time <= until
    ]


def none_carried(homes="ab"):
    """Looks at a finished story: both homes tried to reach each other, and no media went between them."""

    def look(oracle, files):
        for one in homes:
            assert between(oracle, one=one), f"home {one} did not even try"
        media = [
            packet.number
            for packet in capture.packets(files["inet"])
            if capture.is_rtp(packet.payload) and {oracle.whose(packet.source), oracle.whose(packet.destination)} == set(homes)
        ]
        assert not media, f"media between the homes: packets {media[:5]} and {max(0, len(media) - 5)} more at inet"

    return look


def left_in_time(went, other="b"):
    """Looks at a finished story: after alice went private, nothing goes to the other's address from her device."""

    def look(oracle, files):
        own = [
            packet.time
            for packet in capture.packets(files["home.a"])
            if packet.outgoing and oracle.whose(packet.destination) == other
        ]
        assert len([at for at in own if at < went]) >= CARRIES, "the direct leg carried nothing before"
        last = max(own) - went
        print(f"    figure leak: last packet to the peer's address {max(0, last) * 1000:.0f} ms after going private")
        bound = PRIVATE_SECONDS if os.environ.get("TEST_JUDGE") == "1" else PRIVATE_SECONDS_BUSY
        assert last <= bound, f"alice's last packet to the peer's address left {last * 1000:.0f} ms after she went private"

    return look


# SDK


def direct_flag(world):
    done = subprocess.run([world.server.duocast, "call", "--help"], capture_output=True, text=True, check=True)
    if "--direct" not in done.stdout:
        raise Missing("duocast call --direct")


def sdk_call(world, watchers, *, alice=(), bob=(), seconds=8):
    direct_flag(world)
    before = world.server.metric("duocast_control_streams")
    callee = Sdk(world, world.homes["b"], "bob", "--answer", *talking(world), *bob)
    until("bob's device is online", lambda: world.server.metric("duocast_control_streams") > before, 15)
    caller = Sdk(world, world.homes["a"], "alice", "--to", "bob", "--duration", f"{seconds}s", *talking(world), *alice)
    flows(world)
    return caller, callee


def both_yes(world):
    watchers = watch(world)
    with settings(world, watchers, (ASK, ASK)):
        caller, callee = sdk_call(world, watchers, alice=["--direct"], bob=["--direct"])
        since = seconds(present(watchers[0])["acceptedAt"])
        world.may_meet(since)
        active(world)
        exposed(watchers)
        both_heard(caller, callee)
    return carried(since)


def standing_yes(world):
    """Both settings say yes to anyone beforehand."""
    watchers = watch(world)
    with settings(world, watchers, (ANYONE, ANYONE)):
        caller, callee = sdk_call(world, watchers)
        since = seconds(present(watchers[0])["acceptedAt"])
        world.may_meet(since)
        active(world)
        both_heard(caller, callee)
        exposed(watchers)
    return carried(since)


def one_yes(world):
    watchers = watch(world)
    with settings(world, watchers, (ASK, ASK)):
        caller, callee = sdk_call(world, watchers, alice=["--direct"], seconds=5)
        both_heard(caller, callee)
        unexposed(watchers)


def never(world):
    watchers = watch(world)
    with settings(world, watchers, (ANYONE, NEVER)):
        caller, callee = sdk_call(world, watchers, alice=["--direct"], bob=["--direct"], seconds=5)
        both_heard(caller, callee)
        unexposed(watchers)


def yes_in_mid_call(world):
    """Nothing crosses until the second yes, by a change of settings in the call; then media does."""
    watchers = watch(world)
    with settings(world, watchers, (ASK, ASK)):
        caller, callee = sdk_call(world, watchers, seconds=10)
        sets(watchers[0], ANYONE)
        time.sleep(2)
        unexposed(watchers)
        since = time.time()
        world.may_meet(since)
        sets(watchers[1], ANYONE)
        active(world)
        exposed(watchers)
        both_heard(caller, callee)
    return carried(since)


def go_private(world):
    """By the settings, with another device: the device in the call must follow at once."""
    watchers = watch(world)
    with settings(world, watchers, (ANYONE, ANYONE)):
        caller, callee = sdk_call(world, watchers, seconds=9)
        window = world.may_meet(seconds(present(watchers[0])["acceptedAt"]))
        active(world)
        time.sleep(1.5)
        went = time.time()
        sets(watchers[0], NEVER)
        window.until = went + OTHER_SIDE_SECONDS
        both_heard(caller, callee)
        exposed(watchers)
    return left_in_time(went)


def go_private_by_itself(world):
    """`duocast call --go-private-after`: the moment shows in the capture, where RTP goes to the server again."""
    watchers = watch(world)
    with settings(world, watchers, (ASK, ASK)):
        caller, callee = sdk_call(world, watchers, alice=["--direct", "--go-private-after", "2s"], bob=["--direct"], seconds=9)
        window = world.may_meet(seconds(present(watchers[0])["acceptedAt"]))
        active(world)
        routed_again(world)
        window.until = time.time() + OTHER_SIDE_SECONDS
        result = both_heard(caller, callee)
        assert result["stats"]["switch_count"] >= 2, result

    def look(oracle, files):
        # While the direct leg carries all, no RTP goes to the server; the first after that is where she went private.
        sent = routed_packets(files["home.a"], 0, float("inf"))
        gaps = [(later - earlier, later) for earlier, later in zip(sent, sent[1:], strict=False)]
        gap, went = max(gaps)
        assert gap > 0.5, f"media never left the server's legs: the longest gap was {gap:.2f} s"
        left_in_time(went)(oracle, files)

    return look


def no_way_through(world):
    """One or both behind symmetric NAT: the attempt fails, the call goes on by the server."""
    watchers = watch(world)
    with settings(world, watchers, (ANYONE, ANYONE)):
        caller, callee = sdk_call(world, watchers, seconds=18)
        world.may_meet(seconds(present(watchers[0])["acceptedAt"]))
        result = both_heard(caller, callee, at_least=400)
        assert result["stats"]["direct_packets_in"] == 0, result
        # Each was told where the other is, although it was of no use.
        exposed(watchers)
    return none_carried()


def sdk_trouble(what):
    """The way between the homes fails at one step: sound and pictures go on by the server, and nothing is played twice."""

    def tell(world):
        watchers = watch(world)
        with settings(world, watchers, (ANYONE, ANYONE)), world.lab.trouble(what):
            marks = ["--latency-marks"]
            caller, callee = sdk_call(world, watchers, alice=marks, bob=marks, seconds=20)
            world.may_meet(seconds(present(watchers[0])["acceptedAt"]))
            for person in (caller, callee):
                result = person.result(60)
                assert result["answered"] and result["ended"] == "hung_up", result
                stats = result["stats"]
                # 20 s have 1000 packets of sound and 600 pictures. A path that dies takes what was on its way, for a second.
                assert stats["audio_packets_in"] > 850 and stats["video_frames_in"] > 450, result
                assert not stats["direct"] and stats["switch_count"] % 2 == 0, result
                if what != "dies young":
                    assert stats["switch_count"] == 0, result
                once(stats)
            exposed(watchers)

    return tell


def once(stats):
    """What was played of the other party's media was played once, and in order."""
    for kind in ("audio_units", "video_units"):
        units = stats[kind]
        assert units["handed_over"] > 0 and units["repeated"] == 0, f"{kind}: {units}"


def network_change_while_direct(world):
    """Alice's addresses are gone in mid-call: media comes back to the server, and both hear each other."""
    watchers = watch(world)
    with settings(world, watchers, (ANYONE, ANYONE)):
        caller, callee = sdk_call(world, watchers, seconds=16)
        world.may_meet(seconds(present(watchers[0])["acceptedAt"]))
        active(world)
        world.lab.move(world.homes["a"])
        caller.result(60)
        heard = callee.result(60)["stats"]["audio_packets_in"]
        assert heard > 300, f"bob heard {heard} packets"


# Chromium


@contextmanager
def page_call(world, changes):
    """A call with pictures between two pages, with these settings."""
    alice, bob = pages(world)
    watchers = watch(world)
    with settings(world, watchers, changes):
        alice.does("calls", callee="bob")
        bob.does("accepts")
        live(alice, bob, video=True)
        yield alice, bob, watchers
        end(alice, bob)


def page_both_yes(world):
    with page_call(world, (ASK, ASK)) as (alice, bob, watchers):
        alice.does("click", target="go-direct")
        bob.does("shows", target="direct-question")
        time.sleep(0.5)
        unexposed(watchers)
        since = time.time()
        window = world.may_meet(since)
        bob.does("click", target="direct-yes")
        for page in (alice, bob):
            until(f"{page.handle}'s page is direct", lambda page=page: page_phase(page) == "active", 25)
        time.sleep(2)
        for page in (alice, bob):
            page.does("keep")
            assert page_kind(page) == "direct"
        exposed(watchers)
        alice.does("click", target="go-private")
        went = alice.does("clickedAt") / 1000
        window.until = time.time() + OTHER_SIDE_SECONDS
        live(alice, bob, video=True)
        until("it is routed again", lambda: page_phase(bob) == "routed")

    def look(oracle, files):
        carried(since)(oracle, files)
        assert routed_packets(files["home.a"], went, went + 5), "her media did not go to the server again"
        left_in_time(went)(oracle, files)

    return look


def page_no_way_through(world):
    """A symmetric NAT and no IPv6: the pages say that it failed, and the pictures go on by the server."""
    with world.lab.without_six(), page_call(world, (ASK, ASK)) as (alice, bob, watchers):
        alice.does("click", target="go-direct")
        bob.does("shows", target="direct-question")
        world.may_meet(time.time())
        bob.does("click", target="direct-yes")
        for page in (alice, bob):
            until(f"{page.handle}'s page tries", lambda page=page: page_kind(page) == "connecting", 10)
        for page in (alice, bob):
            until(f"{page.handle}'s page gives up", lambda page=page: page_kind(page) != "connecting", 40)
            assert (page_kind(page), page_phase(page)) == ("routed", "routed"), page.does("state")["direct"]
        live(alice, bob, video=True)
        exposed(watchers)
    return none_carried()


def page_trouble(what):
    """The same with pages: as long as it lasts, and after it was given up, both are heard and seen."""

    def tell(world):
        with page_call(world, (ASK, ASK)) as (alice, bob, watchers), world.lab.trouble(what):
            alice.does("click", target="go-direct")
            bob.does("shows", target="direct-question")
            world.may_meet(time.time())
            bob.does("click", target="direct-yes")
            for page in (alice, bob):
                until(f"{page.handle}'s page tries", lambda page=page: page_kind(page) != "waiting", 10)
            until_at = time.monotonic() + 40
            while {page_kind(page) for page in (alice, bob)} != {"routed"}:
                assert time.monotonic() < until_at, f"not given up: {alice.does('state')['direct']}"
                live(alice, bob, video=True)
            for page in (alice, bob):
                direct = page.does("state")["direct"]
                assert (direct["phase"], direct["stage"]) == ("routed", None), direct
            live(alice, bob, video=True)
            exposed(watchers)

    return tell


def page_and_sdk(world):
    """Carol's device says yes when it answers. Alice's page asks Alice, who agrees, and later goes private."""
    direct_flag(world)
    alice, _ = pages(world)
    watchers = Foreign(world, world.homes["a"], "alice", "watch-a"), Foreign(world, world.homes["c"], "carol", "watch-c")
    with settings(world, watchers, (ASK, ASK)):
        before = world.server.metric("duocast_control_streams")
        carol = Sdk(world, world.homes["c"], "carol", "--answer", "--direct", *talking(world))
        until("carol's device is online", lambda: world.server.metric("duocast_control_streams") > before, 15)
        alice.does("calls", callee="carol")
        alice.does("live")
        alice.does("receives", video=False)
        alice.does("shows", target="direct-question")
        time.sleep(0.5)
        unexposed(watchers)
        since = time.time()
        window = world.may_meet(since, other="c")
        alice.does("click", target="direct-yes")
        until("alice's page is direct", lambda: page_phase(alice) == "active", 25)
        time.sleep(2)
        alice.does("keep")
        assert page_kind(alice) == "direct"
        exposed(watchers)
        alice.does("click", target="go-private")
        went = alice.does("clickedAt") / 1000
        window.until = time.time() + OTHER_SIDE_SECONDS
        until("it is routed again", lambda: page_phase(alice) == "routed")
        alice.does("receives", video=False)
        alice.does("keep")
        alice.does("click", target="hangup")
        assert alice.does("ended")["reason"] == "hung_up"
        alice.does("closesEnded")
        result = carol.result()
        assert result["answered"] and result["ended"] == "hung_up", result
        assert result["stats"]["direct_packets_in"] >= CARRIES and result["stats"]["switch_count"] >= 2, result

    def look(oracle, files):
        carried(since, "ac")(oracle, files)
        assert routed_packets(files["home.a"], went, went + 5), "her media did not go to the server again"
        left_in_time(went, "c")(oracle, files)

    return look


def page_and_sdk_no_way(world):
    """Both say yes, but there is no way through: the page and the SDK's device stay with the server."""
    direct_flag(world)
    alice, _ = pages(world)
    watchers = Foreign(world, world.homes["a"], "alice", "watch-a"), Foreign(world, world.homes["c"], "carol", "watch-c")
    with world.lab.without_six(), settings(world, watchers, (ANYONE, ANYONE)):
        before = world.server.metric("duocast_control_streams")
        carol = Sdk(world, world.homes["c"], "carol", "--answer", *talking(world))
        until("carol's device is online", lambda: world.server.metric("duocast_control_streams") > before, 15)
        world.may_meet(time.time(), other="c")
        alice.does("calls", callee="carol")
        alice.does("live")
        until("alice's page tries", lambda: page_kind(alice) == "connecting", 10)
        until("alice's page gives up", lambda: page_kind(alice) != "connecting", 40)
        assert (page_kind(alice), page_phase(alice)) == ("routed", "routed"), alice.does("state")["direct"]
        alice.does("receives", video=False)
        alice.does("keep")
        alice.does("click", target="hangup")
        assert alice.does("ended")["reason"] == "hung_up"
        alice.does("closesEnded")
        result = carol.result()
        assert result["answered"] and result["stats"]["direct_packets_in"] == 0, result
    return none_carried("ac")


def page_says_no(world):
    with page_call(world, (ASK, ASK)) as (alice, bob, watchers):
        alice.does("click", target="go-direct")
        bob.does("shows", target="direct-question")
        bob.does("click", target="direct-no")
        time.sleep(1)
        unexposed(watchers)
        assert page_kind(alice) != "direct"


def malicious(world):
    """Bob has a client of his own making. Alice never allows direct legs: whatever he says, offers or guesses gets nothing."""
    with page_call(world, (NEVER, ANYONE)) as (alice, bob, watchers):
        tries_everything(world, alice, bob, watchers)


def malicious_unanswered(world):
    """The same, and Alice would be asked: as long as she does not answer, his yes and his steps get nothing either."""
    with page_call(world, (ASK, ANYONE)) as (alice, bob, watchers):
        alice.does("shows", target="direct-question")
        tries_everything(world, alice, bob, watchers)
        alice.does("shows", target="direct-question")


def malicious_sdk(world):
    """The same with SDK devices, and hers says yes in the call as well: her settings do not, and are what counts."""
    watchers = watch(world)
    with settings(world, watchers, (NEVER, ANYONE)):
        caller, callee = sdk_call(world, watchers, alice=["--direct"], bob=["--direct"], seconds=8)
        call = present(watchers[1])["callId"]
        attacks(world, watchers[1], *({"sessionId": one.session(), "callId": call} for one in (callee, caller)))
        unexposed(watchers)
        assert both_heard(caller, callee)["stats"]["direct_packets_in"] == 0


def tries_everything(world, alice, bob, watchers):
    """Bob's own client says yes and sends every step of every attempt, in his and in her name, and guesses her ports."""
    ids = [page.does("ids") for page in (bob, alice)]
    attacks(world, watchers[1], *({"sessionId": one["session"], "callId": one["call"]} for one in ids))
    unexposed(watchers)
    for page in (alice, bob):
        assert page_phase(page) == "routed", page.does("state")["direct"]
    live(alice, bob, video=True)


def attacks(world, foreign, body, hers):
    """With the ids of his device in the call, and with those of hers."""
    said = foreign.call("CallService/SetDirect", **body, consent=True)
    assert said["call"]["direct"]["phase"] == "DIRECT_PHASE_ROUTED", said
    offer = offer_with_everything(world.homes["b"])
    steps = ({"offer": offer}, {"answer": offer}, {"decoding": {}}, {"failed": {}})
    for attempt in (0, 1, 2):
        for step in steps:
            foreign.refused("CallService/SendDirect", **body, attempt=attempt, **step)
    for stolen in (hers, {**body, "sessionId": hers["sessionId"]}):
        foreign.refused("CallService/SetDirect", **stolen, consent=True)
        for step in steps:
            foreign.refused("CallService/SendDirect", **stolen, attempt=1, **step)
    since = time.time()
    world.windows.append(Window("b", "a", since, since + 10, guess=True))
    answers = guesses(world.homes["b"], world.homes["a"])
    assert answers == "0", f"{answers} answers came to STUN that nobody asked for"


def lies_about_his_network(world):
    """Alice said yes to Bob, so he learns her public address. He says it is his own too: her private one must not follow."""
    home = world.homes["a"]
    lie = offer_with_everything(world.homes["b"]).replace(world.homes["b"].public[0], home.public[0])
    lies(world, lie)


def lies_about_his_neighbours(world):
    """As well if he says that he lives next to her, and that nobody saw him under another address."""
    kept = [line for line in offer_with_everything(world.homes["b"]).split("\r\n") if " srflx " not in line and " relay " not in line]
    lies(world, "\r\n".join(kept).replace(world.homes["b"].private(), world.homes["a"].private(99)))


def lies(world, lie):
    with page_call(world, (ASK, ASK)) as (alice, bob, watchers):
        foreign = watchers[1]
        ids = bob.does("ids")
        body = {"sessionId": ids["session"], "callId": ids["call"]}
        world.may_meet(time.time())
        # Bob's page is cut off from the steps: his own client answers in its name, and before it.
        lie = lie.replace("a=setup:actpass", "a=setup:active")
        alice.does("click", target="go-direct")
        bob.does("shows", target="direct-question")
        bob.does("mutes", path="SendDirect")
        said = foreign.call("CallService/SetDirect", **body, consent=True)["call"]["direct"]

        def answered():
            answer = foreign.ask(method="CallService/SendDirect", body={**body, "attempt": said["attempt"], "answer": lie})
            return "ok" in answer

        until("bob's lie was taken", answered, 10, every=0.1)
        time.sleep(1)
        ledger = present(watchers[0]).get("ownExposure", {})
        assert "ADDRESS_KIND_LOCAL_NETWORK" not in ledger.get("kinds", []), f"by a lie Bob learned of alice's home network: {ledger}"
        bob.does("mutes", path="")


GUESS = """
import os, socket, struct, sys, time
answers = 0
for family, host in ((socket.AF_INET, sys.argv[1]), (socket.AF_INET6, sys.argv[2])):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.setblocking(False)
    for port in [*range(1024, 65536, 500), 40000, 50001, *map(int, sys.argv[3:])]:
        one.sendto(struct.pack(">HHI", 1, 0, 0x2112A442) + os.urandom(12), (host, port))
        time.sleep(0.002)
    time.sleep(0.5)
    while True:
        try:
            one.recv(2048)
            answers += 1
        except BlockingIOError:
            break
        except OSError:
            continue
print(answers)
"""


def guesses(home, target):
    """STUN from one home to ports of another, also to those that it really uses: NATs keep them here. How many answers came."""
    open_ports = {line.split()[3].rpartition(":")[2] for line in run(target.client, "ss", "-Huan").splitlines()}
    assert open_ports, f"{target.name} has no socket"
    command = inside(home.client, "python3", "-c", GUESS, target.public[0], target.six(), *sorted(open_ports))
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


SDK_STORIES = {
    "direct: both say yes": both_yes,
    "direct: both settings say yes": standing_yes,
    "direct: one says yes": one_yes,
    "direct: one never allows it": never,
    "direct: yes in mid-call": yes_in_mid_call,
    "direct: go private": go_private,
    "direct: go private by itself": go_private_by_itself,
    "direct: network change": network_change_while_direct,
    "direct: malicious client": malicious_sdk,
}
SYMMETRIC_STORIES = {"direct: no way through": no_way_through}
SYMMETRIC_PAGE_STORIES = {"direct: no way through": page_no_way_through, "direct: page and SDK, no way through": page_and_sdk_no_way}
TROUBLE_STORIES = {f"direct: {what}": sdk_trouble(what) for what in TROUBLES}
TROUBLE_PAGE_STORIES = {f"direct: {what}": page_trouble(what) for what in TROUBLES}
PAGE_STORIES = {
    "direct: yes, and private again": page_both_yes,
    "direct: page and SDK": page_and_sdk,
    "direct: no": page_says_no,
    "direct: malicious client": malicious,
    "direct: malicious client, no answer": malicious_unanswered,
    "direct: a lie about the network": lies_about_his_network,
    "direct: a lie about neighbours": lies_about_his_neighbours,
}

