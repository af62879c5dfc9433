"""Every page of the agent as a person sees it: at a desk, on a telephone, and without scripts; in CI pictures go to output/screenshots."""

import asyncio
import re

import pytest

from homeport.codec.messages import Download, GetParameterValues, ParameterValueStruct, SetParameterValues

pytestmark = pytest.mark.browser

MARKUP = "\"><script>alert('acs')</script><img src=x onerror=alert(1)>"
SIZES = {"desktop": {"width": 1280, "height": 860}, "telephone": {"width": 390, "height": 844}}
SERVER = "Device.ManagementServer."
PAGES = {
    "status": ("/status", "Connected"),
    "show-config": ("/status/config", "Inform interval"),
    "show-config-logs": ("/status/config-log", "the ACS"),
    "show-client-logs": ("/status/client-log", "SetParameterValues"),
    "configuration": ("/configuration", "Use DHCP Option"),
    "transfers": ("/transfers", "No transfer is under way."),
    "sessions": ("/sessions", "0 BOOTSTRAP, 1 BOOT"),
    "session": ("/sessions/2", "GetParameterValuesResponse"),
    "parameters": ("/parameters", "Device.Ethernet."),
    "object": (f"/parameters?path={SERVER}", "PeriodicInformInterval"),
    "search": ("/parameters?q=inform", "PeriodicInformEnable"),
    "parameter": ("/parameters/one?path=Device.DeviceInfo.ProvisioningCode", "New value"),
    "device": ("/device", "Restart the agent"),
    "confirm": ("/device/factory-reset", "Yes, do it"),
    "not-here": ("/nowhere", "There is no such page."),
}


@pytest.fixture(scope="module")
def page_of_agent(tmp_path_factory, staged, chromium):
    """An agent on loopback that an unkind ACS has been at, without a password."""
    for stage in staged(tmp_path_factory.mktemp("agent") / "state"):
        stage.ask(
            GetParameterValues(("Device.DeviceInfo.", SERVER)),
            SetParameterValues(
                (
                    ParameterValueStruct(name=SERVER + "PeriodicInformInterval", value="600", type="unsignedInt"),
                    ParameterValueStruct(name="Device.DeviceInfo.ProvisioningCode", value=MARKUP, type="string"),
                ),
                "<key>",
            ),
        )
        yield stage


@pytest.fixture(scope="module")
def held(chromium):
    """A browser window of each size, which notes what goes wrong in it."""
    windows, wrong = {}, []
    for size, viewport in SIZES.items():
        page = chromium.new_context(viewport=viewport).new_page()
        page.on("dialog", lambda d: (wrong.append(f"dialog {d.message}"), d.dismiss()))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on(
            "console",
            lambda m: m.type in ("error", "warning") and "Failed to load" not in m.text and wrong.append(m.text),
        )
        windows[size] = page
    yield windows
    for page in windows.values():
        page.context.close()
    assert wrong == []  # no script of the ACS ran, nothing broke the policy


@pytest.mark.parametrize("name", PAGES)
def test_each_page_is_there_at_a_desk_and_on_a_telephone(page_of_agent, held, shot, name):
    """Readable without scrolling sideways; what the ACS wrote is text."""
    path, words = PAGES[name]
    for size, page in held.items():
        page.goto(page_of_agent.url + path)
        assert words in page.inner_text("main"), size
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{size}: {wide} px too wide"
        assert page.locator("img[src=x]").count() == 0
        shot(page, f"{name}-{size}")


def test_a_ladder_opens_to_the_content_of_a_message(page_of_agent, held, shot):
    """Without a script: the browser's own details."""
    page = held["desktop"]
    page.goto(page_of_agent.url + "/sessions")
    page.locator("a", has_text=re.compile(r"^\d{4}-")).first.click()
    message = page.locator(".ladder details", has_text="SetParameterValues").first
    assert not message.locator(".content").is_visible()
    message.locator("summary").click()
    assert message.locator(".content").is_visible()
    assert MARKUP in message.inner_text()
    shot(page, "session-opened-desktop")


