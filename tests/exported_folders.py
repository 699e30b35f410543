"""Fixtures: a small network, exported once for each runtime."""

import json
import shutil

import pytest


@pytest.fixture(autouse=True, scope="session")
def _graphs_run_in_this_process():
    """Exports compare their graphs here: a process for each costs half a second, or more."""
    from mobileinst_d2.export import RUNNERS, quantize, verify

    def run(runtime, folder, graph, arrays):
        runner = RUNNERS[runtime](folder, graph)
        return runner(*(arrays[name] for name in runner.inputs))

    with pytest.MonkeyPatch.context() as patch:
        for module in (quantize, verify):
            patch.setattr(module, "run_graph_guarded", run)
        yield


@pytest.fixture
def _graphs_run_in_processes(monkeypatch):
    """As for users."""
    from mobileinst_d2.export import guard, quantize, verify

    for module in (quantize, verify):
        monkeypatch.setattr(module, "run_graph_guarded", guard.run_graph_guarded)


@pytest.fixture(scope="session")
def network():
    from small_network import build_small_network

    return build_small_network()


@pytest.fixture(scope="session")
def exported(network, tmp_path_factory):
    """The folder for a runtime. Not to be changed."""
    from small_network import SIZE, small_config

    from mobileinst_d2.export import export_model

    folders = {}

    def export(runtime):
        if runtime not in folders:
            folder = tmp_path_factory.mktemp(runtime) / "exported"
            export_model(network, small_config(), SIZE, runtime, folder)
            folders[runtime] = folder
        return folders[runtime]

    return export


@pytest.fixture
def folder(exported, tmp_path):
    """A folder of ncnn that may be changed."""
    return shutil.copytree(exported("ncnn"), tmp_path / "exported")


@pytest.fixture
def edit_manifest(folder):
    """Change model.json, with a function that changes its content."""

    def edit(change):
        path = folder / "model.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit
