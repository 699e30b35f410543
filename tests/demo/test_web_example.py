"""demo/web in Node and in Chromium, against the Python code with the same exported model."""

import json
import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from mobileinst_core.runtime.model import ExportedModel


@pytest.fixture(scope="module")
def page(repository):
    return repository / "demo" / "web"


@pytest.fixture(scope="module")
def runtime(repository, page):
    """The folder of onnxruntime-web, installed once in the folder for such things."""
    folder = repository / "build" / "web"
    dist = folder / "node_modules" / "onnxruntime-web" / "dist"
    if not dist.is_dir():
        if shutil.which("npm") is None:
            pytest.skip("npm is missing")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(page / "package.json", folder)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip("npm cannot fetch onnxruntime-web")
    return dist


@pytest.fixture(scope="module")
def exported(export_example):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return export_example("onnx")


@pytest.fixture(scope="module")
def serve(repository):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(repository / "demo" / "web"))
        import serve
    return serve


@pytest.fixture
def track_in_node(frames, page, runtime, repository, tmp_path):
    """Tracks the frames with a folder; the finished process, and a folder with what it wrote."""
    if shutil.which("node") is None:
        pytest.skip("Node is missing")

    def track(model, num_frames=None, **options):
        described = []
        for t, frame in enumerate(frames[:num_frames]):
            path = tmp_path / f"{t}.rgba"
            path.write_bytes(cv2.cvtColor(frame, cv2.COLOR_BGR2RGBA).tobytes())
            described.append({"file": str(path), "width": frame.shape[1], "height": frame.shape[0]})
        places = {"runtime": runtime, "page": page, "model": model}
        places |= {"results": tmp_path / "results.json", "masks": tmp_path / "masks"}
        request = {name: str(path) for name, path in places.items()} | {"frames": described}
        (tmp_path / "request.json").write_text(json.dumps(request | options))
        script = repository / "tests" / "demo" / "web_track.mjs"
        command = ["node", str(script), str(tmp_path / "request.json")]
        return subprocess.run(command, capture_output=True, text=True, timeout=120), tmp_path

    return track


@pytest.fixture
def without(exported, tmp_path):
    """A copy of the exported folder whose model.json lacks a graph."""

    def remove(name):
        folder = shutil.copytree(exported, tmp_path / f"without_{name}")
        manifest = json.loads((folder / "model.json").read_text())
        del manifest["graphs"][name]
        (folder / "model.json").write_text(json.dumps(manifest))
        return folder

    return remove


def test_tracks_as_the_python_code_does(exported, frames, track_in_node):
    done, folder = track_in_node(exported)
    assert done.returncode == 0, done.stderr

    tracker = ExportedModel.load(exported).online_tracker()
    lines = json.loads((folder / "results.json").read_text())
    pixels = np.fromfile(folder / "masks", bool)
    for line, frame in zip(lines, frames, strict=True):
        expected, found = tracker.step(frame), line["instances"]
        assert line["isKeyframe"] == tracker.is_keyframe
        assert [x["id"] for x in found] == expected.ids.tolist()
        assert [x["label"] for x in found] == expected.classes.tolist()
        assert [x["score"] for x in found] == pytest.approx(expected.scores.tolist(), abs=1e-3)
        for mask in expected.masks:
            own, pixels = pixels[: mask.size].reshape(mask.shape), pixels[mask.size :]
            assert (own & mask).sum() > 0.995 * (own | mask).sum()
    assert len(pixels) == 0
    ids = [[x["id"] for x in line["instances"]] for line in lines]
    assert len({identity for frame in ids for identity in frame}) > len(ids[0])


def test_a_folder_of_key_frames_alone_tracks_where_every_frame_is_one(
    exported, without, track_in_node
):
    results = []
    for folder in (exported, without("reuse")):
        done, written = track_in_node(folder, num_frames=4, clipLen=1)
        assert done.returncode == 0, done.stderr
        results.append([(written / name).read_bytes() for name in ("results.json", "masks")])
    assert results[0] == results[1]
    assert any(line["instances"] for line in json.loads(results[1][0]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reuse", "without the graph reuse: it tracks with a clip length of 1"),
        ("keyframe", "model.json: the model was exported without the graph keyframe and cannot"),
    ],
)
def test_says_which_graph_is_missing(without, track_in_node, name, message):
    done, _ = track_in_node(without(name))
    assert done.returncode != 0
    assert message in done.stderr


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake_runtime(tmp_path):
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "ort.wasm.min.mjs").write_text("export {};")
    return folder


