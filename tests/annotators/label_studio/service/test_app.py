"""Over real sockets, with real clients: boto3 signs, Chromium plays, Label Studio presigns and sends webhooks."""

import base64
import http.server
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore.auth
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from annotators.label_studio.local import local_server
from annotators.label_studio.service import app, signing
from annotators.label_studio.service.s3 import BUCKET
from schemas.errors import UserError
from tests.support import media_files
from tests.support.s3_server import s3_server
from tests.support.serving import HALVES, SECRET, Served, hold, hold_open, wait_for

PICTURE = media_files.jpeg(1)
CLIP = media_files.webm(frames=40, seconds=8.0)
SOUND = media_files.wav(seconds=8.0)
HIDDEN = media_files.png(2)
BIG = bytes(range(256)) * (60 << 12)  # 60 MiB


@pytest.fixture(scope="module")
def page_server():
    """The origin of a page, which is all that it serves: what stands in for the labeling server where it is not needed."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(self.server.html.encode())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.html = ""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.origin = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def served(tmp_path_factory, page_server):
    """A server with a picture, a clip, a sound and a big video that tasks show, and a picture that none shows."""
    with Served(tmp_path_factory.mktemp("served"), page_server.origin) as served:
        show(served)
        served.big = served.add(BIG, "video/mp4")
        served.hidden = served.add(HIDDEN, None)
        served.lost = "0" * 64
        served.allowed[served.lost] = "image/png"
        yield served.start()


def show(served: Served) -> Served:
    served.picture = served.add(PICTURE, "image/jpeg")
    served.clip = served.add(CLIP, "video/webm")
    served.sound = served.add(SOUND, "audio/wav")
    return served


@pytest.fixture
def alone(tmp_path):
    """A server of one's own, not started yet, to be slowed and killed."""
    with Served(tmp_path) as served:
        yield served


def s3(served, style="path", pair=None, endpoint=None):
    access, secret = pair or signing.keys(SECRET)
    return boto3.client(
        "s3", endpoint_url=endpoint or served.url, region_name="us-east-1", aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}, retries={"max_attempts": 1}),
    )  # fmt: skip


def link(served, key, method="get_object", seconds=60, bucket=BUCKET, client=None, **params) -> str:
    """A link as Label Studio makes it."""
    client = client or s3(served)
    return client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key, **params}, ExpiresIn=seconds)


def code(answer: httpx.Response) -> str:
    return re.findall("<Code>(.*)</Code>", answer.text)[0]


# media


def test_a_presigned_link_gives_the_medium(served):
    answer = httpx.get(link(served, f"{served.picture}.jpg"))
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["etag"] == f'"{served.picture}"'
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(PICTURE))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


def test_the_bucket_may_stand_in_the_host(served):
    client = s3(served, "virtual", endpoint=f"http://localhost:{served.port}")
    parts = urlsplit(link(served, f"{served.picture}.jpg", client=client))
    assert parts.netloc == f"{BUCKET}.localhost:{served.port}"
    answer = httpx.get(f"{served.url}{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    assert answer.content == PICTURE
    elsewhere = httpx.get(f"{served.url}{parts.path}?{parts.query}", headers={"Host": f"localhost:{served.port}"})
    assert (elsewhere.status_code, code(elsewhere)) == (403, "SignatureDoesNotMatch")


def test_a_link_is_for_one_method_and_head_has_no_body(served):
    key = f"{served.picture}.jpg"
    answer = httpx.head(link(served, key, "head_object"))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(PICTURE))
    assert httpx.head(link(served, key)).status_code == 403
    assert httpx.get(link(served, key, "head_object")).status_code == 403


def other_medium(url, served):
    return url.replace(served.picture, served.clip)


