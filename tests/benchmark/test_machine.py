from mobileinst_d2.benchmark import machine


def test_the_machine_is_named_in_one_line():
    text = machine.describe_machine()
    assert "torch" in text
    assert "\n" not in text


def test_without_the_files_of_linux_the_platform_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "gone")
    monkeypatch.setattr(machine.platform, "processor", lambda: "Abacus")
    assert machine.describe_machine().startswith("Abacus, cores: ")
