"""Serve the page of this folder with an exported model, for a browser on this machine or a phone.

Needed once: ``npm install --prefix demo/web``. Nothing is fetched from elsewhere afterwards.

Example::

    python demo/web/serve.py --model exported            http://localhost:8000
    python demo/web/serve.py --model exported --https    for a phone in the same network

Browsers give the camera to pages of localhost and to https pages alone. With --https a certificate
is made that nobody has signed: the browser warns, and continues if told to.
"""

import argparse
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_core.runtime.manifest import MANIFEST_FILE, read_manifest

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
RUNTIME_PAGE = "ort.wasm.min.mjs"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}


def list_files(model: Path, runtime: Path) -> dict[str, Path]:
    """What is served: files by the path of their address.

    Args:
        model: a folder exported for ONNX Runtime.
        runtime: the folder ``dist`` of onnxruntime-web.

    Returns:
        The files. There are no others to be had.

    Raises:
        UserError: the model is for another runtime, or onnxruntime-web is missing.
    """
    manifest = read_manifest(model)
    if manifest.runtime != "onnx":
        raise UserError(f"{model} is for {manifest.runtime}: export it with --format onnx")
    if not (runtime / RUNTIME_PAGE).is_file():
        raise UserError(f"onnxruntime-web is missing in {runtime}: npm install --prefix {HERE}")
    files = {"/": HERE / "index.html"}
    files |= {f"/{path.name}": path for path in HERE.iterdir() if path.suffix in (".js", ".css")}
    files |= {f"/ort/{path.name}": path for path in runtime.iterdir() if path.suffix in TYPES}
    files |= {f"/model/{name}": model / name for name in [MANIFEST_FILE, *manifest.files]}
    return files


def make_server(
    files: Mapping[str, Path], host: str, port: int, certificate: Path | None = None
) -> ThreadingHTTPServer:
    """A server of files.

    Args:
        files: by the path of their address.
        host: of the network interface to serve, "" = all.
        port: 0 = any free one.
        certificate: with its key, in PEM; makes the server one of https.

    Returns:
        The server, bound and not yet running.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = files.get(unquote(urlsplit(self.path).path))
            if path is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            content = path.read_bytes()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES[path.suffix])
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    return server


def make_certificate(folder: Path, address: str) -> Path:
    """A certificate for this machine that it has signed itself, with its key, for a month.

    Args:
        folder: where to put it.
        address: of this machine in its network.

    Returns:
        The file, in PEM.

    Raises:
        UserError: openssl is missing or fails.
    """
    path = folder / "certificate.pem"
    names = f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{address}"
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    call += ["-subj", "/CN=mobileinst demo", "-addext", names]
    try:
        done = subprocess.run(
            [*call, "-keyout", str(path), "-out", str(folder / "public.pem")],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError("openssl is missing: --https makes a certificate with it") from error
    if done.returncode:
        raise UserError(f"openssl makes no certificate: {done.stderr.strip()}")
    with path.open("a", encoding="ascii") as file:
        file.write((folder / "public.pem").read_text(encoding="ascii"))
    return path


def own_address() -> str:
    """The address of this machine in its network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder made by tools/export.py --format onnx",
    )
    add("--port", type=whole_number(1), default=8000, metavar="N", help="default: %(default)s")
    add("--https", action="store_true", help="serve the whole network, with a certificate")
    add(
        "--runtime",
        type=Path,
        default=RUNTIME,
        metavar="DIR",
        help="the folder dist of onnxruntime-web (default: %(default)s)",
    )
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C.

    Args:
        argv: the command line, by default that of the process.
    """
    args = parse_args(argv)
    files = list_files(args.model, args.runtime)
    address = own_address() if args.https else "localhost"
    with tempfile.TemporaryDirectory(prefix="mobileinst_web_") as scratch:
        certificate = make_certificate(Path(scratch), address) if args.https else None
        host = "" if args.https else "127.0.0.1"
        server = make_server(files, host, args.port, certificate)
        scheme = "https" if args.https else "http"
        print(f"{scheme}://{address}:{args.port}   (Ctrl-C ends)", flush=True)
        with server:
            server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