TAMPERED = {
    "another medium": (other_medium, "SignatureDoesNotMatch"),
    "a longer life": (lambda url, _: url.replace("Expires=60", "Expires=6000"), "SignatureDoesNotMatch"),
    "another parameter": (lambda url, _: url + "&response-content-type=text/html", "SignatureDoesNotMatch"),
    "a parameter twice": (lambda url, _: url + "&X-Amz-Expires=6000", "AuthorizationQueryParametersError"),
    "no signature": (lambda url, _: url.partition("&X-Amz-Signature")[0], "AuthorizationQueryParametersError"),
    "an empty signature": (lambda url, _: re.sub("Signature=.*", "Signature=", url), "SignatureDoesNotMatch"),
    "a signature that is no ASCII": (
        lambda url, _: re.sub("Signature=.*", "Signature=%C3%BC", url),
        "SignatureDoesNotMatch",
    ),
    "another key": (lambda url, _: url.replace("Credential=PW", "Credential=QW"), "InvalidAccessKeyId"),
    "another service": (lambda url, _: url.replace("%2Fs3%2F", "%2Fec2%2F"), "AuthorizationQueryParametersError"),
    "another region": (lambda url, _: url.replace("us-east-1", "eu-west-1"), "SignatureDoesNotMatch"),
    "an endless life": (
        lambda url, _: url.replace("Expires=60", "Expires=604801"),
        "AuthorizationQueryParametersError",
    ),
    "no life": (lambda url, _: url.replace("Expires=60", "Expires=0"), "AuthorizationQueryParametersError"),
    "no host signed": (lambda url, _: url.replace("SignedHeaders=host", "SignedHeaders=date"), "AccessDenied"),
    "no date": (lambda url, _: re.sub("Date=[^&]*", "Date=today", url), "AccessDenied"),
    "nothing signed": (lambda url, _: url.partition("?")[0], "AccessDenied"),
    "a hundred parameters": (lambda url, _: url + "&a=b" * 100, "AuthorizationQueryParametersError"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_link_that_was_tampered_with_gives_nothing(served, how):
    tamper, expected = TAMPERED[how]
    good = link(served, f"{served.picture}.jpg")
    bad = tamper(good, served)
    assert bad != good
    answer = httpx.get(bad)
    assert answer.status_code in (400, 403)
    assert code(answer) == expected
    assert httpx.get(good).content == PICTURE


def test_nothing_hides_behind_a_fragment_or_an_odd_path(served):
    """Both are parsed away, or not at all, when a URL is taken apart."""
    good = urlsplit(link(served, f"{served.picture}.jpg", ResponseContentType="image/png"))
    kind, _, rest = good.query.partition("&")
    assert kind == "response-content-type=image%2Fpng"
    for target, status in (
        (f"{good.path}?{rest}&{kind}", 200),
        (f"{good.path}?{rest}&{kind}#more", 403),
        (f"{good.path}#more?{good.query}", 403),
        (f"%2F[?{good.query}", 403),
    ):
        heard = spoken(served, f"GET {target} HTTP/1.1\r\nHost: {good.netloc}\r\n\r\n".encode())
        assert heard.startswith(f"HTTP/1.1 {status}".encode())


def test_a_wrong_key_pair_gives_nothing(served):
    access, _ = signing.keys(SECRET)
    for pair, expected in (
        (signing.keys("another secret of thirty-two characters"), "InvalidAccessKeyId"),
        ((access, "guessed"), "SignatureDoesNotMatch"),
    ):
        answer = httpx.get(link(served, f"{served.picture}.jpg", client=s3(served, pair=pair)))
        assert (answer.status_code, code(answer)) == (403, expected)


@pytest.mark.parametrize(
    ("signed", "seconds", "good"),
    [(-50, 60, True), (-70, 60, False), (840, 60, True), (960, 60, False), (-604_000, 604_800, True)],
    ids=["in its time", "expired", "clock 14 min ahead", "clock 16 min ahead", "a week"],
)
def test_a_link_ends_when_it_says(served, monkeypatch, signed, seconds, good):
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a: now(*a) + timedelta(seconds=signed))
    answer = httpx.get(link(served, f"{served.picture}.jpg", seconds=seconds))
    assert answer.status_code == (200 if good else 403)
    if good:  # Label Studio's service worker uses a link again until ten seconds before the age said here
        private, _, age = answer.headers["cache-control"].partition(", max-age=")
        assert private == "private"
        assert signed + seconds - 5 <= int(age) <= signed + seconds


# Size of the clip is n; bytes a-b are b - a + 1 of them.
@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-", 206, 0, None),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=10-99999999", 206, 10, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=-99999999", 206, 0, None),
        ("bytes=20-10", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("bytes=" + "9" * 30 + "-", 200, 0, None),
        ("pages=1-2", 200, 0, None),
    ],
)
def test_a_range_is_what_was_asked_for(served, asked, status, start, stop):
    answer = httpx.get(link(served, f"{served.clip}.webm"), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, CLIP[start:stop])
    if status == 206:
        first, last = start % len(CLIP), (stop or len(CLIP)) - 1
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(CLIP)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside_is_416(served, asked):
    answer = httpx.get(link(served, f"{served.clip}.webm"), headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CLIP)}"


def test_a_part_of_a_big_video_comes_in_pieces(served):
    url = link(served, f"{served.big}.mp4")
    middle = httpx.get(url, headers={"Range": "bytes=5000000-9000000"})
    assert middle.content == BIG[5_000_000:9_000_001]
    assert httpx.get(url).content == BIG