def test_serves_page_runtime_and_model_and_nothing_else(serve, exported, fake_runtime):
    files = serve.list_files(exported, fake_runtime)
    with running(serve.make_server(files, "127.0.0.1", 0)) as port:

        def get(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
                return response.headers["Content-Type"], response.read()

        assert get("/")[0].startswith("text/html")
        assert get("/app.js?again")[0].startswith("text/javascript")
        assert get("/ort/ort.wasm.min.mjs")[1] == b"export {};"
        assert get("/model/model.json")[1] == (exported / "model.json").read_bytes()
        assert get("/model/keyframe.onnx")[1] == (exported / "keyframe.onnx").read_bytes()
        for path in ("/serve.py", "/model/config.yaml", "/../demo.py", "//etc/passwd", "/ort/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(path)


def test_serves_https_with_a_certificate_for_its_address(serve, exported, fake_runtime, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    certificate = serve.make_certificate(tmp_path, serve.own_address())
    files = serve.list_files(exported, fake_runtime)
    trusting = ssl.create_default_context(cafile=tmp_path / "public.pem")
    with running(serve.make_server(files, "127.0.0.1", 0, certificate)) as port:
        address = f"https://127.0.0.1:{port}/model/model.json"
        with urllib.request.urlopen(address, context=trusting) as response:
            assert response.read() == (exported / "model.json").read_bytes()


def test_says_what_is_missing(serve, exported, tmp_path, fails):
    fails("npm install", serve.main, ["--model", str(exported), "--runtime", str(tmp_path)])
    fails("no folder", serve.main, ["--model", str(tmp_path / "gone")])


class Browser:
    """Chromium without a window, driven by the DevTools protocol through two pipes."""

    FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    FLAGS += ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    FLAGS += ("--disable-background-networking", "--no-first-run", "--remote-debugging-pipe")

    def __init__(self, program, folder):
        (read_here, write_there), (read_there, write_here) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and answers to 4.
        shell = f"exec {program} {' '.join(self.FLAGS)} --user-data-dir={folder} about:blank"
        shell += f" 3<&{read_there} 4>&{write_there}"
        self.process = subprocess.Popen(
            ["bash", "-c", shell],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self.input, self.output = os.fdopen(write_here, "wb"), os.fdopen(read_here, "rb")
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = next(
            x for x in self.call("Target.getTargets")["targetInfos"] if x["type"] == "page"
        )
        attach = {"targetId": target["targetId"], "flatten": True}
        self.session = self.call("Target.attachToTarget", **attach)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        self.input.flush()
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        while b"\0" not in self.rest:
            chunk = os.read(self.output.fileno(), 1 << 20)
            assert chunk, "Chromium has ended"
            self.rest += chunk
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression, seconds=90):
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, self.evaluate("document.body.innerText")
            time.sleep(0.1)
        return value

    def requested(self):
        """Addresses that the page asked for."""
        sent = [x for x in self.events if x.get("method") == "Network.requestWillBeSent"]
        return [x["params"]["request"]["url"] for x in sent]

    def close(self):
        self.input.close()
        self.process.kill()
        self.process.wait()
        self.output.close()


@pytest.fixture
def browser(tmp_path):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is missing")
    browser = Browser(program, tmp_path / "profile")
    yield browser
    browser.close()


def test_page_tracks_a_file_and_the_camera(serve, exported, frames, runtime, browser, tmp_path):
    video = tmp_path / "video.webm"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"VP80"), 5, (240, 150))
    if not writer.isOpened():
        pytest.skip("OpenCV cannot write VP8 here")
    for frame in frames[:8]:
        writer.write(frame)
    writer.release()
    disabled = "['file', 'camera', 'stop'].map((x) => document.getElementById(x).disabled)"
    files = serve.list_files(exported, runtime)
    with running(serve.make_server(files, "127.0.0.1", 0)) as port:
        origin = f"http://127.0.0.1:{port}/"
        browser.call("Page.navigate", url=origin)
        browser.wait_for("document.body?.dataset.ready")
        assert browser.evaluate(disabled) == [False, False, True]

        node = browser.call("DOM.getDocument")["root"]["nodeId"]
        node = browser.call("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
        browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(video)])
        browser.wait_for("Number(document.body.dataset.frames) >= 2")
        assert browser.wait_for("Number(document.body.dataset.instances)") > 0
        assert browser.evaluate("[view.width, view.height]") == [240, 150]
        # The canvas shows something, in the middle too.
        pixel = "Array.from(view.getContext('2d').getImageData(120, 75, 1, 1).data)"
        assert sum(browser.evaluate(pixel)[:3]) > 0
        browser.wait_for("document.getElementById('stop').disabled")  # at the end of the video

        browser.evaluate("document.getElementById('camera').click()")
        browser.wait_for("view.width > 240 && Number(document.body.dataset.frames) >= 2")
        assert browser.evaluate(disabled) == [False, False, False]
        browser.evaluate("document.getElementById('stop').click()")
        assert browser.evaluate(disabled) == [False, False, True]
        assert "error" not in browser.evaluate("document.getElementById('status').className")
    elsewhere = [x for x in browser.requested() if not x.startswith((origin, "data:", "blob:"))]
    assert elsewhere == []
