"""Digest for both ends: published examples, our two halves against each other, and what must be refused."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.http.auth import parse_challenges
from homeport.http.digest import STRENGTH, DigestAuthority, DigestClient, Verdict, ha1, says_stale

SECRET = b"0123456789abcdef"
URI = "/acs"


def authority(**options) -> DigestAuthority:
    """A server half for the realm `home`, with random bytes that differ for each nonce."""
    counter = iter(range(10**6))
    options.setdefault("random", lambda n: next(counter).to_bytes(n, "big"))
    return DigestAuthority(options.pop("secret", SECRET), options.pop("realm", "home"), **options)


def proof(
    server: DigestAuthority, *, now=0.0, password="secret", user="cpe", method="POST", uri=URI, body=b"", **client
) -> str:
    """A client's answer to a fresh challenge."""
    made = DigestClient(user, password, **client)
    header = made.answer(server.challenges(now), method=method, uri=uri, body=body, cnonce="c0ffee")
    assert header is not None
    return header


def check(
    server: DigestAuthority, header: str, *, now=0.0, password="secret", method="POST", uri=URI, body=b""
) -> Verdict:
    """The server's verdict with the right password."""
    return server.verify(header, method=method, uri=uri, password=password, now=now, body=body)


# --- published examples -------------------------------------------------------------------------------------------------------

RFC7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_come_out(algorithm, response):
    """RFC 7616 section 3.9.1, Mufasa and the Circle of Life."""
    client = DigestClient("Mufasa", "Circle of Life")
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    header = client.answer([RFC7616.format(algorithm)], method="GET", uri="/dir/index.html", cnonce=cnonce)
    params = parse_challenges([header])[0].params
    assert params["response"] == response
    assert (params["nc"], params["qop"]) == ("00000001", "auth")


def test_the_example_of_rfc_2617_comes_out():
    """RFC 2617 section 3.5: MD5 with qop auth."""
    challenge = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
        ' opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    header = DigestClient("Mufasa", "Circle Of Life").answer(
        [challenge], method="GET", uri="/dir/index.html", cnonce="0a4f113b"
    )
    assert 'response="6629fae49393a05397450978507c4ef1"' in header
    assert "algorithm" not in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header


def test_rfc_2069_has_no_count():
    """Without qop: H(H(A1):nonce:H(A2))."""
    header = DigestClient("u", "p").answer(['Digest realm="r", nonce="n"'], method="GET", uri="/", cnonce="x")
    first, second = hashlib.md5(b"u:r:p").hexdigest(), hashlib.md5(b"GET:/").hexdigest()
    assert f'response="{hashlib.md5(f"{first}:n:{second}".encode()).hexdigest()}"' in header
    assert "nc=" not in header and "cnonce" not in header


# --- the two halves ------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S19")
@pytest.mark.parametrize("algorithm", STRENGTH)
@pytest.mark.parametrize("qop", [("auth",), ("auth-int",), ("auth", "auth-int"), ()])
def test_right_credentials_are_accepted(algorithm, qop):
    """Every algorithm with every qop, with the password and with its hash."""
    server = authority(algorithms=(algorithm,), qop=qop)
    first = proof(server, body=b"<x/>")
    assert check(server, first, body=b"<x/>").ok
    second = proof(server, body=b"<x/>")
    hashed = {a: ha1("cpe", "home", "secret", a) for a in ("MD5", "SHA-256")}
    assert server.verify(second, method="POST", uri=URI, ha1=hashed, now=0.0, body=b"<x/>").ok
    third = proof(server, body=b"<x/>")
    one = hashed[algorithm.removesuffix("-sess")].upper()
    assert server.verify(third, method="POST", uri=URI, ha1=one, now=0.0, body=b"<x/>").ok


def test_the_strongest_challenge_is_answered():
    """SHA-256 before MD5-sess before MD5, whatever the order of the headers."""
    offers = [f'Digest realm="r", nonce="{i}", algorithm={a}, qop="auth"' for i, a in enumerate(reversed(STRENGTH))]
    client = DigestClient("u", "p")
    assert "algorithm=SHA-256," in client.answer(offers, method="GET", uri="/", cnonce="c")
    assert "algorithm=MD5-sess," in client.answer(offers[:2], method="GET", uri="/", cnonce="c")
    assert "algorithm=MD5," in DigestClient("u", "p", algorithms=("MD5",)).answer(
        offers, method="GET", uri="/", cnonce="c"
    )


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="x"',
        'Digest realm="x"',
        'Digest realm="x", nonce="n", algorithm=SHA-512-256',
        'Digest realm="x", nonce="n", qop="auth-conf"',
        "",
    ],
)
def test_a_challenge_that_we_do_not_speak_gets_no_answer(challenge):
    """The caller then says what was asked for."""
    client = DigestClient("u", "p")
    assert client.answer([challenge], method="GET", uri="/", cnonce="c") is None
    assert client.preempt(method="GET", uri="/", cnonce="c") is None