def test_what_the_browser_has_is_not_sent_again(served):
    url, tag = link(served, f"{served.clip}.webm"), f'"{served.clip}"'
    again = httpx.get(url, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    part = {"Range": "bytes=0-3"}
    assert httpx.get(url, headers={**part, "If-Range": tag}).content == CLIP[:4]
    assert httpx.get(url, headers={**part, "If-Range": '"another"'}).content == CLIP


def test_only_media_that_tasks_show_are_served(served, tmp_path):
    for key in (f"{served.hidden}.png", "f" * 64, f"{served.lost}.png", served.picture[:-1], served.picture.upper()):
        answer = httpx.get(link(served, key))
        assert (answer.status_code, code(answer)) == (404, "NoSuchKey")
    assert f"the media item {served.lost} of a task is missing from the media store" in served.log()


@pytest.mark.parametrize(
    "key",
    ["../index.sqlite", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "{sha}/../../x", "{sha}.jpg/", "{sha}.j/g",
     "{sha}.jpg\0", "{sha}.jpg\n", "/{sha}.jpg", "a" * 8000],
)  # fmt: skip
def test_a_key_is_a_hash_and_never_a_path(served, key):
    parts = urlsplit(link(served, key.format(sha=served.picture)))
    asked = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    heard = spoken(served, asked.encode())  # httpx would tidy the path
    assert heard.startswith(b"HTTP/1.1 404")
    assert b"<Code>NoSuchKey</Code>" in heard


def test_a_link_cannot_make_a_picture_a_page(served):
    """Every annotator can make tasks and so have links signed, with any type that Label Studio guesses from a name."""
    answer = httpx.get(link(served, f"{served.picture}.html", ResponseContentType="text/html"))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_keys_can_read_media_and_nothing_else(served):
    client = s3(served)
    client.head_bucket(Bucket=BUCKET)
    assert client.get_object(Bucket=BUCKET, Key=served.picture)["Body"].read() == PICTURE
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=served.picture[:4], MaxKeys=1)
    assert (listed["KeyCount"], "Contents" in listed) == (0, False)
    assert list(boto3_resource(served).Bucket(BUCKET).objects.all()) == []
    for refused, status in (
        (lambda: client.head_bucket(Bucket="another"), 404),
        (lambda: client.put_object(Bucket=BUCKET, Key=served.picture, Body=b"x"), 405),
        (lambda: client.delete_object(Bucket=BUCKET, Key=served.picture), 405),
        (lambda: s3(served, pair=("PWX", "y")).head_bucket(Bucket=BUCKET), 403),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def boto3_resource(served):
    access, secret = signing.keys(SECRET)
    return boto3.resource(
        "s3", endpoint_url=served.url, region_name="us-east-1", aws_access_key_id=access, aws_secret_access_key=secret
    )


def test_pages_of_the_labeling_server_may_read_media_and_no_others(served, page_server):
    url = link(served, f"{served.clip}.webm")
    ours, others = ({"Origin": origin} for origin in (page_server.origin, "http://evil.example.org"))
    answer = httpx.get(url, headers=ours)
    assert answer.headers["access-control-allow-origin"] == page_server.origin
    assert "content-range" in answer.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-origin" not in httpx.get(url, headers=others).headers
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "Range"}
    assert httpx.options(url, headers={**ours, **asks}).status_code == 200
    assert httpx.options(url, headers={**others, **asks}).status_code == 400
    assert httpx.options(url).status_code == 403  # no question of a browser, and not signed


