import re
from pathlib import Path

import check_docs
import doc_blocks
import pytest
from config_files import default_config

ROOT = Path(__file__).resolve().parents[2]


def test_documents_have_no_faults(monkeypatch):
    """All links lead somewhere, and all blocks are run by --run or say why not."""
    monkeypatch.chdir(ROOT)
    files = [x.relative_to(ROOT) for x in doc_blocks.documents(ROOT)]
    assert Path("README.md") == files[0]
    assert check_docs.check(files, ROOT) == []


def test_documents_name_config_keys_that_exist():
    cfg = default_config()
    pattern = re.compile(r"\b(?:MODEL|INPUT|SOLVER|TEST|DATASETS|DATALOADER)(?:\.[A-Z][A-Z0-9_]*)+")
    unknown = [
        f"{file.name}: {key}"
        for file in doc_blocks.documents(ROOT)
        if file.name != "CHANGELOG.md"  # which also names those that are gone
        for key in pattern.findall(file.read_text(encoding="utf-8"))
        if not is_key(cfg, key)
    ]
    assert unknown == []


def is_key(cfg, key):
    node = cfg
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[x](y.md)", "y.md leads to nothing"),
        ("# A b\n[x](#a-c)", "x.md has no heading #a-c"),
        ("[x](../../x)", "leads"),
        ("```\nx\n```", "the language of a block is ''"),
        ("```python\nx = = 1\n```", "no valid Python"),
        ("```yaml\n[\n```", "no valid yaml"),
        ("```bash\npython x.py ... --more\n```", "cannot be run as it is"),
        ("<!-- not run: why -->\n```text\n```", "is never run"),
    ],
)
def test_faults_are_found(tmp_path, text, fault):
    (tmp_path / "x.md").write_text(text, encoding="utf-8")
    (found,) = check_docs.check([tmp_path / "x.md"], tmp_path)
    assert fault in found