@pytest.mark.case("S19")
def test_later_requests_reuse_the_nonce_with_a_growing_count():
    """nc=00000001, 2, 3 with one nonce, each accepted once."""
    server = authority()
    client = DigestClient("cpe", "secret")
    headers = [client.answer(server.challenges(0.0), method="POST", uri=URI, cnonce="a")]
    headers += [client.preempt(method="POST", uri=URI, cnonce="b") for _ in range(5)]
    assert [parse_challenges([h])[0].params["nc"] for h in headers] == [f"{n:08x}" for n in range(1, 7)]
    assert all(check(server, h).ok for h in headers)
    assert not any(check(server, h).ok for h in headers)


def test_the_next_nonce_of_the_server_is_taken():
    """Authentication-Info: a server whose nonces count once says which one comes next (RFC 7616 3.5)."""
    server = authority(rfc2069="once")
    client = DigestClient("cpe", "secret")
    client.informed('nextnonce="early"')
    first = client.answer(server.challenges(0.0), method="POST", uri=URI, cnonce="a")
    following = parse_challenges(server.challenges(0.0))[0].params["nonce"]
    client.informed("")
    client.informed('qop=auth, nextnonce=""')
    client.informed(f'qop=auth, nextnonce="{following}", nc=00000001')
    second = client.preempt(method="POST", uri=URI, cnonce="b")
    assert f'nonce="{following}"' in second and "nc=00000001" in second
    assert check(server, first).ok and check(server, second).ok


@pytest.mark.case("X11")
@pytest.mark.case("C08")
def test_a_replayed_count_is_refused_as_stale():
    """The credentials are right, so the client may try again with a fresh nonce."""
    server = authority()
    header = proof(server)
    assert check(server, header).ok
    assert check(server, header) == Verdict(False, True, "the nonce and count were used before", "cpe")


def test_counts_may_arrive_out_of_order_within_a_window():
    """64 back is remembered; further back it cannot be told from a replay."""
    server = authority()
    client = DigestClient("cpe", "secret")
    headers = [client.answer(server.challenges(0.0), method="POST", uri=URI, cnonce="a")]
    headers += [client.preempt(method="POST", uri=URI, cnonce="b") for _ in range(199)]
    assert check(server, headers[99]).ok  # nc 100
    assert check(server, headers[36]).ok  # nc 37, 63 behind
    assert not check(server, headers[36]).ok
    assert not check(server, headers[35]).ok  # 64 behind
    assert check(server, headers[199]).ok  # far ahead: the window moves
    assert not check(server, headers[99]).ok
    assert check(server, headers[198]).ok


@pytest.mark.case("S20")
def test_an_old_nonce_is_stale_not_wrong():
    """stale=true in the next challenge; the client then needs no other password."""
    server = authority(lifetime=300.0)
    header = proof(server, now=1000.0)
    assert check(server, header, now=1300.0).ok
    late = check(server, proof(server, now=1000.0), now=1300.1)
    assert (late.ok, late.stale) == (False, True)
    assert says_stale(server.challenges(1300.1, stale=True))
    assert not says_stale(server.challenges(1300.1))
    assert check(server, proof(server, now=2000.0), now=1000.0).stale  # from the future: another clock


def test_a_nonce_of_another_secret_or_realm_is_stale():
    """After a restart with a new secret every client just asks for a new nonce."""
    other = authority(secret=b"another secret 16")
    verdict = check(authority(), proof(other))
    assert (verdict.ok, verdict.stale, verdict.reason) == (False, True, "the nonce is not ours")


def test_processes_that_share_a_secret_share_nonces():
    """Any ACS worker may see the answer to another worker's challenge."""
    assert check(authority(replay=False), proof(authority(replay=False))).ok


def test_a_nonce_of_another_process_is_to_be_asked_for_there():
    """Of processes with names each remembers its own: the others say whom to ask, who says yes once for each count."""
    one, two = authority(here="one"), authority(here="two")
    client = DigestClient("cpe", "secret")
    first = client.answer(one.challenges(0.0), method="POST", uri=URI, cnonce="a")
    second = client.preempt(method="POST", uri=URI, cnonce="b")
    verdict = check(two, first)
    assert verdict.ok and verdict.use is not None
    assert (verdict.use.issuer, verdict.use.count, verdict.use.spare) == ("one", 1, False)
    assert one.first_use_of(verdict.use.nonce, 1, 0.0) and not one.first_use_of(verdict.use.nonce, 1, 0.0)
    assert check(one, first).stale and check(two, first).stale
    assert check(one, second) == Verdict(True, username="cpe")
    assert not one.first_use_of(verdict.use.nonce, 3, 301.0), "it is too old"
    assert not two.first_use_of(verdict.use.nonce, 4, 0.0), "it is another's"
    assert not one.first_use_of("AAAA", 1, 0.0)


def test_a_nonce_says_that_it_was_made_because_nobody_could_be_asked():
    """So that the second one opens, where the first has not; its maker takes it as any other."""
    one, two = authority(here="one"), authority(here="two")
    header = DigestClient("cpe", "secret").answer(one.challenges(0.0, spare=True), method="POST", uri=URI, cnonce="a")
    verdict = check(two, header)
    assert verdict.ok and verdict.use is not None and verdict.use.spare and verdict.use.issuer == "one"
    assert check(one, header) == Verdict(True, username="cpe")


def test_a_name_in_a_nonce_cannot_be_changed():
    """It is under the MAC, as the rest is; nonces without a name, as processes of older versions make them, are taken by all."""
    one, two = authority(here="one"), authority(here="two")
    header = DigestClient("cpe", "secret").answer(authority().challenges(0.0), method="POST", uri=URI, cnonce="a")
    assert check(one, header).use is None
    nonce = parse_challenges(two.challenges(0.0))[0].params["nonce"]
    forged = urlsafe_b64encode(urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))[:-3] + b"one").decode().rstrip("=")
    offered = f'Digest realm="home", nonce="{forged}", qop="auth", algorithm=MD5'
    header = DigestClient("cpe", "secret").answer([offered], method="POST", uri=URI, cnonce="c")
    assert check(one, header).reason == "the nonce is not ours"


@pytest.mark.parametrize("nonce", ["", "!!!", "AAAA", "A" * 38, "é", "====", "a" * 4000])
def test_an_invented_nonce_never_counts(nonce):
    """Its HMAC does not fit, whatever its form; the password does not help."""
    header = DigestClient("cpe", "secret").answer(
        [f'Digest realm="home", nonce="{nonce}", qop="auth"'], method="POST", uri=URI, cnonce="c"
    )
    assert not check(authority(), header).ok


def test_forgotten_nonces_are_stale():
    """The replay window has a size; what falls out must not become usable again."""
    server = authority(most_nonces=2)
    headers = [proof(server, now=float(i)) for i in range(3)]
    assert all(check(server, h, now=3.0).ok for h in headers)
    again = check(server, headers[0], now=3.0)
    assert (again.ok, again.stale, again.reason) == (False, True, "the nonce was forgotten")


# --- wrong ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"password": "Secret"},
        {"user": "other"},
        {"method": "GET"},
        {"uri": "/other"},
    ],
)
def test_wrong_credentials_are_refused(change):
    """And are not called stale, so that they count as a failure."""
    server = authority()
    verdict = check(server, proof(server, **change), password="secret")
    if "user" in change:
        assert verdict.ok  # the password is right for that user; who may come is the caller's look-up
        verdict = server.verify(proof(server, **change), method="POST", uri=URI, now=0.0)
    assert (verdict.ok, verdict.stale) == (False, False)


def test_a_changed_body_is_refused_with_auth_int():
    """auth-int covers the body; auth does not."""
    server = authority(qop=("auth-int",))
    assert not check(server, proof(server, body=b"a"), body=b"b").ok
    server = authority(qop=("auth",))
    assert check(server, proof(server, body=b"a"), body=b"b").ok


def test_an_unknown_user_takes_the_same_way():
    """Neither password nor hash: refused with the same words as a wrong password."""
    server = authority()
    verdict = server.verify(proof(server), method="POST", uri=URI, now=0.0)
    assert verdict == Verdict(False, False, "wrong username or password", "cpe")
    assert not server.verify(proof(server), method="POST", uri=URI, ha1={}, now=0.0).ok


@pytest.mark.parametrize("missing", ["username", "realm", "nonce", "response"])
def test_incomplete_credentials_are_refused(missing):
    """The reason names what is missing."""
    server = authority()
    header = proof(server).replace(f"{missing}=", "x=")
    assert check(server, header).reason == f"Digest without {missing}"


def test_other_deviations_are_refused():
    """Each with its own reason for the log."""
    server = authority(algorithms=("SHA-256",))
    strange = DigestClient("cpe", "secret").answer(
        ['Digest realm="home", nonce="n"'], method="POST", uri=URI, cnonce="c"
    )
    assert check(server, strange).reason == "an algorithm that was not offered"
    assert check(server, proof(server).replace("SHA-256", "FOO")).reason == "an algorithm that was not offered"
    assert check(server, proof(server).replace('realm="home"', 'realm="x"')).reason == "another realm"
    assert check(server, proof(server).replace("qop=auth", "qop=auth-int")).reason == "a qop that was not offered"
    assert check(server, "").reason == "no Digest credentials"
    assert check(server, "Basic Y3BlOnNlY3JldA==").reason == "no Digest credentials"
    for count in ("", "0", "00000000", "zz", "123456789", "-1"):
        assert (
            check(server, proof(server).replace("nc=00000001", f"nc={count}")).reason == "nc is not a hexadecimal count"
        )