def test_slow_clients_cost_a_piece_each_and_hold_up_nobody(served):
    process = psutil.Process(served.process.pid)
    httpx.get(link(served, f"{served.big}.mp4"))  # kept from here on
    before = process.memory_info().rss
    parts = urlsplit(link(served, f"{served.big}.mp4"))
    asked = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    slow = []
    for _ in range(40):
        client = socket.create_connection(("127.0.0.1", served.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"{asked}Range: bytes=1-\r\n\r\n".encode())
        slow.append(client)
    began = time.monotonic()
    assert httpx.get(link(served, f"{served.picture}.jpg")).content == PICTURE
    assert time.monotonic() - began < 2
    grown = process.memory_info().rss - before
    for client in slow:
        client.close()
    # a piece in the socket's buffer and one that waits, 1 MiB each, twice for slack; forty videos whole would be 2,400 MiB
    assert grown < 40 * 2 * 2 * (1 << 20)


def test_chromium_plays_and_seeks(served, page_server, browser):
    page_server.html = f"""
        <img crossorigin src="{link(served, f"{served.picture}.jpg")}">
        <video crossorigin="anonymous" muted preload="auto" src="{link(served, f"{served.clip}.webm")}"></video>
        <audio crossorigin="anonymous" muted preload="auto" src="{link(served, f"{served.sound}.wav")}"></audio>
        <canvas width="64" height="48"></canvas>""".replace("&", "&amp;")
    page = browser.new_page()
    complaints, statuses = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("response", lambda answer: statuses.append(answer.status) if served.url in answer.url else None)
    page.goto(page_server.origin, wait_until="load")
    assert page.evaluate("document.querySelector('img').naturalWidth") == 64
    for medium in ("video", "audio"):
        page.wait_for_function(f"document.querySelector('{medium}').readyState >= 3", timeout=15_000)
        page.evaluate(f"document.querySelector('{medium}').play()")
        page.wait_for_function(f"document.querySelector('{medium}').currentTime > 0.2", timeout=15_000)
        page.evaluate(f"document.querySelector('{medium}').pause()")
        assert page.evaluate(f"document.querySelector('{medium}').seekable.end(0)") == pytest.approx(8, abs=0.3)
    # frame i of 40 is grey 20 + 5 i, five frames a second: at 7.1 s frame 35 is 195, at 1.1 s frame 5 is 45
    for second, grey in ((7.1, 195), (1.1, 45)):
        shown = page.evaluate(
            """second => new Promise(done => {
                const video = document.querySelector('video'), canvas = document.querySelector('canvas').getContext('2d', {willReadFrequently: true})
                video.onseeked = () => {
                    canvas.drawImage(video, 0, 0)
                    done(canvas.getImageData(32, 24, 1, 1).data[0])
                }
                video.currentTime = second
            })""",
            second,
        )
        assert shown == pytest.approx(grey, abs=12)
    page.evaluate("document.querySelector('audio').currentTime = 6")
    page.wait_for_function(
        "!document.querySelector('audio').seeking && document.querySelector('audio').currentTime >= 6"
    )
    page.close()
    assert [text for text in complaints if "favicon" not in text] == []
    assert 206 in statuses
    assert set(statuses) <= {200, 206}


# webhooks


def created(number: int, updated: str = "2026-11-25T10:00:00.000001Z") -> dict:
    annotation = {"id": number, "updated_at": updated, "result": []}
    return {"action": "ANNOTATION_CREATED", "annotation": annotation, "project": {"id": 7, "token": "project-token"}}


def test_a_hint_wakes_a_pull_of_its_project(alone):
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])  # everything, at the start
    assert alone.hint("7", created(1)).status_code == 200
    wait_for(lambda: alone.pulls() == ["None", "7"])
    health = alone.health()
    assert health["webhooks"] == {"received": 1, "replayed": 0, "malformed": 0, "forged": 0}
    assert (health["pulls"]["done"], health["pulls"]["failed"], health["pulls"]["last_error"]) == (2, 0, None)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", health["pulls"]["last_ok"])


def test_a_forged_hint_wakes_nothing(alone):
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    good = signing.webhook_headers(SECRET, "7")[signing.HEADER]
    for headers in (
        {}, {signing.HEADER: ""}, {signing.HEADER: good[:-1]}, {signing.HEADER: good.upper()},
        signing.webhook_headers(SECRET, "8"), signing.webhook_headers("another secret of thirty-two characters", "7"),
        {signing.HEADER: "ü".encode("latin-1")},
    ):  # fmt: skip
        assert alone.hint("7", created(1), headers).status_code == 401
    time.sleep(1.5)
    assert alone.pulls("begin") == ["None"]
    assert alone.health()["webhooks"] == {"received": 0, "replayed": 0, "malformed": 0, "forged": 7}
    assert alone.log().count("refused a webhook") == 1


def test_replays_and_events_out_of_order_wake_nothing_new(alone):
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    later, deleted = created(1, "2026-11-25T11:00:00Z"), {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}]}
    events = [later, created(1), later, created(1), deleted, deleted]  # three states, each twice
    assert [alone.hint("7", event).status_code for event in events] == [200] * 6
    wait_for(lambda: alone.pulls() == ["None", "7"])
    assert alone.health()["webhooks"]["replayed"] == 3
    assert [alone.hint("7", event).status_code for event in events] == [200] * 6
    time.sleep(1.5)
    assert alone.pulls("begin") == ["None", "7"]
    both = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}, {"id": 2}]}  # half of it is new
    assert alone.hint("7", both).status_code == 200
    wait_for(lambda: alone.pulls() == ["None", "7", "7"])
    assert alone.hint("8", later).status_code == 200  # another project's annotation
    wait_for(lambda: alone.pulls() == ["None", "7", "7", "8"])


def test_two_hundred_hints_at_once_are_few_pulls(alone):
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    with ThreadPoolExecutor(200) as pool, httpx.Client(headers=signing.webhook_headers(SECRET, "7")) as client:
        send = lambda number: client.post(f"{alone.url}/webhook/7", json=created(number)).status_code
        answers = list(pool.map(send, range(200)))
    assert answers == [200] * 200
    wait_for(lambda: "7" in alone.pulls())
    time.sleep(1.5)
    assert alone.health()["webhooks"]["received"] == 200
    assert 1 <= alone.pulls().count("7") <= 4  # one for each second that it took to send them, and one


def test_hints_during_a_pull_make_one_more_and_are_answered_at_once(alone):
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    alone.pull_goes(seconds=2)
    alone.hint("7", created(0))
    wait_for(lambda: alone.pulls("begin") == ["None", "7"])
    alone.pull_goes()
    headers = signing.webhook_headers(SECRET, "7")
    with httpx.Client(base_url=alone.url, headers=headers) as client:
        client.get("/health")
        began = time.monotonic()
        for number in range(1, 21):
            assert client.post("/webhook/7", json=created(number)).status_code == 200
        assert (time.monotonic() - began) / 20 < 0.1  # Label Studio waits 1 s, the annotator with it
    assert alone.pulls() == ["None"]  # it is still running
    wait_for(lambda: alone.pulls() == ["None", "7", "7"])
    time.sleep(1.5)
    assert alone.pulls("begin") == ["None", "7", "7"]


def test_a_pull_that_fails_is_one_line_and_the_next_hint_tries_again(alone):
    alone.pull_goes(error="ours: Label Studio does not answer; start it")
    alone.start()
    wait_for(lambda: alone.health()["pulls"]["failed"] == 1)
    alone.pull_goes(error="sessionid=foreign-secret")
    alone.hint("7", created(1))
    wait_for(lambda: alone.health()["pulls"]["failed"] == 2)
    lines = alone.log().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("ours: Label Studio does not answer; start it")
    assert re.search(r"ValueError in pull, line \d+ of .*serving.py$", lines[1])
    assert "foreign-secret" not in alone.log()
    assert alone.health()["pulls"]["last_error"]
    alone.pull_goes()
    alone.hint("7", created(2))
    wait_for(lambda: alone.pulls() == ["7"])


def test_a_lost_webhook_is_made_good_by_the_clock(tmp_path):
    with Served(tmp_path, every=0.5) as served:
        served.start()
        wait_for(lambda: served.pulls().count("None") >= 3, 5)
        assert served.health()["webhooks"]["received"] == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"action": 1}', b'{"action": "X", "annotation": 3}',
     b'{"action": "X", "annotation": {"id": "1"}}', b'{"action": "X", "annotation": {"id": true}}',
     b'{"action": "X", "annotation": {"id": 1, "updated_at": {}}}', b'{"action": "X", "annotations": {"id": 1}}',
     b"\xff\xfe", b"[" * 100_000, b'{"action": "X"}' + b" " * (1 << 20)],
    ids=lambda body: body[:40].decode("latin-1") or "empty",
)  # fmt: skip
def test_garbage_is_400_and_wakes_nothing(served, body):
    before = served.health()["webhooks"]
    answer = httpx.post(f"{served.url}/webhook/9", content=body, headers=signing.webhook_headers(SECRET, "9"))
    assert answer.status_code == 400
    after = served.health()["webhooks"]
    assert (after["malformed"], after["received"]) == (before["malformed"] + 1, before["received"])
    assert "9" not in served.pulls("begin")


# hostile clients


def spoken(served, said: bytes, wait: float = 8) -> bytes:
    """What the server answers to these bytes, nothing when it just closes. TimeoutError when it does neither."""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.settimeout(wait)
        heard = b""
        try:
            client.sendall(said)
            while part := client.recv(1 << 16):
                heard += part
                client.settimeout(0.3)
        except ConnectionError:
            pass
        except TimeoutError:
            if not heard:
                raise
        return heard