def test_the_form_is_submitted_and_then_applied(page_of_agent, held, shot):
    """Submit checks and keeps apart, with the error beside its field; Apply puts in force; the log says who it was."""
    page, url = held["desktop"], page_of_agent.url
    page.goto(url + "/configuration")
    page.fill("#cwmp-periodicinforminterval", "often")
    page.fill("#cwmp-acs_password", "s3cret-typed")
    page.click("button[value=submit]")
    field = page.locator(".field", has_text="Inform Interval")
    assert "unsignedInt" in field.locator(".error").inner_text() or "often" in field.locator(".error").inner_text()
    assert page.input_value("#cwmp-periodicinforminterval") == "often"
    assert "s3cret" not in page.content()
    assert (
        page.locator(".field", has_text="ACS Password").locator(".error").inner_text()
        == "Type it again: it is not kept."
    )
    shot(page, "configuration-error-desktop")
    page.fill("#cwmp-periodicinforminterval", "1200")
    page.fill("#cwmp-acs_password", "s3cret-typed")
    page.click("button[value=submit]")
    waiting = page.inner_text("#waiting")
    assert "2 submitted changes wait" in waiting and "600 → 1200" in waiting and "none → a new one" in waiting
    assert page.evaluate(f"fetch('{url}/status/config').then(r => r.text()).then(t => t.includes('1200 s'))") is False
    shot(page, "configuration-submitted-desktop")
    page.click("button[value=apply]")
    assert page.inner_text(".said") == "The changes are in force."
    page.click("text=Status")
    page.click("text=Show Config Logs")
    newest = page.locator("#log tbody tr").filter(has_text="PeriodicInformInterval").first.inner_text()
    assert "a person at the web page, from 127.0.0.1" in newest and "1200" in newest
    assert "s3cret" not in page.content()
    page.goto(url + "/configuration")
    assert page.get_attribute("#cwmp-con_req_url", "readonly") is not None
    why = page.locator(".field", has_text="Connection Request URL").locator(".why").inner_text()
    assert "cannot be edited here" in why


def test_a_parameter_is_found_and_set(page_of_agent, held):
    """Search, open, correct, set."""
    page = held["telephone"]
    page.goto(page_of_agent.url + "/parameters")
    page.fill("input[type=search]", "provisioning")
    page.press("input[type=search]", "Enter")
    page.click("text=ProvisioningCode")
    page.fill("#value", "x" * 65)
    page.click("button:has-text('Set')")
    assert "9007" in page.inner_text(".error")
    page.fill("#value", "lab")
    page.click("button:has-text('Set')")
    assert page.inner_text(".said") == "The parameter is set."


def test_a_transfer_shows_its_progress_and_the_page_follows_by_itself(page_of_agent, held, shot):
    """The ACS hands out a file that comes in pieces; nobody reloads the page."""
    page = held["desktop"]
    page.goto(page_of_agent.url + "/transfers")
    more = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 1000000)
        await more.wait()
        writer.close()

    async def begin():
        return await asyncio.start_server(serve, "127.0.0.1", 0)

    server = page_of_agent.do(begin())
    port = server.sockets[0].getsockname()[1]
    file = f"http://127.0.0.1:{port}/new.img?key=s3cret"
    page_of_agent.ask(
        Download(command_key=MARKUP[:32], file_type="1 Firmware Upgrade Image", url=file, file_size=4_000_000)
    )
    page.wait_for_selector("progress:not([value='0'])", timeout=10_000)
    assert "% of 4.0 MB" in page.inner_text(".transfer") and "s3cret" not in page.content()
    shot(page, "transfers-running-desktop")
    page_of_agent.loop.call_soon_threadsafe(more.set)
    page_of_agent.loop.call_soon_threadsafe(server.close)


def test_everything_works_without_scripts(page_of_agent, chromium, shot):
    """Pages, the form with both its steps, the confirmation; the status reloads itself."""
    context = chromium.new_context(viewport=SIZES["telephone"], java_script_enabled=False)
    page, url = context.new_page(), page_of_agent.url
    for path, words in PAGES.values():
        page.goto(url + path)
        if path != "/transfers":
            assert words in page.inner_text("main"), path
    page.goto(url + "/status")
    assert page.locator("noscript").count() or page.locator("meta[http-equiv=refresh]").count()
    page.click("text=Inform now")
    assert page.url.endswith("/status?said=inform")
    page.goto(url + "/configuration")
    page.uncheck("#cwmp-use_dhcp")
    page.click("button[value=submit]")
    assert "Use DHCP Option: on → off" in page.inner_text("#waiting")
    shot(page, "configuration-submitted-telephone")
    page.click("button[value=apply]")
    assert not page.is_checked("#cwmp-use_dhcp")
    page.goto(url + "/device/reboot")
    page.click("text=No")
    assert page.url == url + "/device"
    context.close()


def test_the_support_archive_is_saved(page_of_agent, held):
    """One file, named after the device."""
    page = held["desktop"]
    page.goto(page_of_agent.url + "/device")
    with page.expect_download() as download:
        page.click("text=Save the archive")
    assert re.fullmatch(r"homeport-support-[\w-]+\.tar\.gz", download.value.suggested_filename)
    assert download.value.path().read_bytes()[:2] == b"\x1f\x8b"


def test_light_and_dark_follow_the_persons_wish(page_of_agent, chromium, shot):
    """And differ."""
    colours = {}
    for scheme in ("light", "dark"):
        context = chromium.new_context(viewport=SIZES["telephone"], color_scheme=scheme)
        page = context.new_page()
        page.goto(page_of_agent.url + "/status")
        colours[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shot(page, f"status-{scheme}-telephone")
        context.close()
    assert colours["light"] != colours["dark"]


def test_a_restart_comes_back_to_the_status(page_of_agent, held, shot):
    """Confirmed, done, and the page finds the agent again; the sessions of before are still there."""
    page, stage = held["desktop"], page_of_agent
    before = stage.status()["started"], len(stage.acs.informs)
    page.goto(stage.url + "/device")
    page.click("button:has-text('Restart the agent')")
    page.click("text=Yes, do it")
    shot(page, "restarting-desktop")
    page.wait_for_url("**/status", timeout=15_000)
    stage.do(stage.acs.until(lambda: len(stage.acs.informs) > before[1]))
    page.goto(stage.url + "/sessions")
    assert "0 BOOTSTRAP, 1 BOOT" in page.inner_text("main")
    page.goto(stage.url + "/status/client-log")
    assert "a person at the web page" in page.inner_text("main")


def test_login_logout_and_an_acs_that_is_away(tmp_path, staged, chromium, shot, monkeypatch):
    """From the network only with the password; then the page says why the ACS is not reached and what to do."""
    from homeport.cpe.web import password

    monkeypatch.setattr(password, "_N", 1 << 10)
    password.keep(tmp_path, password.hash_of("correct horse"))
    for stage in staged(tmp_path, "--web-listen", "0.0.0.0"):
        context = chromium.new_context(viewport=SIZES["telephone"])
        page = context.new_page()
        page.goto(stage.url + "/sessions")
        shot(page, "login-telephone")
        page.fill("#password", "battery staple")
        page.click("button:has-text('Log in')")
        assert page.inner_text(".said.bad") == "That is not the password."
        shot(page, "login-refused-telephone")
        page.fill("#password", "correct horse")
        page.click("button:has-text('Log in')")
        assert page.url == stage.url + "/sessions"
        cookie = next(c for c in context.cookies() if c["name"].startswith("homeport_"))
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        stage.do(stage.acs.__aexit__(None, None, None))
        page.goto(stage.url + "/status")
        page.click("text=Inform now")
        page.wait_for_selector("#status .hero.bad", timeout=10_000)
        assert "Disconnected" in page.inner_text(".hero")
        assert "Nothing answers at the ACS URL" in page.inner_text(".hint")
        shot(page, "status-disconnected-telephone")
        page.click("text=Log out")
        assert "You are logged out." in page.inner_text("main")
        page.goto(stage.url + "/status")
        assert "/login" in page.url
        context.close()