def test_an_authority_refuses_weak_or_unknown_settings():
    """A short secret could be guessed; an unknown algorithm could never be checked."""
    with pytest.raises(ValueError, match="16 bytes"):
        DigestAuthority(b"short", "r")
    with pytest.raises(ValueError, match="SHA-1"):
        authority(algorithms=("SHA-1",))
    with pytest.raises(ValueError, match="unknown"):
        authority(algorithms=())


# --- what devices in the field send ---------------------------------------------------------------------------------------------


def netcwmp(server: DigestAuthority, uri: str) -> str:
    """netcwmp: no qop though offered, an empty uri, no opaque, no algorithm."""
    nonce = parse_challenges(server.challenges(0.0))[0].params["nonce"]
    first = ha1("cpe", "home", "secret")
    second = hashlib.md5(f"POST:{uri}".encode()).hexdigest()
    response = hashlib.md5(f"{first}:{nonce}:{second}".encode()).hexdigest()
    return f'Digest username="cpe", realm="home", nonce="{nonce}", uri="{uri}", response="{response}"'


def test_netcwmp_is_accepted_by_default():
    """RFC 2069 form and `uri=""`, again and again with one nonce; both are told as quirks."""
    server = authority()
    header = netcwmp(server, "")
    for _ in range(3):
        assert check(server, header) == Verdict(True, username="cpe", quirks=("digest-without-qop", "digest-uri"))
    assert not check(authority(rfc2069="refuse"), header).ok
    once = authority(rfc2069="once")
    header = netcwmp(once, "")
    assert check(once, header).ok
    assert not check(once, header).ok


@pytest.mark.parametrize(
    ("claimed", "strict", "lenient", "ignore"),
    [
        ("/acs?x=1", True, True, True),
        ("/acs", False, True, True),
        ("", False, True, True),
        ("http://acs.example:7547/acs?x=1", False, True, True),
        ("http://acs.example:7547/acs", False, True, True),
        ("http://acs.example:7547", False, False, True),
        ("/other", False, False, True),
    ],
)
def test_the_uri_policy_says_which_uris_fit(claimed, strict, lenient, ignore):
    """The request target is /acs?x=1; the response is always computed with the uri that was claimed."""
    for policy, fits in (("strict", strict), ("lenient", lenient), ("ignore", ignore)):
        server = authority(uri_policy=policy)
        assert check(server, netcwmp(server, claimed), uri="/acs?x=1").ok is fits


def test_parameters_may_be_unquoted_and_in_any_order():
    """A Fritz!Box quotes `algorithm` and not `nc`, others the reverse; one ACS refused it for that."""
    server = authority(algorithms=("MD5",))
    params = parse_challenges([proof(server)])[0].params
    shuffled = "digest  " + " ,".join(
        f"{k} = {v}" if k != "username" else f'USERNAME="{v}"' for k, v in reversed(params.items())
    )
    assert check(server, shuffled).ok
    params = parse_challenges([proof(server)])[0].params
    assert check(server, "Digest " + ",".join(f'{k}="{v}"' for k, v in params.items())).ok


@pytest.mark.parametrize("user", ["jörg", 'a"b\\c', "日本", "00256D-Router%2D1-S1"])
def test_user_names_of_any_letters_work(user):
    """UTF-8 on the wire, handed over as ISO-8859-1 by HTTP libraries; quotes and backslashes are escaped."""
    server = authority()
    header = proof(server, user=user, password="pä")
    assert check(server, header, password="pä").username == user
    assert server.username_of(header) == user


def test_username_of_needs_digest():
    """The look-up of the password comes before the check."""
    server = authority()
    assert server.username_of("Basic abc") is None
    assert server.username_of("Digest realm=x") is None
    assert server.username_of("") is None


@given(st.text(max_size=300))
def test_any_text_as_credentials_is_just_refused(text):
    """No header makes the server half fail."""
    server = authority()
    for header in (text, "Digest " + text, proof(server)[:60] + text):
        assert not check(server, header).ok
        server.username_of(header)


@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_text_as_challenge_is_just_not_answered(texts):
    """No header makes the client half fail; what it answers is one line."""
    for prefix in ("", "Digest ", 'Digest realm="r", nonce="n", '):
        header = DigestClient("u", "p").answer([prefix + t for t in texts], method="POST", uri="/", cnonce="c")
        assert header is None or not any(c in header for c in "\r\n\x00")