def test_ten_megabytes_are_not_read(served):
    headers = "".join(f"{name}: {value}\r\n" for name, value in signing.webhook_headers(SECRET, "9").items())
    start = f"POST /webhook/9 HTTP/1.1\r\nHost: x\r\n{headers}"
    declared = f"{start}Content-Length: 10000000\r\n\r\n".encode()
    assert spoken(served, declared).startswith(b"HTTP/1.1 400")  # without a byte of it
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    heard = spoken(served, f"{start}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 2)  # and it never ends
    assert heard.startswith(b"HTTP/1.1 400")
    assert served.up()


def test_headers_are_bounded(served):
    heard = spoken(served, b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-Long: " + b"x" * 1_000_000, wait=3)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 400")  # reset, or told
    heard = spoken(served, b"GET /" + b"x" * 1_000_000, wait=3)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 400")
    assert served.up()


@pytest.mark.parametrize(
    "said",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 1000 + b"\r\n\r\n",
     b"GET /%zz HTTP/1.1\r\nHost: [\r\n\r\n", b"GET %2F[x?X-Amz-=1 HTTP/1.1\r\nHost: x\r\n\r\n",
     b"GET http://evil/x HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
     b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"GET //etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
     b"POST /webhook/../health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
    ids=lambda said: said[:30].decode("latin-1").strip(),
)  # fmt: skip
def test_what_is_no_request_of_ours_is_refused(served, said):
    heard = spoken(served, said)
    assert heard == b"" or re.match(rb"HTTP/1.1 40[0-9] ", heard)
    assert b"root:" not in heard
    assert served.up()
    assert "Traceback" not in served.log()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/webhook/7"), ("PUT", "/x"), ("DELETE", "/health"), ("POST", "/")]
)
def test_other_methods_are_refused(served, method, path):
    assert httpx.request(method, served.url + path).status_code in (403, 405)


def test_a_client_that_says_its_headers_or_body_too_slowly_is_let_go(served):
    headers = "".join(f"{name}: {value}\r\n" for name, value in signing.webhook_headers(SECRET, "9").items())
    half = f"POST /webhook/9 HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 100\r\n\r\n{{".encode()
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        body, header = pool.map(lambda said: spoken(served, said), (half, b"GET /health HTTP/1.1\r\nHost:"))
    assert body.startswith(b"HTTP/1.1 400")  # after 5 s
    assert header == b""  # after as long
    assert time.monotonic() - began < 10


def test_connections_that_are_held_open_shut_out_nobody_and_are_closed(served):
    hold_open(served, list(HALVES), 300)
    assert "Traceback" not in served.log()


def test_clients_that_read_nothing_shut_out_nobody(served):
    parts = urlsplit(link(served, f"{served.big}.mp4"))
    held = hold(
        served,
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode(),
        app.CONNECTIONS + 44,
    )
    assert (
        httpx.get(link(served, f"{served.picture}.jpg"), timeout=20).content == PICTURE
    )  # a mebibyte is made for each of them first
    for client in held:
        client.close()


def test_an_answer_that_nobody_reads_is_dropped(tmp_path):
    with Served(tmp_path, stall=1) as served:
        big = served.add(BIG, "video/mp4")
        served.start()
        parts = urlsplit(link(served, f"{big}.mp4"))
        (client,) = hold(served, f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode(), 1)
        server = psutil.Process(served.process.pid)
        wait_for(lambda: any(c.status == psutil.CONN_ESTABLISHED for c in server.net_connections()), 5)
        wait_for(lambda: not any(c.status != psutil.CONN_LISTEN for c in server.net_connections()), 8)
        client.close()


def test_a_client_that_hangs_up_leaves_no_trace(served):
    headers = "".join(f"{name}: {value}\r\n" for name, value in signing.webhook_headers(SECRET, "9").items())
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(f"POST /webhook/9 HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 100\r\n\r\n".encode())
    parts = urlsplit(link(served, f"{served.big}.mp4"))
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        client.recv(1000)
    time.sleep(0.5)
    assert served.up()
    assert "Traceback" not in served.log()


# start and end


def test_sigterm_ends_it_within_two_seconds_whoever_is_still_reading(served_alone_with_big):
    served, big = served_alone_with_big
    parts = urlsplit(link(served, f"{big}.mp4"))
    with (
        socket.create_connection(("127.0.0.1", served.port)) as reader,
        socket.create_connection(("127.0.0.1", served.port)) as silent,
        httpx.Client() as idle,
    ):
        idle.get(f"{served.url}/health")
        reader.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        silent.sendall(b"GET /health")
        reader.recv(1000)
        assert served.hint("7", created(1)).status_code == 200  # a pull that waits for its second does not come
        code, seconds = served.end(signal.SIGTERM)
    assert code == 0
    assert seconds < 2
    assert "Traceback" not in served.log()


@pytest.fixture
def served_alone_with_big(alone):
    big = alone.add(BIG, "video/mp4")
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    return alone, big


def test_sigterm_waits_for_the_pull_that_runs(alone):
    alone.pull_goes(seconds=3)
    alone.start()
    wait_for(lambda: alone.pulls("begin") == ["None"])
    began = time.monotonic()
    code, _ = alone.end(signal.SIGTERM)
    assert code == 0
    assert alone.pulls() == ["None"]
    assert 1 < time.monotonic() - began < 5


