"""Videos in a browser, where Chromium is installed."""

import base64
import http.server
import json
import queue
import shutil
import subprocess
import threading

import numpy as np
import pytest

from mobileinst_core.video.writers import VideoWriter

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
PAGE = """<body><script>
const all = [];
function look(source) {
  const video = document.createElement("video");
  const found = {};
  all.push(new Promise(done => {
    video.muted = true;
    video.onerror = () => { found.error = video.error.message; done(found); };
    video.onloadeddata = () => {
      found.duration = video.duration; found.size = [video.videoWidth, video.videoHeight];
      video.currentTime = 1.5;
    };
    video.onseeked = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = found.size;
      const context = canvas.getContext("2d");
      context.drawImage(video, 0, 0);
      found.pixel = Array.from(context.getImageData(64, 48, 1, 1).data);
      done(found);
    };
  }));
  video.src = source;
}
SOURCES.forEach(look);
Promise.all(all).then(x => fetch("/found", {method: "POST", body: JSON.stringify(x)}));
</script>"""


def ask_browser(page, profile):
    """What the page tells in a browser."""
    told = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(
            [BROWSER, *options, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return told.get(timeout=120)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_plays_what_is_written(tmp_path):
    # One second of blue, then orange: the browser must show that at 1.5 s.
    blue, orange = (np.full((96, 128, 3), c, np.uint8) for c in ((200, 60, 20), (30, 140, 230)))
    sources = []
    for name, codec in (("a.mp4", None), ("b.mp4", "av1"), ("c.webm", None)):
        with VideoWriter(tmp_path / name, fps=10, size=(128, 96), codec=codec) as writer:
            for number in range(20):
                writer.write(blue if number < 10 else orange)
        content = base64.b64encode(writer.path.read_bytes()).decode()
        sources.append(f"data:video/{writer.path.suffix[1:]};base64,{content}")
    found = ask_browser(PAGE.replace("SOURCES", json.dumps(sources)), tmp_path / "profile")
    assert len(found) == 3
    for video in found:
        assert "error" not in video
        assert video["size"] == [128, 96]
        assert video["duration"] == pytest.approx(2, abs=0.05)
        assert np.abs(np.array(video["pixel"][:3]) - [230, 140, 30]).max() <= 8
