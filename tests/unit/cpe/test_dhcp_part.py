"""When the agent asks by DHCP itself, and what it makes of the answers; what goes over the wire is tests/system's matter."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import ParameterValueStruct, SetParameterValues
from homeport.cpe.discovery import encode_option43
from homeport.cpe.leases import query
from homeport.cpe.leases.lease import QUERY, lease_of
from homeport.cpe.leases.query import Answers, Question
from homeport.cpe.parts.dhcp import DhcpPart

SERVER = "Device.ManagementServer."
DHCP = "http://dhcp.example/"


class Network:
    """Stands where the network is: what the servers answer, and when they were asked for what."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.asked: list[tuple[float, Question]] = []
        self.refresh: int | None = None
        self.problem = ""
        self.bench: Bench | None = None

    async def ask(self, question: Question) -> Answers:
        assert self.bench is not None
        self.asked.append((self.bench.clock.monotonic(), question))
        leases = [lease_of("eth0", 4, {43: encode_option43(url=url)}, origin=QUERY) for url in self.urls]
        return Answers(leases, [self.problem] if self.problem else [], 1, self.refresh)

    @property
    def times(self) -> list[float]:
        return [moment for moment, _ in self.asked]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """The network of one device."""
    made = Network()
    monkeypatch.setattr(query, "ask", made.ask)
    return made


def play(tmp_path, network, scene, **settings):
    async def run():
        wanted = {"acs_url": "", "parts": lambda agent: [DhcpPart(agent)], "dhcp_query": "both"}
        network.bench = bench = Bench(tmp_path, **{**wanted, **settings})
        agent = await bench.start()
        await scene(bench, agent)
        await bench.stop()

    asyncio.run(run())


def test_the_first_session_goes_where_dhcp_says_and_not_to_the_factorys_acs(tmp_path, network):
    """The answer is waited for; the settings say what is asked."""
    network.urls = [DHCP]

    async def scene(bench, agent):
        assert [url for _, url in bench.attempts] == [DHCP]
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
        (_, question) = network.asked[0]
        assert (question.ipv4, question.ipv6, question.options) == (True, False, (125,))
        assert (question.names, question.vendor_class) == (("eth0",), b"Box dslforum.org")

    settings = {"dhcp_query": "ipv4", "dhcp_request": ("125",), "dhcp_interfaces": ("eth0",)}
    play(tmp_path, network, scene, dhcp_vendor_class="Box dslforum.org", **settings)


def test_without_an_acs_the_agent_goes_on_asking_ever_more_seldom(tmp_path, network):
    """3 s, 6 s, 12 s ... 5 min; what did not change is said once; an answer starts it."""

    async def scene(bench, agent):
        await bench.clock.advance(200)
        assert network.times[:7] == [0, *[network.times[1] + gap for gap in (0, 6, 18, 42, 90)], network.times[1] + 186]
        await bench.clock.advance(2000)
        assert network.times[-1] - network.times[-2] == 300
        assert sum("no DHCP server answers" in line for line in agent.client_log.lines()) == 1
        network.urls = [DHCP]
        await bench.clock.advance(300)
        assert bench.attempts[-1][1] == DHCP

    from cpe_support.bench_profile import bench_profile
    from homeport.model.profile import ProfileDef

    known = bench_profile()
    nowhere = ProfileDef(
        known.name,
        known.schema,
        known.parameters,
        values={k: v for k, v in known.values.items() if not k.endswith(".URL")},
    )
    play(tmp_path, network, scene, profile=nowhere)


def test_where_dhcp_is_followed_it_is_asked_again_as_the_server_wishes(tmp_path, network):
    """DHCPv6's Information Refresh Time; once a day without one; never sooner than after ten minutes."""
    network.urls = [DHCP]
    network.refresh = 3600

    async def scene(bench, agent):
        await bench.clock.advance(3599)
        assert len(network.asked) == 1
        network.urls = ["http://moved.example/"]
        network.refresh = 5
        await bench.clock.advance(2)
        assert bench.attempts[-1][1] == "http://moved.example/"
        await bench.clock.advance(598)
        assert len(network.asked) == 2
        await bench.clock.advance(2)
        assert len(network.asked) == 3

    play(tmp_path, network, scene)


def test_what_is_stored_needs_no_question(tmp_path, network):
    """A person's URL: not at the start, not later."""

    async def scene(bench, agent):
        await bench.clock.advance(200_000)
        assert network.asked == []

    play(tmp_path, network, scene, acs_url="http://mine.example/")


def test_an_unreachable_acs_lets_the_agent_ask_again_at_once(tmp_path, network):
    """What DHCP says now counts, not what it said long ago."""
    network.urls = [DHCP]

    async def scene(bench, agent):
        request = SetParameterValues((ParameterValueStruct(SERVER + "URL", "http://wrong.example/"),), "")
        await bench.ask(request)
        network.urls = ["http://new.example/"]
        bench.refuse = True
        agent.trigger("2 PERIODIC")
        await bench.clock.advance(120)
        assert len(network.asked) >= 2
        assert agent.management.url == "http://new.example/"
        assert agent.status.acs_url_from == "DHCP"

    play(tmp_path, network, scene)


def test_what_keeps_the_agent_from_asking_is_in_its_log(tmp_path, network):
    """Such as port 68 for an ordinary user; the sessions go on."""
    network.problem = "asking DHCP needs port 68"

    async def scene(bench, agent):
        assert any("port 68" in line for line in agent.client_log.lines())
        assert bench.attempts[-1][1] == "http://factory.example/"

    play(tmp_path, network, scene)