def test_killed_in_a_pull_and_started_again_it_pulls_everything(alone):
    alone.pull_goes(seconds=30)
    alone.start()
    alone.hint("7", created(1))
    wait_for(lambda: alone.pulls("begin") == ["None"])
    assert alone.end(signal.SIGKILL)[0] == -signal.SIGKILL
    alone.pull_goes()
    alone.start()
    wait_for(lambda: alone.pulls() == ["None"])
    assert alone.hint("7", created(1)).status_code == 200  # it knows no replays of an earlier life: one pull too many
    wait_for(lambda: alone.pulls() == ["None", "7"])


def test_what_cannot_be_is_said_in_a_line(served):
    def make(secret=SECRET, origin="http://labels.example.org"):
        return app.app(served.store, served.allowed.get, lambda project: None, secret, origin, 60)

    with pytest.raises(UserError, match="32 characters or more; create one with `openssl rand -hex 32`"):
        make(secret="x" * 31)
    for origin in ("*", "labels.example.org", "https://labels.example.org/", "https://*.example.org"):
        with pytest.raises(UserError, match="must look like"):
            make(origin=origin)
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1 port {served.port} .*choose another"):
        app.serve(make(), port=served.port)


def test_nothing_secret_is_in_the_log(alone):
    picture = alone.add(PICTURE, "image/jpeg")
    alone.allowed["1" * 64] = "image/png"
    alone.pull_goes(error="token-of-the-server")
    alone.start()
    url = link(alone, picture)
    for each in (url, other_medium(url, type("x", (), {"picture": picture, "clip": "2" * 64})), link(alone, "1" * 64)):
        httpx.get(each)
    alone.hint("7", created(1))
    alone.hint("7", created(1), {signing.HEADER: "guess-of-a-signature"})
    spoken(alone, b"GET /" + b"x" * 100_000)
    wait_for(lambda: alone.health()["pulls"]["failed"] == 2)
    log = alone.log()
    signature = parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]
    secrets = [
        SECRET,
        *signing.keys(SECRET),
        *signing.webhook_headers(SECRET, "7").values(),
        signature,
        "project-token",
    ]
    assert log.count("\n") >= 4
    assert [s for s in [*secrets, "guess-of-a-signature", "token-of-the-server"] if s in log] == []


# the real Label Studio

CONFIG = (
    '<View><Image name="i" value="$image"/><Video name="v" value="$video"/><Audio name="a" value="$audio"/>'
    '<Text name="t" value="$uid"/>'
    '<Choices name="c" toName="t" required="true"><Choice value="a"/></Choices></View>'
)


@pytest.fixture(scope="module")
def admin(label_studio):
    headers = {"Authorization": f"Token {label_studio.key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def project_with(admin, served, bucket, endpoint, pair) -> tuple[int, int]:
    """(project, task) with an S3 storage, in which the task's media lie."""
    project = (
        admin.post("/api/projects", json={"title": "media", "label_config": CONFIG}).raise_for_status().json()["id"]
    )
    storage = {
        "project": project, "bucket": bucket, "s3_endpoint": endpoint, "region_name": "us-east-1", "presign": True,
        "presign_ttl": 60, "aws_access_key_id": pair[0], "aws_secret_access_key": pair[1], "use_blob_urls": True,
    }  # fmt: skip
    made = admin.post("/api/storages/s3", json=storage).raise_for_status().json()
    assert [name for name, value in made.items() if value in pair] == []
    names = {"image": f"{served.picture}.jpg", "video": f"{served.clip}.webm", "audio": f"{served.sound}.wav"}
    data = {"uid": "u", **{field: f"s3://{bucket}/{name}" for field, name in names.items()}}
    imported = admin.post(f"/api/projects/{project}/import?return_task_ids=true", json=[{"data": data}])
    return project, imported.raise_for_status().json()["task_ids"][0]


def looked_at(admin, task: int, bucket: str, key: str) -> httpx.Response:
    """What comes of a medium when the task is viewed: two steps, the second without any login."""
    uri = base64.urlsafe_b64encode(f"s3://{bucket}/{key}".encode()).decode()
    shown = admin.get(f"/api/tasks/{task}").json()["data"]
    assert f"/tasks/{task}/resolve/?fileuri={uri}" in shown.values()
    resolved = admin.get(f"/tasks/{task}/resolve/", params={"fileuri": uri})
    assert resolved.status_code == 303
    return httpx.get(resolved.headers["location"])


def test_label_studio_presigns_our_media_when_a_task_is_viewed(served, admin):
    project, task = project_with(admin, served, BUCKET, served.url, signing.keys(SECRET))
    picture = looked_at(admin, task, BUCKET, f"{served.picture}.jpg")
    assert (picture.content, picture.headers["content-type"]) == (PICTURE, "image/jpeg")
    assert looked_at(admin, task, BUCKET, f"{served.clip}.webm").content == CLIP
    (storage,) = admin.get("/api/storages/s3", params={"project": project}).json()
    assert admin.post(f"/api/storages/s3/{storage['id']}/sync").json()["status"] == "completed"
    listed = admin.get("/api/tasks", params={"project": project}).json()
    assert listed["total"] == 1  # the storage's sync found nothing to make tasks of


def test_label_studio_shows_our_media_to_an_annotator(tmp_path, label_studio, admin, browser):
    """In its own page: the picture drawn, the video decoded, and the sound, which the page fetches across origins, loaded."""
    person = local_server.people(label_studio, ["looker"])["looker"]
    with show(Served(tmp_path, label_studio.url)).start() as served:
        project, task = project_with(admin, served, BUCKET, served.url, signing.keys(SECRET))
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        statuses, complaints = [], []
        # the context's: Label Studio's pages fetch by a service worker, whose answers are not the page's
        page.context.on("response", lambda answer: statuses.append(answer.status) if served.url in answer.url else None)
        page.on("console", lambda message: complaints.append(message.text) if "CORS" in message.text else None)
        page.goto(f"{label_studio.url}/user/login/")
        page.fill("input[name=email]", person.email)
        page.fill("input[name=password]", person.password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "login" not in url)
        page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")
        page.wait_for_function("[...document.images].some(i => i.naturalWidth == 64)", timeout=30_000)
        for medium in ("video", "audio"):
            page.wait_for_function(f"document.querySelector('{medium}')?.readyState >= 2", timeout=30_000)
        page.close()
    assert complaints == []
    assert 200 in statuses
    assert set(statuses) <= {200, 206}


def test_label_studio_refuses_a_storage_with_wrong_keys(served, admin):
    before = admin.get("/api/projects", params={"page_size": 1}).json()["count"]
    with pytest.raises(httpx.HTTPStatusError) as error:
        project_with(admin, served, BUCKET, served.url, ("PWX", "wrong"))
    assert error.value.request.url.path == "/api/storages/s3"
    assert error.value.response.status_code == 500  # it says nothing of endpoints whose domain it does not know
    assert "Debugging info is not available" in error.value.response.text
    (project, *_) = admin.get("/api/projects", params={"ordering": "-id", "page_size": 1}).json()["results"]
    assert admin.get("/api/projects", params={"page_size": 1}).json()["count"] == before + 1
    assert admin.get("/api/storages/s3", params={"project": project["id"]}).json() == []


def test_label_studio_presigns_media_in_s3(served, admin):
    with s3_server() as endpoint:
        client = s3(None, pair=("any", "any"), endpoint=endpoint)
        client.create_bucket(Bucket="campaign")
        for sha, data, end in ((served.picture, PICTURE, "jpg"), (served.clip, CLIP, "webm")):
            client.put_object(Bucket="campaign", Key=f"{sha}.{end}", Body=data)
        _, task = project_with(admin, served, "campaign", endpoint, ("any", "any"))
        answer = looked_at(admin, task, "campaign", f"{served.picture}.jpg")
        assert (answer.content, answer.headers["content-type"]) == (PICTURE, "image/jpeg")


def test_label_studio_sends_webhooks_that_are_known(alone, admin):
    show(alone).start()
    project, task = project_with(admin, alone, BUCKET, alone.url, signing.keys(SECRET))
    hook = {"project": project, "url": f"{alone.url}/webhook/{project}", "send_for_all_actions": True}
    hook["headers"] = signing.webhook_headers(SECRET, str(project))
    admin.post("/api/webhooks/", json=hook).raise_for_status()
    result = [{"from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["a"]}}]
    path = f"/api/tasks/{task}/annotations/"
    made = admin.post(path, json={"result": result, "ground_truth": False}).raise_for_status().json()["id"]
    wait_for(lambda: str(project) in alone.pulls())
    assert alone.health()["webhooks"] == {"received": 1, "replayed": 0, "malformed": 0, "forged": 0}
    admin.patch(f"/api/annotations/{made}/", json={"result": result, "lead_time": 2}).raise_for_status()
    admin.delete(f"/api/annotations/{made}/").raise_for_status()
    admin.delete(f"/api/tasks/{task}/").raise_for_status()
    wait_for(lambda: alone.health()["webhooks"]["received"] == 4)
    assert alone.health()["webhooks"] == {"received": 4, "replayed": 0, "malformed": 0, "forged": 0}
